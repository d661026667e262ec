import { assert } from '../../base/assert.ts';
import type { Entry, RaftState, Snapshot } from './types.ts';

const emptySnapshot: Snapshot = { index: 0, term: 0, configuration: { voters: [], learners: [] }, data: new Uint8Array(0) };

/**
 * The log in memory: the latest snapshot and the entries after `baseIndex`, which lies at or before the snapshot's
 * index (a tail is kept for slow followers). Knows nothing of what is durable: see persistence.ts.
 */
export class RaftLog {
  #snapshot: Snapshot = emptySnapshot;
  /** Index and term of the entry just before the first one kept. */
  #baseIndex = 0;
  #baseTerm = 0;
  #entries: Entry[] = [];

  constructor(state: RaftState) {
    if (state.snapshot !== undefined) this.restore(state.snapshot);
    const first = state.entries[0];
    if (first === undefined) return;
    if (first.index <= this.#snapshot.index) {
      // The term of the entry before the tail is not stored, so the tail's first entry becomes the base.
      this.#baseIndex = first.index;
      this.#baseTerm = first.term;
    }
    for (const entry of state.entries) if (entry.index > this.#baseIndex) this.append(entry);
    assert(this.termAt(this.#snapshot.index) === this.#snapshot.term, 'the stored log does not reach or does not match the stored snapshot');
  }

  get snapshot(): Snapshot {
    return this.#snapshot;
  }

  /** The index of the first entry kept, or would-be first if none is. */
  get firstIndex(): number {
    return this.#baseIndex + 1;
  }

  get lastIndex(): number {
    return this.#baseIndex + this.#entries.length;
  }

  get lastTerm(): number {
    return this.#entries.at(-1)?.term ?? this.#baseTerm;
  }

  /** Undefined for an index past the end or no longer kept. */
  termAt(index: number): number | undefined {
    if (index === this.#baseIndex) return this.#baseTerm;
    return this.#entries[index - this.#baseIndex - 1]?.term;
  }

  entryAt(index: number): Entry | undefined {
    return this.#entries[index - this.#baseIndex - 1];
  }

  append(entry: Entry): void {
    assert(entry.index === this.lastIndex + 1, `append to the log: entry ${entry.index} after ${this.lastIndex}`);
    this.#entries.push(entry);
  }

  /** Drops this entry and every later one. */
  truncate(from: number): void {
    assert(from > this.#snapshot.index, `truncate the log at ${from}: the snapshot is at ${this.#snapshot.index}`);
    this.#entries.length = from - this.#baseIndex - 1;
  }

  /** Replaces the whole log. */
  restore(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#baseIndex = snapshot.index;
    this.#baseTerm = snapshot.term;
    this.#entries = [];
  }

  /** Takes a newer snapshot of what the log holds, and drops the entries before `keepFrom`. */
  compact(snapshot: Snapshot, keepFrom: number): void {
    const base = Math.min(keepFrom - 1, snapshot.index);
    this.#snapshot = snapshot;
    if (base <= this.#baseIndex) return;
    const baseTerm = this.termAt(base);
    assert(baseTerm !== undefined, `compact the log at ${base}: it ends at ${this.lastIndex}`);
    this.#entries.splice(0, base - this.#baseIndex);
    this.#baseIndex = base;
    this.#baseTerm = baseTerm;
  }

  /** Entries from `from` to `to` inclusive, at most so many and so many bytes, but at least one if there is one. */
  slice(from: number, to: number, maxEntries: number = Infinity, maxBytes: number = Infinity): Entry[] {
    const result: Entry[] = [];
    let bytes = 0;
    for (let index = from; index <= to && result.length < maxEntries; index++) {
      const entry = this.entryAt(index);
      if (entry === undefined) break;
      bytes += entry.data.length;
      if (result.length > 0 && bytes > maxBytes) break;
      result.push(entry);
    }
    return result;
  }

  /** Is a log that ends so at least as up to date as this one? (Raft paper, 5.4.1) */
  isUpToDate(lastIndex: number, lastTerm: number): boolean {
    return lastTerm > this.lastTerm || (lastTerm === this.lastTerm && lastIndex >= this.lastIndex);
  }

  /**
   * The greatest index at or before `index` whose term is at most `term`: where a log with that term there could agree
   * with this one. Skips a whole conflicting term per probe (Raft paper, end of 5.3).
   */
  lastIndexWithTermAtMost(index: number, term: number): { index: number; term: number } {
    for (let i = Math.min(index, this.lastIndex); i > this.#baseIndex; i--) {
      const own = this.termAt(i) as number;
      if (own <= term) return { index: i, term: own };
    }
    return { index: Math.min(index, this.#baseIndex), term: index >= this.#baseIndex ? this.#baseTerm : 0 };
  }
}
