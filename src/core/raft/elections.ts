import type { Core } from './core.ts';
import { ballotOutcome } from './quorum.ts';
import type { Configuration, ElectionResult, Role, VoteRequest, VoteResponse } from './types.ts';

interface Vote { readonly granted: boolean; readonly sinceLeaderMs: number }

/** What the member does when its role changes. */
export interface ElectionHooks {
  /** The election is won. @param forced the configuration that the operator demanded, to be the first entry of the term */
  won(now: number, forced: Configuration | undefined): void;
  stoppedLeading(): void;
}

/** With a leader known dead, this many elections in a row are retried fast before the ordinary time-outs count again. */
const fastCampaignsMax = 3;

/** Who leads: roles, terms, votes, and the time-outs that make a member ask for an election (Raft paper 5.2, thesis 9.6 and 4.2.3). */
export class Elections {
  readonly #core: Core;
  readonly #hooks: ElectionHooks;
  role: Role = 'follower';
  leaderId: string | undefined;
  lastElection: ElectionResult | undefined;

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

  constructor(core: Core, now: number, hooks: ElectionHooks) {
    this.#core = core;
    this.#hooks = hooks;
    this.#leaderContactAt = now;
    this.#resetTimer(now);
  }

  // Followers

  /** False for a message of a second leader of our own term, which only dropVoters can make possible. */
  acceptLeader(now: number, from: string): boolean {
    if (this.role === 'leader' || (this.leaderId !== undefined && this.leaderId !== from)) {
      this.#core.anomalyCount++;
      return false;
    }
    this.role = 'follower';
    this.leaderId = from;
    this.#leaderContactAt = now;
    this.#forced = undefined;
    // Bytes of a leader known dead may still arrive; they are no reason to wait for it.
    if (from !== this.#knownDead) this.#forgetKnownDead();
    this.#resetTimer(now);
    return true;
  }

  becomeFollower(now: number, term: number): void {
    const core = this.#core;
    const wasLeader = this.role === 'leader';
    // Our own contact counts: as leader we acknowledged our rounds ourselves.
    if (wasLeader) this.#leaderContactAt = now;
    // A campaign against a dead leader that came to nothing is repeated soon; its deadline stands.
    if (wasLeader || (this.role !== 'follower' && !this.#isRetryingFast)) this.#resetTimer(now);
    this.role = 'follower';
    this.leaderId = undefined;
    if (term > core.term) {
      core.term = term;
      core.votedFor = undefined;
      core.persistence.hardStateChanged();
    }
    if (wasLeader) this.#hooks.stoppedLeading();
  }

  #resetTimer(now: number): void {
    const { electionTimeoutMinMs, electionTimeoutMaxMs } = this.#core.timing;
    this.#electionDeadline = now + electionTimeoutMinMs + this.#core.random.float() * (electionTimeoutMaxMs - electionTimeoutMinMs);
  }

  #forgetKnownDead(): void {
    this.#knownDead = undefined;
    this.#campaignAt = Infinity;
  }

  // Voters

  onVoteRequest(now: number, request: VoteRequest): void {
    const core = this.#core;
    // A member that knows no group may have lost its disk, and with it votes and entries: it has no say.
    if (core.configuration.voters.length === 0) return;
    if (request.term > core.term) {
      if (this.#sticksToLeader(now, request)) return;
      if (request.type === 'vote') this.becomeFollower(now, request.term);
    }
    const isLogGood = core.log.isUpToDate(request.lastIndex, request.lastTerm);
    if (request.type === 'pre-vote') {
      const granted = request.term > core.term && isLogGood;
      core.send(this.#answer(now, request, 'pre-vote-response', granted, granted ? request.term : core.term));
      return;
    }
    const isFree = core.votedFor === request.from || (core.votedFor === undefined && this.leaderId === undefined);
    const granted = request.term === core.term && isFree && isLogGood;
    if (granted) this.#grant(now, request.from);
    core.sendAfterPersist(this.#answer(now, request, 'vote-response', granted, core.term));
  }

  #grant(now: number, to: string): void {
    const core = this.#core;
    if (core.votedFor === undefined) core.persistence.hardStateChanged();
    core.votedFor = to;
    this.#grantedAt = now;
    this.#campaignAt = Infinity;
    this.#resetTimer(now);
  }

  #answer(now: number, request: VoteRequest, type: VoteResponse['type'], granted: boolean, term: number): VoteResponse {
    return { type, from: this.#core.id, to: request.from, term, granted, sinceLeaderMs: Math.max(0, now - this.#leaderContactAt) };
  }

  /** A voter that hears from a live leader helps nobody to depose it (thesis 4.2.3), unless that leader asked or is dead. */
  #sticksToLeader(now: number, request: VoteRequest): boolean {
    if (this.leaderId === undefined || request.transfer || request.leaderKnownDead === this.leaderId) return false;
    return this.role === 'leader' || now - this.#leaderContactAt < this.#core.timing.electionTimeoutMinMs;
  }

  // Candidates

  /** Has, or until a removal is committed still has, a vote: such a member may be the only one that can win (thesis 4.2.2). */
  get #mayCampaign(): boolean {
    return this.#core.configurations.mayVoteSince(this.#core.commitIndex, this.#core.id);
  }

  #electorate(): Configuration {
    return this.#forced ?? this.#core.configuration;
  }

  get #isRetryingFast(): boolean {
    return this.#knownDead !== undefined && this.#fastCampaignCount <= fastCampaignsMax;
  }

  campaign(now: number, dead: string | undefined): void {
    const core = this.#core;
    if (this.role === 'leader' || !this.#mayCampaign) return;
    if (dead === undefined) {
      this.#preCampaign(now);
      return;
    }
    if (dead === core.id || dead === this.#knownDead || (this.leaderId !== undefined && this.leaderId !== dead)) return;
    this.#knownDead = dead;
    this.#fastCampaignCount = 0;
    const { campaignStaggerMs } = core.timing;
    const rank = core.configuration.voters.filter((id) => id !== dead && id < core.id).length;
    const wasJustGranted = now - this.#grantedAt < campaignStaggerMs && this.leaderId === undefined;
    // A vote given a moment ago is about to elect somebody; a campaign would spoil it.
    const turns = wasJustGranted ? rank + 4 : rank;
    if (turns === 0) this.#campaign(now, false);
    else this.#campaignAt = now + turns * campaignStaggerMs;
  }

  /** The leader hands over to us. */
  onTimeoutNow(now: number, from: string): void {
    if (this.leaderId === from && this.#core.isVoter(this.#core.id)) this.#campaign(now, true);
  }

  /** Campaigns among the voters of `reduced` only. */
  force(now: number, reduced: Configuration, dropped: readonly string[]): void {
    this.#forced = reduced;
    if (this.leaderId !== undefined && dropped.includes(this.leaderId)) this.#knownDead = this.leaderId;
    this.#campaign(now, false);
  }

  #preCampaign(now: number): void {
    this.role = 'pre-candidate';
    this.leaderId = undefined;
    this.#ballot = new Map([[this.#core.id, { granted: true, sinceLeaderMs: now - this.#leaderContactAt }]]);
    this.#resetTimer(now);
    this.#requestVotes('pre-vote', this.#core.term + 1, false, true);
    this.#countVotes(now);
  }

  #campaign(now: number, isTransfer: boolean): void {
    const core = this.#core;
    this.role = 'candidate';
    this.leaderId = undefined;
    this.#campaignAt = Infinity;
    this.#ballot = new Map();
    this.#selfSinceLeaderMs = Math.max(0, now - this.#leaderContactAt);
    // Looked at before this campaign adds its own: is all that the requests will name durable?
    const isDurable = core.persistence.isSettled(core.log);
    core.term++;
    core.votedFor = core.id;
    core.persistence.voteForSelf(core.term);
    this.#resetTimer(now);
    if (this.#knownDead !== undefined && this.#fastCampaignCount++ < fastCampaignsMax) {
      this.#electionDeadline = now + core.timing.campaignStaggerMs * (2 + 4 * core.random.float());
    }
    this.#requestVotes('vote', core.term, isTransfer, isDurable);
  }

  #requestVotes(type: VoteRequest['type'], term: number, transfer: boolean, atOnce: boolean): void {
    const core = this.#core;
    for (const to of this.#electorate().voters) {
      if (to === core.id) continue;
      const request: VoteRequest = {
        type, from: core.id, to, term, transfer, leaderKnownDead: this.#knownDead,
        lastIndex: core.log.lastIndex, lastTerm: core.log.lastTerm,
      };
      // The log must be durable before a vote is asked for: a candidate that crashed and came back in the same term
      // with a shorter log would count grants that were given to the longer one. Its vote may become so meanwhile.
      if (atOnce) core.send(request);
      else core.sendAfterPersist(request);
    }
  }

  onVoteResponse(now: number, response: VoteResponse): void {
    const isPre = response.type === 'pre-vote-response';
    if (this.role !== (isPre ? 'pre-candidate' : 'candidate')) return;
    if (response.granted && response.term !== (isPre ? this.#core.term + 1 : this.#core.term)) return;
    this.#ballot.set(response.from, response);
    this.#countVotes(now);
  }

  /** Our own vote counts only once it is durable: a single voter would otherwise lead a term that a crash makes it lead again. */
  onSelfVoteDurable(now: number, term: number): void {
    if (this.role !== 'candidate' || term !== this.#core.term) return;
    this.#ballot.set(this.#core.id, { granted: true, sinceLeaderMs: this.#selfSinceLeaderMs });
    this.#countVotes(now);
  }

  #countVotes(now: number): void {
    const outcome = ballotOutcome(this.#electorate().voters, (id) => this.#ballot.get(id)?.granted);
    if (outcome === 'open') return;
    if (outcome === 'lost') this.becomeFollower(now, this.#core.term);
    else if (this.role === 'pre-candidate') this.#campaign(now, false);
    // The others' grants may come before our own vote is durable. A leader that forgot its term could lead it a second time.
    else if (this.#ballot.get(this.#core.id)?.granted === true) this.#becomeLeader(now);
  }

  #becomeLeader(now: number): void {
    const forced = this.#forced;
    let silentMs = this.#selfSinceLeaderMs;
    for (const id of this.#electorate().voters) {
      const vote = this.#ballot.get(id);
      if (vote?.granted === true) silentMs = Math.min(silentMs, vote.sinceLeaderMs);
    }
    this.lastElection = { term: this.#core.term, previousLeaderSilentMs: silentMs };
    this.role = 'leader';
    this.leaderId = this.#core.id;
    this.#forced = undefined;
    this.#forgetKnownDead();
    this.#hooks.won(now, forced);
  }

  // Time, for all but the leader

  tick(now: number): void {
    if (!this.#mayCampaign) return;
    if (now >= this.#campaignAt) this.#campaign(now, false);
    else if (now >= this.#electionDeadline) {
      if (this.#isRetryingFast) this.#campaign(now, false);
      else this.#preCampaign(now);
    }
  }

  nextWakeAt(): number {
    return this.#mayCampaign ? Math.min(this.#campaignAt, this.#electionDeadline) : Infinity;
  }
}
