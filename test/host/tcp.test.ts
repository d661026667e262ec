import { spawn, spawnSync } from 'node:child_process';
import net from 'node:net';
import { afterAll, expect, it } from 'vitest';
import { handleOf } from '../../src/host/handle-writes.ts';
import { restAfterBytes } from '../../src/host/socket-stream.ts';
import { TcpStreams } from '../../src/host/tcp.ts';
import { UdpDatagrams } from '../../src/host/udp.ts';
import type { Stream } from '../../src/ports/streams.ts';
import { Recorder, hostWorld } from '../ports/worlds.ts';

const world = hostWorld();
afterAll(() => world.end());
const streams = new TcpStreams();

async function rawServer(onConnection: (socket: net.Socket) => void): Promise<{ server: net.Server; port: number }> {
  const server = net.createServer(onConnection);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, port: (server.address() as net.AddressInfo).port };
}

it('says reset when the peer\'s kernel cuts an established connection, on either side', async () => {
  const { server, port } = await rawServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
  const client = new Recorder();
  const stream = streams.connect({ host: '127.0.0.1', port });
  stream.setHandler(client);
  stream.write(Buffer.from('x'));
  await world.until(() => client.closed !== undefined);
  expect(client.events).toEqual(['open', 'close reset']);
  server.close();

  const accepted = new Recorder();
  const listener = await streams.listen({ host: '127.0.0.1', port: 0 }, (each) => each.setHandler(accepted));
  const raw = net.connect(listener.address.port, '127.0.0.1', () => raw.resetAndDestroy());
  raw.on('error', () => {});
  await world.until(() => accepted.closed !== undefined);
  expect(accepted.events).toEqual(['close reset']);
  await listener.close();
});

it('resolves names, and tries their addresses in turn', async () => {
  const server = new Recorder();
  const listener = await streams.listen({ host: '127.0.0.1', port: 0 }, (each) => each.setHandler(server));
  const client = new Recorder();
  const stream = streams.connect({ host: 'localhost', port: listener.address.port });
  stream.setHandler(client);
  stream.write(Buffer.from('by name'));
  await world.until(() => server.text === 'by name');
  stream.destroy();
  await listener.close();
  const refused = new Recorder();
  streams.connect({ host: 'localhost', port: listener.address.port }).setHandler(refused);
  await world.until(() => refused.closed !== undefined);
  expect(refused.closed).toBe('refused');
});

it('says error, with the name, when a name does not resolve', async () => {
  const client = new Recorder();
  streams.connect({ host: 'no-such-host.invalid', port: 1 }, { timeoutMs: 4000 }).setHandler(client);
  await world.until(() => client.closed !== undefined);
  expect(client.closed).toBe('error');
  expect(client.detail).toContain('no-such-host.invalid');
});

it('says unreachable where no route leads', async () => {
  const client = new Recorder();
  // A loopback socket cannot leave the host, whatever routes there are: multicast has no TCP.
  streams.connect({ host: '255.255.255.255', port: 1 }).setHandler(client);
  await world.until(() => client.closed !== undefined);
  expect(client.closed).toBe('unreachable');
});

const hasPython = spawnSync('python3', ['--version']).status === 0;
it.runIf(hasPython)('says timeout when the peer\'s kernel does not answer, after the given time', async () => {
  // A full backlog makes Linux drop connection requests. Node cannot listen without accepting; Python can.
  const child = spawn('python3', ['-c', `
import socket, time
s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(0); print(s.getsockname()[1], flush=True); time.sleep(60)`]);
  try {
    const port = await new Promise<number>((resolve) => child.stdout.once('data', (bytes: Buffer) => resolve(Number(bytes))));
    const recorders = Array.from({ length: 4 }, () => {
      const recorder = new Recorder();
      streams.connect({ host: '127.0.0.1', port }, { timeoutMs: 300 }).setHandler(recorder);
      return recorder;
    });
    const start = performance.now();
    await world.until(() => recorders.some((each) => each.closed !== undefined));
    expect(performance.now() - start).toBeGreaterThan(280);
    await world.until(() => recorders.every((each) => each.opened || each.closed !== undefined));
    expect(recorders.filter((each) => !each.opened).map((each) => each.events)).toContainEqual(['close timeout']);
  } finally {
    child.kill('SIGKILL');
  }
});

it('speaks IPv6, and IPv4 through ::', async () => {
  for (const [bound, to] of [['::1', '::1'], ['::', '127.0.0.1'], ['::', '::1']] as const) {
    const server = new Recorder();
    let remote = '';
    const listener = await streams.listen({ host: bound, port: 0 }, (each) => {
      remote = each.remote.host;
      each.setHandler(server);
    });
    const stream = streams.connect({ host: to, port: listener.address.port });
    stream.setHandler(new Recorder());
    stream.write(Buffer.from('six'));
    await world.until(() => server.text === 'six');
    expect(remote).toBe(to);
    stream.destroy();
    await listener.close();

    const got: string[] = [];
    const socket = await new UdpDatagrams().bind({ host: bound, port: 0 }, (packet, from) => {
      got.push(`${Buffer.from(packet).toString()} from ${from.host}`);
    });
    socket.send(Buffer.from('packet'), { host: to, port: socket.address.port });
    await world.until(() => got.length === 1);
    expect(got).toEqual([`packet from ${to}`]);
    await socket.close();
  }
});

it('gives everything written in one turn to the kernel at once', async () => {
  const reads: number[] = [];
  const { server, port } = await rawServer((socket) => socket.on('data', (bytes) => reads.push(bytes.length)));
  const client = new Recorder();
  const stream = streams.connect({ host: '127.0.0.1', port });
  stream.setHandler(client);
  await world.until(() => client.opened);
  for (let i = 0; i < 1000; i++) stream.write(Buffer.from('0123456789'));
  expect(stream.bufferedBytes).toBe(10_000);
  await world.until(() => reads.reduce((sum, n) => sum + n, 0) === 10_000);
  expect(reads).toEqual([10_000]);
  stream.destroy();
  server.close();
});

it('says reset, once, when a write of a few bytes is what brings it out', async () => {
  const { server, port } = await rawServer((socket) => socket.once('data', () => socket.resetAndDestroy()));
  for (const pauses of [true, false]) {
    const client = new Recorder();
    const stream = streams.connect({ host: '127.0.0.1', port });
    stream.setHandler(client);
    await world.until(() => client.opened);
    // What is not read cannot tell: only the kernel's answer to a write does.
    if (pauses) stream.pause();
    for (let i = 0; i < 400 && client.closed === undefined; i++) {
      stream.write(Buffer.from('x'));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await world.until(() => client.closed !== undefined);
    expect(client.events).toEqual(['open', 'close reset']);
    expect(stream.write(Buffer.from('late'))).toBe(true);
  }
  server.close();
});

it('has a handle to write to with the versions of Node that are known', async () => {
  const listener = await streams.listen({ host: '127.0.0.1', port: 0 }, (each) => each.setHandler(new Recorder()));
  const socket = net.connect(listener.address.port, '127.0.0.1');
  await new Promise((resolve) => socket.once('connect', resolve));
  expect(handleOf(socket) !== undefined).toBe(/^v2[0-4]\./.test(process.version));
  socket.destroy();
  await listener.close();
});

it('reads at most one buffer of each stream in a turn, whatever waits, and loses nothing by it', async () => {
  const perTurn: number[] = [];
  let turn = 0;
  let bytes = 0;
  const count = 8 << 20;
  const listener = await streams.listen({ host: '127.0.0.1', port: 0 }, (stream) => stream.setHandler({
    onData(chunk) {
      turn += chunk.length;
      bytes += chunk.length;
    },
    onClose() {},
  }));
  const endTurn = (): void => {
    perTurn.push(turn);
    turn = 0;
    if (bytes < count) setImmediate(endTurn);
  };
  // From a process of its own: the sender must not have to wait for the reader's turns.
  const sender = spawn(process.execPath, ['-e', `const s = require('node:net').connect(${listener.address.port}, '127.0.0.1'); s.end(Buffer.alloc(${count}))`], { stdio: 'ignore' });
  await world.until(() => bytes > 0);
  setImmediate(() => {
    turn = 0;
    setImmediate(endTurn);
  });
  await world.until(() => bytes === count);
  expect(Math.max(...perTurn)).toBeLessThanOrEqual(restAfterBytes);
  await new Promise((resolve) => sender.once('close', resolve));
  await listener.close();
});

it('a stream that is paused while it rests stays paused', async () => {
  let bytes = 0;
  let stream: Stream | undefined;
  const listener = await streams.listen({ host: '127.0.0.1', port: 0 }, (each) => {
    stream = each;
    each.setHandler({
      onData(chunk) {
        bytes += chunk.length;
        each.pause();
      },
      onClose() {},
    });
  });
  const socket = net.connect(listener.address.port, '127.0.0.1');
  socket.write(Buffer.alloc(1 << 20));
  await world.until(() => bytes > 0);
  const before = bytes;
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
  expect(bytes).toBe(before);
  stream?.resume();
  await world.until(() => bytes > before);
  socket.destroy();
  await listener.close();
});
