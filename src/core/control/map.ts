/**
 * The cluster map: the one replicated truth about who holds what. Plain data, changed only by `apply` (apply.ts) in
 * the order of the consensus log, so that every node computes the same map from the same log.
 */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** Why a node is held to be gone (see DESIGN.md, Evidence). `replaced`: the same name came back as a newer instance. */
export type Evidence = 'left' | 'refused' | 'silent' | 'replaced';

export interface NodeEntry {
  readonly name: string;
  /** The consensus identity: name and data directory. A node with a new, empty data directory is another member of the Raft group. */
  raftId: string;
  /** Random per process start. */
  instance: string;
  peer: Address;
  gossip: Address;
  zone: string;
  /** May become a voter. */
  eligible: boolean;
  /** May hold copies of partitions. */
  storage: boolean;
  version: string;
  /** Grows over the whole cluster; identifies one life of one node, and is part of request ids. */
  session: number;
  live: boolean;
  /** Why the last session ended. */
  ended: Evidence | undefined;
  draining: boolean;
  /** Names of the apps whose code this node has, each with the digest of its configuration there. */
  offers: Record<string, string>;
}

export type Acks = 'all' | 'majority' | 'one';

export interface KeyspaceOptions {
  readonly partitions: number;
  readonly replicas: number;
  readonly acks: Acks;
  readonly engine: 'memory';
  /** Bytes for one copy of the whole keyspace; each partition may use an equal share. */
  readonly maxMemoryBytes: number;
  readonly eviction: 'lru' | 'none';
  /** Writes are refused while fewer copies than this are in sync. */
  readonly minInSync: number;
}

export interface PartitionEntry {
  /** The primary's tenure; grows by one with every change of primary. The fencing token of the partition. */
  epoch: number;
  primary: string | undefined;
  /** Holds every acknowledged write; the primary is first among them. Names, each with its live session. */
  inSync: string[];
  /** All nodes that hold or fill a copy; contains inSync. */
  copies: string[];
  /** While there is no primary: who held the last complete copies, as `name` and `instance`; whoever of them is still the same process may resume. */
  lastInSync: { name: string; instance: string }[];
  /** The epoch at which the partition last began empty: 1, or that of the last accepted loss. Copies from before it are worthless. */
  emptySince: number;
  /** Members of the in-sync set that have been in it without a break since the partition last began empty: only they may begin with nothing. */
  founding: string[];
  /** The primary before a transfer, until the new one says that it serves: it may not know yet, and nobody else may take it out of the in-sync set. */
  former: string | undefined;
  /** Every complete copy is known to be gone. Stays so until an operator accepts the loss. */
  lost: boolean;
}

export interface KeyspaceEntry {
  readonly name: string;
  /** Number on the wire. */
  readonly id: number;
  options: KeyspaceOptions;
  partitions: PartitionEntry[];
}

export interface AppSpec {
  readonly name: string;
  /** Priority list; an inner list is one tier. */
  readonly tiers: readonly (readonly string[])[];
  /** Wait this long after a node is known down before its app starts elsewhere (ms). */
  readonly failoverTimeoutMs: number;
  readonly takeover: 'automatic' | 'manual';
  /** Bound on the old instance's stop at a takeover, and on a stop by hand (ms). */
  readonly stopTimeoutMs: number;
  /** Bound on a start (ms). */
  readonly startTimeoutMs: number;
}

export type StartType = 'normal' | 'failover' | 'takeover';

/**
 * idle: nobody runs it, nobody is asked to. waiting: its node died, the fail-over time-out runs.
 * starting / running: `node` is to run it under `epoch`. stopping: `node` is to stop it; then `next` starts, if any.
 */
export type AppPhase = 'idle' | 'waiting' | 'starting' | 'running' | 'stopping';

export interface AppEntry {
  readonly name: string;
  spec: AppSpec;
  wanted: 'started' | 'stopped';
  /** Nodes that may not run it. */
  forbidden: string[];
  phase: AppPhase;
  node: string | undefined;
  session: number;
  /** Grows with every start anywhere; the fencing token of the app. */
  epoch: number;
  type: StartType;
  from: string | undefined;
  /** While stopping: who starts next, if anybody. */
  next: string | undefined;
  /** Start with a state that `handoverFrom` kept under this epoch, if it kept any. */
  handoverEpoch: number | undefined;
  handoverFrom: string | undefined;
  /** An operator moved it to where it is: no takeover by itself until a higher node comes up or is permitted. */
  stays: boolean;
  /** Nodes on which it failed and that have not come up anew since. */
  failedOn: string[];
  lastError: string | undefined;
}

/** Fixed when the cluster is founded, because both sides of every lease must count alike. */
export interface LeaseTiming {
  /** A session is good for this long after the renewal that was answered was sent (ms). */
  readonly leaseMs: number;
  /** A node stops this much earlier, the leader waits this much longer (ms). */
  readonly marginMs: number;
  /** A node renews this often (ms). */
  readonly renewMs: number;
}

export const defaultTiming: LeaseTiming = { leaseMs: 800, marginMs: 50, renewMs: 100 };

export interface ClusterMap {
  /** Raft index of the last command that changed something. */
  version: number;
  clusterId: string;
  timing: LeaseTiming;
  nextSession: number;
  nextKeyspace: number;
  maintenance: boolean;
  nodes: Record<string, NodeEntry>;
  keyspaces: Record<string, KeyspaceEntry>;
  apps: Record<string, AppEntry>;
  /** Nodes that may not run an app that is not defined yet, by the app's name. */
  forbidden: Record<string, string[]>;
}

export function emptyMap(): ClusterMap {
  return { version: 0, clusterId: '', timing: defaultTiming, nextSession: 1, nextKeyspace: 1, maintenance: false, nodes: {}, keyspaces: {}, apps: {}, forbidden: {} };
}

export function isLive(map: ClusterMap, name: string): boolean {
  return map.nodes[name]?.live === true;
}

/** Its process may be alive: its session is, or ended only because nothing was heard. */
export function isNotOver(node: NodeEntry): boolean {
  return node.live || node.ended === 'silent';
}

/** Live and not on its way out. */
export function isActive(map: ClusterMap, name: string): boolean {
  const node = map.nodes[name];
  return node !== undefined && node.live && !node.draining;
}
