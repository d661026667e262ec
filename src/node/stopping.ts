/** How a node goes: at once or after it has handed everything over. In which order its parts stop is told in DESIGN.md, Stopping. */
import { messageOf } from '../base/errors.ts';
import { chooseNode } from '../core/control/apps.ts';
import { isActive } from '../core/control/map.ts';
import type { ClusterMap } from '../core/control/map.ts';
import type { MemcachedServer } from '../frontends/memcached/server.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { AppsRunner } from './apps-runner.ts';
import type { Bootstrap } from './bootstrap.ts';
import type { Commands } from './commands.ts';
import type { Consensus } from './consensus.ts';
import type { Gossip } from './gossip.ts';
import type { OwnIdentity } from './identity.ts';
import type { LastNode } from './last-node.ts';
import type { Leadership } from './leadership.ts';
import type { Peers } from './peers.ts';
import type { Requests } from './router.ts';
import type { SessionClient } from './session-client.ts';
import type { StoreHost } from './store-host.ts';

const leaveTimeoutMs = 10_000;
/** The same while nobody else has all of some partition: whoever is to have it may have to be filled first. */
const lastCopyTimeoutMs = 60_000;
const drainLookMs = 20;

/** What is undefined has not been opened yet: a node may have to stop while it starts. */
export interface PartsToStop {
  readonly self: string;
  readonly instance: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly bootstrap: Bootstrap | undefined;
  readonly lastNode: LastNode | undefined;
  readonly leadership: Leadership | undefined;
  readonly session: SessionClient | undefined;
  readonly apps: AppsRunner | undefined;
  readonly memcached: MemcachedServer | undefined;
  readonly requests: Requests | undefined;
  readonly store: StoreHost | undefined;
  readonly gossip: Gossip | undefined;
  readonly peers: Peers | undefined;
  readonly consensus: Consensus | undefined;
  readonly commands: Commands | undefined;
  readonly identity: OwnIdentity | undefined;
}

export class Stopping {
  /** Resolves when the node has stopped, with the error if it had to. */
  readonly stopped: Promise<Error | undefined>;
  readonly #parts: PartsToStop;
  #hasBegun = false;
  #closing: Promise<void> | undefined;
  #settleStopped: (error: Error | undefined) => void = () => {};

  constructor(parts: PartsToStop) {
    this.#parts = parts;
    this.stopped = new Promise((resolve) => {
      this.#settleStopped = resolve;
    });
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  close(): Promise<void> {
    return this.#close(undefined);
  }

  /** The node cannot go on. */
  fail(error: Error): void {
    if (this.hasBegun) return;
    this.#parts.log.error('the node stops', { reason: messageOf(error) });
    void this.#close(error);
  }

  async leave(): Promise<void> {
    if (this.hasBegun) return await this.close();
    const { clock, session, log } = this.#parts;
    const begun = clock.now();
    const mayWait = (): boolean => clock.now() < begun + (this.#soleCopies() > 0 ? lastCopyTimeoutMs : leaveTimeoutMs);
    try {
      if (this.#hasHeirs() && session?.isCurrent === true) {
        await this.#parts.commands?.submit({ type: 'drain', name: this.#parts.self, on: true });
        while (!this.#isDrained() && mayWait() && !this.hasBegun) await new Promise<void>((resolve) => void clock.at(clock.now() + drainLookMs, resolve));
      }
      if (this.hasBegun) return;
      const partitions = this.#soleCopies();
      if (partitions > 0) log.warn('leaving with the only complete copy of some partitions: what they hold is gone', { partitions });
      session?.pause();
      await this.#parts.apps?.close();
      // Whoever hears that this node has left gives its parts away at once: from here on nothing is acted upon.
      session?.giveUp();
      await this.#parts.leadership?.sayLeft(this.#parts.instance);
      await this.#parts.gossip?.leave();
    } catch (error) {
      log.warn('leaving without having handed everything over', { reason: messageOf(error) });
    }
    await this.close();
  }

  #hasHeirs(): boolean {
    const map = this.#parts.consensus?.map;
    return map !== undefined && Object.values(map.nodes).some((node) => node.name !== this.#parts.self && isActive(map, node.name));
  }

  /** Partitions that nobody else has all of, although another node could; 0 during maintenance, when nothing is moved. */
  #soleCopies(): number {
    const { self, consensus } = this.#parts;
    if (consensus === undefined || consensus.map.maintenance || !this.#otherStorage(consensus.map)) return 0;
    return Object.values(consensus.map.keyspaces).reduce((sum, keyspace) => sum + keyspace.partitions.filter((partition) => partition.inSync.length === 1 && partition.inSync[0] === self).length, 0);
  }

  #otherStorage(map: ClusterMap): boolean {
    return Object.values(map.nodes).some((node) => node.name !== this.#parts.self && node.storage && isActive(map, node.name));
  }

  /** Nothing is left here that another node could take. */
  #isDrained(): boolean {
    const { self, consensus } = this.#parts;
    if (consensus === undefined) return true;
    const { map } = consensus;
    const others = Object.values(map.nodes).filter((node) => node.name !== self && isActive(map, node.name));
    // A vote that goes along may be the one without which the others have no majority; the leadership goes before the vote.
    const votes = consensus.raft.configuration.voters.includes(consensus.raft.id) && others.some((node) => node.eligible);
    // During maintenance nothing else is moved.
    if (map.maintenance) return !votes;
    const holdsPrimary = this.#otherStorage(map) && Object.values(map.keyspaces).some((keyspace) => keyspace.partitions.some((partition) => partition.primary === self));
    const holdsApp = Object.values(map.apps).some((app) => app.node === self && (app.phase === 'stopping' || chooseNode(map, app, self) !== undefined));
    return !votes && !holdsPrimary && !holdsApp;
  }

  #close(error: Error | undefined): Promise<void> {
    this.#closing ??= this.#closeParts(error);
    return this.#closing;
  }

  async #closeParts(error: Error | undefined): Promise<void> {
    this.#hasBegun = true;
    const parts = this.#parts;
    parts.bootstrap?.stop();
    parts.lastNode?.stop();
    parts.leadership?.stop();
    // First of all nothing is acted upon any more.
    parts.session?.giveUp();
    parts.session?.stop();
    await parts.apps?.close();
    await parts.memcached?.close();
    parts.requests?.close();
    parts.store?.close();
    await parts.gossip?.close();
    await parts.peers?.close();
    await parts.consensus?.close();
    await parts.identity?.close();
    this.#settleStopped(error);
  }
}
