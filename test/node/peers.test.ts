import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { FrameReader } from '../../src/core/wire/frame-reader.ts';
import { FrameSplitter } from '../../src/core/wire/frame-splitter.ts';
import { FrameWriter } from '../../src/core/wire/frame-writer.ts';
import { HostClock } from '../../src/host/clock.ts';
import { TcpStreams } from '../../src/host/tcp.ts';
import { PeerFrame } from '../../src/node/peer-frames.ts';
import type { PeerHandlers } from '../../src/node/peer-types.ts';
import { Peers } from '../../src/node/peers.ts';
import type { Address } from '../../src/ports/address.ts';
import { silentLog } from '../../src/ports/log.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';

interface Side {
  readonly peers: Peers;
  readonly address: Address;
  readonly seen: string[];
  readonly streams: CountingStreams;
}

class CountingStreams extends TcpStreams {
  connects = 0;
  readonly timeouts: (number | undefined)[] = [];

  override connect(...parameters: Parameters<TcpStreams['connect']>): ReturnType<TcpStreams['connect']> {
    this.connects++;
    this.timeouts.push(parameters[1]?.timeoutMs);
    return super.connect(...parameters);
  }
}

const open: Peers[] = [];

async function side(name: string, instance: string, at: Address = { host: '127.0.0.1', port: 0 }): Promise<Side> {
  const seen: string[] = [];
  const handlers: PeerHandlers = {
    onFrame: (from, type, _bytes, start, end) => void seen.push(`frame ${from} ${type} ${end - start}`),
    onConnected: (peer, other) => void seen.push(`connected ${peer} ${other}`),
    onDisconnected: (peer) => void seen.push(`disconnected ${peer}`),
    onIncoming: () => {},
    onDead: (peer, other) => void seen.push(`dead ${peer} ${other}`),
    beforeFlush: () => {},
  };
  const streams = new CountingStreams();
  const peers = new Peers({ name, instance, clusterId: () => '' }, streams, new HostClock(), silentLog, handlers);
  open.push(peers);
  return { peers, address: await peers.listen(at), seen, streams };
}

function welcome(name: string, instance: string): Uint8Array {
  const frame = new FrameWriter(64);
  frame.begin(PeerFrame.welcome);
  for (const text of [name, instance, '']) frame.text(text);
  frame.end();
  return frame.take();
}

async function until(condition: () => boolean, limitMs = 5000): Promise<void> {
  for (const deadline = Date.now() + limitMs; !condition(); ) {
    if (Date.now() > deadline) throw new Error(`not within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

afterEach(async () => {
  await Promise.all(open.splice(0).map(async (peers) => await peers.close()));
});

describe('evidence', () => {
  test('a process whose port refuses after its connection closed is dead', async () => {
    const a = await side('a', 'a1');
    const b = await side('b', 'b1');
    a.peers.want('b', b.address);
    await until(() => a.peers.isConnected('b'));
    await b.peers.close();
    await until(() => a.seen.includes('dead b b1'));
    expect(a.seen).toEqual(['connected b b1', 'disconnected b', 'dead b b1']);
  });

  test('a newer instance at the address is proof of the older one\'s death', async () => {
    const a = await side('a', 'a1');
    const b = await side('b', 'b1');
    a.peers.want('b', b.address);
    await until(() => a.peers.isConnected('b'));
    await b.peers.close();
    await side('b', 'b2', b.address);
    await until(() => a.seen.includes('connected b b2'));
    expect(a.seen.filter((line) => line === 'dead b b1')).toHaveLength(1);
  });

  test('attempts that a dying process still takes, and resets, are followed by others at once', async () => {
    const a = await side('a', 'a1');
    const sockets: Socket[] = [];
    // Its sockets close one by one: the established connection first, the listener only after two attempts got into it.
    const dying = createServer((socket) => {
      socket.on('error', () => {});
      if (sockets.push(socket) === 1) return void socket.once('data', () => socket.end(welcome('b', 'b1')));
      if (sockets.length === 3) dying.close();
      socket.resetAndDestroy();
    });
    await new Promise<void>((resolve) => dying.listen(0, '127.0.0.1', resolve));
    a.peers.want('b', { host: '127.0.0.1', port: (dying.address() as AddressInfo).port });
    await until(() => a.seen.includes('dead b b1'));
    // By the times they were given: the usual one, then the short ones of a proof.
    expect(a.streams.timeouts).toEqual([1000, 20, 40, 80]);
  });

  test('a port that refused from the beginning proves nothing', async () => {
    const a = await side('a', 'a1');
    const gone = await side('b', 'b1');
    await gone.peers.close();
    a.peers.want('b', gone.address);
    // It tries again only once it has been told of a refusal: three of them.
    await until(() => a.streams.connects === 4);
    expect(a.seen).toEqual([]);
  });
});

test('a connection that is accepted and never answered is given up, and the next one serves', async () => {
  const a = await side('a', 'a1');
  // As after a loss of power between the two packets of a greeting: the other kernel took the connection, nobody answers.
  const accepted: Socket[] = [];
  const mute = createServer((socket) => void accepted.push(socket.on('error', () => {}).resume()));
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  const { port } = mute.address() as AddressInfo;
  a.peers.want('b', { host: '127.0.0.1', port });
  await until(() => accepted.length === 2, 10_000);
  expect(accepted[0]?.readableEnded || accepted[0]?.destroyed).toBe(true);
  for (const socket of accepted) socket.destroy();
  await new Promise((resolve) => mute.close(resolve));
  await side('b', 'b1', { host: '127.0.0.1', port });
  await until(() => a.peers.isConnected('b'));
  expect(a.seen).toEqual(['connected b b1']);
}, 20_000);

test('frames of one turn arrive in their order', async () => {
  const a = await side('a', 'a1');
  const b = await side('b', 'b1');
  a.peers.want('b', b.address);
  await until(() => a.peers.isConnected('b'));
  for (let size = 0; size < 50; size++) {
    const writer = a.peers.writer('b')!;
    writer.begin(PeerFrame.raft);
    writer.raw(new Uint8Array(size * 1000), 0, size * 1000);
    writer.end();
  }
  await until(() => b.seen.length === 50);
  expect(b.seen).toEqual(Array.from({ length: 50 }, (_, size) => `frame a ${PeerFrame.raft} ${size * 1000}`));
});

test('frames of many turns arrive as they were written, also at a node that does not read for a while', async () => {
  const a = await side('a', 'a1');
  const seen: number[] = [];
  const splitter = new FrameSplitter();
  const reader = new FrameReader();
  let socketOfB: Socket | undefined;
  const slow = createServer((socket) => {
    socketOfB = socket;
    socket.on('error', () => {});
    socket.once('data', () => {
      socket.write(welcome('b', 'b1'));
      socket.pause();
      socket.on('data', (bytes) => {
        splitter.push(bytes, (type, body, start, end) => {
          if (type !== PeerFrame.raft) return;
          reader.reset(body, start, end);
          seen.push(reader.u32());
          const fill = reader.u8();
          while (reader.remaining > 0) if (reader.u8() !== fill) throw new Error(`frame ${seen.length} was written over`);
        });
      });
    });
  });
  await new Promise<void>((resolve) => slow.listen(0, '127.0.0.1', resolve));
  a.peers.want('b', { host: '127.0.0.1', port: (slow.address() as AddressInfo).port });
  await until(() => a.peers.isConnected('b'));
  let sent = 0;
  const turns = async (count: number): Promise<void> => {
    for (let i = 0; i < count; i++) {
      for (let frames = 1 + (i % 3); frames > 0; frames--) {
        const writer = a.peers.writer('b')!;
        writer.begin(PeerFrame.raft);
        writer.u32(sent);
        const length = 1 + ((i * 977) % 9000);
        writer.reserve(length);
        writer.bytes.fill(sent & 0xff, writer.length - length, writer.length);
        writer.end();
        sent++;
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  socketOfB?.resume();
  await turns(300);
  socketOfB?.pause();
  await turns(2500);
  socketOfB?.resume();
  await turns(300);
  await until(() => seen.length === sent);
  expect(seen).toEqual(Array.from({ length: sent }, (_, i) => i));
  slow.close();
});

test('rubbish on the port is turned away, costs little, and disturbs nobody', async () => {
  const a = await side('a', 'a1');
  const b = await side('b', 'b1');
  a.peers.want('b', b.address);
  await until(() => a.peers.isConnected('b'));
  const before = process.memoryUsage().arrayBuffers;
  let closed = 0;
  for (let i = 0; i < 100; i++) {
    const socket = connect({ host: b.address.host, port: b.address.port });
    socket.on('error', () => {});
    socket.on('close', () => closed++);
    socket.resume();
    // A frame of nearly the largest size is announced, and as much of it sent as is taken.
    socket.write(Uint8Array.of(0x03, 0xff, 0xff, 0xff, 1));
    socket.write(new Uint8Array(64 << 10).fill(i));
  }
  await until(() => closed === 100);
  expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 << 20);
  const writer = a.peers.writer('b')!;
  writer.begin(PeerFrame.raft);
  writer.end();
  await until(() => b.seen.length === 1);
  expect(a.seen).toEqual(['connected b b1']);
});

test('a connection whose hello is never answered is given up and made anew: its host may have died with the hello in its hands', async () => {
  const world = new SimWorld({ seed: 3 });
  const [host, other] = [world.addHost('a'), world.addHost('b')];
  const { clock, streams } = host.start('a');
  const attempts: number[] = [];
  await world.scheduler.settle(other.start('b').streams.listen({ host: other.address, port: 7 }, (stream) => {
    attempts.push(clock.now());
    // It takes what comes, and says nothing.
    stream.setHandler({ onData: () => {}, onClose: () => {} });
  }));
  const handlers: PeerHandlers = { onFrame: () => {}, onConnected: () => {}, onDisconnected: () => {}, onIncoming: () => {}, onDead: () => {}, beforeFlush: () => {} };
  const peers = new Peers({ name: 'a', instance: 'a1', clusterId: () => '' }, streams, clock, silentLog, handlers);
  await world.scheduler.settle(peers.listen({ host: host.address, port: 7 }));
  peers.want('b', { host: other.address, port: 7 });
  await world.scheduler.runFor(20_000);
  expect(attempts.length).toBeGreaterThanOrEqual(4);
  const waits = attempts.slice(1).map((at, i) => at - (attempts[i] as number));
  expect(Math.min(...waits)).toBeGreaterThan(3000);
  expect(Math.max(...waits)).toBeLessThan(6500);
  await world.scheduler.settle(peers.close());
});
