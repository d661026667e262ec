/** Where randomness comes from; `Prng` fits. */
export interface Random {
  /** A whole number in [0, 2^32). */
  uint32(): number;
  /** A number in [0, 1). */
  float(): number;
  /** A whole number in [0, bound). */
  below(bound: number): number;
}

export type EntryType = 'normal' | 'config' | 'empty';

/** One entry of the log. `empty` entries open a leader's term; `config` entries hold an encoded {@link Configuration}. */
export interface Entry {
  /** From 1 upward, without gaps. */
  readonly index: number;
  readonly term: number;
  readonly type: EntryType;
  readonly data: Uint8Array;
}

/** What a member must never forget: see Figure 2 of the Raft paper. */
export interface HardState {
  readonly term: number;
  readonly votedFor: string | undefined;
  /** May lag behind what was committed: it only saves work after a restart. */
  readonly commit: number;
}

/** Who belongs to the group. No id is in both lists. */
export interface Configuration {
  readonly voters: readonly string[];
  readonly learners: readonly string[];
}

/** The state machine's bytes after entry `index`, and the configuration that was in force there. */
export interface Snapshot {
  readonly index: number;
  readonly term: number;
  readonly configuration: Configuration;
  /** Empty: the state machine as it is before any entry. */
  readonly data: Uint8Array;
}

/** What was read from disk at start. All parts absent: a member that knows no group and waits to be contacted. */
export interface RaftState {
  readonly hardState?: HardState;
  readonly snapshot?: Snapshot;
  /** Consecutive; the first at most one past the snapshot's index. */
  readonly entries: readonly Entry[];
}

export interface ConfigurationChange {
  /**
   * `add-learner`: a new member receives the log and has no vote. `promote`: a learner becomes a voter.
   * `demote`: a voter becomes a learner. `remove`: out of the group.
   */
  readonly type: 'add-learner' | 'promote' | 'demote' | 'remove';
  readonly id: string;
}

export interface RaftLimits {
  /** Most entries in one append message; default 256. */
  readonly maxEntriesPerMessage: number;
  /** Bytes of entry data in one append message; default 256 KiB. At least one entry is always sent. */
  readonly maxBytesPerMessage: number;
  /** Append messages sent to one member and not yet acknowledged; default 64. */
  readonly maxInflightMessages: number;
  /** Bytes of proposals not yet committed; default 16 MiB. More are refused with `overloaded`. */
  readonly maxUncommittedBytes: number;
  /** Bytes of one proposal; default 4 MiB. */
  readonly maxEntryBytes: number;
  /** Read tokens that wait for a round; default 10,000. */
  readonly maxPendingReads: number;
  /** Bytes of committed entries handed out by one `ready`; default 1 MiB. At least one entry is always handed out. */
  readonly maxCommittedBytesPerReady: number;
  /** `ready` batches handed out and not yet persisted; default 64. Past it nothing more is handed out to persist. */
  readonly maxOutstandingBatches: number;
  /** Entries kept behind a snapshot for slow followers; default 256. */
  readonly compactionTailEntries: number;
  /** A learner more entries than this behind the commit index cannot be promoted; default 1000. */
  readonly maxPromotionLagEntries: number;
}

export interface RaftOptions {
  readonly id: string;
  readonly random: Random;
  /** What was read from disk. */
  readonly initial: RaftState;
  /** Milliseconds on the monotonic clock that every later `now` is read from. */
  readonly now: number;
  /**
   * A follower that hears from no leader for a random time between these two (ms) asks for an election; default 300 to 500.
   * A voter ignores vote requests for `electionTimeoutMinMs` after it heard from its leader; a leader that hears from no
   * majority for `electionTimeoutMaxMs` steps down.
   */
  readonly electionTimeoutMinMs?: number;
  readonly electionTimeoutMaxMs?: number;
  /** How often a leader says that it lives (ms); default 50. Must be below electionTimeoutMinMs. */
  readonly heartbeatMs?: number;
  /**
   * When the leader is known to be dead, voters campaign one after another, this far apart (ms; default 30), in the
   * order of their ids: at once together they would split the vote. About one disk write and one round trip.
   */
  readonly campaignStaggerMs?: number;
  /** After this long without an answer a snapshot is sent again (ms); default 2000. */
  readonly snapshotRetryMs?: number;
  readonly limits?: Partial<RaftLimits>;
}

export type Role = 'follower' | 'pre-candidate' | 'candidate' | 'leader';

interface Envelope {
  readonly from: string;
  readonly to: string;
  readonly term: number;
}

/** For `pre-vote`, `term` is the term that the sender would campaign in. */
export interface VoteRequest extends Envelope {
  readonly type: 'pre-vote' | 'vote';
  readonly lastIndex: number;
  readonly lastTerm: number;
  /** The leader asked for this election itself: voters do not stick to it. */
  readonly transfer: boolean;
  /** The sender's host knows that this leader's process is dead: voters that follow it do not stick to it. */
  readonly leaderKnownDead: string | undefined;
}

export interface VoteResponse extends Envelope {
  readonly type: 'pre-vote-response' | 'vote-response';
  readonly granted: boolean;
  /** How long before this answer the voter last accepted a message from any leader, or started (ms). Never over-stated. */
  readonly sinceLeaderMs: number;
}

export interface AppendRequest extends Envelope {
  readonly type: 'append';
  readonly previousIndex: number;
  readonly previousTerm: number;
  readonly commit: number;
  readonly entries: readonly Entry[];
}

export interface AppendResponse extends Envelope {
  readonly type: 'append-response';
  readonly rejected: boolean;
  /** Accepted: the log matches the leader's up to here, durably. Rejected: the `previousIndex` that did not match. */
  readonly index: number;
  /** Rejected: where the logs may agree, for the next probe. */
  readonly hintIndex: number;
  readonly hintTerm: number;
  readonly lastIndex: number;
}

export interface HeartbeatRequest extends Envelope {
  readonly type: 'heartbeat';
  readonly commit: number;
  /** The read round in flight, or 0. */
  readonly round: number;
}

export interface HeartbeatResponse extends Envelope {
  readonly type: 'heartbeat-response';
  readonly round: number;
  /** Shows a leader that a member lost its disk. */
  readonly lastIndex: number;
}

export interface SnapshotRequest extends Envelope {
  readonly type: 'snapshot';
  readonly snapshot: Snapshot;
}

/** The leader hands over: campaign now. */
export interface TimeoutNow extends Envelope {
  readonly type: 'timeout-now';
}

export type Message =
  | VoteRequest | VoteResponse | AppendRequest | AppendResponse
  | HeartbeatRequest | HeartbeatResponse | SnapshotRequest | TimeoutNow;

/** A read that may now be served: everything up to `index` is in this or an earlier `committed`. */
export interface ReadState {
  readonly token: number;
  readonly index: number;
}

/**
 * What the host must do, in this order: send `messages`; begin to persist, as one atomic batch, `snapshot` (replaces
 * snapshot and log), then `truncateFrom`, then `entries` and `hardState`; restore from `appliedSnapshot`; apply
 * `committed` and call `applied`; answer `readStates`. When the batch is durable: call `persisted(token)`, then send
 * `messagesAfterPersist`. Later batches may be taken before earlier ones are durable; they must become durable in order.
 */
export interface Ready {
  readonly token: number;
  /** False: nothing to write and nothing that waits for earlier batches; `persisted` need not be called. */
  readonly mustPersist: boolean;
  readonly hardState?: HardState;
  readonly snapshot?: Snapshot;
  /** Delete stored entries with this and every higher index before `entries` are stored. */
  readonly truncateFrom?: number;
  readonly entries: readonly Entry[];
  readonly messages: readonly Message[];
  readonly messagesAfterPersist: readonly Message[];
  /** Restore the state machine from this before `committed`. The first Ready after a start carries the loaded snapshot. */
  readonly appliedSnapshot?: Snapshot;
  /** Committed and durable here; apply in order. */
  readonly committed: readonly Entry[];
  /** Serve after `committed` is applied. */
  readonly readStates: readonly ReadState[];
}

export type ProgressState = 'probe' | 'replicate' | 'snapshot';

/** One member as the leader sees it. */
export interface MemberProgress {
  readonly id: string;
  readonly match: number;
  readonly next: number;
  readonly state: ProgressState;
  /** It answered within the election time-out. */
  readonly recentActive: boolean;
  readonly isLearner: boolean;
}

/** What the winner of an election knows of the leader before it. */
export interface ElectionResult {
  readonly term: number;
  /**
   * The least `sinceLeaderMs` over the voters that elected this leader, itself included: any quorum round that an earlier
   * leader completed was accepted by one of them at least this long before that voter's grant.
   */
  readonly previousLeaderSilentMs: number;
}

/** Why the last propose, proposeConfiguration, readIndex or transferLeadership was refused. */
export type Refusal =
  | 'not-leader' | 'transferring' | 'overloaded' | 'too-large'
  /** A configuration change is not yet committed, or this leader has not committed an entry of its term yet. */
  | 'configuration-pending'
  /** The change makes no sense for the present configuration: unknown member, wrong kind, already so. */
  | 'not-applicable'
  | 'last-voter'
  /** The learner is too far behind to be promoted. */
  | 'lagging';
