import { assert } from '../../base/assert.ts';
import { changed, encodeConfiguration } from './configuration.ts';
import { Core } from './core.ts';
import { Elections } from './elections.ts';
import { onAppend, onHeartbeat, onSnapshot } from './followership.ts';
import { Leadership } from './leadership.ts';
import type {
  Configuration, ConfigurationChange, ElectionResult, Entry, MemberProgress, Message, RaftOptions, RaftState,
  Ready, Refusal, Role, Snapshot, SnapshotRequest,
} from './types.ts';
import { isPlausible } from './validation.ts';

/**
 * One member of a Raft group (Ongaro and Ousterhout 2014; "thesis" is Ongaro's dissertation), without I/O: messages,
 * time and calls go in; `ready` says what to send, persist and apply. See DESIGN.md here and {@link Ready} for the order.
 */
export class Raft {
  readonly id: string;
  readonly #core: Core;
  readonly #elections: Elections;
  #leadership: Leadership | undefined;

  #appliedSnapshot: Snapshot | undefined;
  #handedIndex: number;
  #appliedIndex: number;
  #lastRefusal: Refusal | undefined;

  constructor(options: RaftOptions) {
    this.id = options.id;
    this.#core = new Core(options);
    const { timing } = this.#core;
    assert(options.id !== '', 'a raft member needs an id');
    assert(timing.heartbeatMs < timing.electionTimeoutMinMs && timing.electionTimeoutMinMs <= timing.electionTimeoutMaxMs,
      `raft timing must be heartbeatMs < electionTimeoutMinMs <= electionTimeoutMaxMs, not ${timing.heartbeatMs}, ${timing.electionTimeoutMinMs}, ${timing.electionTimeoutMaxMs}`);
    assert(timing.campaignStaggerMs > 0, `raft campaignStaggerMs must be over 0, not ${timing.campaignStaggerMs}`);
    this.#elections = new Elections(this.#core, options.now, {
      won: (now, forced) => this.#lead(now, forced),
      stoppedLeading: () => { this.#leadership = undefined; },
    });
    this.#appliedSnapshot = options.initial.snapshot;
    this.#handedIndex = this.#core.log.snapshot.index;
    this.#appliedIndex = 0;
  }

  /** The state of a new group whose only voter is `id`. */
  static bootstrap(id: string): RaftState {
    const configuration = { voters: [id], learners: [] };
    return {
      hardState: { term: 1, votedFor: undefined, commit: 1 },
      snapshot: { index: 1, term: 1, configuration, data: new Uint8Array(0) },
      entries: [],
    };
  }

  get role(): Role { return this.#elections.role; }
  get term(): number { return this.#core.term; }
  get leaderId(): string | undefined { return this.#elections.leaderId; }
  /** The latest configuration in the log, committed or not: it is the one that counts (thesis 4.1). */
  get configuration(): Configuration { return this.#core.configuration; }
  get commitIndex(): number { return this.#core.commitIndex; }
  get appliedIndex(): number { return this.#appliedIndex; }
  get lastIndex(): number { return this.#core.log.lastIndex; }
  /** The first entry still held; everything before lives in the snapshot only. */
  get firstIndex(): number { return this.#core.log.firstIndex; }
  get persistedIndex(): number { return this.#core.persistence.persistedIndex; }
  /** The latest election that this member won. */
  get lastElection(): ElectionResult | undefined { return this.#elections.lastElection; }
  /** Why the latest refused call was refused. */
  get lastRefusal(): Refusal | undefined { return this.#lastRefusal; }
  /** Messages dropped because no correct member could have sent them. */
  get anomalyCount(): number { return this.#core.anomalyCount; }
  /** True once a leader has committed an entry of its own term: its state machine then covers all earlier terms. */
  get hasCommittedInTerm(): boolean { return this.#leadership?.hasCommittedInTerm ?? false; }

  /** The term of the entry at `index`; undefined past the end, or when the entry is no longer held. */
  termAt(index: number): number | undefined {
    return this.#core.log.termAt(index);
  }

  /** The entry at `index`; undefined past the end, or when it is no longer held. */
  entryAt(index: number): Entry | undefined {
    return this.#core.log.entryAt(index);
  }

  // Messages

  /** Takes a message from another member. Stale, repeated, reordered and senseless ones do no harm. */
  step(now: number, message: Message): void {
    const core = this.#core;
    if (!isPlausible(message, this.id)) {
      core.anomalyCount++;
      return;
    }
    if (message.type === 'pre-vote' || message.type === 'vote') {
      this.#elections.onVoteRequest(now, message);
      return;
    }
    if (message.term > core.term) {
      // A granted pre-vote bears the term of the election that it allows, which nobody has begun yet.
      if (message.type === 'pre-vote-response' && message.granted) this.#elections.onVoteResponse(now, message);
      else this.#elections.becomeFollower(now, message.term);
    }
    if (message.term < core.term) {
      this.#onStale(message);
      return;
    }
    if (message.term > core.term) return;
    switch (message.type) {
      case 'append':
        if (this.#elections.acceptLeader(now, message.from)) onAppend(core, message);
        break;
      case 'heartbeat':
        if (this.#elections.acceptLeader(now, message.from)) onHeartbeat(core, message);
        break;
      case 'snapshot':
        if (this.#elections.acceptLeader(now, message.from)) this.#onSnapshot(message);
        break;
      case 'append-response':
        this.#leadership?.onAppendResponse(now, message);
        this.#commit(now);
        break;
      case 'heartbeat-response':
        this.#leadership?.onHeartbeatResponse(now, message);
        break;
      case 'pre-vote-response':
      case 'vote-response':
        this.#elections.onVoteResponse(now, message);
        break;
      case 'timeout-now':
        this.#elections.onTimeoutNow(now, message.from);
        break;
    }
  }

  /** Tells a leader that was deposed without knowing it, or whose rejoining member is in a later term. */
  #onStale(message: Message): void {
    if (message.type !== 'append' && message.type !== 'heartbeat' && message.type !== 'snapshot') return;
    this.#core.send({ type: 'heartbeat-response', from: this.id, to: message.from, term: this.term, round: 0, lastIndex: this.lastIndex });
  }

  #onSnapshot(message: SnapshotRequest): void {
    if (!onSnapshot(this.#core, message)) return;
    this.#appliedSnapshot = message.snapshot;
    this.#handedIndex = message.snapshot.index;
  }

  // Elections

  /**
   * Asks for an election now, with a pre-vote. With `leaderKnownDead` (the process of that leader is known to be gone) no
   * pre-vote is needed, and voters that follow it answer at once; voters that all know it take turns, a stagger apart.
   */
  campaign(now: number, options: { readonly leaderKnownDead?: string } = {}): void {
    this.#elections.campaign(now, options.leaderKnownDead);
  }

  #lead(now: number, forced: Configuration | undefined): void {
    const leadership = new Leadership(this.#core, now);
    this.#leadership = leadership;
    if (forced === undefined) leadership.append('empty', new Uint8Array(0));
    else this.#appendConfiguration(leadership, now, forced);
  }

  // Time

  tick(now: number): void {
    if (this.#leadership === undefined) this.#elections.tick(now);
    else if (!this.#leadership.tick(now)) this.#elections.becomeFollower(now, this.term);
  }

  /** When `tick` next has something to do; Infinity: nothing without a message. */
  nextWakeAt(): number {
    return this.#leadership?.nextWakeAt() ?? this.#elections.nextWakeAt();
  }

  // Requests

  #refuse(why: Refusal): undefined {
    this.#lastRefusal = why;
    return undefined;
  }

  /**
   * Appends an entry. It is committed when it comes out of `ready` with this term; a later leader may drop it before.
   * `data` is kept, not copied: do not change it afterwards.
   */
  propose(_now: number, data: Uint8Array): { readonly index: number; readonly term: number } | undefined {
    const leadership = this.#leadership;
    const { limits } = this.#core;
    if (leadership === undefined) return this.#refuse('not-leader');
    if (leadership.transferTarget !== undefined) return this.#refuse('transferring');
    if (data.length > limits.maxEntryBytes) return this.#refuse('too-large');
    if (leadership.uncommittedBytes + data.length > limits.maxUncommittedBytes) return this.#refuse('overloaded');
    const { index, term } = leadership.append('normal', data);
    return { index, term };
  }

  /** Changes the membership by one member; takes effect at once, is safe once committed. */
  proposeConfiguration(now: number, change: ConfigurationChange): { readonly index: number; readonly term: number } | undefined {
    const leadership = this.#leadership;
    if (leadership === undefined) return this.#refuse('not-leader');
    if (leadership.transferTarget !== undefined) return this.#refuse('transferring');
    // A leader must commit in its own term first, or two leaders could each hold a majority of its own
    // configuration (Ongaro, raft-dev, July 2015: "bug in single-server membership changes").
    if (leadership.hasPendingConfiguration || !leadership.hasCommittedInTerm) return this.#refuse('configuration-pending');
    const next = changed(this.configuration, change);
    if (typeof next === 'string') return this.#refuse(next);
    if (change.type === 'promote' && !leadership.isCaughtUp(change.id)) return this.#refuse('lagging');
    return this.#appendConfiguration(leadership, now, next);
  }

  #appendConfiguration(leadership: Leadership, now: number, configuration: Configuration): { readonly index: number; readonly term: number } {
    const { index, term } = leadership.append('config', encodeConfiguration(configuration));
    leadership.configurationChanged(now);
    return { index, term };
  }

  /**
   * Asks for a linearizable read: `token` comes out in `readStates` once a majority confirmed, in a round of heartbeats sent
   * after this call, that this member still leads. Tokens are dropped when it stops leading: watch role and term.
   */
  readIndex(now: number, token: number): boolean {
    if (this.#leadership === undefined) this.#refuse('not-leader');
    else if (!this.#leadership.readIndex(now, token)) this.#refuse('overloaded');
    else return true;
    return false;
  }

  /** Hands leadership to a voter once it has the whole log; proposals are refused meanwhile, for one election time-out at the most. */
  transferLeadership(now: number, to: string): boolean {
    const leadership = this.#leadership;
    if (leadership === undefined) this.#refuse('not-leader');
    else if (leadership.transferTarget !== undefined) this.#refuse('transferring');
    else if (to === this.id || !this.#core.isVoter(to)) this.#refuse('not-applicable');
    else {
      leadership.transfer(now, to);
      return true;
    }
    return false;
  }

  /**
   * UNSAFE: takes voters out of the group at once, without their consent and without a majority. If any of them is alive
   * and can still reach a majority of the old voters, there are two groups that each commit, and one of them loses
   * what it acknowledged. Entries that were committed by dropped voters only are lost. For an operator, or a rule that
   * an operator switched on, who knows that the processes are dead and will come back only as new members.
   *
   * A leader appends the reduced configuration at once. Another member campaigns among the remaining voters and appends it
   * as the first entry of its term; until that is durable a crash leaves the old configuration in force, so call again.
   */
  dropVoters(now: number, ids: readonly string[]): boolean {
    const { voters, learners } = this.configuration;
    const remaining = voters.filter((id) => !ids.includes(id));
    if (remaining.length === voters.length || !remaining.includes(this.id)) {
      this.#refuse('not-applicable');
      return false;
    }
    const reduced = { voters: remaining, learners };
    if (this.#leadership !== undefined) {
      this.#appendConfiguration(this.#leadership, now, reduced);
      this.#commit(now);
      return true;
    }
    this.#elections.force(now, reduced, ids);
    return true;
  }

  reportUnreachable(_now: number, id: string): void {
    this.#leadership?.reportUnreachable(id);
  }

  /** A connection to the member stands (again): it is caught up at once. */
  reportConnected(_now: number, id: string): void {
    this.#leadership?.reportConnected(id);
  }

  /** The other members as this leader sees them; empty for all but the leader. */
  progress(now: number): MemberProgress[] {
    return this.#leadership?.members(now) ?? [];
  }

  // Effects

  /** Commits what can be committed, and steps down where that removed this leader's own vote. */
  #commit(now: number): void {
    const leadership = this.#leadership;
    if (leadership === undefined || !leadership.commit(now)) return;
    if (leadership.hasPendingConfiguration || this.#core.isVoter(this.id)) return;
    leadership.flush(now);
    leadership.handOver();
    this.#elections.becomeFollower(now, this.term);
  }

  get #isBlocked(): boolean {
    return this.#core.persistence.outstandingCount >= this.#core.limits.maxOutstandingBatches;
  }

  /** Committed entries are handed out once they are durable here as well, so that `compact` never outruns the disk. */
  get #readyToApply(): number {
    return Math.min(this.#core.commitIndex, this.#core.persistence.persistedIndex);
  }

  hasReady(): boolean {
    const core = this.#core;
    if (core.messages.length > 0 || this.#leadership?.isDirty === true) return true;
    if (!this.#isBlocked && (core.afterPersist.length > 0 || core.persistence.hasWork(core.log))) return true;
    return this.#appliedSnapshot !== undefined || this.#readyToApply > this.#handedIndex
      || this.#leadership?.reads.hasServable(this.#handedIndex) === true;
  }

  /** Takes everything there is to do. See {@link Ready} for the order in which to do it. */
  ready(now: number): Ready {
    const core = this.#core;
    this.#leadership?.flush(now);
    const isBlocked = this.#isBlocked;
    const after = isBlocked ? [] : core.afterPersist;
    const mustPersist = !isBlocked && (core.persistence.hasWork(core.log) || (after.length > 0 && core.persistence.outstandingCount > 0));
    const batch = isBlocked ? undefined : core.persistence.take(core.log, core.hardState, mustPersist);
    const committed = core.log.slice(this.#handedIndex + 1, this.#readyToApply, Infinity, core.limits.maxCommittedBytesPerReady);
    this.#handedIndex += committed.length;
    const ready: Ready = {
      token: batch?.token ?? 0,
      mustPersist,
      ...(batch?.hardState === undefined ? {} : { hardState: batch.hardState }),
      ...(batch?.snapshot === undefined ? {} : { snapshot: batch.snapshot }),
      ...(batch?.truncateFrom === undefined ? {} : { truncateFrom: batch.truncateFrom }),
      entries: batch?.entries ?? [],
      // With nothing to wait for, the promise is kept already.
      messages: mustPersist ? core.messages : [...core.messages, ...after],
      messagesAfterPersist: mustPersist ? after : [],
      ...(this.#appliedSnapshot === undefined ? {} : { appliedSnapshot: this.#appliedSnapshot }),
      committed,
      readStates: this.#leadership?.reads.take(this.#handedIndex) ?? [],
    };
    if (this.#appliedSnapshot !== undefined) this.#appliedIndex = this.#appliedSnapshot.index;
    this.#appliedSnapshot = undefined;
    core.messages = [];
    if (!isBlocked) core.afterPersist = [];
    return ready;
  }

  /** The batch with this token, and all before it, are durable. */
  persisted(now: number, token: number): void {
    for (const term of this.#core.persistence.persisted(token)) this.#elections.onSelfVoteDurable(now, term);
    this.#commit(now);
  }

  /** The state machine has applied everything up to `index`. */
  applied(index: number): void {
    assert(index <= this.#handedIndex, `raft applied(${index}): only entries up to ${this.#handedIndex} were handed out`);
    this.#appliedIndex = Math.max(this.#appliedIndex, index);
  }

  /**
   * Replaces the log up to `index` by the state machine's bytes there (kept, not copied), except for a tail for slow followers. The caller
   * persists the result, and may then delete entries before `firstIndex` (see changesForCompaction). Undefined: a
   * snapshot at or past `index` exists already, and there is nothing to persist.
   */
  compact(index: number, data: Uint8Array): Snapshot | undefined {
    const { log, configurations, limits } = this.#core;
    assert(index <= this.#appliedIndex, `raft compact(${index}): only entries up to ${this.#appliedIndex} are applied`);
    const term = log.termAt(index);
    if (index <= log.snapshot.index || term === undefined) return undefined;
    const snapshot: Snapshot = { index, term, configuration: configurations.at(index), data };
    log.compact(snapshot, index - limits.compactionTailEntries + 1);
    configurations.compacted(index);
    return snapshot;
  }
}
