import { assert } from '../../base/assert.ts';
import { copyBytes } from '../../base/copy-bytes.ts';
import { encodedLength, encodeEffect } from '../store/effect-codec.ts';
import type { Effect } from '../store/effect.ts';

/**
 * The recent writes of one partition, in order, packed as they travel. An entry is
 *
 *     u32 length of what follows · u32 epoch · u32 origin · f64 request id · u8 status · effect
 *
 * Its sequence number is not stored: entries are contiguous. The oldest are dropped in whole chunks once the log is
 * over its size; what is not yet committed and applied is never dropped.
 */
export const entryHeaderBytes = 21;
const firstChunkBytes = 2048;
const lastChunkBytes = 1 << 18;
/**
 * Chunks of the last size that logs have dropped and that the next ones take, of all logs. A full log drops as much as it takes
 * on: given to the collector instead, that memory made it look through the whole heap every few seconds, and the kernel clear
 * new pages.
 */
const spareChunksMax = 64;
const spareChunks: Pick<Chunk, 'bytes' | 'offsets'>[] = [];

interface Chunk {
  bytes: Uint8Array;
  used: number;
  /** Where each entry starts. */
  offsets: Uint32Array;
  count: number;
  readonly firstSeq: number;
  /** When its last entry came (ms). */
  lastAt: number;
}

export class ReplicaLog {
  #chunks: Chunk[] = [];
  #bytes = 0;
  #baseSeq = 0;
  #baseEpoch = 0;
  #lastSeq = 0;
  #lastEpoch = 0;
  /** Entries that came up to here (ms) may have been dropped: whoever asks for older ones gets no sure answer. */
  droppedUntil: number = Number.NEGATIVE_INFINITY;

  /** The entry before the first one that is held. */
  get baseSeq(): number {
    return this.#baseSeq;
  }

  get lastSeq(): number {
    return this.#lastSeq;
  }

  get lastEpoch(): number {
    return this.#lastEpoch;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Forgets everything; the next entry is seq + 1. */
  reset(seq: number, epoch: number, droppedUntil: number): void {
    this.#chunks = [];
    this.#bytes = 0;
    this.#baseSeq = seq;
    this.#baseEpoch = epoch;
    this.#lastSeq = seq;
    this.#lastEpoch = epoch;
    this.droppedUntil = droppedUntil;
  }

  append(now: number, epoch: number, origin: number, id: number, status: number, effect: Effect): void {
    const length = entryHeaderBytes - 4 + encodedLength(effect);
    const chunk = this.#room(4 + length);
    const start = chunk.used;
    const { bytes } = chunk;
    writeU32(bytes, start, length);
    writeU32(bytes, start + 4, epoch);
    writeU32(bytes, start + 8, origin);
    writeU32(bytes, start + 12, Math.floor(id / 0x1_0000_0000));
    writeU32(bytes, start + 16, id >>> 0);
    bytes[start + 20] = status;
    encodeEffect(effect, bytes, start + entryHeaderBytes);
    this.#added(chunk, 4 + length, epoch, now);
  }

  /** Appends an entry as it came from another copy: bytes[start, end) with its length prefix. */
  appendPacked(now: number, bytes: Uint8Array, start: number, end: number): void {
    const chunk = this.#room(end - start);
    copyBytes(bytes, start, end, chunk.bytes, chunk.used);
    this.#added(chunk, end - start, readU32(bytes, start + 4), now);
  }

  has(seq: number): boolean {
    return seq > this.#baseSeq && seq <= this.#lastSeq;
  }

  /** Epoch of an entry that is held, or of the one before them; undefined for others. */
  epochAt(seq: number): number | undefined {
    if (seq === this.#baseSeq) return this.#baseEpoch;
    if (seq === this.#lastSeq) return this.#lastEpoch;
    const chunk = this.#chunkOf(seq);
    return chunk === undefined ? undefined : readU32(chunk.bytes, offsetOf(chunk, seq) + 4);
  }

  /** Points `into` at one held entry. */
  locate(seq: number, into: EntryLocation): boolean {
    const chunk = this.#chunkOf(seq);
    if (chunk === undefined) return false;
    into.bytes = chunk.bytes;
    into.start = offsetOf(chunk, seq);
    into.end = into.start + 4 + readU32(chunk.bytes, into.start);
    return true;
  }

  /**
   * Points `into` at a run of entries that lie next to each other, from `seq` on, of at most `bytesMax` bytes (one
   * entry at least), not past `lastSeq`. Returns how many.
   */
  run(seq: number, bytesMax: number, into: EntryLocation): number {
    const chunk = this.#chunkOf(seq);
    if (chunk === undefined) return 0;
    const index = seq - chunk.firstSeq;
    const start = chunk.offsets[index] as number;
    let last = chunk.count - 1;
    const endOf = (i: number): number => (i + 1 < chunk.count ? (chunk.offsets[i + 1] as number) : chunk.used);
    if (endOf(last) - start > bytesMax) {
      last = index;
      while (last + 1 < chunk.count && endOf(last + 1) - start <= bytesMax) last++;
    }
    into.bytes = chunk.bytes;
    into.start = start;
    into.end = endOf(last);
    return last - index + 1;
  }

  /** Bytes of the entries after `seq`. */
  bytesAfter(seq: number): number {
    let bytes = 0;
    for (let i = this.#chunks.length - 1; i >= 0; i--) {
      const chunk = this.#chunks[i] as Chunk;
      const skip = seq - chunk.firstSeq + 1;
      if (skip >= chunk.count) break;
      bytes += skip > 0 ? chunk.used - (chunk.offsets[skip] as number) : chunk.used;
      if (skip > 0) break;
    }
    return bytes;
  }

  /** Drops every entry after `seq`. */
  truncate(seq: number): void {
    assert(seq >= this.#baseSeq, `a log that starts after ${this.#baseSeq} cannot be cut back to ${seq}`);
    if (seq >= this.#lastSeq) return;
    const epoch = this.epochAt(seq);
    assert(epoch !== undefined, 'the entry to cut back to is held');
    for (let chunk = this.#chunks.at(-1); chunk !== undefined && chunk.firstSeq > seq; chunk = this.#chunks.at(-1)) {
      this.#bytes -= chunk.bytes.length;
      this.#chunks.pop();
    }
    const chunk = this.#chunks.at(-1);
    if (chunk !== undefined && chunk.firstSeq + chunk.count - 1 > seq) {
      chunk.count = seq - chunk.firstSeq + 1;
      chunk.used = chunk.offsets[chunk.count] as number;
    }
    this.#lastSeq = seq;
    this.#lastEpoch = epoch;
  }

  /**
   * Drops the oldest chunks while the log takes more than `bytesMax`. Entries after `keepAfter` stay; so do those that
   * came after `keepSince` (ms), for retries, until the log takes four times as much.
   */
  trim(bytesMax: number, keepAfter: number, keepSince: number): void {
    while (this.#bytes > bytesMax && this.#chunks.length > 1) {
      const chunk = this.#chunks[0] as Chunk;
      const last = chunk.firstSeq + chunk.count - 1;
      if (last > keepAfter || (chunk.lastAt > keepSince && this.#bytes <= 4 * bytesMax)) return;
      this.#baseEpoch = this.epochAt(last) as number;
      this.#baseSeq = last;
      this.droppedUntil = Math.max(this.droppedUntil, chunk.lastAt);
      this.#bytes -= chunk.bytes.length;
      this.#chunks.shift();
      if (chunk.bytes.length === lastChunkBytes && spareChunks.length < spareChunksMax) spareChunks.push({ bytes: chunk.bytes, offsets: chunk.offsets });
    }
  }

  /** The newest held entry that this request wrote, or 0. Looks at all of them: for retries only. */
  find(origin: number, id: number): number {
    const idHigh = Math.floor(id / 0x1_0000_0000);
    const idLow = id >>> 0;
    for (let c = this.#chunks.length - 1; c >= 0; c--) {
      const chunk = this.#chunks[c] as Chunk;
      for (let i = chunk.count - 1; i >= 0; i--) {
        const at = chunk.offsets[i] as number;
        if (readU32(chunk.bytes, at + 16) === idLow && readU32(chunk.bytes, at + 8) === origin && readU32(chunk.bytes, at + 12) === idHigh) return chunk.firstSeq + i;
      }
    }
    return 0;
  }

  #chunkOf(seq: number): Chunk | undefined {
    if (!this.has(seq)) return undefined;
    // Nearly always the newest.
    for (let i = this.#chunks.length - 1; i >= 0; i--) {
      const chunk = this.#chunks[i] as Chunk;
      if (chunk.firstSeq <= seq) return chunk;
    }
    return undefined;
  }

  #room(length: number): Chunk {
    let chunk = this.#chunks.at(-1);
    if (chunk === undefined || chunk.bytes.length - chunk.used < length) {
      const size = Math.max(length, Math.min(lastChunkBytes, chunk === undefined ? firstChunkBytes : chunk.bytes.length * 2));
      const { bytes, offsets } = (size === lastChunkBytes ? spareChunks.pop() : undefined) ?? { bytes: new Uint8Array(size), offsets: new Uint32Array(Math.max(8, size >> 6)) };
      chunk = { bytes, used: 0, offsets, count: 0, firstSeq: this.#lastSeq + 1, lastAt: 0 };
      this.#chunks.push(chunk);
      this.#bytes += size;
    }
    return chunk;
  }

  #added(chunk: Chunk, length: number, epoch: number, now: number): void {
    if (chunk.count === chunk.offsets.length) {
      const grown = new Uint32Array(chunk.offsets.length * 2);
      grown.set(chunk.offsets);
      chunk.offsets = grown;
    }
    chunk.offsets[chunk.count++] = chunk.used;
    chunk.used += length;
    chunk.lastAt = now;
    this.#lastSeq += 1;
    this.#lastEpoch = epoch;
  }
}

export interface EntryLocation {
  bytes: Uint8Array;
  start: number;
  end: number;
}

export function newLocation(): EntryLocation {
  return { bytes: new Uint8Array(0), start: 0, end: 0 };
}

/** Where the effect of the entry at `start` begins. */
export function effectStart(entryStart: number): number {
  return entryStart + entryHeaderBytes;
}

export function entryStatus(bytes: Uint8Array, entryStart: number): number {
  return bytes[entryStart + 20] as number;
}

function offsetOf(chunk: Chunk, seq: number): number {
  return chunk.offsets[seq - chunk.firstSeq] as number;
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

export function readU32(bytes: Uint8Array, at: number): number {
  return (((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)) >>> 0;
}
