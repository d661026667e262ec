import { TimedTask, TimerHeap } from '../../base/timer-heap.ts';

/** The machine's own agenda: its host asks when to wake it, and wakes it. `now` is the time of the input at hand. */
export class Timers {
  readonly #heap = new TimerHeap<TimedTask>();
  #sequence = 0;
  now = 0;

  after(delayMs: number, run: () => void): TimedTask {
    return this.at(this.now + delayMs, run);
  }

  at(at: number, run: () => void): TimedTask {
    const scheduled = new TimedTask(at, this.#sequence++, run);
    this.#heap.push(scheduled);
    return scheduled;
  }

  cancel(scheduled: TimedTask | undefined): void {
    if (scheduled !== undefined) this.#heap.remove(scheduled);
  }

  /** When there is something to do next; Infinity: never. */
  nextAt(): number {
    return this.#heap.peek()?.at ?? Infinity;
  }

  /** Does what is due. What that schedules for the past waits for the next call, so that this one ends. */
  run(now: number): void {
    this.now = now;
    const limit = this.#sequence;
    for (;;) {
      const next = this.#heap.peek();
      if (next === undefined || next.at > now || next.sequence >= limit) return;
      this.#heap.pop();
      next.run();
    }
  }
}
