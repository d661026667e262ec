import type { ClusterMap, KeyspaceEntry, PartitionEntry } from '../../core/control/map.ts';
import type { Operation } from '../history.ts';
import type { Checker, RunningNode } from './checker.ts';

/** Where in the history the last moment was at which nothing was lost yet. */
export interface LossMark {
  readonly place: number;
  readonly underWay: readonly Operation[];
}

export interface LostTailEvents {
  /** What the keyspace's acknowledgements are to mean. */
  promised(keyspace: string): 'all' | 'majority' | 'one';
  mark(keyspace: string, partition: number): LossMark;
  /** What was acknowledged before the mark may be gone. */
  lostTail(keyspace: string, partition: number, mark: LossMark): void;
}

/** From one serving of a partition to the next: who was in sync, and how few of them a write may have been on. */
interface Tenure {
  epoch: number;
  /** Each with its instance: a process that was started again has lost what it held. */
  readonly members: Set<string>;
  readonly primaries: Set<string>;
  holdersMin: number;
  /** The epoch has changed since anybody served. */
  mark: LossMark | undefined;
}

/**
 * Knows when a write that was acknowledged under `acks: one` or `majority` may be gone: when a new epoch is served without
 * the primary that answered alone, or without so many of those that were in sync that all holders may be among them.
 * Under `all` that is never so, as long as anybody serves.
 */
export class LostTails implements Checker {
  readonly #map: ClusterMap;
  readonly #events: LostTailEvents;
  readonly #tenures = new Map<string, Tenure>();
  #unserved = 0;

  constructor(map: ClusterMap, events: LostTailEvents) {
    this.#map = map;
    this.#events = events;
  }

  /** The map has changed. */
  followMap(): void {
    for (const keyspace of this.#weakKeyspaces()) keyspace.partitions.forEach((partition, index) => this.#follow(keyspace, partition, index));
  }

  #weakKeyspaces(): KeyspaceEntry[] {
    return Object.values(this.#map.keyspaces).filter((keyspace) => this.#events.promised(keyspace.name) !== 'all');
  }

  #follow(keyspace: KeyspaceEntry, partition: PartitionEntry, index: number): void {
    const key = `${keyspace.name}/${index}`;
    let tenure = this.#tenures.get(key);
    if (tenure === undefined) this.#tenures.set(key, (tenure = this.#begin(partition)));
    if (tenure.epoch !== partition.epoch && tenure.mark === undefined) {
      tenure.mark = this.#events.mark(keyspace.name, index);
      this.#unserved++;
    }
    tenure.epoch = partition.epoch;
    for (const name of partition.inSync) tenure.members.add(this.#instance(name));
    if (partition.primary !== undefined) tenure.primaries.add(this.#instance(partition.primary));
    if (partition.inSync.length > 0) tenure.holdersMin = Math.min(tenure.holdersMin, (partition.inSync.length >> 1) + 1);
  }

  #begin({ epoch, inSync, primary }: PartitionEntry): Tenure {
    return {
      epoch, members: new Set(inSync.map((name) => this.#instance(name))), primaries: new Set(primary === undefined ? [] : [this.#instance(primary)]),
      holdersMin: inSync.length === 0 ? Infinity : (inSync.length >> 1) + 1, mark: undefined,
    };
  }

  #instance(name: string): string {
    return `${name} ${this.#map.nodes[name]?.instance ?? ''}`;
  }

  afterEvent(_now: number, nodes: readonly RunningNode[]): void {
    if (this.#unserved === 0) return;
    for (const keyspace of this.#weakKeyspaces()) {
      keyspace.partitions.forEach((partition, index) => {
        const tenure = this.#tenures.get(`${keyspace.name}/${index}`);
        if (tenure?.mark === undefined || !isServed(nodes, keyspace.id, index, tenure.epoch)) return;
        const present = new Set(partition.inSync.map((name) => this.#instance(name)));
        const isGone = (instance: string): boolean => !present.has(instance);
        const gone = [...tenure.members].filter(isGone).length;
        const lost = this.#events.promised(keyspace.name) === 'one' ? [...tenure.primaries].some(isGone) : gone >= tenure.holdersMin;
        if (lost) this.#events.lostTail(keyspace.name, index, tenure.mark);
        this.#unserved--;
        this.#tenures.set(`${keyspace.name}/${index}`, this.#begin(partition));
      });
    }
  }
}

function isServed(nodes: readonly RunningNode[], keyspace: number, partition: number, epoch: number): boolean {
  return nodes.some(({ parts }) => {
    const copy = parts.store.keyspaces.get(keyspace)?.copies[partition];
    return copy?.serving === true && copy.epoch >= epoch;
  });
}
