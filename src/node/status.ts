import type { AppEntry, ClusterMap, KeyspaceEntry, NodeEntry } from '../core/control/map.ts';
import { formatAddress } from '../ports/address.ts';
import { nameOfRaftId } from './consensus.ts';
import type { Requests } from './router.ts';
import type { StoreHost } from './store-host.ts';
import type { AppView, NodeStatus, NodeView, PartitionView } from './node-types.ts';

export interface StatusSource {
  readonly name: string;
  readonly version: string;
  readonly map: ClusterMap;
  readonly sessionLive: boolean;
  readonly leader: string | undefined;
  readonly term: number;
  readonly voters: readonly string[];
  /** What stands between this node and a cluster, asked while it belongs to none. */
  readonly waitsFor: () => string;
}

export function partitionViews(map: ClusterMap): PartitionView[] {
  return Object.values(map.keyspaces).flatMap((keyspace) => keyspace.partitions.map((partition, index) => ({
    keyspace: keyspace.name, partition: index, epoch: partition.epoch, primary: partition.primary, inSync: [...partition.inSync], copies: [...partition.copies], lost: partition.lost,
  })));
}

export function buildStatus(source: StatusSource): NodeStatus {
  const { map } = source;
  const partitions = partitionViews(map);
  const voterNames = source.voters.map(nameOfRaftId);
  const liveVoters = voterNames.filter((name) => map.nodes[name]?.live === true).length;
  const quorum = source.leader !== undefined && liveVoters > voterNames.length / 2;
  const storage = Object.values(map.nodes).filter((node) => node.live && node.storage && !node.draining).length;
  const wanted = (view: PartitionView): number => Math.min(map.keyspaces[view.keyspace]?.options.replicas ?? 1, storage);
  const summary = {
    total: partitions.length,
    underReplicated: partitions.filter((view) => view.primary !== undefined && view.inSync.length < wanted(view)).length,
    withoutPrimary: partitions.filter((view) => view.primary === undefined).length,
    lost: partitions.filter((view) => view.lost).length,
  };
  const nodes = Object.values(map.nodes).toSorted((a, b) => (a.name < b.name ? -1 : 1)).map((node) => nodeView(node, source, partitions, voterNames));
  const apps = Object.values(map.apps).toSorted((a, b) => (a.name < b.name ? -1 : 1)).map(appView);
  const status = {
    name: source.name, version: source.version, clusterId: map.clusterId, mapVersion: map.version, sessionLive: source.sessionLive, leader: source.leader, term: source.term,
    voters: voterNames, quorum, nodes, partitions: summary, apps,
  };
  return { ...status, attention: attention(status, source) };
}

function nodeView(node: NodeEntry, source: StatusSource, partitions: readonly PartitionView[], voters: readonly string[]): NodeView {
  const state = node.live ? (node.draining ? 'draining' : 'live') : node.ended === 'left' ? 'left' : node.ended === 'silent' ? 'silent' : 'dead';
  return {
    name: node.name, state, role: source.leader === node.name ? 'leader' : voters.includes(node.name) ? 'voter' : 'follower', zone: node.zone,
    peer: formatAddress(node.peer), gossip: formatAddress(node.gossip), session: node.session, version: node.version,
    primaries: partitions.filter((view) => view.primary === node.name).length,
    copies: partitions.filter((view) => view.copies.includes(node.name)).length,
    apps: Object.values(source.map.apps).filter((app) => app.node === node.name).map((app) => app.name),
  };
}

function appView(app: AppEntry): AppView {
  return {
    name: app.name, state: app.wanted === 'stopped' && app.phase === 'idle' ? 'stopped' : app.phase, node: app.node, epoch: app.epoch, startType: app.type, from: app.from,
    nodes: app.spec.tiers, forbidden: app.forbidden, lastError: app.lastError,
  };
}

function attention(status: Omit<NodeStatus, 'attention'>, { map, waitsFor }: StatusSource): string[] {
  const lines: string[] = [];
  if (status.clusterId === '') lines.push(`this node belongs to no cluster yet: ${waitsFor()}`);
  else if (!status.sessionLive) lines.push('this node has no live session: it holds no part; see its log for why');
  if (status.clusterId !== '' && !status.quorum) lines.push('no majority of the voters is live: nothing can change hands');
  for (const node of status.nodes) {
    if (node.state === 'dead') lines.push(`node ${node.name} is dead: its process has ended`);
    if (node.state === 'silent') lines.push(`node ${node.name} does not answer`);
  }
  const { lost, withoutPrimary, underReplicated } = status.partitions;
  if (lost > 0) lines.push(`${lost} partitions are LOST: every copy is gone; restore them, or accept the loss with: troupe partitions accept-loss KEYSPACE`);
  if (withoutPrimary > lost) lines.push(`${withoutPrimary - lost} partitions wait for the node that holds their last copy`);
  if (underReplicated > 0) lines.push(`${underReplicated} partitions have fewer copies in sync than they should`);
  for (const app of status.apps) {
    if (app.lastError !== undefined && app.state !== 'running') lines.push(`app ${app.name} is ${app.state}; last error: ${app.lastError}`);
    else if (app.state === 'idle') lines.push(`app ${app.name} runs nowhere: none of its nodes is there and permitted`);
    for (const node of Object.values(map.nodes)) {
      const digests = new Set(Object.values(map.nodes).filter((other) => other.live).map((other) => other.offers[app.name]).filter((digest) => digest !== undefined));
      if (digests.size > 1 && node.live && node.offers[app.name] !== undefined) {
        lines.push(`the nodes' configurations of app ${app.name} differ: make them equal`);
        break;
      }
    }
  }
  if (map.maintenance) lines.push('maintenance is on: nothing is moved or taken over');
  return lines;
}

/** For memcached's `stats`: what this node holds of a keyspace. */
export function* keyspaceStats(entry: KeyspaceEntry | undefined, store: StoreHost, requests: Requests): Iterable<readonly [string, string]> {
  let items = 0;
  let bytes = 0;
  let evictions = 0;
  let primaries = 0;
  for (const copy of (entry === undefined ? undefined : store.keyspaces.get(entry.id))?.copies ?? []) {
    if (copy === undefined) continue;
    if (copy.serving) {
      items += copy.table.count;
      primaries++;
    }
    bytes += copy.table.bytes;
    evictions += copy.evictions;
  }
  yield ['curr_items', String(items)];
  yield ['bytes', String(bytes)];
  yield ['evictions', String(evictions)];
  yield ['limit_maxbytes', String(entry?.options.maxMemoryBytes ?? 0)];
  yield ['troupe_primaries', String(primaries)];
  yield ['troupe_requests_waiting', String(requests.waiting)];
  yield ['troupe_requests_retried', String(requests.retried)];
}
