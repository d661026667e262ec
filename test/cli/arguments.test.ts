import { describe, expect, test } from 'vitest';
import { agentFlags, refusedFlags, overridesOf } from '../../src/cli/agent-flags.ts';
import { normaliseArguments } from '../../src/cli/arguments.ts';
import { columns } from '../../src/cli/output.ts';
import { program } from '../../src/cli/program.ts';
import { screen } from '../../src/cli/status.ts';
import { configSchema } from '../../src/node/config-schema.ts';
import type { NodeStatus } from '../../src/node/node-types.ts';

describe('normaliseArguments()', () => {
  test('gives Serf\'s long flags their second dash, and our names', () => {
    expect(normaliseArguments(['agent', '-node', 'x', '-join=a', '-retry-join', 'b', '--tag', 'k=-v', '-config-file=c'])).toEqual(['agent', '--name', 'x', '--join=a', '--retry-join', 'b', '--tag', 'k=-v', '--config=c']);
    expect(normaliseArguments(['agent', '--join', 'a', '-join', 'b', '--', '-join'])).toEqual(['agent', '--join', 'a', '--join', 'b', '--', '-join']);
  });

  test('leaves letters, numbers, and whatever follows -- alone', () => {
    expect(normaliseArguments(['-h', '-5', '-', '--', '-node'])).toEqual(['-h', '-5', '-', '--', '-node']);
  });
});

describe('the flags of the agent', () => {
  test('each says something that the config file knows', () => {
    for (const flag of agentFlags) {
      const last = flag.path.at(-1) as string;
      const words = { tags: { k: 'v' }, dev: true, voter: false, storage: false, leaveOnTerminate: true, lastNode: 'never', profile: 'lan', level: 'info', encrypt: 'T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=' }[last];
      const value = words ?? (!flag.form.includes('<') ? (flag.says ?? true) : flag.repeat === true ? ['127.0.0.1:1'] : flag.form.includes('<time>') ? flag.read?.('3s') : flag.read !== undefined ? flag.read('3') : flag.form.includes('<address>') ? '127.0.0.1:1' : 'text');
      const file = flag.path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as Record<string, unknown>;
      if (flag.path[1] === 'serf') (file as { discovery: { serf: Record<string, unknown> } }).discovery.serf = { strategy: 'mdns', service: 'a', [flag.path.at(-1) as string]: value };
      if (last === 'requireJoined') (file as { discovery: Record<string, unknown> }).discovery['waitJoinedMs'] = 1; // it says nothing without
      expect(configSchema.safeParse(file).error?.issues ?? [], flag.form).toEqual([]);
    }
  });

  test('are read into the places of the config file', () => {
    expect(overridesOf({ bootstrapExpect: '3', tag: ['a=b=c'], memcached: 'off', http: 'off', voter: false, leaveOnTerm: true, join: ['x'] }).map(({ path, value }) => [path.join('.'), value])).toEqual([
      ['startJoin', ['x']], ['bootstrap.expect', 3], ['memcached', undefined], ['http', false], ['tags.a', 'b=c'], ['voter', false], ['leaveOnTerminate', true],
    ]);
  });

  test('none is refused that works', () => {
    const works = new Set(agentFlags.map((flag) => flag.form.split(' ')[0]));
    expect(Object.keys(refusedFlags).filter((flag) => works.has(flag))).toEqual([]);
  });
});

test('every verb has a help text that says what it does', async () => {
  for (const verb of (await program()).commands) {
    expect(verb.description(), verb.name()).toMatch(/^.{20,}$/);
    expect(verb.helpInformation(), verb.name()).toContain(verb.name());
  }
});

test('columns() aligns cells, and leaves no blanks at the end', () => {
  expect(columns([['a', 'bb', ''], ['ccc', 'd', 'e']])).toBe('a    bb\nccc  d   e\n');
});

test('the status screen shows everything that may be wrong', () => {
  const status: NodeStatus = {
    name: 'one', version: '1', clusterId: 'c', mapVersion: 7, sessionLive: false, leader: undefined, term: 4, voters: ['one', 'two'], quorum: false,
    nodes: [{ name: 'one', state: 'live', role: 'voter', zone: '', peer: 'p', gossip: 'g', session: 1, primaries: 2, copies: 3, apps: ['a'], version: '1' }],
    partitions: { total: 9, underReplicated: 3, withoutPrimary: 2, lost: 1 },
    apps: [{ name: 'a', state: 'running', node: 'one', epoch: 5, startType: 'failover', from: 'two', nodes: [['one'], ['two', 'three']], forbidden: ['two'], lastError: 'oops' }],
    attention: ['two is gone'],
  };
  expect(screen(status)).toMatchInlineSnapshot(`
    "cluster     c, map version 7
    quorum      NO: 2 voters (one, two)
    leader      none, term 4
    this node   one 1, session NOT LIVE
    partitions  9: 3 with too few copies, 2 without a primary, 1 LOST

    NODE  STATE  ROLE   ZONE  PRIMARIES  COPIES  APPS  GOSSIP  PEER  VERSION
    one   live   voter  -     2          3       a     g       p     1

    APP  STATE    NODE  EPOCH  START              PRIORITY           FORBIDDEN  LAST ERROR
    a    running  one   5      failover from two  one > {two,three}  two        oops

    NEEDS ATTENTION
      two is gone
    "
  `);
});
