/** Whatever arrives at a port, the node stays up, its memory bounded, its service prompt, and its log says what came. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { Agent, buildIfStale, cleanUp, Cluster, pause, until } from './support/agents.ts';
import { Load, TextClient } from './support/load.ts';

let cluster: Cluster;
let target: Agent;
const sockets = new Set<Socket>();
const random = new Prng(20_261);

beforeAll(async () => {
  buildIfStale();
  cluster = await new Cluster(['a', 'b', 'c']).start();
  target = cluster.get('a');
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
});
afterAll(cleanUp);

function noise(length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => random.below(256)));
}

/** Never throws: to be cut off is what it is for. */
function open(port: number, bytes?: Uint8Array | string): Socket {
  const socket = connect({ port, host: '127.0.0.1' });
  sockets.add(socket);
  socket.on('error', () => {});
  socket.on('close', () => sockets.delete(socket));
  socket.resume();
  if (bytes !== undefined) socket.write(bytes);
  return socket;
}

const tcpPorts = (): Record<string, number> => ({ gossip: target.gossip, peer: target.peer, memcached: target.memcached, http: target.http });

/** Runs an attack while an application uses the node itself and another one; nobody may notice. */
async function attack(work: () => Promise<void>): Promise<void> {
  await cluster.healthy();
  const { pid } = target;
  const before = target.residentMiB;
  const direct = await new Load(target.memcached, 120).start();
  const aside = await new Load(cluster.get('b').memcached, 60).start();
  await until(() => direct.acknowledged > 10, () => 'the load does not run');
  let highest = before;
  const watch = setInterval(() => (highest = Math.max(highest, target.residentMiB)), 20);
  try {
    await work();
  } finally {
    clearInterval(watch);
  }
  const results = [await direct.stop(), await aside.stop()];
  expect(results.map((result) => result.failures)).toEqual([[], []]);
  expect(await direct.check(cluster.get('b').memcached)).toEqual([]);
  expect(await aside.check(target.memcached)).toEqual([]);
  expect(target.running && target.pid === pid, target.tail()).toBe(true);
  await until(async () => (await target.status()).sessionLive, () => target.tail(), 5000);
  console.log(`memory ${before.toFixed(0)} → at most ${highest.toFixed(0)} MiB; longest request ${results.map((result) => result.longestMs.toFixed(0)).join(' and ')} ms`);
  expect(highest - before).toBeLessThan(120);
  for (const result of results) expect(result.longestMs).toBeLessThan(1500);
}

async function datagrams(packets: Iterable<Uint8Array>): Promise<void> {
  const socket = createSocket('udp4');
  let sent = 0;
  for (const packet of packets) {
    await new Promise<void>((resolve) => socket.send(packet, target.gossip, '127.0.0.1', () => resolve()));
    if (++sent % 50 === 0) await pause(1);
  }
  await new Promise<void>((resolve) => socket.close(() => resolve()));
}

const killers = ['07010000', '0c00000000', '07ffffffff', '07ff', '09', '0a83', '0100dfffffffff', '04dfffffffffffffffff', '0bdfffffff', '0cffffffff', '00', 'ff', '06ffffffff83'].map((text) => Buffer.from(text, 'hex'));

test('datagrams: noise of every length, and packets that end other programs', async () => {
  await attack(async () => {
    await datagrams(killers);
    await datagrams(Array.from({ length: 4000 }, (_, i) => noise(i % 3 === 0 ? random.below(1400) : random.below(40))));
    // Every message type with a nonsense body.
    await datagrams(Array.from({ length: 1500 }, (_, i) => Buffer.concat([Buffer.from([i % 16]), noise(random.below(60))])));
    await datagrams(killers);
  });
  expect(target.stderr).toMatch(/"level":"warn".*"msg":"dropped a packet from 127\.0\.0\.1:\d+: /);
  expect(target.stderr.split('\n').filter((line) => line.includes('dropped a packet')).length).toBeLessThan(20);
});

test('streams: noise, killer packets and huge announced lengths at every port', async () => {
  const huge: Record<string, (string | Uint8Array)[]> = {
    gossip: [Buffer.from('06ffffffff8300', 'hex'), Buffer.from('0affffffff', 'hex'), Buffer.from('0683a55573657203a54e6f646573ce7fffffffa44a6f696ec3', 'hex')],
    peer: [Buffer.from('ffffffff', 'hex'), Buffer.from('ffffffff01', 'hex'), Buffer.from('7fffffff00000000', 'hex'), Buffer.alloc(4)],
    memcached: ['set k 0 0 99999999999999999999\r\n', 'set k 0 0 2147483648\r\nxx', `get ${'k'.repeat(2_000_000)}\r\n`, `set ${'k'.repeat(300)} 0 0 1\r\nx\r\n`, '\0'.repeat(100_000)],
    http: ['PUT /v1/kv/default/k HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 999999999999\r\n\r\nxx', `GET /${'x'.repeat(100_000)} HTTP/1.1\r\n\r\n`, `GET / HTTP/1.1\r\n${'X: y\r\n'.repeat(50_000)}`, 'POST /v1/join HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n'],
  };
  await attack(async () => {
    for (const [name, port] of Object.entries(tcpPorts())) {
      for (const bytes of [...killers, ...(huge[name] ?? [])]) open(port, bytes);
      for (let i = 0; i < 60; i++) open(port, noise(1 + random.below(3000)));
      await pause(50);
    }
    // One that never ends.
    const endless = Object.values(tcpPorts()).map((port) => open(port));
    const chunk = noise(65_536);
    for (let i = 0; i < 200; i++) {
      for (const socket of endless) if (!socket.destroyed && socket.writableLength < 1 << 20) socket.write(chunk);
      await pause(5);
    }
  });
  const lines = target.stderr.split('\n');
  expect(target.stderr).toMatch(/"reason":"NO_HELLO: the first frame is no hello: this port is for Troupe nodes only|"reason":"cannot read a frame from a peer: it is announced with \d+ bytes; 1 to 4096 are accepted"/);
  expect(target.stderr).toMatch(/"msg":"(refused|closed|dropped) .*127\.0\.0\.1:\d+/);
  // Hundreds came: the log tells of them, but is not theirs to fill.
  expect(lines.filter((line) => line.includes('closed a connection that sent what no node sends')).length).toBeLessThan(20);
  expect(lines.length).toBeLessThan(150);
});

test('what is announced but not sent, or sent by nobody known, is not kept in memory', async () => {
  const part = noise(512 << 10);
  await attack(async () => {
    // Each announces a frame, a state or a packet of 48 MiB, and sends 4 MiB of it.
    const announced: Record<string, string> = { gossip: '0a03000000', peer: '03000000' };
    for (const [name, head] of Object.entries(announced)) {
      const port = tcpPorts()[name] as number;
      const opened = Array.from({ length: 60 }, () => open(port, Buffer.from(head, 'hex')));
      for (let i = 0; i < 8; i++) {
        for (const socket of opened) if (!socket.destroyed && socket.writableLength < 1 << 20) socket.write(part);
        await pause(10);
      }
      await pause(200);
    }
  });
});

test('hundreds of connections that never speak, and of slow ones: the node serves on, and a new one can join meanwhile', async () => {
  const late = new Agent({ name: 'late', flags: ['--join', `127.0.0.1:${target.gossip}`] });
  await attack(async () => {
    for (const port of Object.values(tcpPorts())) for (let i = 0; i < 150; i++) open(port);
    const slow = Object.entries(tcpPorts()).flatMap(([name, port]) => Array.from({ length: 50 }, () => open(port, name === 'http' ? 'G' : name === 'memcached' ? 's' : '\x06')));
    for (let i = 0; i < 10; i++) {
      for (const socket of slow) if (!socket.destroyed) socket.write('x');
      await pause(100);
    }
    await late.start();
    const client = new TextClient(late.memcached);
    expect(await client.set('late', 'joined')).toBe('STORED');
    client.close();
  });
  late.signal('SIGINT');
  expect(await late.exited).toBe(0);
  // 72 gossip streams more than there may be: the log tells of the first ones.
  expect(target.stderr).toContain('128 are open, which is the limit');
  expect(target.stderr.split('\n').filter((line) => line.includes('which is the limit')).length).toBeLessThan(40);
});
