/** What the leading node does while it leads: it grants sessions and ends them, and proposes what its decisions ask for. */
import { TroupeError } from '../base/errors.ts';
import type { Command, InSyncChange, Outcome } from '../core/control/commands.ts';
import { Decisions } from '../core/control/decisions.ts';
import type { DecisionOptions } from '../core/control/decisions.ts';
import { isNotOver } from '../core/control/map.ts';
import type { AppSpec, ClusterMap, Evidence, KeyspaceOptions, LeaseTiming } from '../core/control/map.ts';
import { SessionTable } from '../core/control/sessions.ts';
import { nextVoterStep } from '../core/control/voters.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import { afterThisTurn } from './after-this-turn.ts';
import { nameOfRaftId } from './consensus.ts';
import type { Consensus } from './consensus.ts';
import type { Registration } from './registration.ts';

export interface LeaderOptions {
  readonly self: string;
  readonly timing: LeaseTiming;
  readonly decisions: DecisionOptions;
  readonly newClusterId: () => string;
  /** Dead voters leave the group at once, down to one. */
  readonly downToOne: boolean;
}

export interface LeaderSurroundings {
  /** Tells the node that its renewal was granted, by a leader that had committed up to `index`. */
  grant(node: string, session: number, round: number, index: number): void;
  /** The session is over. */
  deny(node: string, session: number): void;
  /** A process that is known to be dead. */
  isDead(instance: string): boolean;
  isConnected(name: string): boolean;
}

interface Renewal {
  readonly node: string;
  readonly session: number;
  readonly round: number;
}

/** What a node's configuration wants the cluster to have. */
export interface NodeWishes {
  readonly keyspaces: Readonly<Record<string, KeyspaceOptions>>;
  readonly apps: readonly AppSpec[];
}

const voterGraceMs = 5000;
/** A new leader's own first decisions wait until what its election was for (copies settle, apps start) is under way. */
const firstDecisionAfterMs = 10;
const learnerLagMax = 100;

export class Leader {
  readonly #options: LeaderOptions;
  readonly #consensus: Consensus;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #around: LeaderSurroundings;
  readonly #sessions: SessionTable;
  readonly #decisions: Decisions;
  /** What each node asked for, as far as this leader was told. */
  readonly #wishes = new Map<string, NodeWishes>();
  /** Ends that are proposed, by node. */
  readonly #closing = new Map<string, { readonly session: number; readonly evidence: Evidence }>();
  readonly #goneSince = new Map<string, number>();
  #waiting: Renewal[] = [];
  #inRound: Renewal[] = [];
  #roundToken = 0;
  #nextToken = 1;
  #deciding = false;
  #decisionArmed = false;
  readonly #holdsUntil: number;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: LeaderOptions, previousLeaderSilentMs: number, consensus: Consensus, clock: Clock, log: Log, around: LeaderSurroundings) {
    this.#options = options;
    this.#consensus = consensus;
    this.#clock = clock;
    this.#log = log;
    this.#around = around;
    const now = clock.now();
    const live = Object.values(consensus.map.nodes).filter((node) => node.live).map((node) => node.name);
    this.#sessions = new SessionTable(now, consensus.map.clusterId === '' ? options.timing : consensus.map.timing, live, previousLeaderSilentMs);
    this.#decisions = new Decisions(now, options.decisions);
    // In a young cluster nobody waits for anything else.
    this.#holdsUntil = now + (Object.keys(consensus.map.keyspaces).length === 0 ? 0 : firstDecisionAfterMs);
  }

  start(): void {
    const { map } = this.#consensus;
    if (map.clusterId === '') this.#propose({ type: 'found-cluster', clusterId: this.#options.newClusterId(), timing: this.#options.timing });
    this.#endTheDead();
    this.#timer = this.#clock.at(this.#holdsUntil, () => this.#tick());
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #propose(command: Command): void {
    void this.#consensus.propose(command).then((outcome) => {
      if (!outcome.ok && outcome.code !== 'STALE') this.#log.debug('a proposal was refused', { command: command.type, code: outcome.code, reason: outcome.message });
    });
  }

  // ---- sessions ---------------------------------------------------------------------------------------------------

  /** Opens a session for a process. The answer's session may be used once the node has applied the map that names it. */
  async register(registration: Registration): Promise<{ session: number; clusterId: string }> {
    const { map, raft } = this.#consensus;
    const known = map.nodes[registration.name];
    if (known?.live === true && known.instance !== registration.instance) this.#checkReplacement(known.peer, registration);
    if (registration.clusterId !== '' && map.clusterId !== '' && registration.clusterId !== map.clusterId) {
      throw new TroupeError('OTHER_CLUSTER', `node '${registration.name}' holds data of cluster ${registration.clusterId}, this is cluster ${map.clusterId}: start it with an empty data directory, or in its own cluster`, {});
    }
    this.noteWishes(registration.name, registration);
    const { voters, learners } = raft.configuration;
    if (!voters.includes(registration.raftId) && !learners.includes(registration.raftId)) {
      // A directory that was lost with its log can never vote again: its old identity leaves, by and by, as an orphan.
      if (!this.#consensus.proposeConfiguration({ type: 'add-learner', id: registration.raftId })) throw new TroupeError('RETRY', 'another node is just being added to the cluster; try again', {});
    }
    const { name, raftId, instance, peer, gossip, zone, eligible, storage, version, offers, resumes } = registration;
    const replaces = known?.live === true && known.instance !== instance ? known.instance : '';
    const outcome = await this.#consensus.propose({ type: 'open-session', name, raftId, instance, peer, gossip, zone, eligible, storage, version, offers, resumes, replaces });
    // Its dead predecessor's registration may have come through a moment before: only the check above may turn it away for good.
    if (!outcome.ok) throw new TroupeError(outcome.code === 'NAME_TAKEN' ? 'RETRY' : outcome.code, outcome.message, {});
    this.#sessions.answered(this.#clock.now(), registration.name);
    return { session: outcome.session ?? 0, clusterId: this.#consensus.map.clusterId };
  }

  /** The name is taken by a process that has a live session: the newcomer gets it only if that process is certainly gone. */
  #checkReplacement(old: { host: string; port: number }, registration: Registration): void {
    const instance = this.#consensus.map.nodes[registration.name]?.instance ?? '';
    // The very address the old process listened on answers as the newcomer: the old one is dead.
    const sameAddress = old.host === registration.peer.host && old.port === registration.peer.port;
    if (sameAddress || this.#around.isDead(instance)) return;
    throw new TroupeError('NAME_TAKEN', `the name '${registration.name}' belongs to a live node at ${old.host}:${old.port}: give the node at ${registration.peer.host}:${registration.peer.port} another name, or stop the other one`, { name: registration.name });
  }

  /** Told at registration, and anew to each new leader: it may have been another that the node registered with. */
  noteWishes(node: string, wishes: NodeWishes): void {
    this.#wishes.set(node, { keyspaces: wishes.keyspaces, apps: wishes.apps });
    this.#decideSoon();
  }

  /** Where nodes differ, the earliest counts; for apps, a live node before others. */
  #mergedWishes(): { keyspaces: Map<string, KeyspaceOptions>; apps: Map<string, AppSpec> } {
    const keyspaces = new Map<string, KeyspaceOptions>();
    const apps = new Map<string, AppSpec>();
    const { nodes } = this.#consensus.map;
    const order = [...this.#wishes].toSorted(([a], [b]) => Number(nodes[b]?.live === true) - Number(nodes[a]?.live === true));
    for (const [, wishes] of order) {
      for (const [name, options] of Object.entries(wishes.keyspaces)) if (!keyspaces.has(name)) keyspaces.set(name, options);
      for (const spec of wishes.apps) if (!apps.has(spec.name)) apps.set(spec.name, spec);
    }
    return { keyspaces, apps };
  }

  renew(node: string, session: number, round: number): void {
    const entry = this.#consensus.map.nodes[node];
    const { appliedIndex, commitIndex } = this.#consensus.raft;
    const fits = entry?.live === true && entry.session === session;
    // A node that has applied sooner than its leader may know of a session that is news here: the round looks again.
    if (this.#closing.has(node) || (!fits && appliedIndex === commitIndex)) {
      this.#around.deny(node, session);
      return;
    }
    this.#waiting.push({ node, session, round });
    this.#startRound();
  }

  /** A grant is only given once a majority has confirmed, after the renewal came, that this node still leads. */
  #startRound(): void {
    if (this.#roundToken !== 0 || this.#waiting.length === 0 || this.#stopped) return;
    const token = this.#nextToken++;
    if (!this.#consensus.readIndex(token)) {
      this.#waiting = [];
      return;
    }
    this.#roundToken = token;
    this.#inRound = this.#waiting;
    this.#waiting = [];
  }

  onReadStates(tokens: readonly number[]): void {
    if (!tokens.includes(this.#roundToken)) return;
    this.#roundToken = 0;
    const now = this.#clock.now();
    for (const { node, session, round } of this.#inRound) {
      const entry = this.#consensus.map.nodes[node];
      // Once its end is proposed, a session is not prolonged any more.
      if (entry === undefined || !entry.live || entry.session !== session || this.#closing.has(node)) {
        this.#around.deny(node, session);
        continue;
      }
      this.#sessions.answered(now, node);
      this.#around.grant(node, session, round, this.#consensus.raft.commitIndex);
    }
    this.#inRound = [];
    this.#startRound();
  }

  noteDead(name: string, instance: string): void {
    const node = this.#consensus.map.nodes[name];
    if (node !== undefined && node.instance === instance && isNotOver(node)) this.#close([name], 'refused');
  }

  /**
   * Looked at again and again: the proposal of an end can come to nothing (a transfer of the leadership was under way), and
   * nobody tells of the same death twice. A silent node's death counts as well: partitions may be waiting for its return.
   */
  #endTheDead(): void {
    const dead = Object.values(this.#consensus.map.nodes).filter((node) => isNotOver(node) && this.#around.isDead(node.instance));
    if (dead.length > 0) this.#close(dead.map((node) => node.name), 'refused');
  }

  left(name: string, instance: string): void {
    if (this.#consensus.map.nodes[name]?.instance === instance) this.#close([name], 'left');
  }

  #close(names: readonly string[], evidence: Evidence): void {
    const { map } = this.#consensus;
    const sessions = names.map((name) => ({ name, session: map.nodes[name]?.session ?? 0, evidence })).filter((end) => {
      // Several nodes tell of the same death; each proposal would be a disk write that everybody waits for.
      const under = this.#closing.get(end.name);
      return under?.session !== end.session || (under.evidence === 'silent' && evidence !== 'silent');
    });
    if (sessions.length === 0) return;
    for (const end of sessions) this.#closing.set(end.name, end);
    void this.#consensus.propose({ type: 'close-sessions', sessions }).then(() => {
      for (const end of sessions) {
        if (this.#closing.get(end.name) === end) this.#closing.delete(end.name);
        if (this.#consensus.map.nodes[end.name]?.live !== true) this.#sessions.closed(end.name);
      }
    });
    afterThisTurn(this.#clock, () => this.#log.info('sessions end', { nodes: sessions.map((end) => end.name), evidence }));
  }

  // ---- requests of other nodes ------------------------------------------------------------------------------------

  inSync(changes: readonly InSyncChange[]): void {
    if (changes.length > 0) this.#propose({ type: 'in-sync', changes });
  }

  command(command: Command): Promise<Outcome> {
    return this.#consensus.propose(command);
  }

  // ---- decisions --------------------------------------------------------------------------------------------------

  onMap(): void {
    this.#decideSoon();
  }

  #decideSoon(): void {
    // Until then the first tick stands for it.
    if (this.#decisionArmed || this.#deciding || this.#clock.now() < this.#holdsUntil) return;
    this.#decisionArmed = true;
    afterThisTurn(this.#clock, () => {
      this.#decisionArmed = false;
      this.#decide();
    });
  }

  #decide(): void {
    if (this.#deciding || this.#stopped || !this.#consensus.leading) return;
    const commands = this.#decisions.decide(this.#clock.now(), this.#consensus.map, this.#mergedWishes());
    if (commands.length === 0) return;
    this.#deciding = true;
    void Promise.all(commands.map((command) => this.#consensus.propose(command))).then((outcomes) => {
      this.#deciding = false;
      // Nothing came of any of them: look again at the next change or tick, not in a circle.
      if (outcomes.some((outcome) => outcome.ok)) this.#decide();
    });
  }

  #tick(): void {
    if (this.#stopped) return;
    this.#endTheDead();
    const now = this.#clock.now();
    const expired = this.#sessions.expired(now).filter((name) => this.#consensus.map.nodes[name]?.live === true);
    if (expired.length > 0) this.#close(expired, 'silent');
    this.#decide();
    this.#adjustVoters(now);
    const next = Math.min(this.#sessions.nextDeadline(), this.#decisions.nextWakeAt, now + 100);
    this.#timer = this.#clock.at(Math.max(next, now + 1), () => this.#tick());
  }

  #adjustVoters(now: number): void {
    const { map, raft } = this.#consensus;
    const { voters, learners } = raft.configuration;
    const gone = new Set<string>();
    for (const id of [...voters, ...learners]) {
      const node = map.nodes[nameOfRaftId(id)];
      const here = node !== undefined && node.live && node.raftId === id;
      if (here) this.#goneSince.delete(id);
      else if (!this.#goneSince.has(id)) this.#goneSince.set(id, now);
      if (!here && now - (this.#goneSince.get(id) ?? now) > (this.#options.downToOne && node?.ended !== 'silent' ? 0 : voterGraceMs)) gone.add(id);
    }
    const caughtUp = new Set(raft.progress(now).filter((member) => member.isLearner && member.recentActive && raft.lastIndex - member.match <= learnerLagMax).map((member) => member.id));
    // A member that was just added has no node in the map until its session opens.
    const settled = learners.filter((id) => map.nodes[nameOfRaftId(id)]?.raftId === id || gone.has(id));
    // A forgotten node that came back while its removal was under way registered as a member and ceased to be one: without the
    // log it would never learn of anything again, not even of the end of its session.
    const stranded = Object.values(map.nodes).find((node) => (node.live || node.ended === 'silent') && !voters.includes(node.raftId) && !learners.includes(node.raftId));
    if (stranded !== undefined) {
      if (this.#consensus.proposeConfiguration({ type: 'add-learner', id: stranded.raftId })) this.#log.info('a node that is no member of the consensus group becomes one', { member: stranded.raftId });
      return;
    }
    const step = nextVoterStep(map, { voters, learners: settled, leader: raft.id, caughtUp, gone, downToOne: this.#options.downToOne });
    if (step === undefined) {
      this.#leaveLeadershipIfDraining(map);
      return;
    }
    if (this.#consensus.proposeConfiguration(step)) this.#log.info('the voters change', { step: step.type, member: step.id });
  }

  #leaveLeadershipIfDraining(map: ClusterMap): void {
    if (map.nodes[this.#options.self]?.draining !== true) return;
    const heir = this.#consensus.raft.configuration.voters.find((id) => id !== this.#consensus.raft.id && map.nodes[nameOfRaftId(id)]?.live === true && map.nodes[nameOfRaftId(id)]?.draining === false);
    if (heir !== undefined) this.#consensus.transferLeadership(heir);
  }
}
