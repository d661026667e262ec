/** Times that are kept for telling old from new. */
export const ringSize = 512;

interface Slot<T> {
  time: number;
  seen: T[];
}

/** Messages that can carry one Lamport time at most; a flood under one time is dropped past it. */
const sameTimeMax = 256;

/**
 * What was seen lately, by Lamport time: each message is new once. Older than the ring reaches is never new.
 */
export class RecentRing<T> {
  readonly #slots: (Slot<T> | undefined)[] = Array.from({ length: ringSize }, () => undefined);
  readonly #same: (a: T, b: T) => boolean;

  constructor(same: (a: T, b: T) => boolean) {
    this.#same = same;
  }

  /** True when it is new, and then it is remembered. @param now the clock's time, which has witnessed `time` */
  add(time: number, item: T, now: number): boolean {
    if (now > ringSize && time < now - ringSize) return false;
    const slot = this.#slots[time % ringSize];
    if (slot === undefined || slot.time !== time) {
      if (slot !== undefined && slot.time > time) return false;
      this.#slots[time % ringSize] = { time, seen: [item] };
      return true;
    }
    if (slot.seen.length >= sameTimeMax || slot.seen.some((known) => this.#same(known, item))) return false;
    slot.seen.push(item);
    return true;
  }

  /** Slots as they lie, for a push/pull. */
  slots(): readonly (Readonly<Slot<T>> | undefined)[] {
    return this.#slots;
  }
}
