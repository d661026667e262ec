import { TimedTask, TimerHeap } from '../base/timer-heap.ts';
import { microtasksDrained } from './barrier.ts';

/** More events at one time are one that brings itself about for ever. */
const atOneTimeMax = 100_000;

/**
 * Virtual time. Events run in order of (time, sequence of scheduling); before the next one starts, all promises
 * that the last one settled have run their reactions.
 */
export class SimScheduler {
  readonly #heap = new TimerHeap<TimedTask>();
  #now = 0;
  #sequence = 0;
  #eventCount = 0;
  #eventsBefore = 0;

  /** True time in ms since the simulation began. Clocks of processes may differ from it. */
  get now(): number {
    return this.#now;
  }

  /** Events run so far. */
  get eventCount(): number {
    return this.#eventCount;
  }

  /** Events that wait. */
  get waitingCount(): number {
    return this.#heap.size;
  }

  /** Runs `run` at the given true time; a time that has passed means now, after what is already due. */
  at(atMs: number, run: () => void): TimedTask {
    const event = new TimedTask(Math.max(atMs, this.#now), this.#sequence++, run);
    this.#heap.push(event);
    return event;
  }

  after(delayMs: number, run: () => void): TimedTask {
    return this.at(this.#now + delayMs, run);
  }

  cancel(event: TimedTask): void {
    this.#heap.remove(event);
  }

  /**
   * Runs the next event if it is due by `untilMs`; false when none is. Lets no microtask run.
   * @throws Error when time does not pass any more
   */
  step(untilMs: number = Infinity): boolean {
    const next = this.#heap.peek();
    if (next === undefined || next.at > untilMs) return false;
    this.#heap.pop();
    if (next.at > this.#now) this.#eventsBefore = this.#eventCount;
    this.#now = next.at;
    this.#eventCount++;
    if (this.#eventCount - this.#eventsBefore > atOneTimeMax) throw new Error(`time stands still at ${this.#now} ms: something makes itself due again and again`);
    next.run();
    return true;
  }

  /** Runs everything due until the true time `untilMs`, and leaves the time there. An error thrown by an event comes out here. */
  async runUntil(untilMs: number): Promise<void> {
    await microtasksDrained();
    while (this.step(untilMs)) await microtasksDrained();
    if (untilMs > this.#now && untilMs !== Infinity) this.#now = untilMs;
  }

  async runFor(durationMs: number): Promise<void> {
    await this.runUntil(this.#now + durationMs);
  }

  /** Runs until `condition` holds (true) or `limitMs` of virtual time have passed (false). It is asked after each event. */
  async runWhile(condition: () => boolean, limitMs: number): Promise<boolean> {
    const untilMs = this.#now + limitMs;
    await microtasksDrained();
    while (condition()) {
      if (!this.step(untilMs)) {
        this.#now = Math.max(this.#now, untilMs);
        return !condition();
      }
      await microtasksDrained();
    }
    return true;
  }

  /** Runs until the promise settles; throws when it has not within `limitMs` of virtual time. */
  async settle<T>(promise: Promise<T>, limitMs: number = 60_000): Promise<T> {
    let settled = false;
    const mark = (): void => {
      settled = true;
    };
    promise.then(mark, mark);
    const done = await this.runWhile(() => !settled, limitMs);
    if (!done) throw new Error(`a promise of the simulation did not settle within ${limitMs} ms of virtual time`);
    return promise;
  }

  /** For worlds without promises: the same without letting microtasks run, several times as fast. */
  runUntilSync(untilMs: number): void {
    while (this.step(untilMs));
    if (untilMs > this.#now && untilMs !== Infinity) this.#now = untilMs;
  }
}
