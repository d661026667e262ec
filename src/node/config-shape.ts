import type { Address } from '../ports/address.ts';
import type { LogLevel } from '../ports/log.ts';
import type { DiscoveryConfig, DiscoveryInput } from './config-discovery.ts';

/**
 * The config file's keys. Twice the same: as it is written (addresses, keys and sizes are text) and as it is read.
 * Defaults are in docs/config.md, and in each comment.
 */
export interface ConfigShape<A, K, S, D> {
  /** Unique in the cluster; 1 to 64 letters, digits, `.`, `_`, `-`. Default: the host's name. */
  name?: string | undefined;
  /** Directory of what must survive a restart. Default: none, every start is a new member. */
  data?: string | undefined;
  /** A cluster of one on loopback: `bootstrap.expect` 1, `gossip.bind` 127.0.0.1, `gossip.profile` local, unless these are given. Default false. */
  dev?: boolean | undefined;
  gossip?: {
    /** UDP and TCP. Default 0.0.0.0:7946. */
    bind?: A | undefined;
    /** What others reach it by. Default: the bound address, or this host's likeliest one if that is a wildcard. */
    advertise?: A | undefined;
    /** Timing of failure detection. Default lan. */
    profile?: 'lan' | 'wan' | 'local' | undefined;
    /** Base64 of 16, 24 or 32 bytes; of a list the first encrypts, all decrypt. Encrypts peer traffic too. Default: plain. */
    encrypt?: K | K[] | undefined;
    /** Default true. */
    compression?: boolean | undefined;
    /** Name of the network interface whose address to bind to, with `bind`'s port. Default: by `bind`. */
    interface?: string | undefined;
    /** File of the keys instead of `encrypt`: a JSON list of base64, the first encrypts. Rewritten when the cluster's keys change. */
    keyringFile?: string | undefined;
    /** A failed member is tried again, by somebody, about this often (ms). Default 5000, wan 15000. */
    reconnectIntervalMs?: number | undefined;
    /** A failed member is forgotten after this long (ms). Default 24 h. */
    reconnectTimeoutMs?: number | undefined;
    /** A member that left is forgotten after this long (ms). Default 24 h. */
    tombstoneTimeoutMs?: number | undefined;
    /** Longest wait for each step of a leave in a large pool (ms). Default 5000. */
    broadcastTimeoutMs?: number | undefined;
    /** Name and payload of a user event that this node fires (bytes), at most 9216. Default 512. */
    userEventBytesMax?: number | undefined;
    /** Estimate round-trip times. Default true. */
    coordinates?: boolean | undefined;
    /** Of two nodes with one name, the one that most others do not know gives way. Default true. */
    nameResolution?: boolean | undefined;
    /** Serf's protocol that this node says it speaks, 3 to 5. Default 5. */
    protocol?: number | undefined;
  } | undefined;
  /** Serf's snapshot: who was there and which events were seen, for the next start. Default: none is kept. */
  snapshot?: {
    /** Counted from the config file, like all paths in it. */
    file?: string | undefined;
    /** Go back to the cluster at the next start even after a leave. Default false. */
    rejoin?: boolean | undefined;
  } | undefined;
  /** JSON file in which this node's tags are kept when they change at run time. Not together with `tags`. Default none. */
  tagsFile?: string | undefined;
  joining?: {
    /** Between two tries of the addresses of `join` while nobody answers (ms). Default 1000. */
    intervalMs?: number | undefined;
    /** Stop with an error after so many tries in vain; 0: never. Default 0. */
    attemptsMax?: number | undefined;
    /** User events from before the join are told. Default false. */
    replay?: boolean | undefined;
  } | undefined;
  /** Consensus, replication and calls, TCP. Default: the gossip address, its port + 1. */
  peer?: A | undefined;
  /** Gossip addresses to join, tried until one answers. Default none. */
  join?: A[] | undefined;
  /**
   * As `join`; but if none of them answers at the start, a node that has nobody else to look for (no `join`, `discovery`,
   * `bootstrap`, `sync`, `data`) ends with an error, as a Serf agent does. Default none.
   */
  startJoin?: A[] | undefined;
  /** Ways to find others, by a name of your choice; and `waitJoinedMs`. Default none. */
  discovery?: D | undefined;
  /** Found a cluster once this many nodes are there. Default 0: only ever join one. */
  bootstrap?: { expect: number } | undefined;
  /** Instead of a number: the names to wait for. At the time-out all mandatory ones must be there. */
  sync?: { mandatory?: string[] | undefined; optional?: string[] | undefined; timeoutMs: number } | undefined;
  quorum?: {
    /** When a voter may go on without a majority; see docs/config.md before changing it. Default never. */
    lastNode?: 'never' | 'on-refusal' | 'on-silence' | undefined;
  } | undefined;
  /** Default: one, called `default`, with the defaults below. */
  keyspaces?: Record<string, ConfigKeyspace<S>> | undefined;
  /** Serve the memcached protocol. Default: not served. */
  memcached?: { bind: A; /** Default `default`. */ keyspace?: string | undefined } | undefined;
  /** The HTTP API; `false` turns it off. */
  http?: false | {
    /** Default 127.0.0.1:7380. */
    bind?: A | undefined;
    /** Asked for in `Authorization: Bearer …`. Default none. */
    token?: string | undefined;
    /** Serve beyond loopback without a token. Default false. */
    allowWithoutToken?: boolean | undefined;
  } | undefined;
  /** Serf's RPC; `false` turns it off. */
  rpc?: false | {
    /** Default 127.0.0.1:7373. */
    bind?: A | undefined;
    /** Clients must name this. Default none. */
    auth?: string | undefined;
    /** Serve beyond loopback without `auth`. Default false. */
    allowWithoutAuth?: boolean | undefined;
  } | undefined;
  /** Scripts that are told of events, in Serf's form `[leader:][EVENT[,EVENT…]=]SCRIPT`. */
  handlers?: string[] | undefined;
  handling?: {
    /** Scripts that run at one time. Default 8. */
    runningMax?: number | undefined;
    /** A script that runs longer is terminated (ms). Default 60000. */
    timeoutMs?: number | undefined;
  } | undefined;
  /** Keep a list of the live nodes in this file, for programs beside the agent (docs/live-nodes.md). Default none. */
  liveNodes?: { file: string } | undefined;
  apps?: Record<string, ConfigApp> | undefined;
  /** Facts about this node for all others to see; at most 512 bytes together. */
  tags?: Record<string, string> | undefined;
  /** Failure domain. Default: the tag `zone`, or ''. */
  zone?: string | undefined;
  /** May take part in consensus. Default true. */
  voter?: boolean | undefined;
  /** May hold copies of partitions. Default true. */
  storage?: boolean | undefined;
  timing?: {
    /** How long a node may act after its last renewal was sent (ms). Default 800. Fixed when the cluster is founded, like the next two. */
    leaseMs?: number | undefined;
    /** A node stops this much earlier, the leader waits this much longer (ms). Default 50. */
    marginMs?: number | undefined;
    /** Time between two renewals (ms). Default 100. */
    renewMs?: number | undefined;
    /** Raft's election time-out (ms). Default 300 to 500. */
    electionTimeoutMs?: { min: number; max: number } | undefined;
    /** After this long a dead node's partitions are copied elsewhere (ms). Default 30000. */
    healAfterMs?: number | undefined;
    /** Longest wait of a request for a primary, fail-over included (ms). Default 10000. */
    requestTimeoutMs?: number | undefined;
  } | undefined;
  /** SIGTERM drains and leaves; false: it stops at once. Default true. */
  leaveOnTerminate?: boolean | undefined;
  /** SIGINT drains and leaves; false: it stops at once. Default true. */
  leaveOnInterrupt?: boolean | undefined;
  log?: { /** Default info. */ level?: LogLevel | undefined } | undefined;
}

export interface ConfigKeyspace<S> {
  /** Fixed when the keyspace is made; 1 to 4096. Default 64. */
  partitions?: number | undefined;
  /** Copies of each partition, the primary among them; fewer while there are fewer nodes. Default 3. */
  replicas?: number | undefined;
  /** Whose word a write waits for. Default all (of the in-sync copies). */
  acks?: 'all' | 'majority' | 'one' | undefined;
  /** Default memory. */
  engine?: 'memory' | undefined;
  /** Of one copy of the whole keyspace: bytes, or text like `512MiB`. Default 1GiB. */
  maxMemory?: S | undefined;
  /** What happens when that is used up: `none` refuses writes, `lru` drops what was not used for longest. Default none. */
  eviction?: 'lru' | 'none' | undefined;
  /** Writes are refused while fewer copies are in sync. Default 1. */
  minInSync?: number | undefined;
}

export interface ConfigApp {
  /** Priority list; an inner list is one tier of equals. */
  nodes: (string | string[])[];
  /** Wait this long after its node is known to be down (ms). Default 0. */
  failoverTimeoutMs?: number | undefined;
  /** A node of higher priority takes the app over when it is ready, or only when told. Default automatic. */
  takeover?: 'automatic' | 'manual' | undefined;
  /** A file (begins with `./`, `../` or `/`; counted from the config file) or a package … */
  module?: string | undefined;
  /** … or a program and its arguments. No shell is involved. */
  command?: string[] | undefined;
  /** Handed to the app. */
  config?: unknown;
  /** Bound on stopping it (ms). Default 10000. */
  stopTimeoutMs?: number | undefined;
  /** Bound on starting it (ms). Default 30000. */
  startTimeoutMs?: number | undefined;
  /** Restarts in place before it moves on. Default 3 in 5000 ms. */
  restart?: { count: number; periodMs: number } | undefined;
}

/** As written in YAML or JSON, or given by a program. */
export type ConfigInput = ConfigShape<string, string, number | string, DiscoveryInput>;
/** As read. */
export type ConfigFile = ConfigShape<Address, Uint8Array, number, DiscoveryConfig>;
