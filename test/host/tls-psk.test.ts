import { afterAll, afterEach, expect, it } from 'vitest';
import type { Address } from '../../src/ports/address.ts';
import type { Listener, Streams } from '../../src/ports/streams.ts';
import { TcpStreams } from '../../src/host/tcp.ts';
import { TlsPskStreams } from '../../src/host/tls-psk.ts';
import { Recorder, hostWorld } from '../ports/worlds.ts';

const world = hostWorld();
afterAll(() => world.end());
const listeners: Listener[] = [];
const key = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);

afterEach(() => Promise.all(listeners.splice(0).map((listener) => listener.close())));

async function listen(streams: Streams, server: Recorder = new Recorder()): Promise<Address> {
  const listener = await streams.listen({ host: '127.0.0.1', port: 0 }, (stream) => stream.setHandler(server));
  listeners.push(listener);
  return listener.address;
}

async function connect(streams: Streams, to: Address, say = 'hello'): Promise<Recorder> {
  const client = new Recorder();
  const stream = streams.connect(to, { timeoutMs: 2000 });
  stream.setHandler(client);
  stream.write(Buffer.from(say));
  await world.until(() => client.opened || client.closed !== undefined);
  if (client.opened) setTimeout(() => stream.end(), 20);
  await world.until(() => client.closed !== undefined);
  return client;
}

it('says on both sides that the keys differ', async () => {
  const rejected: string[] = [];
  const server = new Recorder();
  const to = await listen(new TlsPskStreams({ keys: [key(1)], onRejected: (from, detail) => rejected.push(`${from.host} ${detail}`) }), server);
  const client = await connect(new TlsPskStreams({ keys: [key(2)] }), to);
  expect([client.opened, client.closed, client.detail]).toEqual([false, 'error', 'the other side has a different cluster key']);
  await world.until(() => rejected.length === 1);
  expect(rejected).toEqual(['127.0.0.1 the other side has a different cluster key']);
  expect(server.events).toEqual([]);
});

it('accepts every key of the ring, and connects with the first', async () => {
  const server = new Recorder();
  const streams = new TlsPskStreams({ keys: [key(1), key(2)] });
  const to = await listen(streams, server);
  expect((await connect(new TlsPskStreams({ keys: [key(2), key(3)] }), to, 'two ')).closed).toBe('local');
  expect((await connect(new TlsPskStreams({ keys: [key(1)] }), to, 'one ')).closed).toBe('local');
  streams.setKeys([key(3)]);
  expect((await connect(new TlsPskStreams({ keys: [key(1)] }), to)).closed).toBe('error');
  await world.until(() => server.text === 'two one ');
});

it('turns a peer without a key away and tells why', async () => {
  const rejected: string[] = [];
  const to = await listen(new TlsPskStreams({ keys: [key(1)], onRejected: (_from, detail) => rejected.push(detail) }));
  await connect(new TcpStreams(), to, 'GET / HTTP/1.0\r\n\r\n');
  await connect(new TcpStreams(), to, 'stats\r\n');
  await world.until(() => rejected.length === 2);
  for (const detail of rejected) expect(detail).toBe('the other side does not speak TLS: it has no cluster key, or is another program');
});

it('does not open towards a peer without a key', async () => {
  const to = await listen(new TcpStreams());
  const client = new Recorder();
  new TlsPskStreams({ keys: [key(1)] }).connect(to, { timeoutMs: 200 }).setHandler(client);
  await world.until(() => client.closed !== undefined);
  expect([client.opened, client.closed]).toEqual([false, 'timeout']);
});

it('never puts the bytes on the wire in the clear', async () => {
  const seen: Buffer[] = [];
  const secret = 'attack at dawn';
  const server = new Recorder();
  const behind = await listen(new TlsPskStreams({ keys: [key(1)] }), server);
  // A wire tap between the two.
  const tap = await new TcpStreams().listen({ host: '127.0.0.1', port: 0 }, (near) => {
    const far = new TcpStreams().connect(behind);
    near.setHandler({ onData: (bytes) => { seen.push(Buffer.from(bytes)); far.write(bytes.slice()); }, onClose: () => far.destroy() });
    far.setHandler({ onData: (bytes) => { seen.push(Buffer.from(bytes)); near.write(bytes.slice()); }, onClose: () => near.destroy() });
  });
  listeners.push(tap);
  await connect(new TlsPskStreams({ keys: [key(1)] }), tap.address, secret);
  await world.until(() => server.text === secret);
  expect(Buffer.concat(seen).length).toBeGreaterThan(200);
  expect(Buffer.concat(seen).includes(secret)).toBe(false);
});
