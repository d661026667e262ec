import { ConfigurationHistory } from './configuration.ts';
import { RaftLog } from './log.ts';
import { Persistence } from './persistence.ts';
import type { Configuration, Entry, EntryType, HardState, Message, RaftLimits, RaftOptions, Random, Snapshot } from './types.ts';

export const defaultLimits: RaftLimits = {
  maxEntriesPerMessage: 256,
  maxBytesPerMessage: 256 * 1024,
  maxInflightMessages: 64,
  maxUncommittedBytes: 16 * 1024 * 1024,
  maxEntryBytes: 4 * 1024 * 1024,
  maxPendingReads: 10_000,
  maxCommittedBytesPerReady: 1024 * 1024,
  maxOutstandingBatches: 64,
  compactionTailEntries: 256,
  maxPromotionLagEntries: 1000,
};

export interface Timing {
  readonly electionTimeoutMinMs: number;
  readonly electionTimeoutMaxMs: number;
  readonly heartbeatMs: number;
  readonly campaignStaggerMs: number;
  readonly snapshotRetryMs: number;
}

/** What every role shares: term and vote, the log with its configurations, what is durable, and what is to be sent. */
export class Core {
  readonly id: string;
  readonly random: Random;
  readonly timing: Timing;
  readonly limits: RaftLimits;
  readonly log: RaftLog;
  readonly configurations: ConfigurationHistory = new ConfigurationHistory();
  readonly persistence: Persistence;
  term: number;
  votedFor: string | undefined;
  commitIndex: number;
  messages: Message[] = [];
  afterPersist: Message[] = [];
  /** Messages dropped because their content cannot be from a correct member. */
  anomalyCount = 0;

  constructor(options: RaftOptions) {
    const { initial } = options;
    this.id = options.id;
    this.random = options.random;
    this.timing = {
      electionTimeoutMinMs: options.electionTimeoutMinMs ?? 300,
      electionTimeoutMaxMs: options.electionTimeoutMaxMs ?? 500,
      heartbeatMs: options.heartbeatMs ?? 50,
      campaignStaggerMs: options.campaignStaggerMs ?? 30,
      snapshotRetryMs: options.snapshotRetryMs ?? 2000,
    };
    this.limits = { ...defaultLimits, ...options.limits };
    this.log = new RaftLog(initial);
    if (initial.snapshot !== undefined) this.configurations.restored(initial.snapshot);
    for (const entry of initial.entries) if (entry.index > this.log.snapshot.index) this.configurations.appended(entry);
    this.term = Math.max(initial.hardState?.term ?? 0, this.log.lastTerm);
    this.votedFor = initial.hardState?.term === this.term ? initial.hardState.votedFor : undefined;
    this.commitIndex = Math.max(Math.min(initial.hardState?.commit ?? 0, this.log.lastIndex), this.log.snapshot.index);
    this.persistence = new Persistence(this.log.lastIndex, initial.hardState?.commit ?? 0);
  }

  get configuration(): Configuration {
    return this.configurations.current;
  }

  get hardState(): HardState {
    return { term: this.term, votedFor: this.votedFor, commit: this.commitIndex };
  }

  isVoter(id: string): boolean {
    return this.configuration.voters.includes(id);
  }

  send(message: Message): void {
    this.messages.push(message);
  }

  /** For a message that promises something: only once everything so far is durable. */
  sendAfterPersist(message: Message): void {
    if (message.type === 'append-response') {
      // Acknowledgements are cumulative: a later one stands for an earlier one that has not gone out.
      const earlier = this.afterPersist.findIndex((other) =>
        other.type === 'append-response' && other.to === message.to && other.term === message.term && other.index <= message.index);
      if (earlier !== -1) this.afterPersist.splice(earlier, 1);
    }
    this.afterPersist.push(message);
  }

  append(entry: Entry): void {
    this.log.append(entry);
    this.configurations.appended(entry);
  }

  appendOwn(type: EntryType, data: Uint8Array): Entry {
    const entry: Entry = { index: this.log.lastIndex + 1, term: this.term, type, data };
    this.append(entry);
    return entry;
  }

  truncate(from: number): void {
    this.log.truncate(from);
    this.configurations.truncated(from);
    this.persistence.truncated(from);
  }

  restore(snapshot: Snapshot): void {
    this.persistence.restored(snapshot, this.commitIndex);
    this.log.restore(snapshot);
    this.configurations.restored(snapshot);
    this.commitIndex = snapshot.index;
  }
}
