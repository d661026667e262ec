import type { ProgressState } from './types.ts';

/**
 * What a leader knows of one member's log, and how freely it may send to it.
 * `probe`: where the logs agree is a guess; one append at a time. `replicate`: appends stream ahead of their
 * acknowledgements, up to a window. `snapshot`: a snapshot is under way; nothing else is sent.
 */
export class Progress {
  readonly id: string;
  isLearner: boolean;
  /** Out of the configuration; still told until the removal is committed, so that it learns of it. */
  isLeaving = false;
  state: ProgressState = 'probe';
  /** The log matches ours up to here, durably. */
  match = 0;
  /** The next entry to send. */
  next: number;
  /** Probing: an append was sent and not answered yet. */
  probeSent = false;
  /** An append is owed even if it carries nothing: its answer shows whether something was lost. */
  owed = false;
  /** The highest commit index that it was told by an append. */
  toldCommit = 0;
  lastContactAt: number;
  /** It answered at least once, or its connection was reported: worth the bytes of a snapshot. */
  isReachable = false;
  snapshotIndex = 0;
  snapshotSentAt = 0;
  /** The last index of each append sent and not acknowledged, ascending. */
  inflight: number[] = [];

  constructor(id: string, next: number, isLearner: boolean, now: number) {
    this.id = id;
    this.next = next;
    this.isLearner = isLearner;
    // A grace time: a new leader's quorum check starts from its election.
    this.lastContactAt = now;
  }

  becomeProbe(): void {
    // After a snapshot that may have arrived, probe from there.
    this.next = Math.max(this.match + 1, this.state === 'snapshot' ? this.snapshotIndex + 1 : 0);
    this.#become('probe');
  }

  becomeReplicate(): void {
    this.next = this.match + 1;
    this.#become('replicate');
  }

  becomeSnapshot(index: number, now: number): void {
    this.#become('snapshot');
    this.snapshotIndex = index;
    this.snapshotSentAt = now;
  }

  #become(state: ProgressState): void {
    this.state = state;
    this.probeSent = false;
    this.inflight = [];
  }

  /** The connection is new or was lost: whatever was under way is gone. */
  restart(): void {
    this.state = 'probe';
    this.becomeProbe();
    this.toldCommit = 0;
  }

  /** Its log ends before what it had acknowledged: a wiped disk. Or an old answer came late: then this costs a round trip. */
  lost(lastIndex: number): void {
    this.match = 0;
    this.restart();
    this.next = lastIndex + 1;
  }

  /** It holds the log up to `index`. True if that was news. */
  acknowledged(index: number): boolean {
    const isNews = index > this.match;
    this.match = Math.max(this.match, index);
    this.next = Math.max(this.next, index + 1);
    let acknowledgedCount = 0;
    while (acknowledgedCount < this.inflight.length && (this.inflight[acknowledgedCount] as number) <= index) acknowledgedCount++;
    this.inflight.splice(0, acknowledgedCount);
    return isNews;
  }

  /** The append after `index` was refused; the logs may agree at `hint`. False if the answer is stale. */
  rejected(index: number, hint: number): boolean {
    if (this.state === 'snapshot') return false;
    if (this.state === 'replicate') {
      if (index <= this.match) return false;
      this.becomeProbe();
      return true;
    }
    if (index !== this.next - 1) return false;
    this.next = Math.max(Math.min(index, hint + 1), this.match + 1);
    this.probeSent = false;
    return true;
  }
}
