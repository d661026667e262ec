/**
 * The cluster map as the agreed consensus log makes it, followed one command at a time: every node's map must equal it
 * at the same index, epochs only grow, and a partition may only be called lost once all that held it are dead.
 */
import { apply, encodeMap } from '../../core/control/apply.ts';
import { decodeCommand } from '../../core/control/commands.ts';
import type { Command } from '../../core/control/commands.ts';
import { emptyMap } from '../../core/control/map.ts';
import type { ClusterMap, PartitionEntry } from '../../core/control/map.ts';
import type { Entry } from '../../core/raft/types.ts';
import type { Report } from './checker.ts';

export interface ShadowMapEvents {
  /** Whether the process with this instance number may still act. */
  isAlive(instance: string): boolean;
  lost(keyspace: string, partition: number): void;
  lossAccepted(keyspace: string, partition: number): void;
  command(command: Command): void;
}

interface Holder {
  readonly name: string;
  readonly instance: string;
}

export class ShadowMap {
  readonly map: ClusterMap = emptyMap();
  readonly #report: Report;
  readonly #events: ShadowMapEvents;
  readonly #digests = new Map<number, number>();
  /** By keyspace and partition: who was in sync when last anybody was. */
  readonly #holders = new Map<string, readonly Holder[]>();
  appliedIndex = 0;

  constructor(report: Report, events: ShadowMapEvents) {
    this.#report = report;
    this.#events = events;
  }

  /** The next committed entry. */
  apply(entry: Entry): void {
    this.appliedIndex = entry.index;
    if (entry.type !== 'normal' || entry.data.length === 0) {
      this.#digests.set(entry.index, this.#digests.get(entry.index - 1) ?? digestOf(this.map));
      return;
    }
    const { map } = this;
    const before = epochsOf(map);
    const command = decodeCommand(entry.data);
    apply(map, command, entry.index);
    this.#events.command(command);
    this.#digests.set(entry.index, digestOf(map));
    for (const [name, epoch] of epochsOf(map)) {
      const old = before.get(name);
      if (old !== undefined && epoch < old) this.#report('epochs-grow', `the epoch of ${name} fell from ${old} to ${epoch} with ${JSON.stringify(command)}`);
    }
    this.#followHolders(command);
  }

  #followHolders(command: Command): void {
    for (const keyspace of Object.values(this.map.keyspaces)) {
      keyspace.partitions.forEach((partition, index) => {
        const key = `${keyspace.name}/${index}`;
        this.#checkShape(key, partition);
        if (command.type === 'accept-loss' && command.keyspace === keyspace.name && command.partitions.some(({ partition: accepted }) => accepted === index) && this.#holders.get(key) === undefined && partition.inSync.length > 0) this.#events.lossAccepted(keyspace.name, index);
        if (partition.inSync.length > 0) {
          this.#holders.set(key, partition.inSync.map((name) => ({ name, instance: this.map.nodes[name]?.instance ?? '' })));
          return;
        }
        const holders = this.#holders.get(key);
        if (!partition.lost || holders === undefined) return;
        this.#holders.delete(key);
        const alive = holders.filter((holder) => this.#events.isAlive(holder.instance));
        if (alive.length > 0) this.#report('no-false-loss', `partition ${key} is called lost although ${alive.map((holder) => holder.name).join(', ')} still holds it; ${JSON.stringify(command)}`);
        this.#events.lost(keyspace.name, index);
      });
    }
  }

  #checkShape(key: string, partition: PartitionEntry): void {
    const { primary, inSync, copies } = partition;
    if (primary !== undefined && !inSync.includes(primary)) this.#report('map-shape', `the primary ${primary} of partition ${key} is not in sync (${inSync.join()})`);
    if (new Set(inSync).size !== inSync.length) this.#report('map-shape', `partition ${key} names a node twice as in sync (${inSync.join()})`);
    for (const name of inSync) {
      if (!copies.includes(name)) this.#report('map-shape', `${name} is in sync for partition ${key} but is no copy (${copies.join()})`);
      if (this.map.nodes[name]?.live !== true) this.#report('map-shape', `${name} is in sync for partition ${key} but has no live session`);
    }
  }

  /** A node's map after it has applied `index`. */
  compare(name: string, map: ClusterMap, index: number): void {
    const expected = this.#digests.get(index);
    if (expected !== undefined && expected !== digestOf(map)) this.#report('maps-agree', `the map of ${name} at index ${index} is not what the log makes it`);
  }
}

function epochsOf(map: ClusterMap): Map<string, number> {
  const epochs = new Map<string, number>();
  for (const keyspace of Object.values(map.keyspaces)) keyspace.partitions.forEach((partition, index) => epochs.set(`partition ${keyspace.name}/${index}`, partition.epoch));
  for (const app of Object.values(map.apps)) epochs.set(`app ${app.name}`, app.epoch);
  epochs.set('the sessions', map.nextSession);
  return epochs;
}

function digestOf(map: ClusterMap): number {
  const bytes = encodeMap(map);
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ (bytes[i] as number), 0x01000193);
  return hash >>> 0;
}
