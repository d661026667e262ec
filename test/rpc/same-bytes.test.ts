import { afterAll, describe, expect, test } from 'vitest';
import {
  rpcAuthRequest, rpcCoordinateRequest, rpcEventRequest, rpcForceLeaveRequest, rpcHandshakeRequest, rpcJoinRequest, rpcKeyRequest, rpcMembersFilteredRequest, rpcMonitorRequest, rpcQueryRequest,
  rpcRespondRequest, rpcStopRequest, rpcStreamRequest, rpcTagsRequest,
} from '../../src/core/wire/serf-rpc.ts';
import { startSerfRpc } from '../../src/frontends/serf-rpc/server.ts';
import { aesGcmCipher } from '../../src/host/aes-gcm-cipher.ts';
import { HostClock } from '../../src/host/clock.ts';
import { createRandom } from '../../src/host/random.ts';
import { TcpStreams } from '../../src/host/tcp.ts';
import { UdpDatagrams } from '../../src/host/udp.ts';
import { AgentEvents } from '../../src/node/agent-events.ts';
import { EventHandlers, parseHandler } from '../../src/node/event-handlers.ts';
import { HostScripts } from '../../src/host/scripts.ts';
import { startGossip } from '../../src/node/gossip.ts';
import type { Node } from '../../src/node/node-types.ts';
import type { Address } from '../../src/ports/address.ts';
import { silentLog } from '../../src/ports/log.ts';
import { serfRpcBackendOf } from '../../src/agent/serf-rpc-backend.ts';
import { freePort, SerfAgent, serfInstalled } from '../mixed/serf-agent.ts';
import { poll } from '../poll.ts';
import { RawClient } from './raw-client.ts';

const key = Buffer.alloc(32, 3);
const other = Buffer.alloc(32, 4).toString('base64');
const handler = 'query:hello=echo "hello $SERF_SELF_NAME"';

/** A plain member of a pool with our RPC server around it, without a Troupe node's tags: only what Serf has. */
async function startOurs(address: Address, encrypted: boolean): Promise<{ rpc: Address; close(): Promise<void> }> {
  const clock = new HostClock();
  const streams = new TcpStreams();
  const gossip = await startGossip(
    { name: 'one', bind: address, profile: 'local', tags: { role: 'web' }, ...(encrypted ? { keys: [key] } : {}) },
    { datagrams: new UdpDatagrams(), streams, clock, random: createRandom(), cipher: aesGcmCipher, log: silentLog },
  );
  const node = { name: 'one', gossip, map: { nodes: {} }, leave: () => gossip.leave() } as unknown as Node;
  const events = new AgentEvents(gossip, clock);
  const handlers = new EventHandlers([parseHandler(handler)], { scripts: new HostScripts(), clock, log: silentLog, self: () => gossip.local, leads: () => false });
  events.onEvent((event) => handlers.handle(event));
  const server = await startSerfRpc({ streams, clock, log: silentLog, logTail: { recent: () => [], follow: () => () => {} }, address: { host: '127.0.0.1', port: 0 }, backend: serfRpcBackendOf({ node, events, handlers, log: silentLog }) });
  return {
    rpc: server.address,
    async close() {
      events.close();
      await server.close();
      await handlers.close(1000);
      await gossip.close();
    },
  };
}

const noQuery = { FilterNodes: [], FilterTags: new Map(), RequestAck: false, RelayFactor: 0, Timeout: 0, Name: 'q', Payload: new Uint8Array(0) };
const nothing = new Uint8Array(0);

const withAcks = 'query with acks, and an answer from a handler';

/** Each step sends, then waits for so many values. What comes back must be the same, byte by byte. */
type Step = readonly [name: string, values: number, send: (client: RawClient) => void];
const script: readonly Step[] = [
  ['early auth', 0, () => {}],
  ['wrong version', 1, (c) => c.send('handshake', 0, rpcHandshakeRequest, { Version: 9 })],
  ['handshake', 1, (c) => c.send('handshake', 1, rpcHandshakeRequest, { Version: 1 })],
  ['handshake again', 1, (c) => c.send('handshake', 2, rpcHandshakeRequest, { Version: 1 })],
  ['auth that is not asked for', 1, (c) => c.send('auth', 3, rpcAuthRequest, { AuthKey: 'x' })],
  ['empty auth', 1, (c) => c.send('auth', 4, rpcAuthRequest, { AuthKey: '' })],
  ['members', 2, (c) => c.send('members', 300)],
  ['filtered: all', 2, (c) => c.send('members-filtered', 70_000, rpcMembersFilteredRequest, { Tags: new Map([['role', 'w.*']]), Status: 'alive', Name: 'on.' })],
  ['filtered: none', 2, (c) => c.send('members-filtered', 2 ** 40, rpcMembersFilteredRequest, { Tags: new Map([['role', 'x']]), Status: '', Name: '' })],
  ['own coordinate', 2, (c) => c.send('get-coordinate', 6, rpcCoordinateRequest, { Node: 'one' })],
  ['no coordinate', 2, (c) => c.send('get-coordinate', 7, rpcCoordinateRequest, { Node: 'nobody' })],
  ['stream with a wrong filter', 1, (c) => c.send('stream', 8, rpcStreamRequest, { Type: 'user,nonsense' })],
  ['stream', 1, (c) => c.send('stream', 9, rpcStreamRequest, { Type: 'user,query:other,query:hello' })],
  ['the same stream', 1, (c) => c.send('stream', 9, rpcStreamRequest, { Type: 'user' })],
  ['user event with a payload', 3, (c) => c.send('event', 10, rpcEventRequest, { Name: 'deploy', Payload: Buffer.from('v7'), Coalesce: false })],
  ['user event without', 3, (c) => c.send('event', 11, rpcEventRequest, { Name: 'deploy', Payload: nothing, Coalesce: false })],
  ['user event that may be coalesced', 3, (c) => c.send('event', 12, rpcEventRequest, { Name: 'later', Payload: Buffer.from('x'), Coalesce: true })],
  ['query without acks, nobody answers', 5, (c) => c.send('query', 13, rpcQueryRequest, { ...noQuery, Name: 'other', Payload: Buffer.from('p'), Timeout: 200_000_000 })],
  ['reserved query', 1, (c) => c.send('query', 14, rpcQueryRequest, { ...noQuery, Name: '_serf_list-keys' })],
  ['query for another node', 3, (c) => c.send('query', 15, rpcQueryRequest, { ...noQuery, FilterNodes: ['two'], Timeout: 100_000_000 })],
  ['stop', 1, (c) => c.send('stop', 16, rpcStopRequest, { Stop: 9 })],
  ['stop what is not there', 1, (c) => c.send('stop', 17, rpcStopRequest, { Stop: 12345 })],
  [withAcks, 7, (c) => c.send('query', 18, rpcQueryRequest, { ...noQuery, Name: 'hello', RequestAck: true, Timeout: 700_000_000 })],
  ['respond to nothing', 1, (c) => c.send('respond', 19, rpcRespondRequest, { ID: 77, Payload: Buffer.from('x') })],
  ['monitor with a wrong level', 1, (c) => c.send('monitor', 20, rpcMonitorRequest, { LogLevel: 'loud' })],
  ['force-leave of nobody', 1, (c) => c.send('force-leave', 21, rpcForceLeaveRequest, { Node: 'nobody', Prune: true })],
  ['join nobody', 2, (c) => c.send('join', 22, rpcJoinRequest, { Existing: [], Replay: false })],
  ['tags', 1, (c) => c.send('tags', 23, rpcTagsRequest, { Tags: new Map([['a', 'b']]), DeleteTags: ['role', 'nothing'] })],
  ['members with the new tag', 2, (c) => c.send('members', 24)],
  ['list keys', 2, (c) => c.send('list-keys', 25)],
  ['install a key', 2, (c) => c.send('install-key', 26, rpcKeyRequest, { Key: other })],
  ['use what is not installed', 2, (c) => c.send('use-key', 27, rpcKeyRequest, { Key: Buffer.alloc(32, 9).toString('base64') })],
  ['remove the one in use', 2, (c) => c.send('remove-key', 28, rpcKeyRequest, { Key: key.toString('base64') })],
  ['remove the other', 2, (c) => c.send('remove-key', 29, rpcKeyRequest, { Key: other })],
  ['unknown command', 1, (c) => c.send('nonsense', 30)],
];

interface Heard {
  readonly values: readonly unknown[];
  readonly hex: string;
}

/** Serf 0.9 sends responses from nobody after a query's time-out, as many as chance will have, until it notices that the query is over. */
function withoutNobody({ values, hex }: Heard): Heard {
  const kept: unknown[] = [];
  let bytes = hex;
  for (const value of values) {
    if (JSON.stringify(value) !== '{"From":"","Payload":null,"Type":"response"}') {
      kept.push(value);
      continue;
    }
    kept.pop(); // its header
    bytes = bytes.replace(/82a54572726f72a0a3536571..83a446726f6da0a75061796c6f6164c0a454797065a8726573706f6e7365/, '');
  }
  return { values: kept, hex: bytes };
}

/** Whether the answer to `event` and `query` or what the stream tells of them comes first is chance, in a busy agent of Serf: here the answer does. */
function replyFirst({ values, hex }: Heard): Heard {
  const at = values.findIndex((value) => ![undefined, 9].includes((value as { Seq?: number }).Seq));
  const reply = `82a54572726f72a0a3536571${(values[at] as { Seq: number }).Seq.toString(16).padStart(2, '0')}`;
  return { values: [values[at], ...values.toSpliced(at, 1)], hex: `${reply} ${hex.replace(reply, '')}` };
}

async function play(rpc: Address, steps: readonly Step[]): Promise<string[]> {
  const client = await RawClient.connect(rpc);
  const heard: string[] = [];
  for (const [name, values, send] of steps) {
    client.values.length = 0;
    client.bytes.length = 0;
    send(client);
    await client.count(values);
    if (name.startsWith('query')) await poll(() => expect(JSON.stringify(client.values)).toContain('"done"'));
    if (name === withAcks) {
      // Acknowledgements and responses wait in two channels of Serf's, and chance decides from which of them it tells first.
      const order = ['ack', 'response', 'done'];
      const records = (client.values as { Type?: string; From?: string }[]).filter((value) => value.Type !== undefined && (value.From !== '' || value.Type === 'done'))
        .toSorted((a, b) => order.indexOf(a.Type as string) - order.indexOf(b.Type as string));
      heard.push(`${name}: ${JSON.stringify(records)}`);
      continue;
    }
    const raw = { values: client.values, hex: Buffer.concat(client.bytes).toString('hex') };
    const told = name.startsWith('query') ? replyFirst(withoutNobody(raw)) : name.startsWith('user event') ? replyFirst(raw) : raw;
    heard.push(`${name}: ${JSON.stringify(told.values)} ${told.hex}`);
  }
  await client.end();
  return heard;
}

describe.skipIf(!serfInstalled)('our RPC server answers a real agent\'s bytes', () => {
  const agents: SerfAgent[] = [];
  afterAll(async () => void (await Promise.all(agents.map((agent) => agent.kill()))));

  test.each([[false], [true]])('encrypted: %s', async (encrypted) => {
    // One after the other at one address, which is part of the answers.
    const host = '127.0.0.31';
    const port = await freePort(host);
    const real = await SerfAgent.start('one', host, ['-bind', `${host}:${port}`, '-tag', 'role=web', '-event-handler', handler, ...(encrypted ? ['-encrypt', key.toString('base64')] : [])]);
    agents.push(real);
    // Its own join is told a second after the start; a stream must not see it now and then.
    await poll(() => expect(real.output).toContain('Received event: member-join'));
    const wanted = await play(real.rpc, script);
    await real.kill();
    const ours = await startOurs({ host, port }, encrypted);
    const given = await play(ours.rpc, script);
    await ours.close();
    expect(given).toEqual(wanted);
  });

  test('without a handshake', async () => {
    const host = '127.0.0.32';
    const real = await SerfAgent.start('one', host);
    agents.push(real);
    const ours = await startOurs({ host, port: 0 }, false);
    const steps: readonly Step[] = [['members', 1, (c) => c.send('members', 9)]];
    expect(await play(ours.rpc, steps)).toEqual(await play(real.rpc, steps));
    await ours.close();
  });
});
