import { uptime } from 'node:os';
import type { Clock, Timer } from '../ports/clock.ts';
import { TimerHeap } from '../base/timer-heap.ts';
import { atEndOfTurn } from './turn.ts';

/** setTimeout turns anything longer into 1 ms. */
const timeoutMaxMs = 2 ** 31 - 1;

/** Shorter sleeps are what the margins of leases are for. */
const noticedMs = 30;

/** What the system says of the time (ms). */
export interface TimeSources {
  /** Stands still while the machine sleeps. */
  now(): number;
  wallTime(): number;
  /** Does not; may be slow to ask for, and coarse. */
  sinceBootMs(): number;
}

const systemTime: TimeSources = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  // Elsewhere this is made from the wall clock, and tells nothing more.
  sinceBootMs: () => (process.platform === 'linux' ? 1000 * uptime() : performance.now()),
};

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
  readonly #sources: TimeSources;
  /** By how much the wall clock, and the time since boot, are ahead of `now`. */
  #wallAheadMs: number;
  #bootAheadMs: number;
  #sleptMs = 0;
  readonly #heap = new TimerHeap<HostTimer>();
  #sequence = 0;
  #timeout: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;
  #armedFor = Infinity;
  readonly #wake = (): void => this.#fireDue();

  constructor(sources: TimeSources = systemTime) {
    this.#sources = sources;
    const now = sources.now();
    this.#wallAheadMs = sources.wallTime() - now;
    this.#bootAheadMs = sources.sinceBootMs() - now;
  }

  now(): number {
    return this.#sources.now();
  }

  wallTime(): number {
    return this.#sources.wallTime();
  }

  /**
   * A machine that wakes has its wall clock set before anybody runs; so has one whose administrator turns the hands. The time
   * since boot, which is asked for only then, tells the two apart. Not noticed: a guest whose host stops all its clocks with it.
   */
  sleptMs(now: number = this.#sources.now()): number {
    if (Math.abs(this.#sources.wallTime() - now - this.#wallAheadMs) > noticedMs) this.#lookForSleep();
    return this.#sleptMs;
  }

  #lookForSleep(): void {
    const now = this.#sources.now();
    this.#wallAheadMs = this.#sources.wallTime() - now;
    const sleptMs = this.#sources.sinceBootMs() - now - this.#bootAheadMs;
    if (sleptMs <= noticedMs) return;
    this.#bootAheadMs += sleptMs;
    this.#sleptMs += sleptMs;
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
