import type { AppAction } from '../core/control/commands.ts';
import type { ClusterMap, KeyspaceOptions, LeaseTiming } from '../core/control/map.ts';
import type { StoreRouter } from '../core/store/request.ts';
import type { Address } from '../ports/address.ts';
import type { Cipher } from '../ports/cipher.ts';
import type { Clock } from '../ports/clock.ts';
import type { Datagrams } from '../ports/datagrams.ts';
import type { Disk } from '../ports/disk.ts';
import type { Log } from '../ports/log.ts';
import type { Processes } from '../ports/processes.ts';
import type { Random } from '../ports/random.ts';
import type { Streams } from '../ports/streams.ts';
import type { System } from '../ports/system.ts';
import type { Gossip, GossipOptions } from './gossip.ts';
import type { NodeProcesses, ProcessDraft } from './ps.ts';

/** Everything a node needs from the world. The host gives real ones, the simulator its twins; nothing else is used. */
export interface NodePorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly datagrams: Datagrams;
  /** For gossip and memcached. */
  readonly streams: Streams;
  /** For peer traffic: TLS with the cluster key where there is one, else the same as `streams`. */
  readonly peerStreams: Streams;
  /** Where consensus is kept. A disk in memory makes a node that is a new member after every start. */
  readonly disk: Disk;
  readonly cipher: Cipher;
  readonly processes: Processes;
  /** What `ps` tells of processes; default: nothing. */
  readonly system?: System;
  readonly log: Log;
  /** Loads the module of an app. */
  readonly loadModule: (specifier: string) => Promise<unknown>;
  /** Handed-over state for a command's TROUPE_HANDOVER file. */
  readonly files: HandoverFiles;
}

/** Small files beside the data: each command's hand-over state. */
export interface HandoverFiles {
  /** Where the state of the app lies for its command; written if `state` is given, removed if not. Returns the path. */
  prepare(app: string, state: Uint8Array | undefined): Promise<string>;
  /** What the command left in it; undefined when there is no such file. */
  collect(app: string): Promise<Uint8Array | undefined>;
}

export type LastNodeRule = 'never' | 'on-refusal' | 'on-silence';

export interface AppConfig {
  readonly name: string;
  /** Priority list; an inner list is one tier. */
  readonly nodes: readonly (string | readonly string[])[];
  /** Default 0: fail over at once (ms). */
  readonly failoverTimeoutMs?: number;
  /** Default automatic. */
  readonly takeover?: 'automatic' | 'manual';
  /** Module to import (a path or package), or … */
  readonly module?: string;
  /** … a program and its arguments. */
  readonly command?: readonly string[];
  /** Given to the module as `node.config`, to the command as TROUPE_CONFIG (JSON). */
  readonly config?: unknown;
  /** Default 10000 ms. */
  readonly stopTimeoutMs?: number;
  /** Default 30000 ms. */
  readonly startTimeoutMs?: number;
  /** Restarts in place before the app moves on: at most `count` within `periodMs`. Default 3 in 5000 ms. */
  readonly restart?: { readonly count: number; readonly periodMs: number };
}

export interface LogLimits {
  /** Of each partition's writes, for returning copies and for retries; default 1 MiB. */
  readonly partitionBytes: number;
  /** The consensus log is compacted after so many entries; default 2000. */
  readonly compactEveryEntries: number;
  /** So many entries stay after a compaction; default 256. */
  readonly compactionTailEntries: number;
}

/** What gossip may be told besides; defaults as in GossipOptions. */
export type GossipTuning = Pick<GossipOptions, (typeof gossipTuning)[number]>;
export const gossipTuning = ['onKeysChanged', 'reconnectTimeoutMs', 'tombstoneTimeoutMs', 'reconnectIntervalMs', 'broadcastTimeoutMs', 'userEventBytesMax', 'coordinates', 'nameResolution', 'protocol', 'resume'] as const;

export interface NodeOptions {
  /** Unique in the cluster: letters, digits, `.`, `_` and `-`, at most 64, beginning with a letter or digit. */
  readonly name: string;
  readonly gossip: { readonly bind: Address; readonly advertise?: Address; readonly profile: 'lan' | 'wan' | 'local'; readonly keys?: readonly Uint8Array[]; readonly compression?: boolean } & GossipTuning;
  /** Default: the gossip address with its port + 1; port 0 for any free one. */
  readonly peer?: Address;
  /** Free tags for others to see. */
  readonly tags: Readonly<Record<string, string>>;
  /** Failure domain: copies of a partition go to different zones. Default ''. */
  readonly zone: string;
  /** May be a voter; default true. */
  readonly voter: boolean;
  /** May hold copies of partitions; default true. */
  readonly storage: boolean;
  /** Found a cluster once this many nodes are there; 0: never found one, only join. */
  readonly bootstrapExpect: number;
  /** OTP's boot barrier, instead of a number. */
  readonly sync?: { readonly mandatory: readonly string[]; readonly optional: readonly string[]; readonly timeoutMs: number };
  readonly lastNode: LastNodeRule;
  /** Only used when this node founds the cluster. */
  readonly timing: LeaseTiming;
  /** Raft's election time-out lies between these (ms); default 300 to 500. */
  readonly electionTimeoutMs?: { readonly min: number; readonly max: number };
  readonly keyspaces: Readonly<Record<string, KeyspaceOptions>>;
  readonly apps: readonly AppConfig[];
  /** Memcached frontend; off by default. */
  readonly memcached?: { readonly bind: Address; readonly keyspace: string };
  /** Gossip addresses to join at start and to retry until one answers. */
  readonly join: readonly Address[];
  /** Between two tries of all of them while nobody answers (ms); default 1000. */
  readonly joinIntervalMs?: number;
  /** Give up, and stop, after so many tries in vain; default: never. */
  readonly joinAttemptsMax?: number;
  /** User events from before are told after the join; default false. */
  readonly replayOnJoin?: boolean;
  /** Called in the turn in which gossip starts, before anything can be heard: for listeners that must miss nothing. */
  readonly onGossip?: (gossip: Gossip) => void;
  /** Copy a dead node's partitions elsewhere after this long (ms); default 30000. */
  readonly healAfterMs?: number;
  /** Longest a request waits for a primary, failover included, before it is answered with an error (ms); default 10000. */
  readonly requestTimeoutMs?: number;
  /** How much is kept of logs. Not for users: small numbers make what is rare happen often in tests. */
  readonly logs?: LogLimits;
  /** Added to the environment of apps' commands: where this agent's interfaces listen. Asked at each start. */
  readonly commandEnvironment?: () => Readonly<Record<string, string>>;
  readonly version: string;
}

/** What `status` shows: plain data, JSON-safe. */
export interface NodeStatus {
  readonly name: string;
  readonly version: string;
  readonly clusterId: string;
  readonly mapVersion: number;
  /** This node's session with the leader is live. */
  readonly sessionLive: boolean;
  readonly leader: string | undefined;
  readonly term: number;
  readonly voters: readonly string[];
  /** Voters with live sessions make a majority. */
  readonly quorum: boolean;
  readonly nodes: readonly NodeView[];
  readonly partitions: { readonly total: number; readonly underReplicated: number; readonly withoutPrimary: number; readonly lost: number };
  readonly apps: readonly AppView[];
  /** Sentences that say what needs attention; empty when all is well. */
  readonly attention: readonly string[];
}

export interface NodeView {
  readonly name: string;
  readonly state: 'live' | 'draining' | 'left' | 'dead' | 'silent';
  readonly role: 'leader' | 'voter' | 'follower';
  readonly zone: string;
  readonly peer: string;
  readonly gossip: string;
  readonly session: number;
  readonly primaries: number;
  readonly copies: number;
  readonly apps: readonly string[];
  readonly version: string;
}

export interface AppView {
  readonly name: string;
  readonly state: 'running' | 'starting' | 'stopping' | 'waiting' | 'idle' | 'stopped';
  readonly node: string | undefined;
  readonly epoch: number;
  readonly startType: string;
  readonly from: string | undefined;
  readonly nodes: readonly (readonly string[])[];
  readonly forbidden: readonly string[];
  readonly lastError: string | undefined;
}

export interface PartitionView {
  readonly keyspace: string;
  readonly partition: number;
  readonly epoch: number;
  readonly primary: string | undefined;
  readonly inSync: readonly string[];
  readonly copies: readonly string[];
  readonly lost: boolean;
}

/** One entry as the store's programs see it. */
export interface StoreEntry {
  /** Yours. Small ones may share their `buffer` with others, as those of `Buffer.from` do: look at the array, not at what it is cut from. */
  readonly value: Uint8Array;
  /** Grows with every write of the entry. */
  readonly version: number;
  /** Unix seconds; undefined: never. */
  readonly expiresAt: number | undefined;
  readonly flags: number;
}

export interface WriteOptions {
  /** Seconds to live; default for ever. */
  readonly ttlSeconds?: number;
  readonly flags?: number;
}

/**
 * A keyspace. Keys are strings of 1 to 250 bytes without blanks or control characters; values are bytes or strings (UTF-8) of at most 1 MiB.
 * Every method rejects with a TroupeError: NO_SUCH_KEYSPACE, BAD_KEY, TOO_LARGE, UNAVAILABLE (nothing was done), TIMEOUT (nothing was done), UNKNOWN_OUTCOME, BUSY, OUT_OF_MEMORY.
 */
export interface Keyspace {
  readonly name: string;
  get(key: string): Promise<StoreEntry | undefined>;
  put(key: string, value: Uint8Array | string, options?: WriteOptions): Promise<{ version: number }>;
  /** False when the key exists. */
  create(key: string, value: Uint8Array | string, options?: WriteOptions): Promise<boolean>;
  /** False when the key does not exist. */
  update(key: string, value: Uint8Array | string, options?: WriteOptions): Promise<boolean>;
  delete(key: string): Promise<boolean>;
  compareAndSet(key: string, value: Uint8Array | string, version: number, options?: WriteOptions): Promise<'stored' | 'changed' | 'missing'>;
  /** Undefined when the key does not exist. @throws TroupeError NOT_A_NUMBER */
  increment(key: string, by?: number | bigint): Promise<bigint | undefined>;
  append(key: string, value: Uint8Array | string): Promise<boolean>;
  touch(key: string, ttlSeconds: number): Promise<boolean>;
}

/** A running member of the cluster. */
export interface Node {
  readonly name: string;
  readonly addresses: { readonly gossip: Address; readonly peer: Address; readonly memcached: Address | undefined };
  readonly gossip: Gossip;
  /** The map as this node knows it; do not change it. */
  readonly map: ClusterMap;
  /** Called after each change of the map. Returns the way to stop. */
  onMap(listener: (map: ClusterMap) => void): () => void;
  status(): NodeStatus;
  partitions(): PartitionView[];
  /**
   * What runs in this node, or in another one of the cluster: services, apps, event handlers, with their processes.
   * Rejects with NO_SUCH_NODE, NODE_NOT_ACTIVE (no connection to it), CALL_TIMEOUT or DISCONNECTED.
   */
  ps(name?: string): Promise<NodeProcesses>;
  /** Lets something around the node be seen in `ps`, too. Called when somebody asks; must not throw. Returns the way to stop. */
  showInPs(source: () => readonly ProcessDraft[]): () => void;
  keyspace(name: string): Keyspace;
  /** For frontends. */
  router(keyspace: string): StoreRouter;
  /** Acts on an app through the leader. @throws TroupeError with the outcome's code */
  app(name: string, action: AppAction | { readonly type: 'move'; readonly to: string }): Promise<void>;
  /** Operator's commands on the cluster; each rejects with a TroupeError that says why not. */
  drainNode(name: string, on: boolean): Promise<void>;
  forgetNode(name: string): Promise<void>;
  maintenance(on: boolean): Promise<void>;
  /** Of lost partitions, or of the given ones that nobody is in sync of; resolves with how many begin anew, empty. @throws TroupeError NO_SUCH_KEYSPACE, STALE when none does */
  acceptLoss(keyspace: string, partitions?: readonly number[]): Promise<number>;
  transferLeadership(to?: string): Promise<void>;
  /** Resolves once the node has a live session, or rejects when the signal aborts. */
  ready(signal?: AbortSignal): Promise<void>;
  /** Hands everything over, tells the others, stops. Bounded by about 15 s. */
  leave(): Promise<void>;
  /** Stops at once, as a crash would look to the others, but in order for this process. */
  close(): Promise<void>;
  /** Resolves when the node has stopped for whatever reason; with the error if it had to. */
  readonly stopped: Promise<Error | undefined>;
}
