/**
 * The node's side of its session: registers with the leader, renews, notices when the lease runs out, and registers
 * again. See core/control/DESIGN.md for why a lease counts from the moment the renewal was sent.
 */
import { messageOf, TroupeError } from '../base/errors.ts';
import { Lease } from '../core/control/sessions.ts';
import type { ClusterMap } from '../core/control/map.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Registration } from './registration.ts';

export interface SessionSurroundings {
  readonly self: string;
  readonly instance: string;
  leaderName(): string | undefined;
  /** Sends a renewal to the leader, which may be this very node. */
  renew(leader: string, session: number, round: number): void;
  /** Asks one node to register this one; rejects with NOT_LEADER and the leader's name in the fields where it knows one. */
  register(at: string, registration: Registration): Promise<{ session: number; clusterId: string }>;
  /** Nodes that may know the leader. */
  candidates(): string[];
  registration(resumes: number): Registration;
  onGained(): void;
  onLost(): void;
  onRenewed(): void;
  /** The cluster will not have this node: another has its name, or its data belongs elsewhere. */
  onRefused(error: TroupeError): void;
  /** The consensus log up to here is in this node's map. */
  appliedIndex(): number;
}

interface HeldGrant {
  readonly session: number;
  readonly round: number;
  readonly index: number;
}

/** A leader that has just been elected takes nobody in until its first entry is committed, some milliseconds later: the first tries come sooner. */
const registerRetryMinMs = 10;
const registerRetryMaxMs = 100;
/** More than can be on their way within a lease. */
const heldGrantsMax = 64;
/** What is left of a lease may be so little that adding it to the time gives the same time: a timer for it would fire again and again within it (ms). */
const roundingMs = 0.001;

export class SessionClient {
  readonly lease: Lease;
  readonly #around: SessionSurroundings;
  readonly #clock: Clock;
  readonly #log: Log;
  #map: ClusterMap;
  /** The newest session this process ever had. */
  #lastSession = 0;
  #registering = false;
  #retryMs = registerRetryMinMs;
  #candidate = 0;
  #hint: string | undefined;
  #active = false;
  #stopped = false;
  #timer: Timer | undefined;
  #expiryTimer: Timer | undefined;
  #complained = '';
  #paused = false;
  /** Grants that count once this node's map has caught up with what the leader knew when it gave them. */
  #held: HeldGrant[] = [];

  constructor(map: ClusterMap, around: SessionSurroundings, clock: Clock, log: Log) {
    this.#map = map;
    this.lease = new Lease(map.timing);
    this.#around = around;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    this.#tick();
  }

  get lastSession(): number {
    return this.#lastSession;
  }

  /** The map names this very process and its session as live. */
  get isCurrent(): boolean {
    const node = this.#map.nodes[this.#around.self];
    return node !== undefined && node.live && node.instance === this.#around.instance && node.session === this.lease.session;
  }

  /** What the leader's time has passed at the least: a clock that stood still while the machine slept is no excuse. */
  #lived(now: number): number {
    return now + this.#clock.sleptMs(now);
  }

  hasRights(now: number): boolean {
    return this.lease.isValid(this.#lived(now)) && this.isCurrent;
  }

  /** What is left of the lease (ms). */
  leftMs(now: number): number {
    return this.lease.validUntil - this.#lived(now);
  }

  onMap(map: ClusterMap): void {
    this.#map = map;
    this.lease.setTiming(map.timing);
    const node = map.nodes[this.#around.self];
    const mine = node !== undefined && node.instance === this.#around.instance && node.live;
    if (mine && node.session !== this.lease.session && !this.#paused) {
      this.lease.lost();
      this.lease.session = node.session;
      this.#lastSession = node.session;
      this.#renew();
    } else if (!mine && this.lease.session !== 0) {
      this.#log.warn('the cluster has ended the session of this node', { session: this.lease.session });
      this.lease.lost();
      this.#checkActive();
    }
  }

  /**
   * The leader prolongs the lease.
   * @param index of the consensus log, up to which the leader had committed when it did. A node whose map lags behind
   * that may not act on the strength of this grant: it might take itself for the primary of what the leader has handed
   * to another since.
   */
  granted(session: number, round: number, index: number): void {
    if (session !== this.lease.session) return;
    if (index > this.#around.appliedIndex()) {
      this.#held.push({ session, round, index });
      if (this.#held.length > heldGrantsMax) this.#held.shift();
      return;
    }
    this.lease.granted(round, session);
    this.#checkActive();
    this.#around.onRenewed();
  }

  /** More of the consensus log has been applied. */
  applied(): void {
    if (this.#held.length === 0) return;
    const held = this.#held;
    this.#held = [];
    for (const { session, round, index } of held) this.granted(session, round, index);
  }

  denied(session: number): void {
    if (session !== this.lease.session || this.lease.session === 0) return;
    // Either our map is behind, or the leader's: the map decides. Until then the lease simply runs on to its end.
    if (!this.isCurrent) this.lease.lost();
    this.#checkActive();
  }

  /** No more renewals and registrations: the node is leaving. */
  pause(): void {
    this.#paused = true;
  }

  /** Gives the lease up now: the node must not act any more. */
  giveUp(): void {
    this.#paused = true;
    this.lease.lost();
    this.#checkActive();
  }

  #checkActive(): void {
    const active = this.hasRights(this.#clock.now());
    if (active) this.#armExpiry();
    if (active === this.#active) return;
    this.#active = active;
    if (active) {
      this.#complained = '';
      this.#around.onGained();
    } else this.#around.onLost();
  }

  #armExpiry(): void {
    if (this.#expiryTimer !== undefined) return;
    const now = this.#clock.now();
    this.#expiryTimer = this.#clock.at(now + Math.max(this.leftMs(now), roundingMs), () => {
      this.#expiryTimer = undefined;
      if (this.#stopped) return;
      if (this.#active && this.leftMs(this.#clock.now()) <= 0) this.#log.warn('the lease of this node ran out: it stops acting for the cluster', { session: this.lease.session });
      this.#checkActive();
    });
  }

  #renew(): void {
    const leader = this.#around.leaderName();
    if (leader === undefined || this.lease.session === 0 || this.#paused) return;
    this.#around.renew(leader, this.lease.session, this.lease.sent(this.#lived(this.#clock.now())));
  }

  #tick(): void {
    if (this.#stopped) return;
    // The timer that ends the lease stood still while the machine slept.
    if (this.#active) this.#checkActive();
    if (this.lease.session !== 0) this.#renew();
    else if (!this.#registering && !this.#paused) void this.#register();
    this.#arm(this.lease.session !== 0 ? this.#map.timing.renewMs : registerRetryMaxMs);
  }

  #arm(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.at(this.#clock.now() + delayMs, () => this.#tick());
  }

  /** The leader is known now, or has changed: do not wait for the next tick. */
  leaderChanged(): void {
    this.#hint = undefined;
    this.#retryMs = registerRetryMinMs;
    if (this.lease.session !== 0) this.#renew();
    else if (!this.#registering && !this.#paused && !this.#stopped) void this.#register();
  }

  async #register(): Promise<void> {
    const candidates = this.#around.candidates();
    const at = this.#around.leaderName() ?? this.#hint ?? candidates[this.#candidate++ % Math.max(1, candidates.length)];
    if (at === undefined) return;
    this.#registering = true;
    try {
      const { session } = await this.#around.register(at, this.#around.registration(this.#lastSession));
      this.#lastSession = session;
      this.#log.debug('registered with the leader', { leader: at, session });
    } catch (error) {
      this.#hint = error instanceof TroupeError && typeof error.fields['leader'] === 'string' ? error.fields['leader'] : undefined;
      const code = error instanceof TroupeError ? error.code : 'ERROR';
      const quiet = ['NOT_LEADER', 'NOT_CONNECTED', 'RETRY', 'LEADER_CHANGED', 'DISCONNECTED', 'CALL_TIMEOUT'].includes(code);
      if (error instanceof TroupeError && (code === 'NAME_TAKEN' || code === 'OTHER_CLUSTER')) this.#around.onRefused(error);
      if (!quiet && this.#complained !== code) {
        this.#complained = code;
        this.#log.error('the cluster does not take this node in', { code, reason: messageOf(error) });
      }
      if (this.#stopped || this.lease.session !== 0) return;
      this.#arm(this.#retryMs);
      this.#retryMs = Math.min(2 * this.#retryMs, registerRetryMaxMs);
    } finally {
      this.#registering = false;
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#expiryTimer?.cancel();
  }
}
