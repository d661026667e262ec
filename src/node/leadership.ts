/** When this node leads and when another does: the leader's beginning and end here, and what the rest of the node tells the leader wherever it is. */
import { TroupeError } from '../base/errors.ts';
import type { InSyncChange } from '../core/control/commands.ts';
import { isNotOver } from '../core/control/map.ts';
import type { ClusterMap } from '../core/control/map.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Calls } from './calls.ts';
import type { Consensus } from './consensus.ts';
import type { DeadInstances } from './dead-instances.ts';
import { Leader } from './leader.ts';
import type { LeaderOptions, NodeWishes } from './leader.ts';
import type { LeaseFrames } from './lease-frames.ts';
import type { Peers } from './peers.ts';
import { afterThisTurn } from './after-this-turn.ts';
import { isGoodName } from './registration.ts';
import type { Registration } from './registration.ts';

const wishesRetryMs = 500;
/** Longer than a lease: then nobody waits for the word any more. */
const sayLeftMs = 1000;
const sayLeftRetryMs = 20;

export interface LeadershipSurroundings {
  readonly options: LeaderOptions;
  readonly consensus: Consensus;
  readonly calls: Calls;
  readonly peers: Peers;
  readonly dead: DeadInstances;
  readonly leases: LeaseFrames;
  readonly clock: Clock;
  readonly log: Log;
  readonly wishes: NodeWishes;
  isClosed(): boolean;
  /** Another leads now, or this node does. */
  leaderChanged(): void;
}

export class Leadership {
  readonly #around: LeadershipSurroundings;
  #leader: Leader | undefined;
  #lastLeader: string | undefined;
  /** Another node has seen this leader's process die: enough to elect another, as any node's word is enough for a leader. */
  #toldDeadLeader = '';

  constructor(around: LeadershipSurroundings) {
    this.#around = around;
  }

  /** While this node leads. */
  get leader(): Leader | undefined {
    return this.#leader;
  }

  get #self(): string {
    return this.#around.options.self;
  }

  get #map(): ClusterMap {
    return this.#around.consensus.map;
  }

  // ---- who leads --------------------------------------------------------------------------------------------------

  /** The sessions of the dead end with the very first entries of the term: that saves a round of disk writes while everybody waits. */
  onElected(): void {
    const { consensus, dead } = this.#around;
    const sessions = Object.values(this.#map.nodes)
      .filter((node) => isNotOver(node) && (dead.has(node.instance) || node.instance === this.#toldDeadLeader))
      .map((node) => ({ name: node.name, session: node.session, evidence: 'refused' as const }));
    if (sessions.length > 0) void consensus.propose({ type: 'close-sessions', sessions });
  }

  onLeading(previousLeaderSilentMs: number): void {
    const { options, consensus, peers, dead, leases, clock, log, wishes } = this.#around;
    // An election that was won while the node closes: nobody would stop this leader any more.
    if (this.#around.isClosed()) return;
    afterThisTurn(clock, () => log.info('this node leads the cluster', { term: consensus.raft.term }));
    this.#leader?.stop();
    this.#leader = new Leader(options, previousLeaderSilentMs, consensus, clock, log, {
      grant: (node, session, round, index) => leases.grant(node, session, round, index),
      deny: (node, session) => leases.deny(node, session),
      isDead: (instance) => dead.has(instance),
      isConnected: (name) => peers.isConnected(name),
    });
    this.#leader.noteWishes(this.#self, wishes);
    this.#leader.start();
    this.noteLeader();
  }

  onNotLeading(): void {
    this.#around.log.info('this node does not lead any more');
    this.stop();
    this.#leader = undefined;
    this.noteLeader();
  }

  /** Nothing is decided here any more. */
  stop(): void {
    this.#leader?.stop();
  }

  noteLeader(): void {
    const name = this.#around.consensus.leaderName;
    if (name === this.#lastLeader) return;
    this.#lastLeader = name;
    if (name === undefined) return;
    // It leads, so it lives: whoever told of its death was wrong, and much later it must not be killed by that word.
    if (this.#map.nodes[name]?.instance === this.#toldDeadLeader) this.#toldDeadLeader = '';
    this.#around.leaderChanged();
    if (name === this.#self) return;
    void this.#tellWishes(name);
    this.#tellDeaths(name);
  }

  /** Another may have been leader when this node registered, and have told nobody what it wants. */
  async #tellWishes(leader: string): Promise<void> {
    const { calls, clock, wishes } = this.#around;
    while (!this.#around.isClosed() && this.#lastLeader === leader) {
      try {
        await calls.call(leader, 'wishes', wishes);
        return;
      } catch {
        await new Promise<void>((resolve) => void clock.at(clock.now() + wishesRetryMs, resolve));
      }
    }
  }

  /** The leader that was told of them may have died before it wrote them down, and nobody finds out a second time. */
  #tellDeaths(leader: string): void {
    for (const node of Object.values(this.#map.nodes)) if (isNotOver(node) && this.#around.dead.has(node.instance)) this.#tellDead(leader, node.name, node.instance);
  }

  // ---- what the leader is told ------------------------------------------------------------------------------------

  /** A process is known to be dead. */
  noteDead(name: string, instance: string): void {
    const { consensus } = this.#around;
    if (this.#leader !== undefined) this.#leader.noteDead(name, instance);
    else if (this.#isLeader(name, instance)) {
      consensus.leaderDied();
      // Whose turn it is to campaign need not have noticed yet; the others' turns come later.
      this.#tellDead(consensus.firstToCampaign(), name, instance);
    } else this.#tellDead(consensus.leaderName, name, instance);
  }

  #isLeader(name: string, instance: string): boolean {
    return this.#around.consensus.leaderName === name && this.#map.nodes[name]?.instance === instance;
  }

  #tellDead(whom: string | undefined, name: string, instance: string): void {
    if (whom !== undefined && whom !== this.#self) void this.#around.calls.call(whom, 'dead', [name, instance]).catch(() => {});
  }

  /**
   * Another node has seen a process die. Not as good as this node's own evidence where that alone is allowed to count
   * (quorum.lastNode), so it is not kept with it.
   * @throws TroupeError NOT_LEADER
   */
  toldDead(name: string, instance: string, leader: () => Leader): void {
    if (this.#leader === undefined && this.#isLeader(name, instance)) {
      this.#toldDeadLeader = instance;
      this.#around.consensus.leaderDied();
    } else leader().noteDead(name, instance);
  }

  requestInSync(changes: readonly InSyncChange[]): void {
    const { consensus, calls } = this.#around;
    if (this.#leader !== undefined) this.#leader.inSync(changes);
    else if (consensus.leaderName !== undefined) void calls.call(consensus.leaderName, 'in-sync', changes).catch(() => {});
  }

  /** This instance will not act any more. */
  async sayLeft(instance: string): Promise<void> {
    const { consensus, calls, clock } = this.#around;
    // A plain member of a gossip pool holds nothing, and no leader has heard of it.
    if (this.#map.clusterId === '') return;
    // Who has just handed the leadership over knows no leader for a moment. Unheard, the others wait for the end of the lease.
    for (const deadline = clock.now() + sayLeftMs; clock.now() < deadline; ) {
      if (this.#leader !== undefined) {
        this.#leader.left(this.#self, instance);
        return;
      }
      const name = consensus.leaderName;
      if (name !== undefined && name !== this.#self) {
        const heard = await calls.call(name, 'left', instance, deadline - clock.now()).then(() => true, () => false);
        if (heard) return;
      }
      await new Promise<void>((resolve) => void clock.at(clock.now() + sayLeftRetryMs, resolve));
    }
  }

  /** Another node asks `leader`, this node's, for a session. */
  async register(leader: Leader, registration: Registration): Promise<{ session: number; clusterId: string }> {
    const { dead, peers } = this.#around;
    if (!isGoodName(registration.name)) throw new TroupeError('BAD_NAME', `cannot take in a node called '${String(registration.name)}'`, {});
    const known = this.#map.nodes[registration.name];
    const elsewhere = known !== undefined && (known.peer.host !== registration.peer.host || known.peer.port !== registration.peer.port);
    // An impostor must not draw the connection of the live node that has the name to itself.
    if (!(elsewhere && known.live && known.instance !== registration.instance && !dead.has(known.instance))) peers.want(registration.name, registration.peer);
    return await leader.register(registration);
  }
}
