import { describe, expect, it } from 'vitest';
import type { DatagramSocket } from '../../src/ports/datagrams.ts';
import type { Stream } from '../../src/ports/streams.ts';
import type { SimNetworkOptions } from '../../src/sim/sim-network.ts';
import type { SimProcess } from '../../src/sim/sim-host.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';
import { Recorder } from '../ports/worlds.ts';

interface Pair {
  world: SimWorld;
  a: SimProcess;
  b: SimProcess;
  /** From a to b. */
  client: Recorder;
  server: Recorder;
  out: Stream;
  accepted: Stream;
}

function twoHosts(seed = 1, network: SimNetworkOptions = {}): { world: SimWorld; a: SimProcess; b: SimProcess } {
  const world = new SimWorld({ seed, network });
  return { world, a: world.addHost('a').start('pa'), b: world.addHost('b').start('pb') };
}

const until = async (world: SimWorld, condition: () => boolean, ms = 600_000): Promise<void> => {
  if (!(await world.scheduler.runWhile(() => !condition(), ms))) throw new Error(`not within ${ms} ms: ${condition.toString()}`);
};

async function connected(seed = 1, network: SimNetworkOptions = {}): Promise<Pair> {
  const { world, a, b } = twoHosts(seed, network);
  const server = new Recorder();
  let accepted: Stream | undefined;
  await b.streams.listen({ host: '0.0.0.0', port: 7000 }, (stream) => {
    accepted = stream;
    stream.setHandler(server);
  });
  const client = new Recorder();
  const out = a.streams.connect({ host: b.host.address, port: 7000 });
  out.setHandler(client);
  await until(world, () => client.opened && accepted !== undefined);
  return { world, a, b, client, server, out, accepted: accepted as Stream };
}

const bytes = (text: string): Uint8Array => Buffer.from(text);

describe('simulated streams', () => {
  it('stall through a partition and go on, complete and in order, at a retransmission after it heals', async () => {
    const { world, server, out } = await connected();
    world.network.partition(['a'], ['b']);
    out.write(bytes('one '));
    await world.scheduler.runFor(3000);
    out.write(bytes('two '));
    await world.scheduler.runFor(3000);
    expect(server.text).toBe('');
    world.network.heal();
    const healedAt = world.scheduler.now;
    await until(world, () => server.text === 'one two ');
    expect(world.scheduler.now - healedAt).toBeLessThan(5001);
    expect(server.closed).toBeUndefined();
  });

  it('deliver through a one-way block of the way back, and give up with timeout when no acknowledgement comes', async () => {
    const { world, client, server, out } = await connected(1, { giveUpMs: 20_000 });
    world.network.block(['b'], ['a'], true);
    out.write(bytes('heard'));
    await until(world, () => server.text === 'heard', 1000);
    const start = world.scheduler.now;
    await until(world, () => client.closed !== undefined);
    expect(client.closed).toBe('timeout');
    expect(world.scheduler.now - start).toBeGreaterThan(19_000);
    expect(server.closed).toBeUndefined();
  });

  it('say timeout to a connect across a partition, after its own limit', async () => {
    const { world, a, b } = twoHosts();
    await b.streams.listen({ host: '0.0.0.0', port: 7000 }, () => {});
    world.network.partition(['a'], ['b']);
    const client = new Recorder();
    a.streams.connect({ host: b.host.address, port: 7000 }, { timeoutMs: 1234 }).setHandler(client);
    await until(world, () => client.closed !== undefined);
    expect([client.events, world.scheduler.now]).toEqual([['close timeout'], 1234]);
  });

  it('connect at a repeated request when the partition heals in time', async () => {
    const { world, a, b } = twoHosts();
    await b.streams.listen({ host: '0.0.0.0', port: 7000 }, (stream) => stream.setHandler(new Recorder()));
    world.network.partition(['a'], ['b']);
    const client = new Recorder();
    a.streams.connect({ host: 'b', port: 7000 }).setHandler(client);
    await world.scheduler.runFor(500);
    world.network.heal();
    await until(world, () => client.opened);
    expect(world.scheduler.now).toBeGreaterThan(999);
    expect(world.scheduler.now).toBeLessThan(1100);
  });

  it('say refused for a dead process on a live host, timeout for a host that is down, unreachable for none', async () => {
    const { world, a, b } = twoHosts();
    await b.streams.listen({ host: '0.0.0.0', port: 7000 }, () => {});
    const reasonOf = async (host: string): Promise<string | undefined> => {
      const client = new Recorder();
      a.streams.connect({ host, port: 7000 }).setHandler(client);
      await until(world, () => client.closed !== undefined || client.opened);
      return client.closed ?? 'opened';
    };
    expect(await reasonOf('b')).toBe('opened');
    b.kill();
    expect(await reasonOf('b')).toBe('refused');
    b.host.crash();
    expect(await reasonOf('b')).toBe('timeout');
    expect(await reasonOf('10.9.9.9')).toBe('unreachable');
  });

  it('end when the peer\'s process is killed, after what its kernel had taken', async () => {
    const { world, a, client, server, out } = await connected();
    out.write(bytes('last words'));
    await world.scheduler.runFor(0);
    out.write(bytes(' never leave the process'));
    a.kill();
    await until(world, () => server.closed !== undefined, 100);
    expect([server.text, server.closed]).toEqual(['last words', 'end']);
    expect(client.closed).toBeUndefined();
  });

  it('reset when the peer\'s process is killed with bytes unread, or writes come for it later', async () => {
    const one = await connected();
    one.b.pause();
    one.out.write(bytes('unread'));
    await one.world.scheduler.runFor(10);
    one.b.kill();
    await until(one.world, () => one.client.closed !== undefined, 100);
    expect(one.client.closed).toBe('reset');
  });

  it('know nothing of a host\'s power loss until they write; the rebooted host answers with a reset', async () => {
    const { world, b, client, out } = await connected();
    b.host.crash();
    await world.scheduler.runFor(10_000);
    expect(client.closed).toBeUndefined();
    out.write(bytes('anyone there?'));
    await world.scheduler.runFor(3000);
    expect(client.closed).toBeUndefined();
    b.host.boot();
    b.host.start('pb2');
    await until(world, () => client.closed !== undefined, 6000);
    expect(client.closed).toBe('reset');
  });

  it('push back when the peer is paused, and lose nothing', async () => {
    const { world, b, client, server, out } = await connected();
    b.pause();
    let total = 0;
    while (out.write(new Uint8Array(50_000).fill(7))) {
      total += 50_000;
      await world.scheduler.runFor(1);
      expect(total).toBeLessThan(2_000_000);
    }
    total += 50_000;
    b.resume();
    await until(world, () => server.bytes.length === total && client.drained === 1, 10_000);
  });

  it('accept at kernel level while the process is paused', async () => {
    const { world, a, b } = twoHosts();
    const server = new Recorder();
    await b.streams.listen({ host: '0.0.0.0', port: 7000 }, (stream) => stream.setHandler(server));
    b.pause();
    const client = new Recorder();
    const stream = a.streams.connect({ host: 'b', port: 7000 });
    stream.setHandler(client);
    stream.write(bytes('wait for it'));
    await until(world, () => client.opened, 10);
    await world.scheduler.runFor(1000);
    expect(server.events).toEqual([]);
    b.resume();
    await until(world, () => server.text === 'wait for it', 10);
  });

  it('take their time on a narrow link', async () => {
    const { world, server, out } = await connected(1, { link: { bytesPerMs: 100 } });
    const start = world.scheduler.now;
    out.write(new Uint8Array(100_000));
    await until(world, () => server.bytes.length === 100_000);
    expect(world.scheduler.now - start).toBeGreaterThan(999);
    expect(world.scheduler.now - start).toBeLessThan(1100);
  });

  it('make up for loss by delay', async () => {
    const { world, server, out } = await connected(3, { link: { loss: 0.3 } });
    let sent = '';
    for (let i = 0; i < 100; i++) {
      sent += `${i};`;
      out.write(bytes(`${i};`));
      await world.scheduler.runFor(1);
    }
    await until(world, () => server.text.length === sent.length);
    expect(server.text).toBe(sent);
  });
});

describe('simulated datagrams', () => {
  async function sockets(network: SimNetworkOptions): Promise<{ world: SimWorld; got: number[]; send: (n: number) => void; socket: DatagramSocket; b: SimProcess }> {
    const { world, a, b } = twoHosts(5, network);
    const got: number[] = [];
    await b.datagrams.bind({ host: '0.0.0.0', port: 7946 }, (packet) => got.push(new DataView(packet.buffer, packet.byteOffset).getUint16(0)));
    const socket = await a.datagrams.bind({ host: a.host.address, port: 7946 }, () => {});
    const send = (n: number): void => socket.send(new Uint8Array([n >> 8, n & 255]), { host: b.host.address, port: 7946 });
    return { world, got, send, socket, b };
  }

  it('get lost, doubled and reordered as often as the link says', async () => {
    const { world, got, send } = await sockets({ link: { loss: 0.2, duplicate: 0.1, reorder: 0.2, reorderMs: 50 } });
    for (let i = 0; i < 5000; i++) {
      send(i);
      await world.scheduler.runFor(1);
    }
    await world.scheduler.runFor(1000);
    const distinct = new Set(got).size;
    expect(distinct / 5000).toBeGreaterThan(0.77);
    expect(distinct / 5000).toBeLessThan(0.83);
    expect((got.length - distinct) / distinct).toBeGreaterThan(0.07);
    expect((got.length - distinct) / distinct).toBeLessThan(0.13);
    expect(got.filter((n, i) => i > 0 && n < (got[i - 1] as number)).length).toBeGreaterThan(300);
  });

  it('vanish in a partition, one way if it is one-way, and for a dead process or host', async () => {
    const { world, got, send, b } = await sockets({});
    const arrives = async (n: number): Promise<boolean> => {
      send(n);
      await world.scheduler.runFor(50);
      return got.includes(n);
    };
    expect(await arrives(1)).toBe(true);
    world.network.block(['b'], ['a'], true);
    expect(await arrives(2)).toBe(true);
    world.network.block(['a'], ['b'], true);
    expect(await arrives(3)).toBe(false);
    world.network.heal();
    expect(await arrives(4)).toBe(true);
    b.pause();
    expect(await arrives(5)).toBe(false);
    b.resume();
    await world.scheduler.runFor(1);
    expect(got).toEqual([1, 2, 4, 5]);
    b.kill();
    expect(await arrives(6)).toBe(false);
  });
});
