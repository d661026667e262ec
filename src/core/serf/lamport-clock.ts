/** A Lamport clock as Serf keeps it: `time` is what the next message gets. */
export class LamportClock {
  #time = 1;

  get time(): number {
    return this.#time;
  }

  /** Returns the time for a new message, and moves on. */
  tick(): number {
    return this.#time++;
  }

  /** A message of this time was seen: ours are later. */
  witness(seen: number): void {
    if (seen >= this.#time && seen < Number.MAX_SAFE_INTEGER) this.#time = seen + 1;
  }
}
