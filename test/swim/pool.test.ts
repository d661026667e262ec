import { describe, expect, test } from 'vitest';
import { suspicionTimeoutMs, swimTimings } from '../../src/core/swim/timing.ts';
import { SimulatedPool } from './simulated-pool.ts';
import type { SimulatedNode } from './simulated-pool.ts';

const { lan } = swimTimings;

/**
 * The longest that memberlist's timers allow from a death until the last one knows (ms): a whole round of probes (each
 * at most one interval) until somebody probes the dead node, the round itself, the longest suspicion that the
 * confirmations can still leave, and gossip to all.
 */
function detectionBoundMs(nodes: number, loss: number): number {
  const minimum = suspicionTimeoutMs(lan.suspicionMult, nodes, lan.probeIntervalMs);
  // All others come past the dead node within two rounds: k = 2 confirmations bring the suspicion to its minimum.
  const confirmed = 2 * nodes * lan.probeIntervalMs;
  const suspicion = Math.min(lan.suspicionMaxTimeoutMult * minimum, Math.max(minimum, confirmed));
  const gossip = lan.gossipIntervalMs * Math.ceil(Math.log2(nodes) + 2) * (1 + 10 * loss);
  return 2 * lan.probeIntervalMs + suspicion + gossip;
}

function formed(nodes: number, loss: number, seed: number): SimulatedPool {
  const pool = new SimulatedPool({ nodes, loss, seed });
  pool.joinAll();
  expect(pool.runUntil(60_000, () => pool.agree(() => 'alive'), 100), 'the pool formed').toBe(true);
  return pool;
}

describe.each([10, 100])('a pool of %d nodes', (nodes) => {
  test.each([0, 0.01, 0.05])('at %d loss: a host that falls silent is known to all in time, and nobody else is held for failed', (loss) => {
    for (const seed of nodes > 50 ? [1] : [1, 2, 3]) {
      const pool = formed(nodes, loss, seed);
      expect(pool.failuresSeen()).toEqual([]);
      pool.runUntil(pool.now + 20_000);
      const victim = pool.nodes[nodes >> 1] as SimulatedNode;
      victim.up = false;
      victim.silent = true;
      const died = pool.now;
      const known = pool.runUntil(died + detectionBoundMs(nodes, loss), () => pool.agree((name) => (name === victim.name ? 'failed' : 'alive')));
      expect(known, `seed ${seed}: known to all ${pool.now - died} ms after`).toBe(true);
      if (loss <= 0.01) expect(pool.failuresSeen().filter((line) => !line.endsWith(`: ${victim.name}`))).toEqual([]);
    }
  });
});

test('a process that dies on a living host is known to all in seconds: its address refuses connections', () => {
  const times = Array.from({ length: 21 }, (_, seed) => {
    const pool = formed(10, 0.01, seed);
    const victim = pool.nodes[5] as SimulatedNode;
    victim.up = false;
    const died = pool.now;
    expect(pool.runUntil(died + 6000, () => pool.agree((name) => (name === victim.name ? 'failed' : 'alive'))), `seed ${seed}`).toBe(true);
    expect(pool.failuresSeen().filter((line) => !line.endsWith(`: ${victim.name}`))).toEqual([]);
    return pool.now - died;
  }).sort((a, b) => a - b);
  expect(times[10], times.map(Math.round).join(' ')).toBeLessThan(2000);
});

test.each([['lan', 5000, 5750], ['local', 4000, 4750]] as const)('five nodes, profile %s: a silent one is known to all sooner than memberlist\'s order of probes finds it', (profile, leastMs, meanMs) => {
  // Somebody probes it: after 0.8 s on average with memberlist's shuffled rounds, then a probe's second and the suspicion's minimum.
  let sum = 0;
  for (let seed = 0; seed < 300; seed++) {
    const pool = new SimulatedPool({ nodes: 5, loss: 0, seed, profile });
    pool.joinAll();
    pool.runUntil(20_000 + seed * 37);
    const victim = pool.nodes[seed % 5] as SimulatedNode;
    victim.up = false;
    victim.silent = true;
    const died = pool.now;
    expect(pool.runUntil(died + 10_000, () => pool.agree((name) => (name === victim.name ? 'failed' : 'alive'))), `seed ${seed}`).toBe(true);
    expect(pool.now - died).toBeGreaterThanOrEqual(leastMs); // its time to speak up is not cut
    sum += pool.now - died;
  }
  expect(sum / 300).toBeLessThan(meanMs);
});

test('no false failure at 1 % loss in ten minutes of 30 nodes', () => {
  const pool = formed(30, 0.01, 11);
  pool.runUntil(pool.now + 600_000);
  expect(pool.failuresSeen()).toEqual([]);
  expect(pool.agree(() => 'alive')).toBe(true);
});

test('an idle node sends no more than two packets per second', () => {
  const pool = formed(10, 0, 5);
  pool.runUntil(pool.now + 10_000);
  const before = pool.packets;
  pool.runUntil(pool.now + 60_000);
  expect((pool.packets - before) / 10 / 60).toBeLessThanOrEqual(2.1);
});

test('a join is known to all within four gossip rounds, a leave within 300 ms, and it is never taken for a failure', () => {
  for (const profile of ['lan', 'local'] as const) for (const seed of [1, 2, 3, 4, 5]) {
    const pool = new SimulatedPool({ nodes: 9, loss: 0, seed, profile });
    pool.joinAll();
    pool.runUntil(10_000, () => pool.agree(() => 'alive'), 100);
    const late = pool.add('late');
    const began = pool.now;
    pool.join(late, pool.nodes[0] as SimulatedNode);
    expect(pool.runUntil(began + 2000, () => pool.agree(() => 'alive'), 1)).toBe(true);
    expect(pool.now - began).toBeLessThanOrEqual(4 * swimTimings[profile].gossipIntervalMs);
    const left = pool.now;
    let returned = 0;
    pool.act(late, () => late.serf.leave(() => { returned = pool.now; }));
    expect(pool.runUntil(left + 2000, () => pool.agree((name) => (name === 'late' ? 'left' : 'alive')), 1)).toBe(true);
    expect(pool.now - left).toBeLessThanOrEqual(300);
    pool.runUntil(left + 3000);
    expect(returned - left).toBeLessThanOrEqual(1000);
    expect(pool.failuresSeen()).toEqual([]);
  }
});

test('a partition heals: both halves hold the other for failed, then all are alive again', () => {
  const pool = formed(12, 0, 3);
  const side = new Map(pool.nodes.map((node, i) => [node, i % 2]));
  pool.blocked = (from, to) => side.get(from) !== side.get(to);
  expect(pool.runUntil(pool.now + 120_000, () => pool.nodes.every((node) => node.serf.members().filter((member) => member.status === 'failed').length === 6), 100)).toBe(true);
  pool.runUntil(pool.now + 600_000); // past the time for which the dead are gossiped to
  pool.blocked = () => false;
  const healed = pool.now;
  expect(pool.runUntil(healed + 60_000, () => pool.agree(() => 'alive'), 100)).toBe(true);
});

test('a restarted node without memory comes back by itself, under a new incarnation, and gets no old events', () => {
  const pool = formed(5, 0, 8);
  pool.act(pool.nodes[0] as SimulatedNode, () => (pool.nodes[0] as SimulatedNode).serf.events.fire('old', new Uint8Array(0), false));
  pool.runUntil(pool.now + 2000);
  const victim = pool.nodes[4] as SimulatedNode;
  victim.up = false;
  expect(pool.runUntil(pool.now + 60_000, () => pool.agree((name) => (name === victim.name ? 'failed' : 'alive')), 100)).toBe(true);
  pool.nodes.pop();
  const again = pool.add(victim.name); // the same place in the list: the same address
  const back = pool.now;
  expect(pool.runUntil(back + 60_000, () => pool.agree(() => 'alive'), 100)).toBe(true);
  expect(pool.now - back).toBeLessThan(20_000);
  expect(again.serf.local.incarnation).toBeGreaterThan(1);
  expect(again.events.filter(({ event }) => event.type === 'user')).toEqual([]);
});

test('a node that restarts before its failure is noticed finds the others again through their probes', () => {
  const pool = formed(5, 0, 9);
  const victim = pool.nodes[4] as SimulatedNode;
  victim.up = false;
  pool.nodes.pop();
  pool.add(victim.name);
  const back = pool.now;
  expect(pool.runUntil(back + 10_000, () => pool.agree(() => 'alive'))).toBe(true);
  expect(pool.now - back).toBeLessThan(6000);
  pool.runUntil(back + 30_000);
  expect(pool.failuresSeen()).toEqual([]);
});

test('the same seed gives the same run', () => {
  const trace = (): string => {
    const pool = formed(20, 0.05, 42);
    (pool.nodes[3] as SimulatedNode).up = false;
    pool.runUntil(pool.now + 60_000);
    return JSON.stringify(pool.nodes.map((node) => node.events.map(({ at, event }) => [at, event.type])));
  };
  expect(trace()).toBe(trace());
});

describe('a name that moves to another address (memberlist#157)', () => {
  test.each([['its old address refuses', false], ['its old host is gone', true]])('while %s: it gets its name, at one address for all, and keeps it', (_, silent) => {
    for (let seed = 1; seed <= 10; seed++) {
      const pool = formed(6, 0.01, seed);
      const old = pool.nodes[5] as SimulatedNode;
      // Its first life has a higher incarnation than its next one begins with.
      for (let i = 0; i < 4; i++) pool.act(old, () => old.serf.setTags({ round: String(i) }));
      pool.runUntil(pool.now + 3000);
      old.up = false;
      old.silent = silent;
      const moved = pool.add(old.name);
      const others = pool.nodes.filter((node) => node !== old && node !== moved);
      const began = pool.now;
      pool.join(moved, pool.nodes[0] as SimulatedNode);
      const settled = (): boolean => [...others, moved].every((node) => {
        const member = node.serf.member(old.name);
        return member?.status === 'alive' && member.address.host === moved.serf.local.address.host && node.serf.members().every((each) => each.status === 'alive');
      });
      expect(pool.runUntil(began + 30_000, settled), `seed ${seed}`).toBe(true);
      // Where nothing refuses: a round of probes, the last probe, the suspicion; then who knows of the claim asks the claimant.
      expect(pool.now - began, `seed ${seed}`).toBeLessThan(silent ? 11_000 : 5000);
      const before = pool.nodes.map((node) => node.events.length);
      pool.runUntil(pool.now + 180_000);
      expect(settled(), `seed ${seed}`).toBe(true);
      expect(pool.nodes.flatMap((node, i) => node.events.slice(before[i]).map(({ event }) => `${node.name}: ${event.type}`)), `seed ${seed}: nothing happens to it any more`).toEqual([]);
    }
  });
});

test.each([5, 40])('in a pool of %d a large user event reaches all, once, in seconds, and small ones beside it are not held up (serf#550)', (nodes) => {
  const pool = new SimulatedPool({ nodes, loss: 0.01, seed: 4, userEventBytesMax: 9216 });
  pool.joinAll();
  expect(pool.runUntil(60_000, () => pool.agree(() => 'alive'), 100)).toBe(true);
  pool.runUntil(pool.now + 5000);
  const sizes = [1300, 1400, 5000, 9000];
  sizes.forEach((size, i) => {
    const from = pool.nodes[i] as SimulatedNode;
    pool.act(from, () => {
      from.serf.events.fire(`large${i}`, new Uint8Array(size).fill(i), false);
      from.serf.events.fire(`small${i}`, new Uint8Array(10), false);
    });
  });
  const got = (node: SimulatedNode, name: string): number[] => node.events.flatMap(({ event }) => (event.type === 'user' && event.name === name ? [event.payload.length] : []));
  const fired = pool.now;
  const all = (name: string, size: number): boolean => pool.nodes.every((node) => got(node, name).length === 1 && got(node, name)[0] === size);
  expect(pool.runUntil(fired + 3000, () => sizes.every((_, i) => all(`small${i}`, 10)))).toBe(true);
  expect(pool.runUntil(fired + 3000, () => sizes.every((size, i) => all(`large${i}`, size)))).toBe(true);
  pool.runUntil(pool.now + 60_000);
  expect(sizes.every((size, i) => all(`large${i}`, size)), 'each once').toBe(true);
  expect(pool.nodes.map((node) => node.serf.queueSizes.events), 'nothing stays in the queues').toEqual(pool.nodes.map(() => 0));
  const first = pool.nodes[0] as SimulatedNode;
  expect(() => first.serf.events.fire('too large', new Uint8Array(9216), false)).toThrow(expect.objectContaining({ code: 'EVENT_TOO_LARGE' }));
});
