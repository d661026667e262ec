import { assert } from '../../base/assert.ts';
import { segmentMask, segmentShift } from './arena.ts';

const bucketCountMin = 16;

/**
 * A table's index: a linear hash table (Litwin 1980). It grows and shrinks by one bucket at a time, so no operation ever
 * rehashes more than one chain, and nothing has to be copied. Bucket b splits into b and b + 2^level when its turn comes.
 * Chains run through the entries: their word 0 is the hash, word 1 the next in the chain.
 *
 * Cursors walk the hashes in the order of their reversed bits. In that order a bucket is an interval, and splitting or
 * merging buckets only cuts or joins neighbouring intervals: a walk that goes on from the end of the last interval
 * meets every entry that was there all the time, once, however the index changes in between.
 */
export class BucketIndex {
  readonly #words: Uint32Array[];
  /** Buckets; the first segment is small until it has to be larger. Empty until the first entry. */
  #segments: Uint32Array[] = [];
  /** 2^level - 1. */
  #mask = bucketCountMin - 1;
  /** Buckets below it have been split at this level already. */
  #split = 0;

  /** @param words the memory that the entries lie in */
  constructor(words: Uint32Array[]) {
    this.#words = words;
  }

  get segments(): readonly Uint32Array[] {
    return this.#segments;
  }

  get bucketCount(): number {
    return this.#mask + 1 + this.#split;
  }

  /** Forgets all buckets. */
  reset(): void {
    this.#segments = [];
    this.#mask = bucketCountMin - 1;
    this.#split = 0;
  }

  /** The first entry of the hash's chain; only while there are entries. */
  headOf(hash: number): number {
    const bucket = this.#bucketOf(hash);
    return (this.#segments[bucket >>> segmentShift] as Uint32Array)[bucket & segmentMask] as number;
  }

  /** Puts a new entry at the head of its chain, and adds a bucket where `count` entries are enough for one more. */
  insert(ref: number, hash: number, count: number): void {
    if (this.#segments.length === 0) this.#segments.push(new Uint32Array(bucketCountMin));
    const bucket = this.#bucketOf(hash);
    const segment = this.#segments[bucket >>> segmentShift] as Uint32Array;
    (this.#words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 1] = segment[bucket & segmentMask] as number;
    segment[bucket & segmentMask] = ref;
    if (count * 4 > this.bucketCount * 3) this.#grow();
  }

  /** Lets whatever points to `ref` in its chain point to `to`. */
  relink(ref: number, to: number): void {
    if (!this.tryRelink(ref, to)) assert(false, `entry ${ref} is not in its chain`);
  }

  /** Lets whatever points to `ref` in its chain point to `to`; false if nothing does. */
  tryRelink(ref: number, to: number): boolean {
    const bucket = this.#bucketOf((this.#words[ref >>> 17] as Uint32Array)[(ref & 0x1ffff) << 1] as number);
    const segment = this.#segments[bucket >>> segmentShift] as Uint32Array;
    let at = segment[bucket & segmentMask] as number;
    if (at === ref) {
      segment[bucket & segmentMask] = to;
      return true;
    }
    while (at !== 0) {
      const words = this.#words[at >>> 17] as Uint32Array;
      const word = (at & 0x1ffff) << 1;
      const next = words[word + 1] as number;
      if (next === ref) {
        words[word + 1] = to;
        return true;
      }
      at = next;
    }
    return false;
  }

  nextOf(ref: number): number {
    return (this.#words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 1] as number;
  }

  /** Takes one bucket away where the index is far too large: joins the last bucket to the one that it was split from. */
  shrink(count: number): void {
    if (count * 4 >= this.bucketCount || this.bucketCount <= bucketCountMin) return;
    if (this.#split === 0) {
      this.#split = (this.#mask + 1) / 2;
      this.#mask >>>= 1;
    }
    this.#split--;
    const to = this.#split;
    const from = to + this.#mask + 1;
    const fromSegment = this.#segments[from >>> segmentShift] as Uint32Array;
    const joining = fromSegment[from & segmentMask] as number;
    fromSegment[from & segmentMask] = 0;
    if ((from & segmentMask) === 0 && from !== 0) this.#segments.length = from >>> segmentShift;
    if (joining === 0) return;
    const toSegment = this.#segments[to >>> segmentShift] as Uint32Array;
    let last = joining;
    for (let next = this.nextOf(last); next !== 0; next = this.nextOf(last)) last = next;
    (this.#words[last >>> 17] as Uint32Array)[((last & 0x1ffff) << 1) + 1] = toSegment[to & segmentMask] as number;
    toSegment[to & segmentMask] = joining;
  }

  /** The first entry of the chain whose interval of reversed hashes holds the position. */
  chainAt(position: number): number {
    const bucket = this.#bucketOf(reverseBits(position));
    return (this.#segments[bucket >>> segmentShift] as Uint32Array)[bucket & segmentMask] as number;
  }

  /** Where the interval of that chain ends; 0 after the last. */
  positionAfter(position: number): number {
    const width = 0x1_0000_0000 / ((reverseBits(position) & this.#mask) < this.#split ? (this.#mask + 1) * 2 : this.#mask + 1);
    const end = (Math.floor(position / width) + 1) * width;
    return end === 0x1_0000_0000 ? 0 : end;
  }

  #bucketOf(hash: number): number {
    const bucket = hash & this.#mask;
    return bucket < this.#split ? hash & (this.#mask * 2 + 1) : bucket;
  }

  /** Adds one bucket: splits the one whose turn it is. */
  #grow(): void {
    const bit = this.#mask + 1;
    const from = this.#split;
    const to = from + bit;
    this.#ensureBucket(to);
    const fromSegment = this.#segments[from >>> segmentShift] as Uint32Array;
    let ref = fromSegment[from & segmentMask] as number;
    let staying = 0;
    let moving = 0;
    while (ref !== 0) {
      const words = this.#words[ref >>> 17] as Uint32Array;
      const word = (ref & 0x1ffff) << 1;
      const next = words[word + 1] as number;
      if (((words[word] as number) & bit) === 0) {
        words[word + 1] = staying;
        staying = ref;
      } else {
        words[word + 1] = moving;
        moving = ref;
      }
      ref = next;
    }
    fromSegment[from & segmentMask] = staying;
    (this.#segments[to >>> segmentShift] as Uint32Array)[to & segmentMask] = moving;
    this.#split++;
    if (this.#split === bit) {
      this.#mask = bit * 2 - 1;
      this.#split = 0;
    }
  }

  #ensureBucket(bucket: number): void {
    const index = bucket >>> segmentShift;
    const segment = this.#segments[index];
    if (segment === undefined) {
      this.#segments.push(new Uint32Array(segmentMask + 1));
    } else if ((bucket & segmentMask) >= segment.length) {
      const larger = new Uint32Array(segment.length * 2);
      larger.set(segment);
      this.#segments[index] = larger;
    }
  }
}

/** The 32 bits in opposite order, unsigned. */
export function reverseBits(value: number): number {
  let v = value;
  v = ((v >>> 1) & 0x5555_5555) | ((v & 0x5555_5555) << 1);
  v = ((v >>> 2) & 0x3333_3333) | ((v & 0x3333_3333) << 2);
  v = ((v >>> 4) & 0x0f0f_0f0f) | ((v & 0x0f0f_0f0f) << 4);
  v = ((v >>> 8) & 0x00ff_00ff) | ((v & 0x00ff_00ff) << 8);
  return ((v >>> 16) | (v << 16)) >>> 0;
}
