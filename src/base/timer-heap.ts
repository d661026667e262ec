/** What a {@link TimerHeap} holds: ordered by `at`, then by `sequence`. The heap owns `heapIndex` (-1 when outside). */
export interface HeapEntry {
  readonly at: number;
  readonly sequence: number;
  heapIndex: number;
}

/** Something that is to be done at a given time; of two at the same time the one with the lower sequence goes first. */
export class TimedTask implements HeapEntry {
  readonly at: number;
  readonly sequence: number;
  heapIndex = -1;
  readonly run: () => void;

  constructor(at: number, sequence: number, run: () => void) {
    this.at = at;
    this.sequence = sequence;
    this.run = run;
  }
}

/**
 * A binary min-heap whose entries know their place, so that a cancelled timer leaves at once instead of
 * waiting for its time: request time-outs are nearly always cancelled, and would pile up otherwise.
 */
export class TimerHeap<T extends HeapEntry> {
  readonly #entries: T[] = [];

  get size(): number {
    return this.#entries.length;
  }

  peek(): T | undefined {
    return this.#entries[0];
  }

  push(entry: T): void {
    this.#entries.push(entry);
    this.#up(entry, this.#entries.length - 1);
  }

  pop(): T | undefined {
    const first = this.#entries[0];
    if (first !== undefined) this.remove(first);
    return first;
  }

  /** True when the entry was inside. */
  remove(entry: T): boolean {
    const index = entry.heapIndex;
    if (index < 0) return false;
    entry.heapIndex = -1;
    const last = this.#entries.pop() as T;
    if (last === entry) return true;
    this.#up(last, index);
    if (last.heapIndex === index) this.#down(last, index);
    return true;
  }

  #up(entry: T, from: number): void {
    let index = from;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = this.#entries[parentIndex] as T;
      if (!before(entry, parent)) break;
      this.#place(parent, index);
      index = parentIndex;
    }
    this.#place(entry, index);
  }

  #down(entry: T, from: number): void {
    const length = this.#entries.length;
    let index = from;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= length) break;
      if (child + 1 < length && before(this.#entries[child + 1] as T, this.#entries[child] as T)) child++;
      const smallest = this.#entries[child] as T;
      if (!before(smallest, entry)) break;
      this.#place(smallest, index);
      index = child;
    }
    this.#place(entry, index);
  }

  #place(entry: T, index: number): void {
    this.#entries[index] = entry;
    entry.heapIndex = index;
  }
}

function before(a: HeapEntry, b: HeapEntry): boolean {
  return a.at < b.at || (a.at === b.at && a.sequence < b.sequence);
}
