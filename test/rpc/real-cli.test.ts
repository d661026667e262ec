import { execFile } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { formatAddress } from '../../src/ports/address.ts';
import { buildIfStale, cleanUp, run, TestAgent } from '../cli/program.ts';
import { freePort, SerfAgent, serfInstalled } from '../mixed/serf-agent.ts';
import { poll } from '../poll.ts';

interface Outcome {
  readonly code: number;
  readonly output: string;
}

/** The gossip address of the agent with that RPC, for words that have OWN in them. */
const own = new Map<string, string>();
const addressed = (rpc: string, words: readonly string[]): string[] => words.map((word) => word.replace('OWN', own.get(rpc) ?? ''));

/** Debian's own client. */
function serf(rpc: string, ...words: readonly string[]): Promise<Outcome> {
  const [verb, ...rest] = addressed(rpc, words) as [string, ...string[]];
  return new Promise((resolve) => {
    execFile('/usr/bin/serf', [verb, `-rpc-addr=${rpc}`, ...rest], { timeout: 20_000 }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, output: stdout + stderr });
    });
  });
}

/** Ours, with the same words. */
async function troupe(rpc: string, ...words: readonly string[]): Promise<Outcome> {
  const [verb, ...rest] = addressed(rpc, words) as [string, ...string[]];
  const { code, stdout, stderr } = await run([verb, `-rpc-addr=${rpc}`, ...rest]);
  return { code: code ?? -1, output: stdout + stderr };
}

/** Without what differs from one pool to the other: addresses, the tags of a Troupe node, round trips, Go's random order. */
function same({ code, output }: Outcome): string {
  const text = output
    .replaceAll(/127\.0\.0\.\d+:\d+/g, 'ADDRESS').replaceAll(/"port": \d+/g, '"port": N').replaceAll(/[\d.]+ (ms|sec)/g, 'N $1')
    .replaceAll(/ *"troupe\.\w+": "\w+",?\n/g, '').replaceAll(/,(\n\s*\})/g, '$1').replaceAll(/,?troupe\.\w+=\w+/g, '').replaceAll(/ {2,}/g, '  ').replaceAll(/alive  ,/g, 'alive  ')
    .replaceAll(/\b\w+=[^,\s]+(,\w+=[^,\s]+)+/g, (tags) => tags.split(',').sort().join(','));
  return `${code}\n${text.split('\n').map((line) => line.trimEnd().replace(/,$/, '')).filter((line) => line !== '' && !line.startsWith('Deprecation warning')).sort().join('\n')}`;
}

const key = Buffer.alloc(32, 5).toString('base64');
const nobodysKey = Buffer.alloc(32, 7).toString('base64');
const nextKey = Buffer.alloc(32, 6).toString('base64');
const common = ['-encrypt', key, '-event-handler', 'query:hello=echo "hello from $SERF_SELF_NAME"'] as const;
const one = ['-tag', 'role=web', ...common] as const;

describe.skipIf(!serfInstalled)('with Debian\'s serf', () => {
  let ours: TestAgent;
  let oursRpc = '';
  let real: SerfAgent;
  let realRpc = '';
  const agents: SerfAgent[] = [];
  const start = async (name: string, host: string, options: readonly string[]): Promise<SerfAgent> => {
    const agent = await SerfAgent.start(name, host, options);
    agents.push(agent);
    return agent;
  };

  beforeAll(async () => {
    buildIfStale();
    const address = `127.0.0.41:${await freePort('127.0.0.41')}`;
    ours = new TestAgent(['-node', 'one', '-bind', address, '-peer', '127.0.0.41:0', '-http', 'off', '-rpc-addr', '127.0.0.1:0', '-profile', 'local', ...one]);
    oursRpc = (await ours.ready())['rpc'] as string;
    real = await start('one', '127.0.0.43', one);
    realRpc = formatAddress(real.rpc);
    own.set(oursRpc, address).set(realRpc, formatAddress(real.address));
    for (const [host, to] of [['127.0.0.42', address], ['127.0.0.44', formatAddress(real.address)]] as const) await start('two', host, ['-join', to, ...common]);
    await poll(async () => {
      for (const rpc of [oursRpc, realRpc]) {
        expect((await serf(rpc, 'members', '-status=alive', '-format=json')).output.match(/"name"/g)).toHaveLength(2);
        expect((await serf(rpc, 'rtt', 'two')).code).toBe(0);
      }
    }, 20_000);
  }, 60_000);
  afterAll(async () => {
    await Promise.all(agents.map((agent) => agent.kill()));
    await cleanUp();
  });

  const verbs: readonly (readonly string[])[] = [
    ['members'],
    ['members', '-detailed'],
    ['members', '-format=json'],
    ['members', '-status=alive', '-name=o.e', '-tag', 'role=w.b'],
    ['members', '-name=on'],
    ['members', '-role=web', '-format', 'json'],
    ['event', '-coalesce=false', 'deploy', 'v7'],
    ['event', 'deploy'],
    ['query', '-timeout=1s', 'hello', 'payload'],
    ['query', '-timeout=300ms', '-no-ack', '-format=json', 'unanswered'],
    ['query', '-timeout=500ms', '-node=two', '-format=json', 'hello'],
    ['query', '-timeout=500ms', '-tag', 'role=^web$', '-relay-factor=1', 'hello'],
    ['reachability'],
    ['join', '127.0.0.1:1', 'OWN', 'OWN'],
    ['join', 'one/OWN'],
    ['rtt', 'one', 'two'],
    ['rtt', 'two'],
    ['tags', '-set', 'a=b', '-set', 'c=d'],
    ['tags', '-set', 'c=e', '-delete', 'a', '-delete', 'nothing'],
    ['members', '-tag', 'c=e'],
    ['keys', '-list'],
    ['keys', '-install', nextKey],
    ['keys', '-use', nextKey],
    ['keys', '-remove', key],
    ['keys', '-list'],
  ];
  const fails: readonly (readonly string[])[] = [
    ['query', '_serf_list-keys'], ['rtt', 'nobody'], ['keys', '-install', 'abc'], ['keys', '-use', key], ['join', '127.0.0.1:1'], ['event', 'big', 'x'.repeat(600)],
    ['rtt', 'one', 'nobody'], ['keys', '-use', nobodysKey], ['keys', '-install', 'AAAA'], ['join', 'nobody.invalid:1', '127.0.0.1:1'], ['query', 'big', 'x'.repeat(2000)],
    ['tags', '-set', `big=${'x'.repeat(600)}`], ['monitor', '-log-level=loud'],
  ];
  /** What names nobody, and what is not there to be taken away, fails nowhere. */
  const passes: readonly (readonly string[])[] = [['force-leave', 'nobody'], ['force-leave', '-prune', 'nobody'], ['tags', '-delete', 'nothing'], ['members', '-name=nobody']];
  /** Wrong words: exit code 1 there, 2 here, where 1 means that right words failed. */
  const misuses: readonly (readonly string[])[] = [
    ['members', '-bogus'], ['members', '-format=xml'], ['members', '-tag', 'nokey'], ['event'], ['event', 'a', 'b', 'c'], ['event', '-coalesce=maybe', 'a'], ['query'], ['query', 'a', 'b', 'c'], ['query', '-timeout=abc', 'x'],
    ['query', '-relay-factor=300', 'x'], ['query', '-tag', 'broken', 'x'], ['query', '-format=xml', 'x'], ['join'], ['force-leave'], ['force-leave', 'a', 'b'], ['tags'], ['tags', '-set'], ['tags', '-set', 'novalue'],
    ['keys'], ['keys', '-list', '-use', key], ['keys', '-install'], ['info', '-format=xml'], ['reachability', '-bogus'], ['rtt'], ['rtt', 'a', 'b', 'c'],
  ];

  // First: an agent keeps 512 lines, and the join is to be among them.
  test('it monitors our agent, and so do we', async () => {
    const monitor = execFile('/usr/bin/serf', ['monitor', `-rpc-addr=${oursRpc}`, '-log-level=debug']);
    let seen = '';
    monitor.stdout?.on('data', (chunk) => (seen += String(chunk)));
    await poll(() => expect(seen).toMatch(/^\d{4}\/\d\d\/\d\d \d\d:\d\d:\d\d \[INFO\] .*member 'two' joined/m));
    await serf(oursRpc, 'event', '-coalesce=false', 'look', 'here');
    await poll(() => expect(seen).toMatch(/Event Info:[^]*"look"/));
    monitor.kill();
    const mine = execFile(process.execPath, ['bin/troupe', 'monitor', `-rpc-addr=${realRpc}`]);
    let own = '';
    mine.stdout?.on('data', (chunk) => (own += String(chunk)));
    await poll(() => expect(own).toContain('[INFO] serf: EventMemberJoin: two'));
    await serf(realRpc, 'event', '-coalesce=false', 'look', 'here');
    await poll(() => expect(own).toMatch(/Event Info:\n\tEvent: "user"\n\tLTime: \d+\n\tName: "look"\n\tPayload: "here"\n\tCoalesce: false\n/));
    const code = new Promise((resolve) => mine.on('close', resolve));
    mine.kill('SIGINT');
    expect(await code).toBe(0);
  });

  test('it gets from our agent, verb by verb, what it gets from its own', async () => {
    for (const words of verbs) expect(same(await serf(oursRpc, ...words)), words.join(' ')).toBe(same(await serf(realRpc, ...words)));
    for (const words of [...fails, ...passes]) {
      const [theirs, ofOurs] = [await serf(realRpc, ...words), await serf(oursRpc, ...words)];
      expect(ofOurs.code, `${words.join(' ')}: ${ofOurs.output}`).toBe(theirs.code);
      expect(theirs.code, words.join(' ')).toBe(fails.includes(words) ? 1 : 0);
    }
  }, 120_000);

  test('our client prints, of a real agent and of ours, what it prints', async () => {
    // Back to the first key, and the tag away, so that each verb has something to do again.
    for (const words of [['keys', '-install', key], ['keys', '-use', key], ['keys', '-remove', nextKey], ['tags', '-delete', 'c']]) {
      for (const rpc of [realRpc, oursRpc]) expect((await serf(rpc, ...words)).code).toBe(0);
    }
    for (const words of verbs) {
      const ofOurs = troupe(oursRpc, ...words);
      const [theirs, mine, mineOfOurs] = [await serf(realRpc, ...words), await troupe(realRpc, ...words), await ofOurs];
      expect(same(mine), words.join(' ')).toBe(same(theirs));
      expect(same(mineOfOurs), words.join(' ')).toBe(same(theirs));
    }
    for (const words of fails) expect((await troupe(realRpc, ...words)).code, words.join(' ')).toBe(1);
    const info = async (asked: Promise<Outcome>): Promise<string> => (await asked).output.replaceAll(/(event|query|member)_time("?[:=]? ?=? ?"?)\d+/g, '$1_time$2N').replaceAll(/(goroutines\D+)\d+/g, '$1N');
    for (const words of [['info'], ['info', '-format=json']]) expect(await info(troupe(realRpc, ...words))).toBe(await info(serf(realRpc, ...words)));
    expect((await serf(oursRpc, 'info')).output).toMatch(/agent:\n\tname = one\nevent_handlers:\n\tquery:hello = echo "hello from \$SERF_SELF_NAME"\nruntime:\n[^]*\nserf:\n[^]*\tencrypted = true\n[^]*\tmembers = 2\n/);
  }, 180_000);

  test('a query of ours ends when all have answered; theirs waits', async () => {
    const timed = async (asked: () => Promise<Outcome>): Promise<number> => {
      const before = performance.now();
      expect((await asked()).output).toContain('Total Responses: 2');
      return performance.now() - before;
    };
    expect(await timed(() => troupe(oursRpc, 'query', '-timeout=8s', 'hello'))).toBeLessThan(5000);
    expect(await timed(() => troupe(oursRpc, 'query', '-timeout=2s', '-no-early', 'hello'))).toBeGreaterThan(2000);
  });

  test('each verb of ours fails where theirs fails: 1 when it could not be done, 2 for wrong words, with one clear line', async () => {
    for (const words of [...fails, ...passes, ...misuses]) {
      const [theirs, mine, mineOfOurs] = await Promise.all([serf(realRpc, ...words), troupe(realRpc, ...words), troupe(oursRpc, ...words)]);
      const wanted = misuses.includes(words) ? 2 : theirs.code;
      expect([mine.code, mineOfOurs.code], `${words.join(' ')}: ${mine.output}${mineOfOurs.output}`).toEqual([wanted, wanted]);
      if (wanted === 0) continue;
      expect(theirs.code, words.join(' ')).toBe(1);
      expect(mine.output, words.join(' ')).not.toMatch(/^ {4}at |undefined|\[object/m);
      expect(mine.output.trim().split('\n').filter((line) => /^(error|troupe): /.test(line)), `${words.join(' ')}: ${mine.output}`).toHaveLength(1);
    }
  }, 240_000);

  test('a failed member is forced to leave, then pruned; then the agents leave', async () => {
    for (const [rpc, client] of [[oursRpc, serf], [realRpc, troupe]] as const) {
      const two = agents.find((agent) => agent.name === 'two' && agent.address.host === (rpc === oursRpc ? '127.0.0.42' : '127.0.0.44')) as SerfAgent;
      await two.kill();
      await poll(async () => expect((await serf(rpc, 'members', '-status=failed')).output).toContain('two'), 40_000);
      expect((await client(rpc, 'force-leave', 'two')).code).toBe(0);
      await poll(async () => expect((await serf(rpc, 'members', '-status=left')).output).toContain('two'));
      expect((await client(rpc, 'force-leave', '-prune', 'two')).code).toBe(0);
      await poll(async () => expect((await serf(rpc, 'members')).output).not.toContain('two'));
      expect(await client(rpc, 'leave')).toEqual({ code: 0, output: 'Graceful leave complete\n' });
    }
    expect(await ours.exited).toBe(0);
  });
});
