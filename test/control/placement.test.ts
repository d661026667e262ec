import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { desiredPlacement } from '../../src/core/control/placement.ts';
import type { PlacementNode } from '../../src/core/control/placement.ts';
import { nextVoterStep } from '../../src/core/control/voters.ts';
import type { VoterView } from '../../src/core/control/voters.ts';
import { Control, keyspaceOptions } from './support.ts';

function nodesOf(count: number, zones = 1): PlacementNode[] {
  return Array.from({ length: count }, (_, index) => ({ name: `node-${index}`, zone: `zone-${index % zones}` }));
}

function spread(names: readonly string[], nodes: readonly PlacementNode[]): number {
  const counts = nodes.map((node) => names.filter((name) => name === node.name).length);
  return Math.max(...counts) - Math.min(...counts);
}

describe('placement', () => {
  test('copies are on different nodes; their numbers differ by at most one, those of primaries by two', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 1, max: 5 }), fc.constantFrom(16, 64, 128), fc.string({ maxLength: 5 }), (count, replicas, partitions, name) => {
      const nodes = nodesOf(count);
      const placement = desiredPlacement(name, partitions, replicas, nodes);
      expect(desiredPlacement(name, partitions, replicas, nodes.toReversed()).map((copies) => copies.toSorted())).toEqual(placement.map((copies) => copies.toSorted()));
      for (const copies of placement) expect(new Set(copies).size).toBe(Math.min(replicas, count));
      expect(spread(placement.flat(), nodes), 'copies').toBeLessThanOrEqual(1);
      expect(spread(placement.map((copies) => copies[0]!), nodes), 'primaries').toBeLessThanOrEqual(2);
    }), { numRuns: 150 });
  });

  test('zones: no two copies share one while there are enough', () => {
    fc.assert(fc.property(fc.integer({ min: 3, max: 12 }), fc.integer({ min: 2, max: 3 }), (count, zones) => {
      const nodes = nodesOf(count, zones);
      const zoneOf = new Map(nodes.map((node) => [node.name, node.zone]));
      for (const copies of desiredPlacement('k', 64, 3, nodes)) expect(new Set(copies.map((name) => zoneOf.get(name))).size).toBe(Math.min(3, zones));
    }), { numRuns: 50 });
  });

  test('a node that joins or goes moves little more than its own share', () => {
    for (const count of [3, 5, 8]) {
      const before = desiredPlacement('k', 128, 3, nodesOf(count));
      const after = desiredPlacement('k', 128, 3, nodesOf(count + 1));
      const moved = after.reduce((sum, copies, index) => sum + copies.filter((name) => !before[index]!.includes(name)).length, 0);
      const share = (128 * 3) / (count + 1);
      expect(moved).toBeLessThan(2 * share);
    }
  });
});

describe('what the leader decides about partitions', () => {
  function cluster(names: readonly string[], partitions = 16): Control {
    const control = new Control({ healAfterMs: 1000 });
    for (const name of names) control.up(name);
    control.wishes = { keyspaces: new Map([['k', { ...keyspaceOptions, partitions }]]), apps: new Map() };
    return control;
  }

  /** Copies fill and primaries serve at once. */
  function fill(control: Control): void {
    for (let round = 0; round < 20; round++) {
      control.run();
      for (const [index, entry] of (control.map.keyspaces['k']?.partitions ?? []).entries()) {
        if (entry.primary === undefined) continue;
        for (const add of entry.copies) {
          const node = control.map.nodes[add];
          if (node?.live === true && !entry.inSync.includes(add)) control.apply({ type: 'in-sync', changes: [{ keyspace: 'k', partition: index, epoch: entry.epoch, add, session: node.session }] });
        }
        if (entry.former !== undefined) control.apply({ type: 'in-sync', changes: [{ keyspace: 'k', partition: index, epoch: entry.epoch, settled: true }] });
      }
    }
  }

  test('after a death nothing but promotions happens until the grace is over; then the copies are made elsewhere', () => {
    const control = cluster(['a', 'b', 'c', 'd']);
    fill(control);
    control.down('a');
    const before = control.map.version;
    fill(control);
    const transfers = control.map.keyspaces['k']!.partitions.filter((entry) => entry.former !== undefined);
    expect(transfers).toEqual([]);
    expect(control.map.version).toBe(before);
    control.pass(1100);
    fill(control);
    for (const entry of control.map.keyspaces['k']!.partitions) expect(entry.inSync.toSorted()).toEqual(['b', 'c', 'd']);
  });

  test('an in-sync copy that is not wanted any more stays while a wanted one is dead', () => {
    const control = cluster(['a', 'b', 'c'], 8);
    fill(control);
    control.up('d');
    control.run();
    const moving = control.map.keyspaces['k']!.partitions.findIndex((entry) => entry.copies.includes('d'));
    expect(moving).toBeGreaterThanOrEqual(0);
    fillOnly(control, moving, 'd');
    control.down('d');
    control.run();
    expect(control.map.keyspaces['k']!.partitions[moving]!.inSync).toHaveLength(3);
  });

  function fillOnly(control: Control, index: number, add: string): void {
    const entry = control.map.keyspaces['k']!.partitions[index]!;
    control.apply({ type: 'in-sync', changes: [{ keyspace: 'k', partition: index, epoch: entry.epoch, add, session: control.map.nodes[add]!.session }] });
  }

  test('at most 16 primaries are on their way at once', () => {
    const control = cluster(['a'], 64);
    fill(control);
    for (const name of ['b', 'c', 'd']) control.up(name);
    for (let round = 0; round < 5; round++) {
      control.run();
      expect(control.map.keyspaces['k']!.partitions.filter((entry) => entry.former !== undefined).length).toBeLessThanOrEqual(16);
      for (const [index, entry] of control.map.keyspaces['k']!.partitions.entries()) for (const name of entry.copies) if (!entry.inSync.includes(name)) fillOnly(control, index, name);
    }
    fill(control);
    const primaries = control.map.keyspaces['k']!.partitions.map((entry) => entry.primary!);
    for (const name of ['a', 'b', 'c', 'd']) expect(primaries.filter((primary) => primary === name).length).toBeGreaterThan(10);
  });

  test('nodes that leave one right after the other lose nothing: nobody waits for the absent where only one that leaves has everything', () => {
    const control = cluster(['a', 'b', 'c', 'd', 'e']);
    fill(control);
    for (const name of ['a', 'd', 'c', 'b']) {
      control.apply({ type: 'drain', name, on: true });
      fill(control);
      expect(control.map.keyspaces['k']!.partitions.filter((entry) => entry.primary === name), `primaries left on ${name}`).toEqual([]);
      control.down(name, 'left');
    }
    expect(control.map.keyspaces['k']!.partitions.map((entry) => [entry.lost, entry.primary, entry.inSync])).toEqual(Array.from({ length: 16 }, () => [false, 'e', ['e']]));
  });

  test('a short absence moves nothing, also beside a node that is drained while others have everything', () => {
    const control = cluster(['a', 'b', 'c', 'd']);
    fill(control);
    control.down('a', 'left');
    const before = control.map.keyspaces['k']!.partitions.map((entry) => [...entry.copies]);
    fill(control);
    expect(control.map.keyspaces['k']!.partitions.map((entry) => entry.copies)).toEqual(before);
  });

  test('a draining node gives every primary away, and its copies once others are filled', () => {
    const control = cluster(['a', 'b', 'c', 'd']);
    fill(control);
    control.apply({ type: 'drain', name: 'a', on: true });
    fill(control);
    for (const entry of control.map.keyspaces['k']!.partitions) expect(entry.copies).not.toContain('a');
  });
});

describe('voters', () => {
  function view(control: Control, voters: readonly string[], more: Partial<VoterView> = {}): VoterView {
    const ids = (names: readonly string[]): string[] => names.map((name) => `${name}/1`);
    const learners = Object.keys(control.map.nodes).filter((name) => !voters.includes(name));
    return { voters: ids(voters), learners: ids(learners), leader: 'a/1', caughtUp: new Set(ids(learners)), gone: new Set(Object.values(control.map.nodes).filter((node) => !node.live).map((node) => node.raftId)), downToOne: false, ...more };
  }

  /** Lets the steps be done until none is left; each step must leave a majority of live voters. */
  function settle(control: Control, voters: string[], more: Partial<VoterView> = {}): string[] {
    for (let step = 0; step < 30; step++) {
      const next = nextVoterStep(control.map, view(control, voters, more));
      if (next === undefined) return voters.toSorted();
      const name = next.id.replace('/1', '');
      voters = next.type === 'promote' ? [...voters, name] : voters.filter((voter) => voter !== name);
      expect(voters.filter((voter) => control.map.nodes[voter]?.live === true).length, `after ${next.type} ${name}: ${voters.join()}`).toBeGreaterThan(voters.length / 2);
    }
    throw new Error('the voters go round in circles');
  }

  test.each([[1, 1], [2, 1], [3, 3], [4, 3], [5, 5], [6, 5], [9, 5]])('%d nodes: %d voters', (nodes, expected) => {
    const control = new Control();
    for (let i = 0; i < nodes; i++) control.up(String.fromCodePoint(97 + i));
    expect(settle(control, ['a'])).toHaveLength(expected);
  });

  test('of three voters one dies: both others stay', () => {
    const control = new Control();
    for (const name of ['a', 'b', 'c']) control.up(name);
    control.down('c');
    expect(settle(control, ['a', 'b', 'c'])).toEqual(['a', 'b', 'c']);
  });

  test('a dead voter is replaced where there is a spare', () => {
    const control = new Control();
    for (const name of ['a', 'b', 'c', 'd']) control.up(name);
    control.down('c');
    expect(settle(control, ['a', 'b', 'c'])).toEqual(['a', 'b', 'd']);
  });

  test('with quorum.lastNode dead voters leave at once, down to two', () => {
    const control = new Control();
    for (const name of ['a', 'b', 'c']) control.up(name);
    control.down('c');
    expect(settle(control, ['a', 'b', 'c'], { downToOne: true })).toEqual(['a', 'b']);
  });

  test('the last voter leaves: its vote goes to another node first', () => {
    const control = new Control();
    for (const name of ['a', 'b']) control.up(name);
    control.apply({ type: 'drain', name: 'a', on: true });
    expect(settle(control, ['a'])).toEqual(['a', 'b']);
    // The next leader does the rest.
    expect(settle(control, ['a', 'b'], { leader: 'b/1' })).toEqual(['b']);
  });

  test('of three voters one is dead and another leaves: the dead one goes first, as the one that leaves has to agree to it', () => {
    for (const [dead, leaves] of [['b', 'c'], ['c', 'b']] as const) {
      const control = new Control();
      for (const name of ['a', 'b', 'c']) control.up(name);
      control.down(dead);
      control.apply({ type: 'drain', name: leaves, on: true });
      // It may come back in a moment; until then the one that leaves is needed.
      expect(nextVoterStep(control.map, view(control, ['a', 'b', 'c'], { gone: new Set() }))).toBeUndefined();
      expect(nextVoterStep(control.map, view(control, ['a', 'b', 'c']))).toEqual({ type: 'demote', id: `${dead}/1` });
      expect(settle(control, ['a', 'b', 'c'])).toEqual(['a']);
    }
  });

  test('an identity that no node has any more is removed', () => {
    const control = new Control();
    for (const name of ['a', 'b', 'c']) control.up(name);
    expect(nextVoterStep(control.map, view(control, ['a', 'b'], { voters: ['a/1', 'b/1', 'c/old'] }))).toEqual({ type: 'remove', id: 'c/old' });
  });

  test('any deaths and returns: never a step without a live majority', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 6 }), fc.boolean()), { maxLength: 12 }), (changes) => {
      const control = new Control();
      for (let i = 0; i < 7; i++) control.up(String.fromCodePoint(97 + i));
      let voters = settle(control, ['a']);
      for (const [index, up] of changes) {
        const name = String.fromCodePoint(97 + index);
        if (up) control.up(name);
        else control.down(name);
        if (voters.filter((voter) => control.map.nodes[voter]?.live === true).length <= voters.length / 2) return;
        voters = settle(control, voters);
      }
    }), { numRuns: 200 });
  });
});
