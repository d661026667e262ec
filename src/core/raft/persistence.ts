import type { RaftLog } from './log.ts';
import type { Entry, HardState, Snapshot } from './types.ts';

/** One atomic write. */
export interface Batch {
  readonly token: number;
  readonly hardState: HardState | undefined;
  readonly snapshot: Snapshot | undefined;
  readonly truncateFrom: number | undefined;
  readonly entries: readonly Entry[];
}

interface Outstanding {
  readonly token: number;
  lastIndex: number;
  /** The batch made this term's vote for ourselves durable. */
  readonly selfVoteTerm: number | undefined;
}

/**
 * Keeps apart what is in memory, what was handed out to be written, and what is durable.
 *
 * Batches become durable in order. When the log is cut back while batches are outstanding, those batches no longer
 * prove anything past the cut, even if equal indexes and terms are appended again later: after the crash that undoes
 * the later batches the disk could hold either. So the cut clamps them for good, and no term is compared.
 */
export class Persistence {
  /** Entries up to here are in the log and durable. */
  persistedIndex: number;
  /** Entries up to here were handed out. */
  #handedTo: number;
  #truncateFrom: number | undefined;
  #snapshot: Snapshot | undefined;
  #isHardStateDirty = false;
  #writtenCommit: number;
  #selfVoteTerm: number | undefined;
  #outstanding: Outstanding[] = [];
  #nextToken = 1;

  constructor(lastIndex: number, commit: number) {
    this.persistedIndex = lastIndex;
    this.#handedTo = lastIndex;
    this.#writtenCommit = commit;
  }

  get outstandingCount(): number {
    return this.#outstanding.length;
  }

  hardStateChanged(): void {
    this.#isHardStateDirty = true;
  }

  /** The vote for ourselves in this term counts once the next batch is durable. */
  voteForSelf(term: number): void {
    this.#isHardStateDirty = true;
    this.#selfVoteTerm = term;
  }

  truncated(from: number): void {
    if (from <= this.#handedTo) this.#truncateFrom = Math.min(from, this.#truncateFrom ?? from);
    this.#clamp(from - 1);
  }

  /** @param commit the commit index before: what lies past it was not shown to agree with the snapshot */
  restored(snapshot: Snapshot, commit: number): void {
    this.#clamp(commit);
    this.#truncateFrom = undefined;
    this.#snapshot = snapshot;
    this.#handedTo = snapshot.index;
  }

  #clamp(lastIndex: number): void {
    this.#handedTo = Math.min(this.#handedTo, lastIndex);
    this.persistedIndex = Math.min(this.persistedIndex, lastIndex);
    for (const batch of this.#outstanding) batch.lastIndex = Math.min(batch.lastIndex, lastIndex);
  }

  hasWork(log: RaftLog): boolean {
    return this.#isHardStateDirty || this.#snapshot !== undefined || this.#truncateFrom !== undefined || log.lastIndex > this.#handedTo;
  }

  /** Everything in memory is on disk, term and vote included. */
  isSettled(log: RaftLog): boolean {
    return this.#outstanding.length === 0 && !this.hasWork(log) && this.persistedIndex === log.lastIndex;
  }

  /** @param isWaitedFor messages wait for this batch, even if there is nothing to write */
  take(log: RaftLog, hardState: HardState, isWaitedFor: boolean): Batch {
    const token = this.#nextToken++;
    const hasWork = this.hasWork(log);
    const batch: Batch = {
      token,
      // A commit index alone is not worth a write; it rides along.
      hardState: this.#isHardStateDirty || (hasWork && hardState.commit !== this.#writtenCommit) ? hardState : undefined,
      snapshot: this.#snapshot,
      truncateFrom: this.#truncateFrom,
      entries: log.slice(this.#handedTo + 1, log.lastIndex),
    };
    if (batch.hardState !== undefined) this.#writtenCommit = hardState.commit;
    if (hasWork || isWaitedFor) {
      this.#outstanding.push({ token, lastIndex: log.lastIndex, selfVoteTerm: this.#selfVoteTerm });
      this.#selfVoteTerm = undefined;
    }
    this.#handedTo = log.lastIndex;
    this.#isHardStateDirty = false;
    this.#snapshot = undefined;
    this.#truncateFrom = undefined;
    return batch;
  }

  /** Returns the terms in which our vote for ourselves became durable. */
  persisted(token: number): number[] {
    const selfVotes: number[] = [];
    while (this.#outstanding.length > 0 && (this.#outstanding[0] as Outstanding).token <= token) {
      const batch = this.#outstanding.shift() as Outstanding;
      this.persistedIndex = Math.max(this.persistedIndex, batch.lastIndex);
      if (batch.selfVoteTerm !== undefined) selfVotes.push(batch.selfVoteTerm);
    }
    return selfVotes;
  }
}
