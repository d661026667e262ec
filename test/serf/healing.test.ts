import { describe, expect, test } from 'vitest';
import { GossipWorld } from '../../src/sim/gossip-world.ts';
import type { GossipWorldNode, GossipWorldOptions } from '../../src/sim/gossip-world.ts';

function world(options: GossipWorldOptions): GossipWorld {
  const made = new GossipWorld(options);
  made.joinAll();
  expect(made.runUntil(() => made.nodes.every((node) => made.nodes.every((other) => node.serf.member(other.name)?.status === 'alive')), 60_000, 100)).toBe(true);
  made.runFor(3000);
  return made;
}

const node = (made: GossipWorld, index: number): GossipWorldNode => made.nodes[index] as GossipWorldNode;
const held = (made: GossipWorld, of: number, status: string | undefined): boolean => made.nodes.every((each) => each.index === of || each.state !== 'up' || each.serf.member(`n${of}`)?.status === status);
const allAlive = (made: GossipWorld): boolean => made.nodes.every((each) => made.nodes.every((other) => each.serf.member(other.name)?.status === 'alive'));

describe('a pool that was cut in two', () => {
  test.each([
    { nodes: 6, minutes: 30, within: 30_000 },
    { nodes: 6, minutes: 180, within: 30_000 },
    { nodes: 40, minutes: 10, within: 30_000 },
    { nodes: 2, minutes: 30, within: 30_000 },
  ])('of $nodes nodes, for $minutes minutes, heals by itself', ({ nodes, minutes, within }) => {
    for (const seed of [1, 2]) {
      const made = world({ seed, nodes });
      made.group = (index) => index % 2;
      made.runFor(minutes * 60_000);
      for (const each of made.nodes) for (const other of made.nodes) expect(each.serf.member(other.name)?.status).toBe(each.index % 2 === other.index % 2 ? 'alive' : 'failed');
      made.group = () => 0;
      expect(made.runUntil(() => allAlive(made), within, 100)).toBe(true);
      let failures = 0;
      made.onEvent = (_node, event) => {
        if (event.type === 'member-failed') failures++;
      };
      made.runFor(60_000);
      expect(failures).toBe(0);
    }
  }, 60_000);

  test('one node that was away comes back; a member that died meanwhile stays failed', () => {
    const made = world({ seed: 3, nodes: 10 });
    made.group = (index) => (index === 4 ? 1 : 0);
    node(made, 7).state = 'silent';
    made.runFor(20 * 60_000);
    made.group = () => 0;
    expect(made.runUntil(() => held(made, 4, 'alive') && held(made, 7, 'failed'), 60_000, 100)).toBe(true);
    expect(node(made, 4).serf.members().filter((member) => member.status === 'alive')).toHaveLength(9);
  });
});

describe('a member that is about to leave', () => {
  test('and goes silent before it has gone counts as left in bounded time, not as failed', () => {
    for (const seed of [1, 2, 3, 4]) {
      for (const afterMs of [0, 1, 50, 150]) {
        const made = world({ seed, nodes: 8 });
        const events: string[] = [];
        made.onEvent = (_node, event) => {
          if (event.type.startsWith('member-')) events.push(event.type);
        };
        made.act(node(made, 5), () => node(made, 5).serf.leave(() => {}));
        made.runFor(afterMs + 2);
        node(made, 5).state = 'silent';
        expect(made.runUntil(() => held(made, 5, 'left'), 60_000, 100), `seed ${seed}, ${afterMs} ms`).toBe(true);
        expect(events.filter((type) => type === 'member-failed')).toEqual([]);
      }
    }
  });

  test('but is not, and never heard that somebody said so, counts as alive again in bounded time', () => {
    for (const seed of [1, 2, 3]) {
      const made = world({ seed, nodes: 6 });
      // Too short for a failure; long enough for the lie to have gone round.
      made.group = (index) => (index === 5 ? 1 : 0);
      made.act(node(made, 0), () => node(made, 0).serf.forceLeave('n5', false));
      made.runFor(3500);
      expect(held(made, 5, 'leaving')).toBe(true);
      made.group = () => 0;
      expect(made.runUntil(() => held(made, 5, 'alive'), 60_000, 100)).toBe(true);
      made.runFor(120_000);
      expect(held(made, 5, 'alive')).toBe(true);
    }
  });
});

describe('members that are gone are forgotten', () => {
  test('after reconnectTimeoutMs or tombstoneTimeoutMs, once each, with an event; who comes back later is welcome', () => {
    const made = world({ seed: 5, nodes: 6, reconnectTimeoutMs: 120_000, tombstoneTimeoutMs: 300_000 });
    const reaped = new Map<string, number>();
    const began = made.now;
    made.onEvent = (_node, event) => {
      if (event.type === 'member-reap') reaped.set(event.member.name, (reaped.get(event.member.name) ?? 0) + 1);
    };
    made.act(node(made, 4), () => node(made, 4).serf.leave(() => {
      node(made, 4).state = 'gone';
    }));
    node(made, 5).state = 'silent';
    expect(made.runUntil(() => held(made, 5, undefined), 200_000, 500)).toBe(true);
    expect(made.now - began).toBeGreaterThan(120_000);
    expect(held(made, 4, 'left')).toBe(true);
    expect(made.runUntil(() => held(made, 4, undefined), 300_000, 500)).toBe(true);
    expect(made.now - began).toBeGreaterThan(300_000);
    expect(Object.fromEntries(reaped)).toEqual({ n5: 4, n4: 4 });
    node(made, 5).state = 'up';
    made.join(node(made, 5), node(made, 0));
    expect(made.runUntil(() => made.nodes.every((each) => each.state !== 'up' || each.index === 4 || each.serf.member('n5')?.status === 'alive'), 30_000, 100)).toBe(true);
  });
});
