export interface SuspicionOptions {
  /** Who accused first; does not count as a confirmation. */
  readonly from: string;
  /** Confirmations that bring the time down to the least. 0: the least at once. */
  readonly confirmationsWanted: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly startedAt: number;
}

/**
 * Lifeguard's dynamic suspicion: long while only one node accuses, shorter with each independent confirmation,
 * so that one unwell accuser cannot rush a death.
 */
export class Suspicion {
  readonly #options: SuspicionOptions;
  readonly #confirmers = new Set<string>();

  constructor(options: SuspicionOptions) {
    this.#options = options;
  }

  /** True when it is news: the caller passes it on, and the deadline has moved. */
  confirm(from: string): boolean {
    if (from === this.#options.from || this.#confirmers.has(from) || this.#confirmers.size >= this.#options.confirmationsWanted) return false;
    this.#confirmers.add(from);
    return true;
  }

  get confirmations(): number {
    return this.#confirmers.size;
  }

  /** When the suspect counts as dead unless it spoke up. */
  get deadline(): number {
    const { confirmationsWanted, minMs, maxMs, startedAt } = this.#options;
    return startedAt + suspicionLengthMs(this.#confirmers.size, confirmationsWanted, minMs, maxMs);
  }
}

/** From `maxMs` without a confirmation, logarithmically down to `minMs` with all that are wanted. */
export function suspicionLengthMs(confirmations: number, wanted: number, minMs: number, maxMs: number): number {
  if (wanted < 1) return minMs;
  const fraction = Math.log(confirmations + 1) / Math.log(wanted + 1);
  return Math.max(minMs, Math.floor(maxMs - fraction * (maxMs - minMs)));
}
