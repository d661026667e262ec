import type { Core } from './core.ts';
import { majorityReached } from './quorum.ts';
import { Progress } from './progress.ts';
import { ReadRounds } from './read-rounds.ts';
import type { AppendResponse, Entry, HeartbeatResponse, MemberProgress } from './types.ts';

/** What an entry costs beside its data, so that many empty ones are limited as well. */
const entryOverheadBytes = 32;

/** What only a leader has: the progress of the others, its reads, a transfer. Made anew for each term that is led. */
export class Leadership {
  readonly #core: Core;
  readonly #progress: Map<string, Progress> = new Map();
  readonly reads: ReadRounds = new ReadRounds();
  /** The index of the first entry of this term. */
  readonly #firstIndex: number;
  #nextHeartbeatAt: number;
  /** Something may have to be sent. */
  isDirty = true;
  uncommittedBytes = 0;
  transferTarget: string | undefined;
  #transferDeadline = Infinity;
  #isTimeoutNowSent = false;

  constructor(core: Core, now: number) {
    this.#core = core;
    this.#firstIndex = core.log.lastIndex + 1;
    this.#nextHeartbeatAt = now + core.timing.heartbeatMs;
    this.configurationChanged(now);
  }

  /** Follows the configuration: new members get heartbeats at once, so that their answers start the catching up. */
  configurationChanged(now: number): void {
    const { voters, learners } = this.#core.configuration;
    const follow = (id: string, isLearner: boolean): void => {
      if (id === this.#core.id) return;
      let progress = this.#progress.get(id);
      if (progress === undefined) {
        progress = new Progress(id, this.#core.log.lastIndex + 1, isLearner, now);
        this.#progress.set(id, progress);
      }
      progress.isLearner = isLearner;
      progress.isLeaving = false;
    };
    for (const progress of this.#progress.values()) progress.isLeaving = true;
    for (const id of voters) follow(id, false);
    for (const id of learners) follow(id, true);
    if (this.transferTarget !== undefined && !voters.includes(this.transferTarget)) this.abortTransfer();
    this.isDirty = true;
  }

  get hasCommittedInTerm(): boolean {
    return this.#core.commitIndex >= this.#firstIndex;
  }

  get hasPendingConfiguration(): boolean {
    return this.#core.configurations.currentIndex > this.#core.commitIndex;
  }

  append(type: Entry['type'], data: Uint8Array): Entry {
    const entry = this.#core.appendOwn(type, data);
    this.uncommittedBytes += data.length + entryOverheadBytes;
    this.isDirty = true;
    return entry;
  }

  /** Commits what a majority holds, if the last of it is of this term (Raft paper, 5.4.2). True if that was news. */
  commit(now: number): boolean {
    const core = this.#core;
    const index = majorityReached(core.configuration.voters, (id) => this.#matchOf(id));
    if (index <= core.commitIndex || core.log.termAt(index) !== core.term) return false;
    for (let i = Math.max(core.commitIndex + 1, this.#firstIndex); i <= index; i++) {
      this.uncommittedBytes -= (core.log.entryAt(i) as Entry).data.length + entryOverheadBytes;
    }
    core.commitIndex = index;
    this.isDirty = true;
    // Reads may have waited for the first commit of this term.
    this.#advanceReads(now);
    return true;
  }

  #matchOf(id: string): number {
    return id === this.#core.id ? this.#core.persistence.persistedIndex : this.#progress.get(id)?.match ?? 0;
  }

  // Sending

  /** Sends what there is to send, as far as each member's window allows. */
  flush(now: number): void {
    this.isDirty = false;
    for (const progress of this.#progress.values()) {
      this.#replicate(progress, now);
      // A removed member was just told that its removal is committed, if it could be; that must do.
      if (progress.isLeaving && !this.hasPendingConfiguration) this.#progress.delete(progress.id);
    }
    this.#sendTimeoutNow();
  }

  #replicate(progress: Progress, now: number): void {
    const { log, limits, commitIndex } = this.#core;
    if (progress.state === 'probe') {
      if (!progress.probeSent) this.#sendAppend(progress, now, true);
      return;
    }
    if (progress.state === 'snapshot') return;
    while (progress.state === 'replicate' && progress.next <= log.lastIndex && progress.inflight.length < limits.maxInflightMessages) {
      this.#sendAppend(progress, now, true);
    }
    if (progress.state !== 'replicate') return;
    if (progress.owed || progress.toldCommit < Math.min(commitIndex, progress.next - 1)) this.#sendAppend(progress, now, false);
  }

  #sendAppend(progress: Progress, now: number, withEntries: boolean): void {
    const core = this.#core;
    const previousIndex = progress.next - 1;
    const previousTerm = core.log.termAt(previousIndex);
    if (previousTerm === undefined) {
      this.#sendSnapshot(progress, now);
      return;
    }
    const entries = withEntries ? core.log.slice(progress.next, core.log.lastIndex, core.limits.maxEntriesPerMessage, core.limits.maxBytesPerMessage) : [];
    core.send({ type: 'append', from: core.id, to: progress.id, term: core.term, previousIndex, previousTerm, commit: core.commitIndex, entries });
    progress.owed = false;
    progress.toldCommit = Math.min(core.commitIndex, previousIndex + entries.length);
    if (progress.state === 'probe') progress.probeSent = true;
    else if (entries.length > 0) {
      progress.next += entries.length;
      progress.inflight.push(progress.next - 1);
    }
  }

  #sendSnapshot(progress: Progress, now: number): void {
    // A silent member costs heartbeats, not snapshots; its first answer starts it.
    if (!progress.isReachable) return;
    const core = this.#core;
    const { snapshot } = core.log;
    progress.becomeSnapshot(snapshot.index, now);
    core.send({ type: 'snapshot', from: core.id, to: progress.id, term: core.term, snapshot });
  }

  #sendHeartbeat(progress: Progress): void {
    const core = this.#core;
    core.send({
      type: 'heartbeat', from: core.id, to: progress.id, term: core.term,
      // Past its match the member's log may differ from ours, so it must not commit there.
      commit: Math.min(core.commitIndex, progress.match), round: this.reads.current,
    });
  }

  broadcastHeartbeat(now: number): void {
    this.#nextHeartbeatAt = now + this.#core.timing.heartbeatMs;
    for (const progress of this.#progress.values()) if (!progress.isLeaving) this.#sendHeartbeat(progress);
  }

  // Answers

  onAppendResponse(now: number, message: AppendResponse): void {
    const progress = this.#heardFrom(message.from, now);
    if (progress === undefined) return;
    const { log } = this.#core;
    if (message.rejected) {
      if (message.lastIndex < progress.match) progress.lost(message.lastIndex);
      else {
        const hint = log.lastIndexWithTermAtMost(message.hintIndex, message.hintTerm).index;
        progress.rejected(message.index, hint);
      }
      return;
    }
    if (message.index > log.lastIndex) {
      this.#core.anomalyCount++;
      return;
    }
    progress.acknowledged(message.index);
    const canReplicate = progress.state === 'probe' || (progress.state === 'snapshot' && log.termAt(progress.match) !== undefined);
    if (canReplicate) progress.becomeReplicate();
  }

  onHeartbeatResponse(now: number, message: HeartbeatResponse): void {
    const progress = this.#heardFrom(message.from, now);
    if (progress === undefined) return;
    if (message.lastIndex < progress.match) progress.lost(message.lastIndex);
    progress.probeSent = false;
    progress.owed = progress.match < this.#core.log.lastIndex;
    if (progress.state === 'snapshot' && now - progress.snapshotSentAt >= this.#core.timing.snapshotRetryMs) progress.becomeProbe();
    this.reads.acknowledged(message.from, message.round);
    this.#advanceReads(now);
  }

  #heardFrom(id: string, now: number): Progress | undefined {
    const progress = this.#progress.get(id);
    if (progress === undefined) return undefined;
    progress.lastContactAt = now;
    progress.isReachable = true;
    this.isDirty = true;
    return progress;
  }

  reportUnreachable(id: string): void {
    const progress = this.#progress.get(id);
    if (progress === undefined) return;
    progress.restart();
    progress.isReachable = false;
    // Nothing is sent until it connects or answers a heartbeat.
    progress.probeSent = true;
  }

  reportConnected(id: string): void {
    const progress = this.#progress.get(id);
    if (progress === undefined) return;
    progress.restart();
    progress.isReachable = true;
    this.#sendHeartbeat(progress);
    this.isDirty = true;
  }

  // Reads

  readIndex(now: number, token: number): boolean {
    if (this.reads.waitingCount >= this.#core.limits.maxPendingReads) return false;
    this.reads.add(token);
    this.#advanceReads(now);
    return true;
  }

  #advanceReads(now: number): void {
    const { configuration, commitIndex, id } = this.#core;
    this.reads.finish(configuration.voters);
    // Until an entry of this term is committed, the commit index may lag behind what earlier leaders committed.
    while (this.hasCommittedInTerm && this.reads.begin(commitIndex, id)) {
      this.broadcastHeartbeat(now);
      if (!this.reads.finish(configuration.voters)) break;
    }
  }

  // Time

  /** False: no majority was heard from for too long; the leader must step down (check quorum). */
  tick(now: number): boolean {
    if (now >= this.#nextHeartbeatAt) this.broadcastHeartbeat(now);
    if (now >= this.#transferDeadline) this.abortTransfer();
    return now < this.#quorumLostAt();
  }

  nextWakeAt(): number {
    return Math.min(this.#nextHeartbeatAt, this.#transferDeadline, this.#quorumLostAt());
  }

  #quorumLostAt(): number {
    const { configuration, timing, id } = this.#core;
    const heardAt = majorityReached(configuration.voters, (voter) => voter === id ? Infinity : this.#progress.get(voter)?.lastContactAt ?? -Infinity);
    return heardAt + timing.electionTimeoutMaxMs;
  }

  // Transfer

  transfer(now: number, to: string): void {
    this.transferTarget = to;
    this.#transferDeadline = now + this.#core.timing.electionTimeoutMaxMs;
    this.#isTimeoutNowSent = false;
    this.isDirty = true;
  }

  abortTransfer(): void {
    this.transferTarget = undefined;
    this.#transferDeadline = Infinity;
  }

  #sendTimeoutNow(): void {
    const core = this.#core;
    const target = this.transferTarget;
    if (target === undefined || this.#isTimeoutNowSent || this.#matchOf(target) !== core.log.lastIndex) return;
    this.#isTimeoutNowSent = true;
    core.send({ type: 'timeout-now', from: core.id, to: target, term: core.term });
  }

  /** A leader that is no longer a voter hands over to the voter with the longest log as it steps down. */
  handOver(): void {
    const core = this.#core;
    const [best] = [...core.configuration.voters].sort((a, b) => this.#matchOf(b) - this.#matchOf(a));
    if (best !== undefined) core.send({ type: 'timeout-now', from: core.id, to: best, term: core.term });
  }

  isCaughtUp(id: string): boolean {
    const { commitIndex, limits } = this.#core;
    const progress = this.#progress.get(id);
    return progress !== undefined && progress.match > 0 && progress.match + limits.maxPromotionLagEntries >= commitIndex;
  }

  members(now: number): MemberProgress[] {
    return [...this.#progress.values()].filter((progress) => !progress.isLeaving).map((progress) => ({
      id: progress.id, match: progress.match, next: progress.next, state: progress.state, isLearner: progress.isLearner,
      recentActive: progress.isReachable && now - progress.lastContactAt < this.#core.timing.electionTimeoutMaxMs,
    }));
  }
}
