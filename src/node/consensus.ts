/**
 * Drives the Raft machine: disk, peers, time; applies its log to the cluster map. Knows nothing of what the commands
 * are for. A disk that fails takes this node out of the group until it can be opened again; the node itself goes on.
 */
import { messageOf, TroupeError } from '../base/errors.ts';
import { apply, decodeMap, encodeMap } from '../core/control/apply.ts';
import { decodeCommand, encodeCommand } from '../core/control/commands.ts';
import type { Command, Outcome } from '../core/control/commands.ts';
import { emptyMap } from '../core/control/map.ts';
import type { ClusterMap } from '../core/control/map.ts';
import { decodeMessage, encodeMessage } from '../core/raft/codec.ts';
import { Raft } from '../core/raft/raft.ts';
import { changesFor, changesForCompaction, changesForState, load } from '../core/raft/storage-codec.ts';
import type { ConfigurationChange, Entry, Message, Ready } from '../core/raft/types.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Database } from '../ports/disk.ts';
import type { Log } from '../ports/log.ts';
import type { Random } from '../ports/random.ts';
import type { LogLimits } from './node-types.ts';
import { PeerFrame } from './peer-frames.ts';
import type { Peers } from './peers.ts';

export interface ConsensusOptions {
  readonly raftId: string;
  readonly electionTimeoutMs: { readonly min: number; readonly max: number };
  readonly logs?: LogLimits | undefined;
  /**
   * quorum.lastNode is not `never`: while this process was away, the others may have gone on with fewer voters than its
   * disk knows of. It takes part in no election until a leader has spoken to it, or all voters that it knows are here
   * and none of them has.
   */
  readonly cautiousAfterRestart: boolean;
}

export interface ConsensusHandlers {
  /** Commands were applied, or a snapshot replaced the map. */
  onMap(map: ClusterMap): void;
  /** This node has just been elected: what it proposes now goes out with the entry that opens its term. Its map may lack the last commands. */
  onElected(): void;
  /** This node began to lead and its map is current. */
  onLeading(previousLeaderSilentMs: number): void;
  onNotLeading(): void;
  onReadStates(tokens: readonly number[]): void;
  /** Something changed that decisions may wait for. */
  onProgress(): void;
  onDiskFailure(error: Error): void;
}

interface Proposal {
  readonly term: number;
  readonly resolve: (outcome: Outcome) => void;
}

const cautionLookMs = 100;
/** All voters were connected for this long and no leader spoke: the group has not gone on without this one (ms). */
const cautionMs = 1500;
const compactEveryEntries = 2000;
const compactEveryBytes = 4 << 20;
const outcomeLost: Outcome = { ok: false, code: 'LEADER_CHANGED', message: 'the leader changed while the command was under way; it may or may not have been carried out' };

/** `name/directory` → name. */
export function nameOfRaftId(raftId: string): string {
  return raftId.slice(0, raftId.lastIndexOf('/'));
}

export class Consensus {
  readonly #options: ConsensusOptions;
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #random: Random;
  readonly #database: Database;
  readonly #handlers: ConsensusHandlers;
  #raft: Raft;
  #map: ClusterMap = emptyMap();
  readonly #proposals = new Map<number, Proposal>();
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #pumping = false;
  #pumpArmed = false;
  /** Handed out and not applied yet, oldest first: see #handle. */
  #toApply: Ready[] = [];
  /** What they wait for has left. */
  #applyDue = false;
  #leading = false;
  #electedIn = 0;
  /** See ConsensusOptions.cautiousAfterRestart. */
  #cautious: boolean;
  #allHereSince = Number.POSITIVE_INFINITY;
  #forced = false;
  #failed = false;
  #closed = false;
  #appliedSinceSnapshot = 0;
  #bytesSinceSnapshot = 0;

  /** @throws TroupeError when the stored state cannot be read */
  constructor(options: ConsensusOptions, database: Database, peers: Peers, clock: Clock, random: Random, log: Log, handlers: ConsensusHandlers) {
    this.#options = options;
    this.#database = database;
    this.#peers = peers;
    this.#clock = clock;
    this.#random = random;
    this.#log = log;
    this.#handlers = handlers;
    this.#raft = this.#newRaft();
    this.#cautious = options.cautiousAfterRestart && this.isVoter && this.#raft.configuration.voters.length > 1;
    if (this.#cautious) this.#lookForTheOthers();
  }

  #lookForTheOthers(): void {
    if (!this.#cautious || this.#closed) return;
    const now = this.#clock.now();
    const allHere = this.#raft.configuration.voters.every((id) => id === this.#options.raftId || this.#peers.isConnected(nameOfRaftId(id)));
    if (!allHere) this.#allHereSince = Number.POSITIVE_INFINITY;
    else if (this.#allHereSince === Number.POSITIVE_INFINITY) this.#allHereSince = now;
    else if (now - this.#allHereSince >= cautionMs) {
      this.#endCaution();
      return;
    }
    this.#clock.at(now + cautionLookMs, () => this.#lookForTheOthers());
  }

  #endCaution(): void {
    this.#cautious = false;
    // The time that was waited does not count as a leader's silence.
    this.#raft.tick(this.#clock.now());
    this.#armPump();
  }

  #newRaft(): Raft {
    return new Raft({
      id: this.#options.raftId, random: this.#random, initial: load(this.#database), now: this.#clock.now(),
      electionTimeoutMinMs: this.#options.electionTimeoutMs.min, electionTimeoutMaxMs: this.#options.electionTimeoutMs.max,
      ...(this.#options.logs === undefined ? {} : { limits: { compactionTailEntries: this.#options.logs.compactionTailEntries } }),
    });
  }

  get map(): ClusterMap {
    return this.#map;
  }

  get raft(): Raft {
    return this.#raft;
  }

  /** Leads, and has applied everything up to its own term. */
  get leading(): boolean {
    return this.#leading;
  }

  get leaderName(): string | undefined {
    const id = this.#raft.leaderId;
    return id === undefined ? undefined : nameOfRaftId(id);
  }

  /** Belongs to no group yet. */
  get isFresh(): boolean {
    return this.#raft.configuration.voters.length === 0;
  }

  get isVoter(): boolean {
    return this.#raft.configuration.voters.includes(this.#options.raftId);
  }

  start(): void {
    this.#pump();
  }

  // ---- input ------------------------------------------------------------------------------------------------------

  /** Becomes the only voter of a new group. Resolves once that is on disk. */
  async bootstrap(): Promise<void> {
    const state = Raft.bootstrap(this.#options.raftId);
    await new Promise<void>((resolve, reject) => {
      this.#database.write(changesForState(state), (error) => (error === undefined ? resolve() : reject(error)));
    });
    this.#raft = this.#newRaft();
    this.#raft.campaign(this.#clock.now());
    this.#pump();
  }

  onFrame(from: string, bytes: Uint8Array, start: number, end: number): void {
    if (this.#failed || this.#closed) return;
    const message = decodeMessage(bytes.subarray(start, end));
    if (message.to !== this.#options.raftId || nameOfRaftId(message.from) !== from) return;
    if (this.#cautious) {
      if (message.type !== 'append' && message.type !== 'heartbeat' && message.type !== 'snapshot') return;
      this.#cautious = false;
    }
    this.#raft.step(this.#clock.now(), message);
    this.#armPump();
  }

  connected(name: string): void {
    for (const id of this.#members()) if (nameOfRaftId(id) === name) this.#raft.reportConnected(this.#clock.now(), id);
    this.#armPump();
  }

  disconnected(name: string): void {
    for (const id of this.#members()) if (nameOfRaftId(id) === name) this.#raft.reportUnreachable(this.#clock.now(), id);
  }

  #members(): string[] {
    return [...this.#raft.configuration.voters, ...this.#raft.configuration.learners];
  }

  /** The process that leads is dead for certain: elect without waiting. */
  leaderDied(): void {
    const leader = this.#raft.leaderId;
    if (leader === undefined || !this.isVoter || this.#failed || this.#cautious) return;
    this.#raft.campaign(this.#clock.now(), { leaderKnownDead: leader });
    this.#armPump();
  }

  /** Whose turn it is to campaign when the leader is known dead, if that voter knows it. */
  firstToCampaign(): string | undefined {
    const dead = this.#raft.leaderId;
    const [first] = this.#raft.configuration.voters.filter((id) => id !== dead).sort();
    return first === undefined ? undefined : nameOfRaftId(first);
  }

  /** UNSAFE, by the operator's leave only: see quorum.lastNode. */
  dropVoters(ids: readonly string[]): boolean {
    this.#forced = true;
    const dropped = this.#raft.dropVoters(this.#clock.now(), ids);
    if (!dropped) this.#forced = false;
    this.#armPump();
    return dropped;
  }

  /** Resolves with the outcome when the command has been applied here; LEADER_CHANGED when that cannot be known. */
  propose(command: Command): Promise<Outcome> {
    const placed = this.#failed ? undefined : this.#raft.propose(this.#clock.now(), encodeCommand(command));
    if (placed === undefined) {
      return Promise.resolve({ ok: false, code: 'NOT_LEADER', message: `this node cannot take the command: ${this.#raft.lastRefusal ?? 'its disk has failed'}` });
    }
    this.#armPump();
    return new Promise((resolve) => this.#proposals.set(placed.index, { term: placed.term, resolve }));
  }

  proposeConfiguration(change: ConfigurationChange): boolean {
    const placed = this.#failed ? undefined : this.#raft.proposeConfiguration(this.#clock.now(), change);
    this.#armPump();
    return placed !== undefined;
  }

  readIndex(token: number): boolean {
    const accepted = !this.#failed && this.#raft.readIndex(this.#clock.now(), token);
    this.#armPump();
    return accepted;
  }

  transferLeadership(to: string): boolean {
    const started = this.#raft.transferLeadership(this.#clock.now(), to);
    this.#armPump();
    return started;
  }

  // ---- the loop ---------------------------------------------------------------------------------------------------

  #armPump(): void {
    if (this.#pumpArmed || this.#closed) return;
    this.#pumpArmed = true;
    // What came in one turn is handled and written together.
    this.#peers.arm();
  }

  /** Called at the end of the turn, before frames leave. */
  endOfTurn(): void {
    if (!this.#pumpArmed) return;
    this.#pumpArmed = false;
    this.#pump();
  }

  #pump(): void {
    if (this.#pumping || this.#failed || this.#closed) return;
    this.#pumping = true;
    if (this.#raft.role === 'leader' && this.#electedIn !== this.#raft.term) {
      this.#electedIn = this.#raft.term;
      this.#handlers.onElected();
    }
    try {
      this.#applyWhatWaited();
      for (let round = 0; round < 100 && this.#raft.hasReady(); round++) this.#handle(this.#raft.ready(this.#clock.now()));
    } finally {
      this.#pumping = false;
    }
    this.#checkLeading();
    this.#armTimer();
  }

  #handle(ready: Ready): void {
    for (const message of ready.messages) this.#send(message);
    if (ready.mustPersist) this.#persist(ready);
    // A leader tells the others of the commit before it applies what was committed, and all of them apply it at once:
    // copies settle with each other, and none gets there before the last.
    const canWait = this.#toApply.length > 0 || (this.#raft.role === 'leader' && ready.committed.length > 0 && ready.messages.length > 0);
    if (!canWait) {
      this.#apply(ready);
      return;
    }
    if (this.#toApply.length === 0) {
      // After this turn's frames have left.
      queueMicrotask(() => {
        this.#applyDue = true;
        this.#armPump();
      });
    }
    this.#toApply.push(ready);
  }

  #applyWhatWaited(): void {
    if (!this.#applyDue) return;
    this.#applyDue = false;
    const due = this.#toApply;
    this.#toApply = [];
    for (const ready of due) this.#apply(ready);
  }

  #apply(ready: Ready): void {
    if (ready.appliedSnapshot !== undefined) {
      this.#map = decodeMap(ready.appliedSnapshot.data);
      this.#handlers.onMap(this.#map);
    }
    if (ready.committed.length > 0) this.#applyEntries(ready.committed);
    if (ready.readStates.length > 0) this.#handlers.onReadStates(ready.readStates.map((state) => state.token));
  }

  #send(message: Message): void {
    const writer = this.#peers.writer(nameOfRaftId(message.to));
    if (writer === undefined) {
      this.#raft.reportUnreachable(this.#clock.now(), message.to);
      return;
    }
    const bytes = encodeMessage(message);
    writer.begin(PeerFrame.raft);
    writer.raw(bytes, 0, bytes.length);
    writer.end();
  }

  #persist(ready: Ready): void {
    const raft = this.#raft;
    this.#database.write(changesFor(ready), (error) => {
      if (this.#closed || raft !== this.#raft) return;
      if (error !== undefined) {
        this.#fail(error);
        return;
      }
      raft.persisted(this.#clock.now(), ready.token);
      for (const message of ready.messagesAfterPersist) this.#send(message);
      this.#armPump();
    });
  }

  #applyEntries(entries: readonly Entry[]): void {
    let changed = false;
    const outcomes: [Proposal, Outcome][] = [];
    for (const entry of entries) {
      let outcome: Outcome = { ok: true };
      if (entry.type === 'normal' && entry.data.length > 0) {
        outcome = apply(this.#map, decodeCommand(entry.data), entry.index);
        changed = true;
      }
      const proposal = this.#proposals.get(entry.index);
      if (proposal !== undefined) {
        this.#proposals.delete(entry.index);
        outcomes.push([proposal, proposal.term === entry.term ? outcome : outcomeLost]);
      }
      this.#appliedSinceSnapshot++;
      this.#bytesSinceSnapshot += entry.data.length;
    }
    this.#raft.applied((entries.at(-1) as Entry).index);
    if (changed) this.#handlers.onMap(this.#map);
    for (const [proposal, outcome] of outcomes) proposal.resolve(outcome);
    this.#compactIfLong();
    this.#handlers.onProgress();
  }

  #compactIfLong(): void {
    if (this.#appliedSinceSnapshot < (this.#options.logs?.compactEveryEntries ?? compactEveryEntries) && this.#bytesSinceSnapshot < compactEveryBytes) return;
    const snapshot = this.#raft.compact(this.#raft.appliedIndex, encodeMap(this.#map));
    if (snapshot === undefined) return;
    this.#appliedSinceSnapshot = 0;
    this.#bytesSinceSnapshot = 0;
    const raft = this.#raft;
    this.#database.write(changesForCompaction(snapshot, this.#raft.firstIndex), (error) => {
      if (error !== undefined && !this.#closed && raft === this.#raft) this.#fail(error);
    });
  }

  #checkLeading(): void {
    const leads = this.#raft.role === 'leader' && this.#raft.hasCommittedInTerm && this.#raft.appliedIndex >= this.#raft.commitIndex;
    if (this.#leading && this.#raft.role !== 'leader') {
      this.#leading = false;
      this.#dropProposals();
      this.#handlers.onNotLeading();
    } else if (!this.#leading && leads) {
      this.#leading = true;
      // After a forced change of the group nothing is known of what the leader before may have promised.
      const silent = this.#forced ? 0 : (this.#raft.lastElection?.previousLeaderSilentMs ?? 0);
      this.#forced = false;
      this.#handlers.onLeading(silent);
    }
  }

  #dropProposals(): void {
    const open = [...this.#proposals.values()];
    this.#proposals.clear();
    for (const proposal of open) proposal.resolve(outcomeLost);
  }

  #armTimer(): void {
    if (this.#cautious) return;
    const at = this.#raft.nextWakeAt();
    if (this.#timer !== undefined && this.#timerAt === at) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (at === Number.POSITIVE_INFINITY) return;
    this.#timerAt = at;
    this.#timer = this.#clock.at(at, () => {
      this.#timer = undefined;
      this.#timerAt = Number.POSITIVE_INFINITY;
      if (this.#closed || this.#failed) return;
      if (!this.#cautious) this.#raft.tick(this.#clock.now());
      this.#armPump();
      this.#armTimer();
    });
  }

  // ---- the disk fails ---------------------------------------------------------------------------------------------

  /** Nothing that could not be written may be relied on: this node is out of the group until the disk works again. */
  #fail(error: Error): void {
    if (this.#failed) return;
    this.#failed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = Number.POSITIVE_INFINITY;
    const led = this.#leading;
    this.#leading = false;
    this.#dropProposals();
    this.#log.error('the consensus log cannot be written: this node takes no part in decisions until it is restarted', { error: messageOf(error), ...(error instanceof TroupeError ? error.fields : {}) });
    if (led) this.#handlers.onNotLeading();
    this.#handlers.onDiskFailure(error);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#dropProposals();
    await this.#database.close();
  }
}
