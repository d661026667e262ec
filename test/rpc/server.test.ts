import net from 'node:net';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { AgentEvent } from '../../src/core/serf/agent-event.ts';
import type { QueryRecord } from '../../src/core/serf/types.ts';
import {
  rpcAuthRequest, rpcCoordinateRequest, rpcEventRequest, rpcHandshakeRequest, rpcJoinRequest, rpcKeyRequest, rpcMembersFilteredRequest, rpcMonitorRequest, rpcQueryRequest, rpcRespondRequest,
  rpcStopRequest, rpcStreamRequest, rpcTagsRequest,
} from '../../src/core/wire/serf-rpc.ts';
import type { SerfRpcBackend } from '../../src/frontends/serf-rpc/backend.ts';
import type { SerfRpcLimits } from '../../src/frontends/serf-rpc/limits.ts';
import { startSerfRpc } from '../../src/frontends/serf-rpc/server.ts';
import type { SerfRpcServer } from '../../src/frontends/serf-rpc/server.ts';
import { HostClock } from '../../src/host/clock.ts';
import { TcpStreams } from '../../src/host/tcp.ts';
import type { Log, LogLine, LogTail } from '../../src/ports/log.ts';
import { silentLog } from '../../src/ports/log.ts';
import { member, queryEvent, userEvent } from '../handlers/events.ts';
import { poll } from '../poll.ts';
import { encodeRequest, RawClient } from './raw-client.ts';

class FakeAgent implements SerfRpcBackend {
  readonly calls: unknown[] = [];
  readonly listeners = new Set<(event: AgentEvent) => void>();
  readonly queries: ((record: QueryRecord) => void)[] = [];
  finishLeave: () => void = () => {};
  members = () => [member('a', { role: 'web' }), member('b', { role: 'db' })];

  async join(addresses: readonly string[], replay: boolean): Promise<{ joined: number; error: string }> {
    this.calls.push(['join', addresses, replay]);
    return addresses.includes('bad') ? { joined: 0, error: 'nobody there' } : { joined: addresses.length, error: '' };
  }

  leave(): Promise<void> {
    return new Promise((resolve) => (this.finishLeave = resolve));
  }

  forceLeave(...call: unknown[]): void {
    this.calls.push(['force-leave', ...call]);
  }

  userEvent(name: string, payload: Uint8Array, coalesce: boolean): void {
    if (name === 'big') throw new Error('too big');
    this.calls.push(['event', name, Buffer.from(payload).toString(), coalesce]);
    this.tell(userEvent(name, Buffer.from(payload).toString(), 9, coalesce));
  }

  query(name: string, _payload: Uint8Array, options: unknown, onRecord: (record: QueryRecord) => void): void {
    this.calls.push(['query', name, options]);
    this.queries.push(onRecord);
  }

  async changeTags(set: ReadonlyMap<string, string>, remove: readonly string[]): Promise<void> {
    this.calls.push(['tags', Object.fromEntries(set), remove]);
  }

  async keys(action: string, key: string): ReturnType<SerfRpcBackend['keys']> {
    if (key === 'bad') throw new Error('no key');
    this.calls.push(['keys', action, key]);
    return { error: action === 'use' ? '1/2 nodes reported failure' : '', messages: new Map(action === 'use' ? [['b', 'no']] : []), keys: new Map(action === 'list' ? [['k', 2]] : []), nodes: 2, failures: action === 'use' ? 1 : 0, answers: 2 };
  }

  stats = () => new Map([['agent', new Map([['name', 'a']])]]);
  coordinate = (name: string) => (name === 'a' ? { Vec: [1, 2, 3, 4, 5, 6, 7, 8], Error: 0.5, Adjustment: 0.1, Height: 0.2 } : undefined);

  onEvent(listener: (event: AgentEvent) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  tell(event: AgentEvent): void {
    for (const listener of this.listeners) listener(event);
  }
}

class FakeTail implements LogTail {
  readonly lines: LogLine[] = [];
  readonly followers = new Set<(line: LogLine) => void>();
  recent = () => this.lines;

  follow(onLine: (line: LogLine) => void): () => void {
    this.followers.add(onLine);
    return () => void this.followers.delete(onLine);
  }
}

let agent: FakeAgent;
let tail: FakeTail;
let server: SerfRpcServer;
const warnings: string[] = [];
const log: Log = { ...silentLog, warn: (message) => void warnings.push(message) };
const clients: RawClient[] = [];

async function serve(limits: Partial<SerfRpcLimits> = {}, authKey?: string): Promise<void> {
  server = await startSerfRpc({ streams: new TcpStreams(), clock: new HostClock(), log, logTail: tail, address: { host: '127.0.0.1', port: 0 }, backend: agent, authKey, limits });
}

async function connect(token?: string): Promise<RawClient> {
  const client = await RawClient.ready(server.address, token);
  clients.push(client);
  return client;
}

beforeEach(() => {
  agent = new FakeAgent();
  tail = new FakeTail();
  warnings.length = 0;
});
afterEach(async () => {
  await Promise.all(clients.splice(0).map((client) => client.end()));
  await server.close();
});

const noQuery = { FilterNodes: [], FilterTags: new Map(), RequestAck: false, RelayFactor: 0, Timeout: 0, Name: 'q', Payload: new Uint8Array(0) };

describe('Serf\'s RPC', () => {
  test('asks for a handshake first, once, of its version', async () => {
    await serve();
    const early = await RawClient.connect(server.address);
    early.send('members', 5);
    expect(await early.count(1)).toEqual([{ Error: 'Handshake required', Seq: 5 }]);
    await poll(() => expect(early.closed).toBe(true));
    const client = await RawClient.connect(server.address);
    clients.push(client);
    client.send('handshake', 1, rpcHandshakeRequest, { Version: 2 });
    client.send('handshake', 2, rpcHandshakeRequest, { Version: 1 });
    client.send('handshake', 3, rpcHandshakeRequest, { Version: 1 });
    client.send('auth', 4, rpcAuthRequest, { AuthKey: '' });
    client.send('auth', 5, rpcAuthRequest, { AuthKey: 'x' });
    expect(await client.count(5)).toEqual([
      { Error: 'Unsupported IPC version', Seq: 1 }, { Error: '', Seq: 2 }, { Error: 'Handshake already performed', Seq: 3 }, { Error: '', Seq: 4 }, { Error: 'Invalid authentication token', Seq: 5 },
    ]);
  });

  test('asks for the token before anything else, and takes no body then', async () => {
    await serve({}, 'secret');
    const client = await connect();
    client.send('event', 7, rpcEventRequest, { Name: 'x', Payload: new Uint8Array(0), Coalesce: false });
    client.send('auth', 8, rpcAuthRequest, { AuthKey: 'secre' });
    client.send('auth', 9, rpcAuthRequest, { AuthKey: 'secret' });
    client.send('stats', 10);
    expect(await client.count(6)).toEqual([
      { Error: 'Authentication required', Seq: 7 }, { Error: 'Authentication required', Seq: 7 }, // the second is the body, read as a header
      { Error: 'Invalid authentication token', Seq: 8 }, { Error: '', Seq: 9 }, { Error: '', Seq: 10 }, { agent: { name: 'a' } },
    ]);
    expect(agent.calls).toEqual([]);
  });

  test('closes on unknown commands and on what it cannot read', async () => {
    await serve();
    for (const bytes of [encodeRequest('nonsense', 3), encodeRequest('constructor', 3), Uint8Array.of(0xc1), Buffer.from('GET / HTTP/1.1\r\n\r\n'), Buffer.concat([encodeRequest('event', 3), Uint8Array.of(7)])]) {
      const client = await connect();
      client.socket.write(bytes);
      await poll(() => expect(client.closed).toBe(true));
    }
    expect(warnings.length).toBeGreaterThanOrEqual(4);
    const client = await connect();
    client.send('nonsense', 3);
    expect(await client.count(1)).toEqual([{ Error: 'Unsupported command', Seq: 3 }]);
  });

  test('a client that was told to go and stays is cut off', async () => {
    await serve();
    const socket = net.connect({ ...server.address, allowHalfOpen: true });
    const client = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => {});
    socket.resume();
    socket.write(encodeRequest('members', 1));
    await poll(() => expect(server.connections).toBe(1));
    await poll(() => expect(server.connections).toBe(0), 5000);
    socket.destroy();
    await client;
  });

  test('answers the simple commands', async () => {
    await serve();
    const client = await connect();
    const big = 2n ** 64n - 1n;
    client.send('event', big, rpcEventRequest, { Name: 'deploy', Payload: Buffer.from('v7'), Coalesce: true });
    client.send('event', 2, rpcEventRequest, { Name: 'big', Payload: new Uint8Array(0), Coalesce: true });
    client.send('join', 3, rpcJoinRequest, { Existing: ['x', 'y'], Replay: true });
    client.send('join', 4, rpcJoinRequest, { Existing: ['bad'], Replay: false });
    client.send('tags', 5, rpcTagsRequest, { Tags: new Map([['a', 'b']]), DeleteTags: ['c'] });
    client.send('get-coordinate', 6, rpcCoordinateRequest, { Node: 'nobody' });
    expect(await client.count(9)).toEqual([
      { Error: '', Seq: big }, { Error: 'too big', Seq: 2 }, { Error: '', Seq: 3 }, { Num: 2 }, { Error: 'nobody there', Seq: 4 }, { Num: 0 }, { Error: '', Seq: 5 },
      { Error: '', Seq: 6 }, { Coord: { Adjustment: 0, Error: 0, Height: 0, Vec: null }, Ok: false },
    ]);
    expect(agent.calls).toEqual([['event', 'deploy', 'v7', true], ['join', ['x', 'y'], true], ['join', ['bad'], false], ['tags', { a: 'b' }, ['c']]]);
  });

  test('answers key commands with their bodies, also when they fail', async () => {
    await serve();
    const client = await connect();
    client.send('install-key', 1, rpcKeyRequest, { Key: 'k' });
    client.send('use-key', 2, rpcKeyRequest, { Key: 'k' });
    client.send('remove-key', 3, rpcKeyRequest, { Key: 'bad' });
    client.send('list-keys', 4);
    expect(await client.count(8)).toEqual([
      { Error: '', Seq: 1 }, { Keys: null, Messages: {}, NumErr: 0, NumNodes: 2, NumResp: 2 },
      { Error: '1/2 nodes reported failure', Seq: 2 }, { Keys: null, Messages: { b: 'no' }, NumErr: 1, NumNodes: 2, NumResp: 2 },
      { Error: 'no key', Seq: 3 }, { Keys: null, Messages: {}, NumErr: 0, NumNodes: 0, NumResp: 0 },
      { Error: '', Seq: 4 }, { Keys: { k: 2 }, Messages: {}, NumErr: 0, NumNodes: 2, NumResp: 2 },
    ]);
  });

  test('filters members from beginning to end; a bad expression closes without an answer', async () => {
    await serve();
    const client = await connect();
    const names = async (filter: { Tags?: Map<string, string>; Status?: string; Name?: string }): Promise<string[]> => {
      client.values.length = 0;
      client.send('members-filtered', 1, rpcMembersFilteredRequest, { Tags: new Map(), Status: '', Name: '', ...filter });
      return ((await client.count(2))[1] as { Members: { Name: string }[] }).Members.map((each) => each.Name);
    };
    expect(await names({})).toEqual(['a', 'b']);
    expect(await names({ Name: 'a|b' })).toEqual(['a', 'b']);
    expect(await names({ Name: '' , Status: 'ali' })).toEqual([]);
    expect(await names({ Tags: new Map([['role', 'w.b']]), Status: 'alive' })).toEqual(['a']);
    expect(await names({ Tags: new Map([['none', 'x']]) })).toEqual([]);
    client.values.length = 0;
    client.send('members-filtered', 1, rpcMembersFilteredRequest, { Tags: new Map(), Status: '', Name: '(' });
    await poll(() => expect(client.closed).toBe(true));
    expect(client.values).toEqual([]);
  });

  test('streams what the filter asks for, after the answer to what caused it', async () => {
    await serve();
    const client = await connect();
    client.send('stream', 1, rpcStreamRequest, { Type: 'nonsense' });
    client.send('stream', 2, rpcStreamRequest, { Type: 'user:deploy,member-join' });
    client.send('stream', 2, rpcStreamRequest, { Type: '*' });
    client.send('event', 3, rpcEventRequest, { Name: 'deploy', Payload: new Uint8Array(0), Coalesce: false });
    client.send('event', 4, rpcEventRequest, { Name: 'other', Payload: new Uint8Array(0), Coalesce: false });
    await client.count(7);
    agent.tell({ type: 'member-join', members: [member('c')] });
    expect((await client.count(9)).slice(0, 8)).toEqual([
      { Error: 'Invalid event filter', Seq: 1 }, { Error: '', Seq: 2 }, { Error: 'Stream with given sequence exists', Seq: 2 },
      { Error: '', Seq: 3 }, { Error: '', Seq: 2 }, { Event: 'user', LTime: 9, Name: 'deploy', Payload: null, Coalesce: false },
      { Error: '', Seq: 4 }, { Error: '', Seq: 2 },
    ]);
    expect(client.values[8]).toMatchObject({ Event: 'member-join', Members: [{ Name: 'c', Status: 'alive', Port: 7946 }] });
    client.send('stop', 5, rpcStopRequest, { Stop: 2 });
    client.send('stop', 6, rpcStopRequest, { Stop: 99 });
    await client.count(11);
    expect(agent.listeners.size).toBe(0);
    agent.tell(userEvent('deploy'));
    client.send('stats', 7);
    expect((await client.count(13))[11]).toEqual({ Error: '', Seq: 7 });
  });

  test('a streamed query can be answered once, in time, by this client', async () => {
    await serve();
    const [client, other] = [await connect(), await connect()];
    const answers: string[] = [];
    let free = true;
    client.send('stream', 1, rpcStreamRequest, { Type: 'query' });
    await client.count(1);
    agent.tell(queryEvent('load', 'x', Infinity, (payload) => {
      answers.push(Buffer.from(payload).toString());
      const taken = free;
      free = false;
      return taken;
    }));
    agent.tell(queryEvent('late', 'x', 0));
    const [, , first, , second] = await client.count(5) as { ID: number }[];
    expect(first).toEqual({ Event: 'query', ID: first!.ID, LTime: 7, Name: 'load', Payload: 'x' });
    for (const [from, id] of [[other, first], [client, first], [client, first], [client, second], [client, { ID: 999 }]] as const) {
      from.values.length = 0;
      from.send('respond', 5, rpcRespondRequest, { ID: id!.ID, Payload: Buffer.from('1.5') });
      answers.push((await from.count(1) as { Error: string }[])[0]!.Error);
    }
    expect(answers).toEqual(['No pending queries matching ID', '1.5', '', '1.5', 'response already sent', 'No pending queries matching ID', 'No pending queries matching ID']);
  });

  test('sends the records of a query, and stops with the connection', async () => {
    await serve({ queriesMax: 2 });
    const client = await connect();
    client.send('query', 1, rpcQueryRequest, { ...noQuery, FilterNodes: ['a'], FilterTags: new Map([['t', 'x']]), RequestAck: true, RelayFactor: 3, Timeout: 1_500_000_000 });
    await client.count(1);
    for (const record of [{ type: 'ack', from: 'a' }, { type: 'response', from: 'a', payload: Buffer.from('hi') }, { type: 'done' }] as const) agent.queries[0]!(record);
    expect(await client.count(7)).toEqual([
      { Error: '', Seq: 1 }, { Error: '', Seq: 1 }, { From: 'a', Payload: null, Type: 'ack' }, { Error: '', Seq: 1 }, { From: 'a', Payload: 'hi', Type: 'response' },
      { Error: '', Seq: 1 }, { From: '', Payload: null, Type: 'done' },
    ]);
    expect(agent.calls).toEqual([['query', 'q', { nodes: ['a'], tags: { t: 'x' }, acknowledge: true, relayFactor: 3, timeoutMs: 1500 }]]);
    client.values.length = 0;
    for (const sequence of [2, 3, 4]) client.send('query', sequence, rpcQueryRequest, noQuery);
    expect(await client.count(3)).toMatchObject([{ Error: '' }, { Error: '' }, { Error: expect.stringContaining('limit') }]);
    agent.queries[1]!({ type: 'done' });
    client.send('query', 5, rpcQueryRequest, noQuery);
    expect((await client.count(6))[5]).toMatchObject({ Error: '', Seq: 5 });
    await client.end();
    agent.queries[2]!({ type: 'done' });
  });

  test('monitor: the latest lines, then those that come, of the level', async () => {
    await serve();
    const client = await connect();
    const line = (level: LogLine['level'], message: string, fields = {}): LogLine => ({ time: Date.UTC(2024, 1, 29, 23, 59, 8), level, message, fields });
    tail.lines.push(line('debug', 'old debug'), line('info', 'old', { a: 1, b: 'x y', c: 'z' }));
    client.send('monitor', 1, rpcMonitorRequest, { LogLevel: 'loud' });
    client.send('monitor', 2, rpcMonitorRequest, { LogLevel: 'Info' });
    client.send('monitor', 3, rpcMonitorRequest, { LogLevel: 'debug' });
    await client.count(5);
    for (const follow of tail.followers) for (const each of [line('trace', 'no'), line('debug', 'no'), line('error', 'new')]) follow(each);
    expect(await client.count(7)).toEqual([
      { Error: 'Unknown log level: LOUD', Seq: 1 }, { Error: '', Seq: 2 }, { Error: '', Seq: 2 }, { Log: '2024/02/29 23:59:08 [INFO] old a=1 b="x y" c=z' },
      { Error: 'Monitor already exists', Seq: 3 }, { Error: '', Seq: 2 }, { Log: '2024/02/29 23:59:08 [ERR] new' },
    ]);
    client.send('stop', 4, rpcStopRequest, { Stop: 2 });
    await client.count(8);
    expect(tail.followers.size).toBe(0);
  });

  test('one request after the other: what comes behind a leave waits for it, and close() waits too', async () => {
    await serve();
    const client = await connect();
    client.send('leave', 1);
    client.send('stats', 2);
    client.socket.end();
    await poll(() => expect(agent.finishLeave.name).not.toBe('finishLeave'));
    const closing = server.close();
    agent.finishLeave();
    await closing;
    await poll(() => expect(client.closed).toBe(true));
    expect(client.values[0]).toEqual({ Error: '', Seq: 1 });
  });

  test('a client that does not read loses events past the limit, with one warning; what it asked for is answered', async () => {
    await serve({ recordsMax: 20 });
    const client = await connect();
    client.send('stream', 1, rpcStreamRequest, { Type: '*' });
    client.send('query', 2, rpcQueryRequest, noQuery);
    await client.count(2);
    client.socket.pause();
    const payload = 'x'.repeat(400);
    for (let i = 0; i < 60_000; i++) agent.tell(userEvent('e', payload, i));
    for (let i = 0; i < 30; i++) agent.queries[0]!({ type: 'ack', from: `n${i}` });
    agent.queries[0]!({ type: 'done' });
    await poll(() => expect(warnings).toEqual([expect.stringContaining('too slowly')]));
    client.send('stats', 3);
    client.socket.resume();
    const last = (): unknown[] => client.values.slice(-2);
    await poll(() => expect(last()).toEqual([{ Error: '', Seq: 3 }, { agent: { name: 'a' } }]));
    const records = client.values as { Type?: string; Event?: string; LTime?: number }[];
    expect(records.filter((record) => record.Event === 'user').length).toBeLessThan(30_000);
    expect(records.filter((record) => record.Type === 'ack')).toHaveLength(20);
    expect(records.filter((record) => record.Type === 'done')).toHaveLength(1);
    const times = records.filter((record) => record.Event === 'user').map((record) => record.LTime as number);
    expect(times).toEqual([...times].sort((a, b) => a - b));
  });

  test('who does not greet in time is closed, who does stays', async () => {
    await serve({ greetingMs: 300 }, 'secret');
    const [silent, half, good] = [await RawClient.connect(server.address), await connect(), await connect('secret')];
    await poll(() => expect([silent.closed, half.closed]).toEqual([true, true]));
    good.send('stats', 5);
    expect((await good.count(2))[0]).toEqual({ Error: '', Seq: 5 });
  });

  test('connections, streams and messages have their limits', async () => {
    await serve({ connectionsMax: 2, streamsMax: 1, messageBytesMax: 2000 });
    const [client, second] = [await connect(), await connect()];
    const third = await RawClient.connect(server.address);
    await poll(() => expect(third.closed).toBe(true));
    client.send('stream', 1, rpcStreamRequest, { Type: '*' });
    client.send('stream', 2, rpcStreamRequest, { Type: '*' });
    expect(await client.count(2)).toMatchObject([{ Error: '' }, { Error: expect.stringContaining('limit') }]);
    second.send('event', 1, rpcEventRequest, { Name: 'x', Payload: new Uint8Array(3000), Coalesce: false });
    await poll(() => expect(second.closed).toBe(true));
    expect(server.connections).toBe(1);
  });

  test('whatever bytes come, the others are served, and nothing is kept', async () => {
    await serve();
    const witness = await connect();
    const requests = [encodeRequest('handshake', 1, rpcHandshakeRequest, { Version: 1 }), encodeRequest('stream', 2, rpcStreamRequest, { Type: '*' }), encodeRequest('query', 3, rpcQueryRequest, noQuery)];
    const noise = fc.oneof(
      fc.array(fc.oneof(fc.constantFrom(...requests), fc.uint8Array({ maxLength: 40 })), { maxLength: 8 }).map((parts) => Buffer.concat(parts)),
      fc.tuple(fc.constantFrom(...requests), fc.nat(), fc.nat(255)).map(([request, at, byte]) => Buffer.concat([requests[0]!, request.map((old, i) => (i === at % request.length ? byte : old))])),
    );
    await fc.assert(fc.asyncProperty(noise, async (bytes) => {
      const client = await RawClient.connect(server.address);
      client.socket.end(bytes);
      await poll(() => expect(client.closed).toBe(true));
    }), { numRuns: 300 });
    witness.send('stats', 77);
    expect((await witness.count(2))[0]).toEqual({ Error: '', Seq: 77 });
    await poll(() => expect(server.connections).toBe(1));
    expect(agent.listeners.size).toBe(0);
  });
});
