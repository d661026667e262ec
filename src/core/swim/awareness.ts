/**
 * Lifeguard's local health: a node that misses what it should have heard takes itself for slow, and gives the others
 * more time before it accuses them. 0 is well.
 */
export class Awareness {
  readonly #max: number;
  #score = 0;

  /** @param maxMultiplier the score stays below this */
  constructor(maxMultiplier: number) {
    this.#max = maxMultiplier;
  }

  get score(): number {
    return this.#score;
  }

  /** Positive: things went badly. */
  apply(delta: number): void {
    this.#score = Math.min(this.#max - 1, Math.max(0, this.#score + delta));
  }

  /** A time-out, stretched by how unwell we are. */
  scale(timeoutMs: number): number {
    return timeoutMs * (this.#score + 1);
  }
}
