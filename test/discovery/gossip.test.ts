import { afterEach, describe, expect, test } from 'vitest';
import { decodeHeartbeat, HeartbeatKind } from '../../src/discovery/heartbeat-packet.ts';
import { HeardHosts } from '../../src/discovery/heard-hosts.ts';
import { sendersMax } from '../../src/discovery/limits.ts';
import { completeOptions } from '../../src/discovery/strategy.ts';
import { aesGcmCipher } from '../../src/host/aes-gcm-cipher.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';
import { address, Ether, keys } from './support/ether.ts';
import { hostPorts } from './support/ports.ts';
import { Recorder } from './support/recorder.ts';
import { strategyNamed } from './support/rigs.ts';

describe('the gossip strategy, with its defaults', () => {
  let ether: Ether;
  afterEach(() => ether.end());

  test('a newcomer is answered at once, not at the next heartbeat', async () => {
    ether = new Ether();
    const one = ether.node(1);
    await ether.run(2000);
    const two = ether.node(2);
    await ether.run(30);
    expect(one.hosts).toEqual(['10.0.0.2:7946']);
    expect(two.hosts).toEqual(['10.0.0.1:7946']);
  });

  test('heartbeats come every 1 to 5 s, at random', async () => {
    ether = new Ether();
    ether.node(1);
    await ether.run(200_000);
    const times = ether.packets.map((each) => each.atMs);
    const pauses = times.slice(1).map((time, i) => time - (times[i] as number));
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(1000);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(5000);
    expect(Math.max(...pauses) - Math.min(...pauses)).toBeGreaterThan(2000);
  });

  test('a hundred nodes that hear a newcomer do not all answer in the same moment, nor more than once each', async () => {
    ether = new Ether();
    for (let i = 1; i <= 100; i++) ether.node(i);
    await ether.run(20_000);
    const before = ether.packets.length;
    ether.node(200);
    await ether.run(600);
    const answers = ether.packets.slice(before);
    expect(answers.length).toBeLessThan(101 + 70);
    const firstTen = answers.filter((each) => each.atMs < (answers[0]?.atMs ?? 0) + 10);
    expect(firstTen.length).toBeLessThan(40);
  });

  test('a packet that was recorded does not count again; nor does one from too long ago, or from the future', async () => {
    ether = new Ether();
    const one = ether.node(1);
    await ether.run(100);
    ether.send({ counter: 5 });
    await ether.run(1);
    expect(one.hosts).toEqual(['10.0.0.50:7946']);
    const heard = one.foundCount;
    // The node goes; what it once sent is played again, also the packet with which it went.
    ether.send({ counter: 6, kind: HeartbeatKind.bye });
    await ether.run(1);
    expect(one.hosts).toEqual([]);
    const oldTime = ether.wallTime;
    for (const counter of [5, 6, 4]) ether.send({ counter });
    await ether.run(10_000);
    expect(one.hosts).toEqual([]);
    ether.send({ instance: 'bbbbbbbbbbbbbbbb', wallTime: ether.wallTime - 31_000 });
    ether.send({ instance: 'cccccccccccccccc', wallTime: ether.wallTime + 31_000 });
    await ether.run(30_000);
    ether.send({ counter: 7, wallTime: oldTime });
    await ether.run(1);
    expect(one.hosts).toEqual([]);
    expect(one.foundCount).toBe(heard + 1);
  });

  test('other keys, other groups and plain packets are not heeded', async () => {
    ether = new Ether();
    const one = ether.node(1);
    ether.node(2, { secret: [new Uint8Array(16).fill(9)] });
    ether.node(3, { group: 'other' });
    ether.node(4, { secret: [] });
    const rotated = ether.node(5, { secret: [new Uint8Array(16).fill(9), keys[0]] });
    await ether.run(10_000);
    expect(one.hosts).toBeUndefined();
    expect(rotated.hosts).toEqual(['10.0.0.1:7946', '10.0.0.2:7946']);
  });

  test('silence of one node is a loss after 25 s; silence of the whole network is an outage, and costs nobody', async () => {
    ether = new Ether();
    const one = ether.node(1);
    ether.send({});
    ether.send({ instance: 'dddddddddddddddd', address: address(51) });
    await ether.run(20_000);
    expect(one.hosts).toEqual(['10.0.0.50:7946', '10.0.0.51:7946']);
    ether.send({ counter: 2 });
    await ether.run(12_000);
    expect(one.hosts).toEqual(['10.0.0.50:7946']);
    ether.up = false;
    await ether.run(300_000);
    expect(one.hosts).toEqual(['10.0.0.50:7946']);
    expect(new Set(one.failures)).toEqual(new Set(['DISCOVERY_SILENT']));
    ether.up = true;
    await ether.run(10_000);
    expect(one.hosts).toEqual(['10.0.0.50:7946']);
    await ether.run(40_000);
    expect(one.hosts).toEqual([]);
  });

  test('a restarted process at the same address takes the place of the old one', async () => {
    ether = new Ether();
    const one = ether.node(1);
    ether.send({});
    await ether.run(100);
    ether.send({ instance: 'eeeeeeeeeeeeeeee', counter: 1 });
    await ether.run(100);
    expect(one.hosts).toEqual(['10.0.0.50:7946']);
    ether.send({ instance: 'eeeeeeeeeeeeeeee', counter: 2, kind: HeartbeatKind.bye });
    await ether.run(100);
    expect(one.hosts).toEqual([]);
  });

  test('what is sent cannot be read without the key', async () => {
    ether = new Ether();
    ether.node(1);
    await ether.run(100);
    const { packet } = ether.packets[0] as { packet: Uint8Array };
    expect(Buffer.from(packet).includes('10.0.0.1')).toBe(false);
    expect(decodeHeartbeat(packet, aesGcmCipher, [])).toBe('key');
    expect(decodeHeartbeat(packet, aesGcmCipher, keys)).toMatchObject({ address: address(1), group: 'default' });
  });
});

test('a network that carries no multicast at all is an outage, not the end', async () => {
  const world = new SimWorld({ seed: 1 });
  const { clock, random, datagrams } = world.addHost('one').start('p');
  for (const name of ['gossip', 'mdns']) {
    const strategy = strategyNamed(name);
    const sink = new Recorder();
    const source = strategy.start(completeOptions(strategy, { service: 'x' }), hostPorts('n', address(1), { clock, random, datagrams }), sink);
    await world.scheduler.runFor(60_000);
    expect(sink.failures.length).toBeGreaterThan(4);
    expect(new Set(sink.failures)).toEqual(new Set(['ADDRESS_NOT_AVAILABLE']));
    await world.scheduler.settle(source.stop());
    expect(world.scheduler.waitingCount).toBe(0);
  }
});

test('HeardHosts is bounded, and makes room only where no replay could pass', () => {
  const heard = new HeardHosts({ lossMs: 100, rememberMs: 1000 });
  for (let i = 0; i < sendersMax; i++) expect(heard.hear(`n${i}`, { host: '10.0.0.1', port: i + 1 }, 1, false, 0)).toBe('new');
  expect(heard.hear('more', address(1), 1, false, 500)).toBe('full');
  expect(heard.hear('n1', { host: '10.0.0.1', port: 2 }, 1, false, 500)).toBe('replay');
  expect(heard.hear('n1', { host: '10.0.0.1', port: 2 }, 2, false, 500)).toBe('new');
  expect(heard.hear('more', address(1), 1, false, 1001)).toBe('new');
  expect(heard.present(1001)).toEqual([address(1)]);
});
