import { rank } from './rendezvous.ts';
import { isLive } from './map.ts';
import type { ClusterMap, Evidence, KeyspaceEntry, PartitionEntry } from './map.ts';
import type { InSyncChange, PlacementMove } from './commands.ts';

/** Takes nodes whose sessions ended out of every in-sync set, and promotes where the primary was among them. The nodes are already marked as not live. */
export function loseNodes(map: ClusterMap, gone: ReadonlyMap<string, Evidence>): void {
  for (const keyspace of Object.values(map.keyspaces)) {
    keyspace.partitions.forEach((partition, index) => loseFrom(map, keyspace, partition, index, gone));
  }
}

function loseFrom(map: ClusterMap, keyspace: KeyspaceEntry, partition: PartitionEntry, index: number, gone: ReadonlyMap<string, Evidence>): void {
  if (strikeLastHolders(partition, (last) => isCertainlyDead(gone.get(last.name)))) resumeLast(map, keyspace, partition, index);
  const lostMembers = partition.inSync.filter((name) => gone.has(name));
  if (lostMembers.length === 0) return;
  const { founding } = partition;
  for (const name of lostMembers) leaveInSync(partition, name);
  if (partition.inSync.length === 0) {
    // A silent process may still be alive and hold every acknowledged write; a dead one does not.
    partition.lastInSync = lostMembers
      .filter((name) => !isCertainlyDead(gone.get(name)))
      .map((name) => ({ name, instance: map.nodes[name]?.instance ?? '' }));
    // No write was acknowledged without them: who was to begin empty, and has not even heard of it, may still do so.
    partition.founding = founding.filter((name) => partition.lastInSync.some((last) => last.name === name));
    partition.lost = partition.lastInSync.length === 0;
    partition.primary = undefined;
    partition.epoch += 1;
    return;
  }
  if (partition.primary !== undefined && gone.has(partition.primary)) promote(keyspace, partition, index);
}

/** Some of the processes that may hold everything turned out not to: nor may they begin empty. With the last of them the partition is lost. True if there were any. */
function strikeLastHolders(partition: PartitionEntry, isGone: (last: PartitionEntry['lastInSync'][number]) => boolean): boolean {
  const gone = partition.lastInSync.filter(isGone);
  if (gone.length === 0) return false;
  partition.lastInSync = partition.lastInSync.filter((last) => !gone.includes(last));
  partition.founding = partition.founding.filter((member) => !gone.some((last) => last.name === member));
  if (partition.lastInSync.length === 0 && partition.inSync.length === 0) partition.lost = true;
  return true;
}

function leaveInSync(partition: PartitionEntry, name: string): void {
  partition.inSync = partition.inSync.filter((member) => member !== name);
  partition.founding = partition.founding.filter((member) => member !== name);
  if (partition.former === name) partition.former = undefined;
}

function isCertainlyDead(evidence: Evidence | undefined): boolean {
  return evidence !== undefined && evidence !== 'silent';
}

/** Any in-sync member will do: each settles with the others before it serves. Ranking by hash spreads a dead node's load over the survivors. */
function promote(keyspace: KeyspaceEntry, partition: PartitionEntry, index: number, to?: string): void {
  const primary = to ?? rank(`${keyspace.name}/${index}`, partition.inSync)[0];
  partition.primary = primary;
  partition.epoch += 1;
  // Primary again before its successor served: there is nothing to wait for.
  if (partition.former === primary) partition.former = undefined;
  if (primary !== undefined) partition.inSync = [primary, ...partition.inSync.filter((name) => name !== primary)];
}

/** A process that only lost contact is back: partitions for which it holds the last complete copy go on with it. */
export function resumeNode(map: ClusterMap, name: string, instance: string): void {
  for (const keyspace of Object.values(map.keyspaces)) {
    keyspace.partitions.forEach((partition, index) => {
      if (partition.lastInSync.some((copy) => copy.name === name && copy.instance === instance)) resumeLast(map, keyspace, partition, index);
    });
  }
}

/** Goes on with the last holders, if enough of them are back. With acks `all` each of them holds every acknowledged write, otherwise only all of them together do. */
function resumeLast(map: ClusterMap, keyspace: KeyspaceEntry, partition: PartitionEntry, index: number): void {
  if (partition.inSync.length > 0 || partition.lost) return;
  const last = partition.lastInSync;
  const back = last.filter((copy) => isLive(map, copy.name) && map.nodes[copy.name]?.instance === copy.instance).map((copy) => copy.name);
  const needed = keyspace.options.acks === 'all' ? back.slice(0, 1) : back;
  if (needed.length === 0 || (keyspace.options.acks !== 'all' && back.length < last.length)) return;
  partition.inSync = needed;
  partition.founding = partition.founding.filter((member) => needed.includes(member));
  partition.lastInSync = [];
  promote(keyspace, partition, index);
}

/** A new process took the name: whatever its predecessor held in memory is gone. */
export function forgetInstance(map: ClusterMap, name: string, instance: string): void {
  for (const keyspace of Object.values(map.keyspaces)) {
    keyspace.partitions.forEach((partition, index) => {
      // The others may have been waiting for just this one.
      if (strikeLastHolders(partition, (last) => last.name === name && last.instance !== instance)) resumeLast(map, keyspace, partition, index);
    });
  }
}

/** True when the change still fits: the word of a primary holds only under its own epoch. */
export function changeInSync(map: ClusterMap, change: InSyncChange): boolean {
  const keyspace = map.keyspaces[change.keyspace];
  const partition = keyspace?.partitions[change.partition];
  if (keyspace === undefined || partition === undefined || partition.epoch !== change.epoch || partition.primary === undefined) return false;
  if (change.remove === partition.primary) {
    const { inFavourOf } = change;
    // Whoever was to take over has gone meanwhile: then this primary's copy is the best there is, and may have served since.
    if (inFavourOf !== undefined && !partition.inSync.includes(inFavourOf)) return false;
    return resign(keyspace, partition, change.partition, change.remove, inFavourOf);
  }
  if (change.settled === true) partition.former = undefined;
  if (change.add !== undefined) {
    const node = map.nodes[change.add];
    if (node === undefined || !node.live || node.session !== change.session || !partition.copies.includes(change.add)) return false;
    if (!partition.inSync.includes(change.add)) partition.inSync.push(change.add);
  }
  if (change.remove !== undefined) {
    leaveInSync(partition, change.remove);
    // The primary stays, under a new epoch: an addition of the same node that is still on its way must come too late.
    partition.epoch += 1;
  }
  return true;
}

/** By its own word the primary's copy is not complete and holds nothing that counts, or misses what another one has. */
function resign(keyspace: KeyspaceEntry, partition: PartitionEntry, index: number, name: string, inFavourOf: string | undefined): boolean {
  leaveInSync(partition, name);
  if (partition.inSync.length > 0) promote(keyspace, partition, index, inFavourOf);
  else {
    partition.primary = undefined;
    partition.epoch += 1;
    partition.lost = true;
  }
  return true;
}

/** True when anything changed. */
export function movePlacement(map: ClusterMap, move: PlacementMove): boolean {
  const partition = map.keyspaces[move.keyspace]?.partitions[move.partition];
  if (partition === undefined) return false;
  const adds = move.add !== undefined && !partition.copies.includes(move.add);
  if (adds) partition.copies.push(move.add as string);
  // A primary is first handed over; the last in-sync copy is never dropped.
  const { remove } = move;
  if (remove === undefined || remove === partition.primary || !partition.copies.includes(remove)) return adds;
  // Nor is one that may still take itself for the primary, or that may come back as the last holder.
  if (remove === partition.former || partition.lastInSync.some((last) => last.name === remove)) return adds;
  const keeps = partition.inSync.filter((name) => name !== remove);
  if (keeps.length === 0 && partition.inSync.length > 0) return adds;
  if (keeps.length < partition.inSync.length) partition.epoch += 1;
  leaveInSync(partition, remove);
  partition.copies = partition.copies.filter((name) => name !== remove);
  return true;
}

export function transferPrimary(map: ClusterMap, keyspaceName: string, index: number, epoch: number, to: string): boolean {
  const keyspace = map.keyspaces[keyspaceName];
  const partition = keyspace?.partitions[index];
  if (keyspace === undefined || partition === undefined || partition.epoch !== epoch) return false;
  if (partition.primary === to || !partition.inSync.includes(to) || !isLive(map, to)) return false;
  // One handover after the other: the new primary first says that it serves.
  if (partition.former !== undefined) return false;
  partition.former = partition.primary;
  promote(keyspace, partition, index, to);
  return true;
}

/** The operator has decided to go on without the lost data: the partition starts empty on live nodes. */
export function acceptLoss(map: ClusterMap, keyspace: KeyspaceEntry, index: number, epoch: number): boolean {
  const partition = keyspace.partitions[index];
  if (partition === undefined || partition.epoch !== epoch || partition.inSync.length > 0) return false;
  const storage = Object.values(map.nodes).filter((node) => node.live && node.storage).map((node) => node.name);
  const candidates = [...partition.copies.filter((name) => isLive(map, name)), ...rank(`${keyspace.name}/${index}`, storage)];
  const primary = candidates[0];
  if (primary === undefined) return false;
  partition.lost = false;
  partition.lastInSync = [];
  partition.inSync = [primary];
  partition.founding = [primary];
  if (!partition.copies.includes(primary)) partition.copies.push(primary);
  promote(keyspace, partition, index, primary);
  partition.emptySince = partition.epoch;
  return true;
}
