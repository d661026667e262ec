/**
 * Leases between the nodes and the leader. DESIGN.md in this room proves why a part is never given away while its
 * holder still acts: the node counts from when it SENT the renewal that was answered and stops one margin early; the
 * leader answers only after a majority has confirmed its leadership later than the renewal came, counts from its
 * answer and waits one margin longer; a new leader waits out whatever its predecessor may have promised.
 */
import type { LeaseTiming } from './map.ts';

/** The node's side: is what this node does for the cluster still valid? */
export class Lease {
  #timing: LeaseTiming;
  #validUntil = Number.NEGATIVE_INFINITY;
  #sentAt = new Map<number, number>();
  #round = 0;
  /** The session the lease belongs to; 0 when there is none. */
  session = 0;

  constructor(timing: LeaseTiming) {
    this.#timing = timing;
  }

  get validUntil(): number {
    return this.#validUntil;
  }

  setTiming(timing: LeaseTiming): void {
    this.#timing = timing;
  }

  isValid(now: number): boolean {
    return now < this.#validUntil;
  }

  /** A renewal goes out now; returns its round number, which the answer repeats. */
  sent(now: number): number {
    const round = ++this.#round;
    this.#sentAt.set(round, now);
    // Rounds that were never answered: only the last few can still matter.
    if (this.#sentAt.size > 64) this.#sentAt.delete(this.#sentAt.keys().next().value as number);
    return round;
  }

  /** The leader granted the renewal of this round for this session. */
  granted(round: number, session: number): void {
    const sentAt = this.#sentAt.get(round);
    if (sentAt === undefined) return;
    for (const earlier of this.#sentAt.keys()) if (earlier <= round) this.#sentAt.delete(earlier);
    if (session !== this.session) {
      this.session = session;
      this.#validUntil = Number.NEGATIVE_INFINITY;
    }
    this.#validUntil = Math.max(this.#validUntil, sentAt + this.#timing.leaseMs - this.#timing.marginMs);
  }

  /** The leader said that this session is over, or the node gives it up. */
  lost(): void {
    this.session = 0;
    this.#validUntil = Number.NEGATIVE_INFINITY;
    this.#sentAt.clear();
  }
}

/** The leader's side: which sessions have run out for certain? Exists while this node leads. */
export class SessionTable {
  readonly #timing: LeaseTiming;
  readonly #deadlines = new Map<string, number>();
  #lastCheck: number;

  /**
   * @param previousLeaderSilentMs how long before now no predecessor can have answered a renewal (from the election)
   */
  constructor(now: number, timing: LeaseTiming, liveNodes: readonly string[], previousLeaderSilentMs: number) {
    this.#timing = timing;
    this.#lastCheck = now;
    const promised = timing.leaseMs + timing.marginMs - previousLeaderSilentMs;
    // Long enough for every node to find this leader and renew, however long the election took.
    const wait = Math.max(promised, 4 * timing.renewMs);
    for (const name of liveNodes) this.#deadlines.set(name, now + wait);
  }

  /** This leader answers a renewal of the node now. */
  answered(now: number, name: string): void {
    this.#deadlines.set(name, now + this.#timing.leaseMs + this.#timing.marginMs);
  }

  closed(name: string): void {
    this.#deadlines.delete(name);
  }

  /** Names whose sessions have certainly run out. */
  expired(now: number): string[] {
    this.#forgiveOwnPause(now);
    const names: string[] = [];
    for (const [name, deadline] of this.#deadlines) if (deadline <= now) names.push(name);
    return names;
  }

  nextDeadline(): number {
    let next = Number.POSITIVE_INFINITY;
    for (const deadline of this.#deadlines.values()) next = Math.min(next, deadline);
    // Looks often enough to notice its own pauses.
    return Math.min(next, this.#lastCheck + this.#timing.renewMs);
  }

  /**
   * If this process itself stood still, renewals may be waiting in its sockets: the time that it slept must not count
   * against the others. Waiting longer is always safe.
   */
  #forgiveOwnPause(now: number): void {
    const pause = now - this.#lastCheck - this.#timing.renewMs;
    this.#lastCheck = now;
    if (pause <= this.#timing.renewMs / 2) return;
    for (const [name, deadline] of this.#deadlines) this.#deadlines.set(name, deadline + pause);
  }
}
