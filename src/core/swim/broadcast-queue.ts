interface Broadcast {
  readonly message: Uint8Array;
  readonly name: string | undefined;
  readonly id: number;
  transmits: number;
  readonly finished: (() => void) | undefined;
}

export interface BroadcastOptions {
  /** A newer message of this name replaces an older one. */
  readonly name?: string;
  /** Called when it has been sent often enough, or was replaced or dropped. */
  readonly finished?: () => void;
}

/** The smallest message there is; once less room is left the search ends. */
const messageBytesMin = 8;

/**
 * What waits to be gossiped. Each message goes out a limited number of times; the least sent first, then the largest
 * that fits, then the newest.
 */
export class BroadcastQueue {
  /** By how often the messages went out; each ordered by size, then age. */
  readonly #tiers: Broadcast[][] = [];
  readonly #byName = new Map<string, Broadcast>();
  readonly #limit: () => number;
  readonly #depthMax: number;
  #size = 0;
  #nextId = 0;

  /** @param limit how often a message is sent, as of now; @param depthMax past this the most sent, then smallest goes */
  constructor(limit: () => number, depthMax: number) {
    this.#limit = limit;
    this.#depthMax = depthMax;
  }

  get size(): number {
    return this.#size;
  }

  add(message: Uint8Array, options: BroadcastOptions = {}): void {
    if (options.name !== undefined) {
      const older = this.#byName.get(options.name);
      if (older !== undefined) this.#finish(older, true);
    }
    const broadcast: Broadcast = { message, name: options.name, id: this.#nextId++, transmits: 0, finished: options.finished };
    this.#insert(broadcast);
    if (options.name !== undefined) this.#byName.set(options.name, broadcast);
    if (this.#size > this.#depthMax) this.#dropOne();
  }

  /** Bytes of the largest message; 0: there is none. */
  get largest(): number {
    return this.#tiers.reduce((largest, tier) => Math.max(largest, tier[0]?.message.length ?? 0), 0);
  }

  /** Messages of at least `bytesMin` that fit into `budget` bytes, each costing `overhead` more. They count as sent. */
  take(overhead: number, budget: number, bytesMin: number = 0): Uint8Array[] {
    if (this.#size === 0) return [];
    const limit = this.#limit();
    const taken: Broadcast[] = [];
    let free = budget;
    for (const tier of this.#tiers) {
      for (let start = firstThatFits(tier, free - overhead); start < tier.length && free >= overhead + messageBytesMin; start = firstThatFits(tier, free - overhead)) {
        let end = start;
        for (let next = tier[end]; next !== undefined && next.message.length + overhead <= free && next.message.length >= bytesMin; next = tier[++end]) {
          taken.push(next);
          free -= next.message.length + overhead;
        }
        if (end === start) break; // what is left of the tier is smaller than asked for
        tier.splice(start, end - start);
        this.#size -= end - start;
      }
    }
    for (const broadcast of taken) {
      broadcast.transmits++;
      if (broadcast.transmits < limit) this.#insert(broadcast);
      else this.#finish(broadcast, false);
    }
    return taken.map((broadcast) => broadcast.message);
  }

  clear(): void {
    const all = this.#tiers.flat();
    this.#tiers.length = 0;
    this.#byName.clear();
    this.#size = 0;
    for (const broadcast of all) broadcast.finished?.();
  }

  #insert(broadcast: Broadcast): void {
    while (this.#tiers.length <= broadcast.transmits) this.#tiers.push([]);
    const tier = this.#tiers[broadcast.transmits] as Broadcast[];
    let low = 0;
    let high = tier.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (compare(tier[middle] as Broadcast, broadcast) < 0) low = middle + 1;
      else high = middle;
    }
    tier.splice(low, 0, broadcast);
    this.#size++;
  }

  #finish(broadcast: Broadcast, queued: boolean): void {
    if (queued) {
      const tier = this.#tiers[broadcast.transmits] as Broadcast[];
      tier.splice(tier.indexOf(broadcast), 1);
      this.#size--;
    }
    if (broadcast.name !== undefined && this.#byName.get(broadcast.name) === broadcast) this.#byName.delete(broadcast.name);
    broadcast.finished?.();
  }

  /** The oldest of those that went out most often. */
  #dropOne(): void {
    for (let i = this.#tiers.length - 1; i >= 0; i--) {
      const tier = this.#tiers[i] as Broadcast[];
      if (tier.length === 0) continue;
      const oldest = tier.reduce((best, broadcast) => (broadcast.id < best.id ? broadcast : best));
      this.#finish(oldest, true);
      return;
    }
  }
}

/** Larger first, then newer. */
function compare(a: Broadcast, b: Broadcast): number {
  return b.message.length - a.message.length || b.id - a.id;
}

/** The tier is ordered by falling size: where the messages of at most `size` bytes begin. */
function firstThatFits(tier: readonly Broadcast[], size: number): number {
  let low = 0;
  let high = tier.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((tier[middle] as Broadcast).message.length > size) low = middle + 1;
    else high = middle;
  }
  return low;
}
