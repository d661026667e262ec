import type { Clock, Timer } from '../ports/clock.ts';
import { TimerHeap } from '../base/timer-heap.ts';
import { atEndOfTurn } from './turn.ts';

/** setTimeout turns anything longer into 1 ms. */
const timeoutMaxMs = 2 ** 31 - 1;

class HostTimer implements Timer {
  readonly at: number;
  readonly sequence: number;
  heapIndex = -1;
  readonly fire: () => void;
  readonly #clock: HostClock;

  constructor(clock: HostClock, at: number, sequence: number, fire: () => void) {
    this.#clock = clock;
    this.at = at;
    this.sequence = sequence;
    this.fire = fire;
  }

  cancel(): void {
    this.#clock.cancel(this);
  }
}

/**
 * The system's clock: any number of timers behind one setTimeout.
 * A timer never fires early, although setTimeout may (it rounds to whole milliseconds of the loop's cached time);
 * it fires up to about 2 ms late when the loop is free.
 */
export class HostClock implements Clock {
  readonly #heap = new TimerHeap<HostTimer>();
  #sequence = 0;
  #timeout: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #armedFor = Infinity;
  readonly #wake = (): void => this.#fireDue();

  now(): number {
    return performance.now();
  }

  wallTime(): number {
    return Date.now();
  }

  at(atMs: number, fire: () => void): Timer {
    const timer = new HostTimer(this, atMs, this.#sequence++, fire);
    this.#heap.push(timer);
    if (atMs < this.#armedFor) this.#arm();
    return timer;
  }

  endOfTurn(run: () => void): void {
    atEndOfTurn(run);
  }

  /** Only for the timer itself. */
  cancel(timer: HostTimer): void {
    // To wake for nothing costs a hundred times what it takes to arm the real timer anew.
    if (this.#heap.remove(timer) && timer.at <= this.#armedFor) this.#arm();
  }

  #arm(): void {
    this.#disarm();
    const next = this.#heap.peek();
    if (next === undefined) return;
    const delay = Math.min(Math.ceil(next.at - this.now()), timeoutMaxMs);
    this.#armedFor = next.at;
    // A time-out is at least 1 ms; what is due already should not wait for that.
    if (delay <= 0) this.#immediate = setImmediate(this.#wake);
    else this.#timeout = setTimeout(this.#wake, delay);
  }

  #disarm(): void {
    clearTimeout(this.#timeout);
    clearImmediate(this.#immediate);
    this.#armedFor = Infinity;
  }

  #fireDue(): void {
    // What is set meanwhile is armed once, at the end.
    this.#armedFor = -Infinity;
    // Timers set by those that fire wait for the next wake even if already due: a timer that re-arms itself
    // for the past must not starve I/O.
    const limit = this.#sequence;
    const now = this.now();
    try {
      for (;;) {
        const next = this.#heap.peek();
        if (next === undefined || next.at > now || next.sequence >= limit) break;
        this.#heap.pop();
        next.fire();
      }
    } finally {
      this.#arm();
    }
  }
}
