import type { ByteBudget } from '../../base/byte-budget.ts';
import { copyBytes } from '../../base/copy-bytes.ts';

/** What each connection may hold without asking; it keeps this much for the next time. */
const freeBytes = 16 * 1024;
const firstBytes = 256;
const noBytes = new Uint8Array(0);

/**
 * The beginning of something of which the rest is still to come. Its memory grows with what has come: a mere announcement
 * costs nothing. What is above the first 16 KiB counts against a budget that all connections share.
 */
export class HalfSent {
  readonly #budget: ByteBudget;
  bytes: Uint8Array = noBytes;
  length = 0;

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  /**
   * Adds source[start, end). False, and nothing is added, when the budget has no room for it.
   * @param lengthMax it will not get longer than this
   */
  add(source: Uint8Array, start: number, end: number, lengthMax: number): boolean {
    const needed = this.length + end - start;
    if (this.bytes.length < needed && !this.#grow(needed, lengthMax)) return false;
    copyBytes(source, start, end, this.bytes, this.length);
    this.length = needed;
    return true;
  }

  /** It is whole and was used, or is not wanted: begins anew. */
  release(): void {
    this.length = 0;
    if (this.bytes.length > freeBytes) this.close();
  }

  /** Gives all memory back. */
  close(): void {
    this.#budget.give(counted(this.bytes.length));
    this.bytes = noBytes;
    this.length = 0;
  }

  #grow(needed: number, lengthMax: number): boolean {
    const roomy = Math.min(Math.max(needed, lengthMax), Math.max(needed, this.bytes.length * 2, firstBytes));
    return this.#resize(roomy) || this.#resize(needed);
  }

  #resize(size: number): boolean {
    if (!this.#budget.take(counted(size) - counted(this.bytes.length))) return false;
    const larger = new Uint8Array(size);
    larger.set(this.bytes.subarray(0, this.length));
    this.bytes = larger;
    return true;
  }
}

function counted(size: number): number {
  return Math.max(0, size - freeBytes);
}
