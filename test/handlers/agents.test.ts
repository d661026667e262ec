import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { rpcEventRequest, rpcForceLeaveRequest, rpcJoinRequest, rpcQueryRequest, rpcTagsRequest } from '../../src/core/wire/serf-rpc.ts';
import { parseAddress } from '../../src/ports/address.ts';
import { buildIfStale, cleanUp, temporaryDirectory, TestAgent } from '../cli/program.ts';
import { freePort, SerfAgent, serfInstalled } from '../mixed/serf-agent.ts';
import { poll } from '../poll.ts';
import { RawClient } from '../rpc/raw-client.ts';

/** Founds a cluster, so that the agent is ready by itself. */
const alone = ['-bootstrap-expect', '1'] as const;
const noQuery = { FilterNodes: [], FilterTags: new Map(), RequestAck: false, RelayFactor: 0, Timeout: 0, Name: 'q', Payload: new Uint8Array(0) };

/** An agent with a handler that writes a line for each event; and a client of its RPC. */
class Watched {
  readonly agent: TestAgent;
  readonly file: string;
  readonly address: string;
  readonly name: string;
  client!: RawClient;
  http = '';

  constructor(name: string, address: string, file: string, words: readonly string[]) {
    this.name = name;
    this.file = file;
    this.address = address;
    this.agent = new TestAgent(['-node', name, '-bind', address, '-peer', `${address.split(':')[0]}:0`, '-http', '127.0.0.1:0', '-rpc-addr', '127.0.0.1:0', '-profile', 'local',
      ...words, '-event-handler', `echo "$SERF_EVENT $SERF_USER_EVENT$SERF_QUERY_NAME $(cut -f1 | tr '\\n' ' ')" >> ${file}`]);
  }

  static async start(name: string, host: string, words: readonly string[] = [], reuse?: Watched, token?: string): Promise<Watched> {
    const address = reuse?.address ?? `${host}:${await freePort(host)}`;
    const watched = new Watched(name, address, reuse?.file ?? join(temporaryDirectory(), 'events'), token === undefined ? words : [...words, '-rpc-auth', token]);
    const ready = await watched.agent.ready();
    watched.client = await RawClient.ready(parseAddress(ready['rpc'] as string), token);
    watched.http = ready['http'] as string;
    clients.push(watched.client);
    return watched;
  }

  get lines(): string[] {
    return existsSync(this.file) ? readFileSync(this.file, 'utf8').trim().split('\n').map((line) => line.trim().replaceAll(/ +/g, ' ')) : [];
  }

  async told(line: string, deadlineMs?: number): Promise<void> {
    await poll(() => expect(this.lines).toContain(line), deadlineMs);
  }

  /** Members that come at about the same time are told together. */
  async joined(name: string): Promise<void> {
    await poll(() => expect(this.lines.filter((line) => line.startsWith('member-join ')).flatMap((line) => line.split(' '))).toContain(name), 20_000);
  }

  event(name: string, coalesce = false): void {
    this.client.send('event', 1, rpcEventRequest, { Name: name, Payload: new Uint8Array(0), Coalesce: coalesce });
  }

  async members(): Promise<Record<string, string>> {
    this.client.values.length = 0;
    this.client.send('members', 2);
    // Answers to what was sent before may come first.
    const answer = (): { Members?: { Name: string; Status: string }[] } | undefined => (this.client.values as { Members?: [] }[]).find((value) => value.Members !== undefined);
    await poll(() => expect(answer()).toBeDefined());
    return Object.fromEntries((answer()?.Members ?? []).map((member) => [member.Name, member.Status]));
  }
}

const clients: RawClient[] = [];
const reals: SerfAgent[] = [];

beforeAll(buildIfStale, 120_000);
afterAll(async () => {
  await Promise.all([...clients.map((client) => client.end()), ...reals.map((agent) => agent.kill())]);
  await cleanUp();
});

describe('agents with handlers', () => {
  test('a handler is told of joins, updates (once: D2), events, failures, and of its own leaving', async () => {
    const a = await Watched.start('a', '127.0.0.51', [...alone]);
    await a.told('member-join a');
    const b = await Watched.start('b', '127.0.0.52', ['-join', a.address]);
    await a.told('member-join b');
    b.client.send('tags', 3, rpcTagsRequest, { Tags: new Map([['x', 'y']]), DeleteTags: [] });
    await poll(() => expect(a.lines.filter((line) => line === 'member-update b').length).toBeGreaterThan(0));
    const updates = a.lines.filter((line) => line === 'member-update b').length;
    const c = await Watched.start('c', '127.0.0.53', ['-join', a.address]);
    await a.told('member-join c');
    c.event('deploy');
    await a.told('user deploy');
    for (let i = 0; i < 3; i++) b.event('often', true);
    await a.told('user often');
    c.agent.signal('SIGKILL');
    await a.told('member-failed c', 30_000);
    // D5: to prune a live member neither blocks nor hides it.
    const before = performance.now();
    a.client.send('force-leave', 4, rpcForceLeaveRequest, { Node: 'b', Prune: true });
    await a.members();
    expect(performance.now() - before).toBeLessThan(2000);
    await poll(async () => expect(await a.members()).toMatchObject({ a: 'alive', b: 'alive' }));
    b.event('still-here');
    await a.told('user still-here');
    a.agent.signal('SIGINT');
    expect(await a.agent.exited).toBe(0);
    const members = a.lines.filter((line) => line.startsWith('member-'));
    expect(members.filter((line) => line === 'member-update b')).toHaveLength(updates);
    expect(members.filter((line) => !line.startsWith('member-update'))).toEqual(['member-join a', 'member-join b', 'member-join c', 'member-failed c', 'member-leave a']);
    expect(a.lines.filter((line) => line === 'user often')).toHaveLength(1);
    await b.told('member-leave a');
  });

  // D7: in Serf scripts run one at a time, and a query is answered too late.
  test('a slow handler does not delay the answer to a query', async () => {
    const a = await Watched.start('a', '127.0.0.54', [...alone, '-event-handler', 'user:slow=sleep 20', '-event-handler', 'query:fast=echo quick']);
    a.event('slow');
    await a.told('user slow');
    const before = performance.now();
    a.client.send('query', 5, rpcQueryRequest, { ...noQuery, Name: 'fast', Timeout: 5_000_000_000 });
    await poll(() => expect(a.client.values).toContainEqual({ Type: 'response', From: 'a', Payload: 'quick\n' }));
    expect(performance.now() - before).toBeLessThan(3000);
    // It does not wait long for the slow one either.
    const end = performance.now();
    a.agent.signal('SIGINT');
    expect(await a.agent.exited).toBe(0);
    expect(performance.now() - end).toBeLessThan(15_000);
  });

  test('a handler does not outlive an agent that is killed; what it has put into the background before it ended does', async () => {
    const file = join(temporaryDirectory(), 'groups');
    const a = await Watched.start('a', '127.0.0.54', ['-event-handler', `user:slow=trap '' TERM; sleep 300 & echo $$ >> ${file}; wait; wait; sleep 300`, '-event-handler', `user:daemon=sleep 301 > /dev/null 2>&1 & echo $$ >> ${file}.daemon`]);
    a.event('slow');
    a.event('daemon');
    await a.told('user slow');
    await a.told('user daemon');
    await poll(() => expect(existsSync(file) && existsSync(`${file}.daemon`)).toBe(true));
    const group = (name: string): number => Number(readFileSync(name, 'utf8').trim());
    const lives = (each: number): boolean => {
      try {
        process.kill(-each, 0);
        return true;
      } catch {
        return false;
      }
    };
    const [slow, daemon] = [group(file), group(`${file}.daemon`)];
    // The shell itself is about to end: only what is left of it then has been put into the background.
    await poll(() => expect(existsSync(`/proc/${daemon}`)).toBe(false));
    expect([lives(slow), lives(daemon)]).toEqual([true, true]);
    a.agent.signal('SIGKILL');
    await a.agent.exited;
    await poll(() => expect(lives(slow)).toBe(false), 10_000);
    expect(lives(daemon)).toBe(true);
    process.kill(-daemon, 'SIGKILL');
  });

  // D1: what was asked while nobody listened is not carried out by who comes later.
  test('a query and an event of a lone agent are not told to who joins it later', async () => {
    const a = await Watched.start('a', '127.0.0.55', [...alone]);
    a.event('old');
    a.client.send('query', 5, rpcQueryRequest, { ...noQuery, Name: 'old', Timeout: 100_000_000 });
    await poll(() => expect(a.client.values).toContainEqual({ Type: 'done', From: '', Payload: null }));
    const b = await Watched.start('b', '127.0.0.56', ['-join', a.address]);
    await b.joined('a');
    a.event('new');
    await b.told('user new');
    expect(b.lines.filter((line) => line.includes('old'))).toEqual([]);
  });

  test.skipIf(!serfInstalled)('nor those of a lone agent of Serf', async () => {
    const real = await SerfAgent.start('real', '127.0.0.57');
    reals.push(real);
    await real.command('event', '-coalesce=false', 'old');
    await real.command('query', '-timeout=100ms', 'old');
    const b = await Watched.start('b', '127.0.0.58', [...alone, '-join', `${real.address.host}:${real.address.port}`]);
    await b.joined('real');
    await real.command('event', '-coalesce=false', 'new');
    await real.command('query', '-timeout=100ms', 'new');
    await b.told('user new');
    await b.told('query new');
    expect(b.lines.filter((line) => line.includes('old'))).toEqual([]);
  });

  test.skipIf(!serfInstalled)('join with replay tells what was before; a script that asks over RPC asks its own agent', async () => {
    const real = await SerfAgent.start('real', '127.0.0.65');
    reals.push(real);
    await real.command('event', '-coalesce=false', 'old');
    const file = join(temporaryDirectory(), 'members');
    const b = await Watched.start('b', '127.0.0.66', ['-event-handler', `user:old=serf members > ${file}`], undefined, 'secret');
    b.client.send('join', 3, rpcJoinRequest, { Existing: [`${real.address.host}:${real.address.port}`], Replay: true });
    await poll(() => expect(existsSync(file) ? readFileSync(file, 'utf8') : '').toMatch(/^b .* alive[^]*^real .* alive/m));
    expect(b.client.values).toContainEqual({ Num: 1 });
  });

  // D4: Serf tells a restarted node, which the others find, all events from before as new.
  test('a restarted agent that the others find is not told what it was told before', async () => {
    const a = await Watched.start('a', '127.0.0.61', [...alone]);
    let b = await Watched.start('b', '127.0.0.62', ['-join', a.address]);
    await b.joined('a');
    for (let i = 0; i < 5; i++) a.event(`old${i}`);
    for (let i = 0; i < 5; i++) await b.told(`user old${i}`);
    b.agent.signal('SIGKILL');
    await b.agent.exited;
    await a.told('member-failed b', 30_000);
    writeFileSync(b.file, '');
    b = await Watched.start('b', '127.0.0.62', [], b);
    await poll(async () => expect(await b.members()).toEqual({ a: 'alive', b: 'alive' }), 30_000);
    a.event('new');
    await b.told('user new');
    expect(b.lines.filter((line) => line.includes('old'))).toEqual([]);
  });

  test('leader: only the leader runs it; SIGHUP changes the handlers', async () => {
    const directory = temporaryDirectory();
    const seen = (): string[] => (existsSync(join(directory, 'seen')) ? readFileSync(join(directory, 'seen'), 'utf8').trim().split('\n').sort() : []);
    writeFileSync(join(directory, 'on-event.sh'), `echo "$SERF_SELF_NAME $SERF_USER_EVENT" >> ${directory}/seen\n`, { mode: 0o755 });
    const configure = (name: string, handlers: readonly string[]): string => {
      writeFileSync(join(directory, `${name}.json`), JSON.stringify({ handlers }));
      return join(directory, `${name}.json`);
    };
    const words = (name: string, bind: string): string[] => ['-node', name, '-bind', bind, '-peer', `${bind.split(':')[0]}:0`, '-http', 'off', '-rpc-addr', '127.0.0.1:0', '-profile', 'local', '-config', configure(name, ['leader:user=./on-event.sh'])];
    const bind = `127.0.0.63:${await freePort('127.0.0.63')}`;
    const a = new TestAgent([...words('a', bind), '-bootstrap-expect', '1']);
    await a.ready();
    const b = new TestAgent([...words('b', `127.0.0.64:${await freePort('127.0.0.64')}`), '-join', bind]);
    const client = await RawClient.ready(parseAddress((await b.ready())['rpc'] as string));
    clients.push(client);
    const fire = (name: string): void => client.send('event', 1, rpcEventRequest, { Name: name, Payload: new Uint8Array(0), Coalesce: false });
    fire('one');
    await poll(() => expect(seen()).toEqual(['a one']));
    configure('b', ['user:two=./on-event.sh']);
    b.signal('SIGHUP');
    await poll(() => expect(b.stderr).toContain('the configuration was reloaded'));
    fire('two');
    await poll(() => expect(seen()).toEqual(['a one', 'a two', 'b two']));
    configure('b', ['nonsense=./on-event.sh']);
    b.signal('SIGHUP');
    await poll(() => expect(b.stderr).toContain('the configuration was not reloaded'));
    fire('two');
    await poll(() => expect(seen()).toEqual(['a one', 'a two', 'a two', 'b two', 'b two']));
  });
});
