import { assert } from '../../base/assert.ts';
import { changed, encodeConfiguration } from './configuration.ts';
import { Core } from './core.ts';
import { onAppend, onHeartbeat, onSnapshot } from './followership.ts';
import { Leadership } from './leadership.ts';
import { ballotOutcome } from './quorum.ts';
import type {
  Configuration, ConfigurationChange, ElectionResult, MemberProgress, Message, RaftOptions, RaftState,
  Ready, Refusal, Role, Snapshot, SnapshotRequest, VoteRequest, VoteResponse,
} from './types.ts';
import { isPlausible } from './validation.ts';

interface Vote { readonly granted: boolean; readonly sinceLeaderMs: number }

/** With a leader known dead, this many elections in a row are retried fast before the ordinary time-outs count again. */
const fastCampaignsMax = 3;

/**
 * One member of a Raft group (Ongaro and Ousterhout 2014; "thesis" is Ongaro's dissertation), without I/O: messages,
 * time and calls go in; `ready` says what to send, persist and apply. See DESIGN.md here and {@link Ready} for the order.
 */
export class Raft {
  readonly id: string;
  readonly #core: Core;
  #role: Role = 'follower';
  #leaderId: string | undefined;
  #leadership: Leadership | undefined;

  /** When a message of any leader was last accepted, or we were leader ourselves, or the start. See {@link VoteResponse}. */
  #leaderContactAt: number;
  #electionDeadline = 0;
  /** A campaign against a leader known dead waits for its turn. */
  #campaignAt = Infinity;
  #knownDead: string | undefined;
  #fastCampaignCount = 0;
  #grantedAt = -Infinity;
  #ballot: Map<string, Vote> = new Map();
  #selfSinceLeaderMs = 0;
  /** The operator took voters out without their consent; becomes an entry when this member leads. */
  #forced: Configuration | undefined;

  #appliedSnapshot: Snapshot | undefined;
  #handedIndex: number;
  #appliedIndex: number;
  #lastElection: ElectionResult | undefined;
  #lastRefusal: Refusal | undefined;

  constructor(options: RaftOptions) {
    this.id = options.id;
    this.#core = new Core(options);
    const { timing } = this.#core;
    assert(options.id !== '', 'a raft member needs an id');
    assert(timing.heartbeatMs < timing.electionTimeoutMinMs && timing.electionTimeoutMinMs <= timing.electionTimeoutMaxMs,
      `raft timing must be heartbeatMs < electionTimeoutMinMs <= electionTimeoutMaxMs, not ${timing.heartbeatMs}, ${timing.electionTimeoutMinMs}, ${timing.electionTimeoutMaxMs}`);
    assert(timing.campaignStaggerMs > 0, `raft campaignStaggerMs must be over 0, not ${timing.campaignStaggerMs}`);
    this.#leaderContactAt = options.now;
    this.#appliedSnapshot = options.initial.snapshot;
    this.#handedIndex = this.#core.log.snapshot.index;
    this.#appliedIndex = 0;
    this.#resetElectionTimer(options.now);
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

  get role(): Role { return this.#role; }
  get term(): number { return this.#core.term; }
  get leaderId(): string | undefined { return this.#leaderId; }
  /** The latest configuration in the log, committed or not: it is the one that counts (thesis 4.1). */
  get configuration(): Configuration { return this.#core.configuration; }
  get commitIndex(): number { return this.#core.commitIndex; }
  get appliedIndex(): number { return this.#appliedIndex; }
  get lastIndex(): number { return this.#core.log.lastIndex; }
  /** The first entry still held; everything before lives in the snapshot only. */
  get firstIndex(): number { return this.#core.log.firstIndex; }
  get persistedIndex(): number { return this.#core.persistence.persistedIndex; }
  /** The latest election that this member won. */
  get lastElection(): ElectionResult | undefined { return this.#lastElection; }
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

  // Messages

  /** Takes a message from another member. Stale, repeated, reordered and senseless ones do no harm. */
  step(now: number, message: Message): void {
    const core = this.#core;
    if (!isPlausible(message, this.id)) {
      core.anomalyCount++;
      return;
    }
    if (message.type === 'pre-vote' || message.type === 'vote') {
      this.#onVoteRequest(now, message);
      return;
    }
    if (message.term > core.term) {
      // A granted pre-vote bears the term of the election that it allows, which nobody has begun yet.
      if (message.type === 'pre-vote-response' && message.granted) this.#onVoteResponse(now, message);
      else this.#becomeFollower(now, message.term);
    }
    if (message.term < core.term) {
      this.#onStale(message);
      return;
    }
    if (message.term > core.term) return;
    switch (message.type) {
      case 'append':
        if (this.#acceptLeader(now, message.from)) onAppend(core, message);
        break;
      case 'heartbeat':
        if (this.#acceptLeader(now, message.from)) onHeartbeat(core, message);
        break;
      case 'snapshot':
        if (this.#acceptLeader(now, message.from)) this.#onSnapshot(message);
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
        this.#onVoteResponse(now, message);
        break;
      case 'timeout-now':
        if (this.#leaderId === message.from && core.isVoter(this.id)) this.#campaign(now, true);
        break;
    }
  }

  /** Tells a leader that was deposed without knowing it, or whose rejoining member is in a later term. */
  #onStale(message: Message): void {
    if (message.type !== 'append' && message.type !== 'heartbeat' && message.type !== 'snapshot') return;
    this.#core.send({ type: 'heartbeat-response', from: this.id, to: message.from, term: this.term, round: 0, lastIndex: this.lastIndex });
  }

  /** False for a message of a second leader of our own term, which only dropVoters can make possible. */
  #acceptLeader(now: number, from: string): boolean {
    if (this.#role === 'leader' || (this.#leaderId !== undefined && this.#leaderId !== from)) {
      this.#core.anomalyCount++;
      return false;
    }
    this.#role = 'follower';
    this.#leaderId = from;
    this.#leaderContactAt = now;
    this.#forced = undefined;
    // Bytes of a leader known dead may still arrive; they are no reason to wait for it.
    if (from !== this.#knownDead) this.#forgetKnownDead();
    this.#resetElectionTimer(now);
    return true;
  }

  #onSnapshot(message: SnapshotRequest): void {
    if (!onSnapshot(this.#core, message)) return;
    this.#appliedSnapshot = message.snapshot;
    this.#handedIndex = message.snapshot.index;
  }

  // Elections

  #onVoteRequest(now: number, request: VoteRequest): void {
    const core = this.#core;
    // A member that knows no group may have lost its disk, and with it votes and entries: it has no say.
    if (core.configuration.voters.length === 0) return;
    if (request.term > core.term) {
      if (this.#sticksToLeader(now, request)) return;
      if (request.type === 'vote') this.#becomeFollower(now, request.term);
    }
    const isLogGood = core.log.isUpToDate(request.lastIndex, request.lastTerm);
    if (request.type === 'pre-vote') {
      const granted = request.term > core.term && isLogGood;
      core.send(this.#voteResponse(now, request, 'pre-vote-response', granted, granted ? request.term : core.term));
      return;
    }
    const isFree = core.votedFor === request.from || (core.votedFor === undefined && this.#leaderId === undefined);
    const granted = request.term === core.term && isFree && isLogGood;
    if (granted) {
      if (core.votedFor === undefined) core.persistence.hardStateChanged();
      core.votedFor = request.from;
      this.#grantedAt = now;
      this.#campaignAt = Infinity;
      this.#resetElectionTimer(now);
    }
    core.sendAfterPersist(this.#voteResponse(now, request, 'vote-response', granted, core.term));
  }

  #voteResponse(now: number, request: VoteRequest, type: VoteResponse['type'], granted: boolean, term: number): VoteResponse {
    return { type, from: this.id, to: request.from, term, granted, sinceLeaderMs: Math.max(0, now - this.#leaderContactAt) };
  }

  /** A voter that hears from a live leader helps nobody to depose it (thesis 4.2.3), unless that leader asked or is dead. */
  #sticksToLeader(now: number, request: VoteRequest): boolean {
    if (this.#leaderId === undefined || request.transfer || request.leaderKnownDead === this.#leaderId) return false;
    return this.#role === 'leader' || now - this.#leaderContactAt < this.#core.timing.electionTimeoutMinMs;
  }

  #onVoteResponse(now: number, response: VoteResponse): void {
    const isPre = response.type === 'pre-vote-response';
    if (this.#role !== (isPre ? 'pre-candidate' : 'candidate')) return;
    if (response.granted && response.term !== (isPre ? this.term + 1 : this.term)) return;
    this.#ballot.set(response.from, response);
    this.#countVotes(now);
  }

  #countVotes(now: number): void {
    const { voters } = this.#electorate();
    const outcome = ballotOutcome(voters, (id) => this.#ballot.get(id)?.granted);
    if (outcome === 'open') return;
    if (outcome === 'lost') this.#becomeFollower(now, this.term);
    else if (this.#role === 'pre-candidate') this.#campaign(now, false);
    else this.#becomeLeader(now);
  }

  #electorate(): Configuration {
    return this.#forced ?? this.configuration;
  }

  /** Has, or until a removal is committed still has, a vote: such a member may be the only one that can win (thesis 4.2.2). */
  get #mayCampaign(): boolean {
    return this.#core.configurations.mayVoteSince(this.commitIndex, this.id);
  }

  /**
   * Asks for an election now, with a pre-vote. With `leaderKnownDead` (the process of that leader is known to be gone) no
   * pre-vote is needed, and voters that follow it answer at once; voters that all know it take turns, a stagger apart.
   */
  campaign(now: number, options: { readonly leaderKnownDead?: string } = {}): void {
    if (this.#role === 'leader' || !this.#mayCampaign) return;
    const dead = options.leaderKnownDead;
    if (dead === undefined) {
      this.#preCampaign(now);
      return;
    }
    if (dead === this.id || dead === this.#knownDead || (this.#leaderId !== undefined && this.#leaderId !== dead)) return;
    this.#knownDead = dead;
    this.#fastCampaignCount = 0;
    const { campaignStaggerMs } = this.#core.timing;
    const rank = this.configuration.voters.filter((id) => id !== dead && id < this.id).length;
    const wasJustGranted = now - this.#grantedAt < campaignStaggerMs && this.#leaderId === undefined;
    // A vote given a moment ago is about to elect somebody; a campaign would spoil it.
    const turns = wasJustGranted ? rank + 4 : rank;
    if (turns === 0) this.#campaign(now, false);
    else this.#campaignAt = now + turns * campaignStaggerMs;
  }

  #preCampaign(now: number): void {
    this.#role = 'pre-candidate';
    this.#leaderId = undefined;
    this.#ballot = new Map([[this.id, { granted: true, sinceLeaderMs: now - this.#leaderContactAt }]]);
    this.#resetElectionTimer(now);
    this.#requestVotes('pre-vote', this.term + 1, false);
    this.#countVotes(now);
  }

  #campaign(now: number, isTransfer: boolean): void {
    const core = this.#core;
    this.#role = 'candidate';
    this.#leaderId = undefined;
    this.#campaignAt = Infinity;
    this.#ballot = new Map();
    this.#selfSinceLeaderMs = Math.max(0, now - this.#leaderContactAt);
    core.term++;
    core.votedFor = this.id;
    core.persistence.voteForSelf(core.term);
    this.#resetElectionTimer(now);
    if (this.#knownDead !== undefined && this.#fastCampaignCount++ < fastCampaignsMax) {
      this.#electionDeadline = now + core.timing.campaignStaggerMs * (2 + 4 * core.random.float());
    }
    this.#requestVotes('vote', core.term, isTransfer);
  }

  #requestVotes(type: VoteRequest['type'], term: number, transfer: boolean): void {
    const core = this.#core;
    for (const to of this.#electorate().voters) {
      if (to === this.id) continue;
      const request: VoteRequest = {
        type, from: this.id, to, term, transfer, leaderKnownDead: this.#knownDead,
        lastIndex: core.log.lastIndex, lastTerm: core.log.lastTerm,
      };
      // The term must be durable before a vote is asked for: a candidate that crashed and came back in the same term
      // with a shorter log would count grants that were given to the longer one.
      if (type === 'vote') core.sendAfterPersist(request);
      else core.send(request);
    }
  }

  #becomeFollower(now: number, term: number): void {
    const core = this.#core;
    // Our own contact counts: as leader we acknowledged our rounds ourselves.
    if (this.#role === 'leader') this.#leaderContactAt = now;
    // A campaign against a dead leader that came to nothing is repeated soon; its deadline stands.
    if (this.#role === 'leader' || (this.#role !== 'follower' && !this.#isRetryingFast)) this.#resetElectionTimer(now);
    this.#role = 'follower';
    this.#leadership = undefined;
    if (term > core.term) {
      core.term = term;
      core.votedFor = undefined;
      core.persistence.hardStateChanged();
    }
    this.#leaderId = undefined;
  }

  get #isRetryingFast(): boolean {
    return this.#knownDead !== undefined && this.#fastCampaignCount <= fastCampaignsMax;
  }

  #forgetKnownDead(): void {
    this.#knownDead = undefined;
    this.#campaignAt = Infinity;
  }

  #becomeLeader(now: number): void {
    const core = this.#core;
    const { voters } = this.#electorate();
    let silentMs = this.#selfSinceLeaderMs;
    for (const id of voters) {
      const vote = this.#ballot.get(id);
      if (vote?.granted === true) silentMs = Math.min(silentMs, vote.sinceLeaderMs);
    }
    this.#lastElection = { term: core.term, previousLeaderSilentMs: silentMs };
    this.#role = 'leader';
    this.#leaderId = this.id;
    this.#forgetKnownDead();
    this.#leadership = new Leadership(core, now);
    if (this.#forced === undefined) this.#leadership.append('empty', new Uint8Array(0));
    else this.#appendConfiguration(now, this.#forced);
    this.#forced = undefined;
  }

  #resetElectionTimer(now: number): void {
    const { electionTimeoutMinMs, electionTimeoutMaxMs } = this.#core.timing;
    this.#electionDeadline = now + electionTimeoutMinMs + this.#core.random.float() * (electionTimeoutMaxMs - electionTimeoutMinMs);
  }

  // Time

  tick(now: number): void {
    if (this.#leadership !== undefined) {
      if (!this.#leadership.tick(now)) this.#becomeFollower(now, this.term);
      return;
    }
    if (!this.#mayCampaign) return;
    if (now >= this.#campaignAt) this.#campaign(now, false);
    else if (now >= this.#electionDeadline) {
      if (this.#isRetryingFast) this.#campaign(now, false);
      else this.#preCampaign(now);
    }
  }

  /** When `tick` next has something to do; Infinity: nothing without a message. */
  nextWakeAt(): number {
    if (this.#leadership !== undefined) return this.#leadership.nextWakeAt();
    return this.#mayCampaign ? Math.min(this.#campaignAt, this.#electionDeadline) : Infinity;
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
    return this.#appendConfiguration(now, next);
  }

  #appendConfiguration(now: number, configuration: Configuration): { readonly index: number; readonly term: number } | undefined {
    const leadership = this.#leadership as Leadership;
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
      this.#appendConfiguration(now, reduced);
      this.#commit(now);
      return true;
    }
    this.#forced = reduced;
    if (this.#leaderId !== undefined && ids.includes(this.#leaderId)) this.#knownDead = this.#leaderId;
    this.#campaign(now, false);
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
    this.#becomeFollower(now, this.term);
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
    for (const term of this.#core.persistence.persisted(token)) {
      // Our own vote counts only now: a single voter would otherwise lead a term that a crash makes it lead again.
      if (this.#role !== 'candidate' || term !== this.term) continue;
      this.#ballot.set(this.id, { granted: true, sinceLeaderMs: this.#selfSinceLeaderMs });
      this.#countVotes(now);
    }
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
