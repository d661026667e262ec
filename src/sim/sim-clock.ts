import type { TimedTask } from '../base/timer-heap.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { SimScheduler } from './scheduler.ts';
import type { Turnstile } from './turnstile.ts';

export interface SimClockOptions {
  /** What `now` reads when true time is 0 (ms); default 0. */
  readonly offsetMs?: number;
  /** How much faster than true time the clock runs: 0.001 gains 1 ms per second; default 0. */
  readonly drift?: number;
  /** Wall time at true time 0 (ms since 1970); default 2026-01-01. */
  readonly wallStartMs?: number;
  /** Timers fire up to this much late (ms, evenly spread); default 0. */
  readonly lateMaxMs?: number;
}

/** One process's view of time. */
export class SimClock implements Clock {
  readonly #scheduler: SimScheduler;
  readonly #gate: Turnstile;
  readonly #offsetMs: number;
  readonly #rate: number;
  readonly #lateMaxMs: number;
  readonly #float: () => number;
  #wallStartMs: number;
  #turn: (() => void)[] = [];

  constructor(scheduler: SimScheduler, gate: Turnstile, float: () => number, options: SimClockOptions = {}) {
    this.#scheduler = scheduler;
    this.#gate = gate;
    this.#float = float;
    this.#offsetMs = options.offsetMs ?? 0;
    this.#rate = 1 + (options.drift ?? 0);
    this.#lateMaxMs = options.lateMaxMs ?? 0;
    this.#wallStartMs = options.wallStartMs ?? 1_767_225_600_000;
  }

  now(): number {
    return this.#offsetMs + this.#scheduler.now * this.#rate;
  }

  wallTime(): number {
    return this.#wallStartMs + this.#scheduler.now * this.#rate;
  }

  /** Moves the wall clock, as an administrator or NTP does. `now` is not touched. */
  jumpWall(byMs: number): void {
    this.#wallStartMs += byMs;
  }

  at(atMs: number, fire: () => void): Timer {
    const late = this.#lateMaxMs === 0 ? 0 : this.#float() * this.#lateMaxMs;
    return new SimTimer(this.#scheduler, this.#gate, (atMs - this.#offsetMs) / this.#rate + late, () => this.now() >= atMs, fire);
  }

  endOfTurn(run: () => void): void {
    this.#turn.push(run);
    if (this.#turn.length > 1) return;
    // After all events that are already due at this moment.
    this.#scheduler.after(0, () => {
      const turn = this.#turn;
      this.#turn = [];
      for (const each of turn) this.#gate.enter(each);
    });
  }
}

class SimTimer implements Timer {
  readonly #scheduler: SimScheduler;
  readonly #gate: Turnstile;
  readonly #isDue: () => boolean;
  readonly #fire: () => void;
  #event: TimedTask | undefined;
  #cancelled = false;

  constructor(scheduler: SimScheduler, gate: Turnstile, atTrueMs: number, isDue: () => boolean, fire: () => void) {
    this.#scheduler = scheduler;
    this.#gate = gate;
    this.#isDue = isDue;
    this.#fire = fire;
    this.#event = scheduler.at(atTrueMs, () => this.#due());
  }

  #due(): void {
    this.#event = undefined;
    // With drift the division rounds: never early, so a hair later.
    if (!this.#isDue()) this.#event = this.#scheduler.after(0.000_001 * Math.max(1, this.#scheduler.now * 1e-9), () => this.#due());
    else this.#gate.enter(() => this.#cancelled || this.#fire());
  }

  cancel(): void {
    this.#cancelled = true;
    if (this.#event !== undefined) this.#scheduler.cancel(this.#event);
    this.#event = undefined;
  }
}
