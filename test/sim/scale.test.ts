import { describe, expect, test } from 'vitest';
import { suspicionTimeoutMs, swimTimings } from '../../src/core/swim/timing.ts';
import { GossipWorld } from '../../src/sim/gossip-world.ts';
import type { GossipWorldOptions } from '../../src/sim/gossip-world.ts';

interface Seen {
  readonly healthyFailures: number;
  readonly packetsPerSecond: number;
  readonly bytesPerSecond: number;
}

const nodes = 100;
const sum = (world: GossipWorld, key: 'packets' | 'bytes'): number => world.nodes.reduce((total, node) => total + node[key], 0);

/** What a pool does in a minute in which nobody dies. */
function minute(options: Partial<GossipWorldOptions>): Seen {
  const world = new GossipWorld({ seed: 1, nodes, ...options });
  let healthyFailures = 0;
  world.onEvent = (node, event) => {
    if (event.type === 'member-failed' && !node.slow && world.nodes[Number(event.member.name.slice(1))]?.slow === false) healthyFailures++;
  };
  world.introduceAll();
  world.runFor(5000);
  const before = { packets: sum(world, 'packets'), bytes: sum(world, 'bytes') };
  world.runFor(60_000);
  return { healthyFailures, packetsPerSecond: (sum(world, 'packets') - before.packets) / nodes / 60, bytesPerSecond: (sum(world, 'bytes') - before.bytes) / nodes / 60 };
}

describe('a pool of a hundred', () => {
  test.each([
    { what: 'in peace', options: {}, packetsMax: 2.1 },
    { what: 'with 1 % loss', options: { loss: 0.01 }, packetsMax: 3 },
    { what: 'with 5 % loss', options: { loss: 0.05 }, packetsMax: 6 },
    { what: 'with 5 % slow nodes', options: { slow: 0.05 }, packetsMax: 40 },
  ])('takes no healthy member for failed $what, and stays quiet', ({ options, packetsMax }) => {
    const seen = minute(options);
    expect(seen.healthyFailures).toBe(0);
    expect(seen.packetsPerSecond).toBeGreaterThan(1.9);
    expect(seen.packetsPerSecond).toBeLessThan(packetsMax);
    expect(seen.bytesPerSecond).toBeLessThan(150 * packetsMax);
  });

  test('meets when all join through one, and knows deaths as soon as the formulas say, at once when a kernel refuses', () => {
    const world = new GossipWorld({ seed: 2, nodes });
    world.joinAll();
    const complete = (): boolean => world.nodes.every((node) => node.serf.members().filter((member) => member.status === 'alive').length === nodes);
    expect(world.runUntil(complete, 10_000, 100)).toBe(true);
    world.runFor(5000);
    const { probeIntervalMs, suspicionMult, gossipIntervalMs, retransmitMult } = swimTimings.lan;
    const suspicion = suspicionTimeoutMs(suspicionMult, nodes, probeIntervalMs);
    const knownByAll = (index: number, state: 'silent' | 'gone'): number => {
      const since = world.now;
      const victim = world.nodes[index] as GossipWorld['nodes'][number];
      victim.state = state;
      expect(world.runUntil(() => world.nodes.every((node) => node.state !== 'up' || node.serf.member(victim.name)?.status === 'failed'), 60_000)).toBe(true);
      return world.now - since;
    };
    for (const index of [99, 98, 97]) {
      const took = knownByAll(index, 'silent');
      expect(took).toBeGreaterThan(suspicion);
      // Some rounds until somebody probes it and until three have, the suspicion, and gossip's way to all.
      expect(took).toBeLessThan(5 * probeIntervalMs + suspicion + retransmitMult * Math.ceil(Math.log10(nodes + 1)) * gossipIntervalMs);
    }
    for (const index of [96, 95, 94]) expect(knownByAll(index, 'gone')).toBeLessThan(7000);
  });
});
