import { rank } from './rendezvous.ts';

export interface PlacementNode {
  readonly name: string;
  readonly zone: string;
}

/**
 * Where each partition's copies should be: rendezvous hashing with bounded load. The first of each list should be the
 * primary. Copies of a partition go to different zones where there are enough zones. The nodes'
 * numbers of copies differ by at most one, those of primaries by two, unless zones forbid it. Pure: the same nodes give the same answer.
 */
export function desiredPlacement(keyspace: string, partitionCount: number, replicas: number, nodes: readonly PlacementNode[]): string[][] {
  if (nodes.length === 0) return Array.from({ length: partitionCount }, () => []);
  const names = nodes.map((node) => node.name);
  const zoneOf = new Map(nodes.map((node) => [node.name, node.zone]));
  const zoneCount = new Set(zoneOf.values()).size;
  const copiesPerPartition = Math.min(replicas, nodes.length);
  const copyLimit = Math.ceil((partitionCount * copiesPerPartition) / nodes.length);
  const primaryLimit = Math.ceil(partitionCount / nodes.length);
  const copies = new Map(names.map((name) => [name, 0]));
  const primaries = new Map(names.map((name) => [name, 0]));
  const placement: string[][] = [];

  for (let partition = 0; partition < partitionCount; partition++) {
    const ranked = rank(`${keyspace}/${partition}`, names);
    const chosen: string[] = [];
    const zones = new Set<string>();
    while (chosen.length < copiesPerPartition) {
      const free = ranked.filter((name) => !chosen.includes(name));
      // A zone of its own matters more than an even load: a zone with few nodes has to carry more.
      const otherZone = zones.size < zoneCount ? free.filter((name) => !zones.has(zoneOf.get(name) ?? '')) : [];
      const pool = otherZone.length > 0 ? otherZone : free;
      const next = (pool.find((name) => (copies.get(name) ?? 0) < copyLimit) ?? pool.toSorted((a, b) => (copies.get(a) ?? 0) - (copies.get(b) ?? 0))[0]) as string;
      chosen.push(next);
      zones.add(zoneOf.get(next) ?? '');
      copies.set(next, (copies.get(next) ?? 0) + 1);
    }
    placement.push(chosen);
  }
  levelCopies(placement, copies, zoneOf);
  placePrimaries(placement, primaries, primaryLimit);
  return placement;
}

/** The greedy pass may end with a node over the others: single copies move from the fullest to the emptiest, where zones allow it. */
function levelCopies(placement: string[][], load: Map<string, number>, zoneOf: ReadonlyMap<string, string>): void {
  const loadOf = (name: string): number => load.get(name) ?? 0;
  const moveOne = (): boolean => {
    const byLoad = [...load.keys()].toSorted((a, b) => loadOf(b) - loadOf(a) || (a < b ? -1 : 1));
    for (const heavy of byLoad) {
      for (const light of byLoad.toReversed()) {
        if (loadOf(heavy) - loadOf(light) < 2) break;
        const copies = placement.find((names) => {
          if (!names.includes(heavy) || names.includes(light)) return false;
          return zoneOf.get(light) === zoneOf.get(heavy) || !names.some((name) => zoneOf.get(name) === zoneOf.get(light)) || names.some((name) => name !== heavy && zoneOf.get(name) === zoneOf.get(heavy));
        });
        if (copies === undefined) continue;
        copies[copies.indexOf(heavy)] = light;
        load.set(heavy, loadOf(heavy) - 1);
        load.set(light, loadOf(light) + 1);
        return true;
      }
    }
    return false;
  };
  for (let left = placement.length; left > 0 && moveOne(); left--);
}

/** Puts the primary first in each list, no node over the limit where the copies allow it. */
function placePrimaries(placement: string[][], primaries: Map<string, number>, limit: number): void {
  const load = (name: string): number => primaries.get(name) ?? 0;
  for (const copies of placement) {
    const primary = copies.find((name) => load(name) < limit) ?? copies.toSorted((a, b) => load(a) - load(b))[0];
    if (primary === undefined) continue;
    copies.splice(copies.indexOf(primary), 1);
    copies.unshift(primary);
    primaries.set(primary, load(primary) + 1);
  }
  // The greedy pass may leave a node over and another under: move single primaries from the fullest to the emptiest.
  for (let round = 0; round < placement.length; round++) {
    let moved = false;
    for (const copies of placement) {
      const primary = copies[0];
      if (primary === undefined) continue;
      const lighter = copies.find((name) => load(name) + 1 < load(primary));
      if (lighter === undefined) continue;
      copies.splice(copies.indexOf(lighter), 1);
      copies.unshift(lighter);
      primaries.set(primary, load(primary) - 1);
      primaries.set(lighter, load(lighter) + 1);
      moved = true;
    }
    if (!moved) return;
  }
}
