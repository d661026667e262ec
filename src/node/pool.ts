/** Between gossip and the peers: who is there is talked to, and who is missing is looked for. */
import { TroupeError } from '../base/errors.ts';
import type { ClusterMap } from '../core/control/map.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { BootstrapMember } from './bootstrap.ts';
import type { Gossip, GossipEvent, JoinResult } from './gossip.ts';
import type { Peers } from './peers.ts';
import { isGoodName } from './registration.ts';
import { factsOf } from './troupe-tags.ts';

const joinEveryMs = 1000;
const healEveryMs = 10_000;

export interface PoolSurroundings {
  readonly self: string;
  readonly join: readonly Address[];
  /** Between two tries while nobody answers (ms); default 1000. */
  readonly joinIntervalMs?: number | undefined;
  /** After so many tries in vain the node gives up; default never. */
  readonly joinAttemptsMax?: number | undefined;
  /** User events from before the join are told; default false. */
  readonly replayOnJoin?: boolean | undefined;
  joinFailed(error: TroupeError): void;
  map(): ClusterMap;
  isClosed(): boolean;
  /** Another live node has this one's name. */
  nameLost(error: TroupeError): void;
}

export class Pool {
  readonly #around: PoolSurroundings;
  readonly #gossip: Gossip;
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #log: Log;
  #complaint = '';

  constructor(around: PoolSurroundings, gossip: Gossip, peers: Peers, clock: Clock, log: Log) {
    this.#around = around;
    this.#gossip = gossip;
    this.#peers = peers;
    this.#clock = clock;
    this.#log = log;
    gossip.onEvent((event) => this.#onEvent(event));
    for (const member of gossip.members()) this.#note(member.name);
  }

  #onEvent(event: GossipEvent): void {
    switch (event.type) {
      case 'member-join':
      case 'member-update':
        this.#note(event.member.name);
        return;
      case 'member-leave':
        if (!this.#peers.isConnected(event.member.name)) this.#peers.forget(event.member.name);
        return;
      case 'member-reap':
        this.#peers.forget(event.member.name);
        return;
      case 'name-conflict':
        this.#log.error('two nodes use the same name: give one of them another', { name: event.name, known: event.known, claimed: event.claimed });
        return;
      case 'name-lost':
        this.#around.nameLost(new TroupeError('NAME_TAKEN', `cannot join as '${this.#around.self}': another live node has this name; give one of the two another name, or stop the other one`, { name: this.#around.self }));
        return;
      default: return;
    }
  }

  #note(name: string): void {
    const member = this.#gossip.member(name);
    // A leaving member is there as well: it may be about to object, and nobody tells of that.
    if (member === undefined || name === this.#around.self || (member.status !== 'alive' && member.status !== 'leaving') || !isGoodName(name)) return;
    const facts = factsOf(member);
    if (facts === undefined) return;
    this.#peers.want(name, facts.peer);
    // Its address may have answered nothing until now.
    this.#peers.nudge(name);
  }

  /** The process is dead for certain: gossip need not find out by itself. */
  noteDead(name: string, instance: string): void {
    const member = this.#gossip.member(name);
    if (member?.status === 'alive' && factsOf(member)?.instance === instance) this.#gossip.noteDead(name, 'refused');
  }

  /** Live Troupe nodes, this one among them. */
  members(): BootstrapMember[] {
    return this.#gossip.members().flatMap((member) => {
      const facts = member.status === 'alive' ? factsOf(member) : undefined;
      return facts === undefined ? [] : [{ name: member.name, instance: facts.instance, cluster: facts.cluster, expect: facts.expect }];
    });
  }

  /** Nodes that belong to a cluster and so may know its leader. */
  clusterMembers(): string[] {
    return this.#peers.connectedNames().filter((name) => {
      const member = this.#gossip.member(name);
      return member !== undefined && (factsOf(member)?.cluster ?? '') !== '';
    });
  }

  /** Joins until somebody answers, and looks again now and then for nodes of the cluster that gossip has lost. Ends with the node. */
  async keepJoined(): Promise<void> {
    const { joinIntervalMs = joinEveryMs, joinAttemptsMax = Infinity, replayOnJoin: replay = false } = this.#around;
    let next = { join: 0, heal: 0 };
    let triesInVain = 0;
    let wasJoined = false;
    while (!this.#around.isClosed()) {
      const now = this.#clock.now();
      const alive = this.#gossip.members().filter((member) => member.status === 'alive');
      const lonely = alive.length <= 1;
      wasJoined ||= !lonely;
      if (now >= (lonely ? next.join : next.heal)) {
        next = { join: now + joinIntervalMs, heal: now + healEveryMs };
        const targets = this.#missing(alive.map((member) => member.address));
        if (targets.length > 0) {
          // Who was there already has missed what happened elsewhere; for who comes it is history.
          const result = await this.#gossip.join(targets, undefined, wasJoined ? { rejoin: true } : { replay });
          this.#noteJoin(lonely, result);
          triesInVain = result.joined > 0 || !lonely ? 0 : triesInVain + 1;
          if (triesInVain >= joinAttemptsMax && !wasJoined) return this.#around.joinFailed(new TroupeError('JOIN_FAILED', triesInVain === 1 ? `cannot join: ${this.#complaint}; start that node first, or let this one try on (-retry-join in place of -join)` : `nobody could be joined in ${triesInVain} tries, which is the limit: ${this.#complaint}`, { tries: triesInVain }));
        }
      }
      await new Promise<void>((resolve) => {
        this.#clock.at(this.#clock.now() + Math.min(joinEveryMs, joinIntervalMs), resolve);
      });
    }
  }

  #missing(alive: readonly Address[]): Address[] {
    const known = new Set(alive.map(formatAddress));
    const ofCluster = Object.values(this.#around.map().nodes).filter((node) => node.name !== this.#around.self && node.ended !== 'left').map((node) => node.gossip);
    return [...this.#around.join, ...ofCluster].filter((address) => !known.has(formatAddress(address)));
  }

  /** Each reason once, until somebody has answered: an operator who waits for the node must see why it waits. */
  #noteJoin(lonely: boolean, { joined, errors }: JoinResult): void {
    const reason = joined > 0 || !lonely ? '' : errors.map(({ address, message }) => `${formatAddress(address)}: ${message}`).join('; ').slice(0, 2000);
    if (reason !== '' && reason !== this.#complaint && !this.#around.isClosed()) this.#log.warn('nobody could be joined yet: trying on', { reason });
    this.#complaint = reason;
  }
}
