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
  /** True time for which the machine has slept, and when it last woke. */
  #asleepMs = 0;
  wokeAt: number = Number.NEGATIVE_INFINITY;
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
    return this.#offsetMs + (this.#scheduler.now - this.#asleepMs) * this.#rate;
  }

  sleptMs(): number {
    return this.#asleepMs * this.#rate;
  }

  wallTime(): number {
    return this.#wallStartMs + this.#scheduler.now * this.#rate;
  }

  /** Moves the wall clock, as an administrator or NTP does. `now` is not touched. */
  jumpWall(byMs: number): void {
    this.#wallStartMs += byMs;
  }

  /** The machine wakes after so long a sleep, of true time: `now` goes on where it was. */
  wake(afterMs: number): void {
    this.#asleepMs += afterMs;
    this.wokeAt = this.now();
  }

  at(atMs: number, fire: () => void): Timer {
    const late = this.#lateMaxMs === 0 ? 0 : this.#float() * this.#lateMaxMs;
    return new SimTimer(this.#scheduler, this.#gate, () => (atMs - this.#offsetMs) / this.#rate + this.#asleepMs + late, () => this.now() >= atMs, fire);
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
  readonly #dueAt: () => number;
  readonly #isDue: () => boolean;
  readonly #fire: () => void;
  #event: TimedTask | undefined;
  #cancelled = false;

  /** @param dueAt in true time; later by what the machine sleeps meanwhile */
  constructor(scheduler: SimScheduler, gate: Turnstile, dueAt: () => number, isDue: () => boolean, fire: () => void) {
    this.#scheduler = scheduler;
    this.#gate = gate;
    this.#dueAt = dueAt;
    this.#isDue = isDue;
    this.#fire = fire;
    this.#event = scheduler.at(dueAt(), () => this.#due());
  }

  #due(): void {
    this.#event = undefined;
    if (!this.#isDue()) this.#waitOn();
    else {
      this.#gate.enter(() => {
        if (this.#cancelled) return;
        // It may have waited at the gate while the machine slept.
        if (this.#isDue()) this.#fire();
        else this.#waitOn();
      });
    }
  }

  #waitOn(): void {
    const { now } = this.#scheduler;
    // With drift the division rounds: never early, so a hair later.
    this.#event = this.#scheduler.at(Math.max(this.#dueAt(), now + 0.000_001 * Math.max(1, now * 1e-9)), () => this.#due());
  }

  cancel(): void {
    this.#cancelled = true;
    if (this.#event !== undefined) this.#scheduler.cancel(this.#event);
    this.#event = undefined;
  }
}
