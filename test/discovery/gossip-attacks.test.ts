import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { FloodGate } from '../../src/discovery/flood-gate.ts';
import { decodeHeartbeat, encodeHeartbeat, HeartbeatKind } from '../../src/discovery/heartbeat-packet.ts';
import type { Heartbeat } from '../../src/discovery/heartbeat-packet.ts';
import { aesGcmCipher } from '../../src/host/aes-gcm-cipher.ts';
import type { Cipher } from '../../src/ports/cipher.ts';
import { address, Ether, keys } from './support/ether.ts';

describe('the gossip strategy under attack', () => {
  let ether: Ether;
  beforeEach(() => {
    ether = new Ether();
  });
  afterEach(() => ether.end());

  const packetOf = (change: Partial<Heartbeat> = {}): Uint8Array => encodeHeartbeat({ kind: HeartbeatKind.here, instance: 'aaaaaaaaaaaaaaaa', wallTime: ether.wallTime, counter: 1, group: 'default', address: address(50), ...change }, aesGcmCipher, keys);
  const forged = (i: number): Uint8Array => {
    const packet = packetOf();
    packet[20] = (packet[20] as number) ^ (1 + (i % 255));
    return packet;
  };

  test('replayed packets keep no dead node alive, and bring none back', async () => {
    const one = ether.node(1);
    const recorded: Uint8Array[] = [];
    for (let i = 0; i < 5; i++) {
      recorded.push(packetOf({ counter: i + 1 }));
      ether.inject(recorded[i] as Uint8Array);
      await ether.run(1000);
    }
    expect(one.hosts).toEqual(['10.0.0.50:7946']);
    // It has died. Everything that it ever sent comes again and again, for minutes.
    for (let i = 0; i < 300; i++) {
      for (const packet of recorded) ether.inject(packet);
      await ether.run(1000);
    }
    expect(one.hosts).toEqual([]);
    const told = one.foundCount;
    for (const packet of recorded) ether.inject(packet);
    await ether.run(60_000);
    expect(one.foundCount).toBe(told);
  });

  test('a node that has just started can be shown a recording of the last 30 s, once: it names a host, and is over when the loss time is', async () => {
    const packet = packetOf({ counter: 9 });
    await ether.run(20_000);
    const one = ether.node(1);
    await ether.run(100);
    for (let i = 0; i < 200; i++) {
      ether.inject(packet);
      await ether.run(500);
    }
    expect(one.hosts).toEqual([]);
    // Beyond the permitted difference of clocks not even that.
    const two = ether.node(2);
    ether.inject(packet);
    await ether.run(1000);
    expect(two.hosts).not.toContain('10.0.0.50:7946');
  });

  test('a recorded farewell hides nobody for longer than until its next heartbeat', async () => {
    const bye = packetOf({ kind: HeartbeatKind.bye, counter: 3 });
    const one = ether.node(1);
    ether.inject(bye);
    ether.send({ counter: 4 });
    await ether.run(10);
    expect(one.hosts).toEqual(['10.0.0.50:7946']);
    ether.inject(bye);
    ether.send({ instance: 'bbbbbbbbbbbbbbbb', counter: 1 });
    ether.inject(bye);
    await ether.run(10);
    expect(one.hosts).toEqual(['10.0.0.50:7946']);
  });

  test('reordered and doubled packets end where ordered ones do', async () => {
    const random = new Prng(5);
    const one = ether.node(1);
    for (let round = 0; round < 20; round++) {
      const packets = Array.from({ length: 30 }, (_, i) => packetOf({ counter: round * 30 + i + 1, kind: i === 29 && round % 2 === 0 ? HeartbeatKind.bye : HeartbeatKind.here }));
      for (const packet of [...packets, ...packets].sort(() => random.float() - 0.5)) ether.inject(packet);
      await ether.run(100);
      expect(one.hosts, `round ${round}`).toEqual(round % 2 === 0 ? [] : ['10.0.0.50:7946']);
    }
  });

  test('a cluster with another secret beside us costs one line in the log, and nothing else', async () => {
    const lines: string[] = [];
    const log = { ...noLog, warn: (message: string) => void lines.push(message), child: () => log };
    const one = ether.node(1, {}, { log });
    for (let i = 2; i < 12; i++) ether.node(i, { secret: [new Uint8Array(32).fill(3)] });
    await ether.run(120_000);
    expect(one.hosts ?? []).toEqual([]);
    expect(one.failures).toEqual([]);
    expect(lines).toEqual(['heartbeats with another key, or with none, do not count']);
  });

  test('a flood of forged packets from one sender costs bounded work, and holds up nobody else', async () => {
    let opened = 0;
    const counting: Cipher = { ...aesGcmCipher, open: (...given) => (opened++, aesGcmCipher.open(...given)) };
    const one = ether.node(1, {}, { cipher: counting });
    await ether.run(100);
    const sealed = forged(1);
    for (let second = 0; second < 10; second++) {
      for (let i = 0; i < 5000; i++) ether.inject(sealed, address(66));
      ether.inject(packetOf({ counter: second + 1 }), address(50));
      await ether.run(1000);
    }
    // 200 at once and 100 a second of 50,000; the others are the good ones, and our own that come back.
    expect(opened).toBeLessThan(200 + 10 * 100 + 100);
    expect(one.hosts).toEqual(['10.0.0.50:7946']);
    expect(one.failures).toEqual([]);
  });

  test('one from as many made-up senders as there are costs bounded work and memory; nobody is taken for gone because of it', async () => {
    let opened = 0;
    const counting: Cipher = { ...aesGcmCipher, open: (...given) => (opened++, aesGcmCipher.open(...given)) };
    const one = ether.node(1, {}, { cipher: counting });
    ether.inject(packetOf(), address(50));
    await ether.run(100);
    expect(one.hosts).toEqual(['10.0.0.50:7946']);
    const sealed = forged(1);
    for (let i = 0; i < 60_000; i++) {
      ether.inject(sealed, { host: `10.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`, port: 1 });
      if (i % 1000 === 999) await ether.run(1000);
    }
    expect(opened).toBeLessThan(2000 + 60 * 1100);
    for (let i = 0; i < 60; i++) {
      for (let j = 0; j < 3000; j++) ether.inject(sealed, { host: `10.77.${(j >> 8) & 255}.${j & 255}`, port: 1 });
      await ether.run(1000);
    }
    // Drowned: we do not hear even ourselves, which says nothing about the other one.
    if (one.failures.length > 0) expect(one.hosts).toEqual(['10.0.0.50:7946']);
    expect(opened).toBeLessThan(2000 + 120 * 1100);
  });

  test('FloodGate keeps no more senders than it may, and forgets those that are quiet', () => {
    const gate = new FloodGate();
    for (let i = 0; i < 300; i++) gate.refused(`sender ${i}`, 0);
    for (let i = 0; i < 199; i++) gate.refused('sender 0', 0);
    expect(gate.admits('sender 0', 0)).toBe(false);
    expect(gate.admits('sender 0', 100)).toBe(true);
    expect(gate.admits('sender 299', 100)).toBe(true);
    for (let i = 0; i < 250; i++) gate.refused('newcomer', 10_000);
    expect(gate.admits('newcomer', 10_000)).toBe(false);
    for (let i = 0; i < 2000; i++) gate.refused(`x${i}`, 20_000);
    expect(gate.admits('anybody', 20_000)).toBe(false);
    expect(gate.admits('anybody', 21_000)).toBe(true);
  });

  test('whoever makes up newcomers gets four answers a second at most: nothing is amplified', async () => {
    ether.node(1, { secret: [] });
    await ether.run(10_000);
    const before = ether.packets.length;
    const plain = (i: number): Uint8Array => encodeHeartbeat({ kind: HeartbeatKind.here, instance: i.toString(16).padStart(16, '0'), wallTime: ether.wallTime, counter: 1, group: 'default', address: { host: `10.9.${i >> 8}.${i & 255}`, port: 7946 } }, aesGcmCipher, []);
    for (let i = 0; i < 1000; i++) {
      ether.inject(plain(i));
      await ether.run(10);
    }
    // 10 s: the heartbeats that were due, and the answers.
    expect(ether.packets.length - before).toBeLessThanOrEqual(10 + 41);
  });

  test('no nonce comes twice; what gossip itself seals with the same key is no heartbeat, nor the other way round', async () => {
    for (let i = 1; i <= 20; i++) ether.node(i);
    await ether.run(300_000);
    const nonces = ether.packets.map(({ packet }) => Buffer.from(packet.subarray(5, 17)).toString('hex'));
    expect(nonces.length).toBeGreaterThan(1500);
    expect(new Set(nonces).size).toBe(nonces.length);
    const [key] = keys as [Uint8Array];
    const good = packetOf();
    const body = aesGcmCipher.open(key, good.subarray(5), good.subarray(0, 5)) as Uint8Array;
    // As memberlist seals its packets: with nothing authenticated besides.
    for (const associated of [new Uint8Array(0), Uint8Array.of(1), good.subarray(0, 4)]) {
      const foreign = Uint8Array.from([...good.subarray(0, 5), ...aesGcmCipher.seal(key, body, associated)]);
      expect(decodeHeartbeat(foreign, aesGcmCipher, keys)).toBe('key');
      expect(aesGcmCipher.open(key, good.subarray(5), associated)).toBeUndefined();
    }
  });
});

const noLog = { trace: () => {}, debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
