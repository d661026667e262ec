/**
 * For what anybody may cause thousands of times a second, and a log should tell of: in each period the first few are told, the
 * others counted.
 */
export class Seldom {
  readonly #periodMs: number;
  readonly #most: number;
  #begun = Number.NEGATIVE_INFINITY;
  #told = 0;
  #untold = 0;

  constructor(periodMs: number = 10_000, most: number = 10) {
    this.#periodMs = periodMs;
    this.#most = most;
  }

  /** It has happened. How often it happened before without being told, if it is to be told this time; else undefined. */
  happened(now: number): number | undefined {
    if (now - this.#begun >= this.#periodMs) {
      this.#begun = now;
      this.#told = 0;
    }
    if (this.#told >= this.#most) {
      this.#untold++;
      return undefined;
    }
    this.#told++;
    const untold = this.#untold;
    this.#untold = 0;
    return untold;
  }

  /** As fields of a log line: how many others there were; undefined: no line. */
  fields(now: number): { readonly untold?: number } | undefined {
    const untold = this.happened(now);
    return untold === undefined ? undefined : untold === 0 ? {} : { untold };
  }
}
