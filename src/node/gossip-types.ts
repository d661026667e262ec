import type { Coordinate } from '../core/serf/coordinates.ts';
import type { Member, QueryOptions, QueryRecord, SerfEvent } from '../core/serf/types.ts';
import type { Address } from '../ports/address.ts';
import type { Cipher } from '../ports/cipher.ts';
import type { Clock } from '../ports/clock.ts';
import type { Datagrams } from '../ports/datagrams.ts';
import type { Log } from '../ports/log.ts';
import type { Random } from '../ports/random.ts';
import type { Streams } from '../ports/streams.ts';

export type {
  Member, MemberEvent, MemberStatus, NameConflictEvent, NameLostEvent, ProtocolRange, QueryEvent, QueryOptions, QueryRecord, UserEvent,
} from '../core/serf/types.ts';

export type { Coordinate } from '../core/serf/coordinates.ts';

/** What the pool tells: see the types of each. */
export type GossipEvent = SerfEvent;

/** What this member of the gossip pool needs from the world. Nothing else is used: the simulator gives twins of these. */
export interface GossipPorts {
  readonly datagrams: Datagrams;
  readonly streams: Streams;
  readonly clock: Clock;
  readonly random: Random;
  readonly cipher: Cipher;
  readonly log: Log;
}

export interface GossipOptions {
  /** This node's name; unique in the pool; 1 to 128 bytes of UTF-8. */
  readonly name: string;
  /** Where UDP and TCP listen, on the same port number. Port 0 asks for a free one. */
  readonly bind: Address;
  /** What others are told to reach us at; default: the bound address. Needed when `bind` is a wildcard address. Port 0: the bound port. */
  readonly advertise?: Address;
  /** Timing preset, as in memberlist: `lan` (failure known in about 5 s), `wan` (slower, for high latency), `local` (loopback). */
  readonly profile: 'lan' | 'wan' | 'local';
  /** Facts about this node for the others; at most 512 bytes encoded. */
  readonly tags: Readonly<Record<string, string>>;
  /** Encryption keys of 16, 24 or 32 bytes; the first encrypts, all are tried to decrypt. Default none: plain text. */
  readonly keys?: readonly Uint8Array[];
  /**
   * Called when the keyring was changed by `setKeys` or by a key query of the pool: the place to keep it on disk. Whoever
   * asked for the change is answered when the promise has resolved; if it rejects, with its error.
   */
  readonly onKeysChanged?: (keys: readonly Uint8Array[]) => void | Promise<void>;
  /** Compress packets that get shorter by it, and all streams; default true. Both are always understood. */
  readonly compression?: boolean;
  /** How long a failed member is kept, and tried again, before it is forgotten (ms); default 24 h. */
  readonly reconnectTimeoutMs?: number;
  /** How long a member that left is remembered (ms); default 24 h. */
  readonly tombstoneTimeoutMs?: number;
  /** How often one failed member may be tried again (ms); default 5000 (lan, local) or 15000 (wan). */
  readonly reconnectIntervalMs?: number;
  /** How long each step of a leave may take in a pool of more than 64 (ms); default 5000. */
  readonly broadcastTimeoutMs?: number;
  /** Of the name and payload, and of the encoded form, of a user event that this node fires (bytes, 1 to 9216); default 512. */
  readonly userEventBytesMax?: number;
  /** Estimate round-trip times (`coordinate`); default true. */
  readonly coordinates?: boolean;
  /** When two nodes claim one name, ask the others whose it is; default true. */
  readonly nameResolution?: boolean;
  /** Serf's protocol that this node says it speaks, 3 to 5; default 5. For pools with agents that know no newer one. */
  readonly protocol?: number;
  /** The Lamport times that this node had seen before it was restarted (from its snapshot): events since then were missed and are told, older ones are not. */
  readonly resume?: LamportTimes;
  /** How long after its death a name may come back at another address (ms); default 0: at once. */
  readonly deadNodeReclaimMs?: number;
  /** Bounds of what others can make us hold; see docs/LIMITS.md. */
  readonly limits?: Partial<GossipLimits>;
}

export interface GossipLimits {
  /** Members that are kept; alive messages about further names are dropped with a warning. Default 16384. */
  readonly membersMax: number;
  /** Incoming streams at one time; further ones are closed. Default 128. */
  readonly streamsMax: number;
  /** Bytes that all incoming streams together may have buffered before they are cut. Default 64 MiB. */
  readonly streamBytesMax: number;
  /** Events, queries and intents that wait to be gossiped, each. Default 4096; the oldest goes first. */
  readonly queueDepthMax: number;
}

/** The newest Lamport times that a node has seen; 0: none. */
export interface LamportTimes {
  readonly memberTime: number;
  readonly eventTime: number;
  readonly queryTime: number;
}

export interface JoinOptions {
  /** Tell the user events of the past that the others remember. Default false: they are history. */
  readonly replay?: boolean;
  /** Go back to members from before a restart (see `GossipOptions.resume`): what was missed meanwhile is told. Default false. */
  readonly rejoin?: boolean;
}

export interface JoinFailure {
  readonly address: Address;
  /** UNREACHABLE, REFUSED, TIMEOUT, REMOTE_ENCRYPTED, REMOTE_PLAINTEXT, WRONG_KEY, REMOTE_ERROR, BAD_STATE, INCOMPATIBLE, CLOSED, ABORTED, BAD_ADDRESS */
  readonly code: string;
  readonly message: string;
}

export interface JoinResult {
  /** How many of the addresses answered. */
  readonly joined: number;
  readonly errors: readonly JoinFailure[];
}

export interface GossipStats {
  readonly members: number;
  readonly alive: number;
  readonly failed: number;
  readonly left: number;
  /** Lifeguard's health score: 0 is well, 7 is worst. */
  readonly healthScore: number;
  readonly memberTime: number;
  readonly eventTime: number;
  readonly queryTime: number;
  readonly intentQueue: number;
  readonly eventQueue: number;
  readonly queryQueue: number;
  readonly encrypted: boolean;
  readonly coordinateResets: number;
  readonly packetsSent: number;
  readonly packetsReceived: number;
  readonly bytesSent: number;
  readonly bytesReceived: number;
  /** Packets that could not be read, by reason. */
  readonly packetsRefused: Readonly<Record<string, number>>;
  readonly streamsRefused: number;
}

/** A running member of the gossip pool. */
export interface Gossip {
  /** Ourselves, as of now. */
  readonly local: Member;
  /** Where UDP and TCP are bound (port resolved). */
  readonly address: Address;
  /** All known members, ourselves and failed and left ones among them, by name. */
  members(): Member[];
  member(name: string): Member | undefined;
  /**
   * Exchanges state with every address. Never rejects: failures are in the result. User events from before are history;
   * with `replay` those that the others remember are told.
   */
  join(addresses: readonly Address[], signal?: AbortSignal, options?: JoinOptions): Promise<JoinResult>;
  /** Replaces our tags. @throws TroupeError TAGS_TOO_LARGE */
  setTags(tags: Readonly<Record<string, string>>): void;
  /** Tells the others that we go, and waits (bounded by about 12 s, usually well under 1 s) until they have heard. `close` follows separately. */
  leave(): Promise<void>;
  /** Turns a failed member into one that left; with `prune` it is forgotten at once. A live member refutes. */
  forceLeave(name: string, prune?: boolean): void;
  /** Certain knowledge from outside that this member's process is dead: declares it failed and gossips it at once. */
  noteDead(name: string, reason: string): void;
  /**
   * Listeners are called in order, synchronously, and must not throw. Returns the way to stop. Our own start is not
   * told: `local` is there from the beginning.
   */
  onEvent(listener: (event: GossipEvent) => void): () => void;
  /** Fires a user event at all members, ourselves among them. @throws TroupeError EVENT_TOO_LARGE */
  userEvent(name: string, payload: Uint8Array, coalesce?: boolean): void;
  /** Asks all members. `done` comes at the deadline, last. @throws TroupeError QUERY_TOO_LARGE */
  query(name: string, payload: Uint8Array, options: QueryOptions, onRecord: (record: QueryRecord) => void): void;
  /**
   * Where a member lies in the space of round-trip times (Vivaldi, as Serf computes it, in seconds); undefined while no
   * ping of ours has told. `distanceSeconds` of two estimates their round trip.
   */
  coordinate(name: string): Coordinate | undefined;
  /** Encryption keys in use, primary first; change with `setKeys`. */
  keys(): readonly Uint8Array[];
  /** Replaces the keyring. An empty list is refused while encrypted. */
  setKeys(keys: readonly Uint8Array[]): void;
  /** The newest Lamport times seen so far. */
  times(): LamportTimes;
  stats(): GossipStats;
  /** Stops at once without telling anybody; idempotent. */
  close(): Promise<void>;
}
