/**
 * The gate through which every callback enters a simulated process. Shut (killed): nothing enters again.
 * Held (paused, as by SIGSTOP): callbacks wait, in order, until it is released.
 */
export class Turnstile {
  #state: 'open' | 'held' | 'shut' = 'open';
  #waiting: (() => void)[] = [];

  get open(): boolean {
    return this.#state === 'open';
  }

  get shut(): boolean {
    return this.#state === 'shut';
  }

  enter(run: () => void): void {
    if (this.#state === 'open') run();
    else if (this.#state === 'held') this.#waiting.push(run);
  }

  hold(): void {
    if (this.#state === 'open') this.#state = 'held';
  }

  /** Opens it and gives what waited, in order; the caller schedules each (each is an event of its own). */
  release(): (() => void)[] {
    if (this.#state !== 'held') return [];
    this.#state = 'open';
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting;
  }

  close(): void {
    this.#state = 'shut';
    this.#waiting = [];
  }
}
