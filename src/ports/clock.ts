export interface Timer {
  /** Stops the timer; a timer that has fired or been cancelled ignores it. */
  cancel(): void;
}

export interface Clock {
  /** Milliseconds on a monotonic clock with an arbitrary zero; may have a fraction; never goes back. */
  now(): number;
  /** Milliseconds since 1970 as the host believes; may jump either way. */
  wallTime(): number;
  /**
   * How long the machine has slept since this clock began, as far as the system tells (ms): `now` stood still meanwhile. Whoever
   * promised something for a time adds it. Costs little more than `now`, and less if that was read just before.
   *
   * @param now a reading of this clock that is fresh
   */
  sleptMs(now?: number): number;
  /** Calls `fire` once, at or soon after `atMs` on this clock's `now`. Never synchronously. */
  at(atMs: number, fire: () => void): Timer;
  /**
   * Calls `run` once after everything that has already arrived in this turn has been handled
   * (setImmediate on the host): the place to flush what a turn has gathered.
   */
  endOfTurn(run: () => void): void;
}
