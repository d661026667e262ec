import { assert } from '../../base/assert.ts';
import { copyBytes } from '../../base/copy-bytes.ts';
import { TroupeError } from '../../base/errors.ts';
import { segmentMask, segmentShift, type Arena, type ArenaOwner } from './arena.ts';

/**
 * The entries of one partition, in the arena's memory: no JavaScript object per entry.
 *
 * The index is a linear hash table (Litwin 1980): it grows and shrinks by one bucket at a time, so no operation ever
 * rehashes more than one chain, and nothing has to be copied. Bucket b of the index splits into b and b + 2^level when
 * its turn comes. Chains run through the entries.
 *
 * An entry in words of 32 bits: 0 hash · 1 next in the chain · 2 value length (24 bits) and key length (8) · 3 flags ·
 * 4 expiresAt · 5 cas, low · 6 cas, high (21 bits), and the table's number in the arena (11 bits) · 7 last access in
 * seconds · then the key, then the value.
 *
 * Cursors walk the hashes in the order of their reversed bits. In that order a bucket is an interval, and splitting or
 * merging buckets only cuts or joins neighbouring intervals: a walk that goes on from the end of the last interval
 * meets every entry that was there all the time, once, however the index changes in between.
 */
export interface TableOptions {
  readonly arena: Arena;
  /** Logical bytes that this table should not exceed (see {@link entryBytes}); kept by whoever calls evictionsFor, not by set. */
  readonly budgetBytes: number;
}

/** Counted for each entry on top of key and value: about what header, index and rounding come to. */
export const entryOverheadBytes = 56;
/** The logical size of an entry: depends on its contents only, so that every copy of a partition accounts alike. */
export function entryBytes(keyLength: number, valueLength: number): number {
  return entryOverheadBytes + keyLength + valueLength;
}
/** Keys are 1 to 250 bytes, as in memcached. */
export const keyBytesMax = 250;
/** The most that the layout can hold; frontends limit values to far less by default. */
export const valueBytesMax: number = (1 << 24) - 1;

const headerBytes = 32;
const casHighMask = 0x1f_ffff;
const bucketCountMin = 16;
/** The hand of the eviction clock looks at this many entries and takes the one that was used least recently. */
const evictionSamples = 16;

export class Table implements ArenaOwner {
  readonly budgetBytes: number;
  /** When a delayed flush takes effect, in unix seconds; 0 when none is due. Part of the replicated state. */
  flushAt = 0;
  readonly #arena: Arena;
  readonly #arenaId: number;
  readonly #arenaIdBits: number;
  readonly #bytes: Uint8Array[];
  readonly #words: Uint32Array[];
  /** Buckets; the first segment is small until it has to be larger. Empty until the first entry. */
  #segments: Uint32Array[] = [];
  /** 2^level - 1. */
  #mask = bucketCountMin - 1;
  /** Buckets below it have been split at this level already. */
  #split = 0;
  #count = 0;
  #accounted = 0;
  /** Where the eviction hand and the reaper stand, in reversed hash order. */
  #evictionPosition = 0;
  #expiryPosition = 0;

  constructor(options: TableOptions) {
    this.budgetBytes = options.budgetBytes;
    this.#arena = options.arena;
    this.#bytes = options.arena.bytes;
    this.#words = options.arena.words;
    this.#arenaId = options.arena.register(this);
    this.#arenaIdBits = this.#arenaId << 21;
  }

  /** Entries, expired ones that nobody has removed yet among them. */
  get count(): number {
    return this.#count;
  }

  /** The sum of {@link entryBytes} over the entries. */
  get bytes(): number {
    return this.#accounted;
  }

  /** The reference of the key's entry, or 0. Valid until the next change of any table of this arena. Does not look at expiry. */
  get(key: Uint8Array, keyStart: number, keyEnd: number, hash: number): number {
    if (this.#count === 0) return 0;
    const bucket = this.#bucketOf(hash);
    let ref = (this.#segments[bucket >>> segmentShift] as Uint32Array)[bucket & segmentMask] as number;
    while (ref !== 0) {
      const words = this.#words[ref >>> 17] as Uint32Array;
      const word = (ref & 0x1ffff) << 1;
      if (words[word] === hash && this.#hasKey(ref, words[word + 2] as number, key, keyStart, keyEnd)) return ref;
      ref = words[word + 1] as number;
    }
    return 0;
  }

  hashOf(ref: number): number {
    return (this.#words[ref >>> 17] as Uint32Array)[(ref & 0x1ffff) << 1] as number;
  }

  keyLengthOf(ref: number): number {
    return ((this.#words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 2] as number) >>> 24;
  }

  valueLengthOf(ref: number): number {
    return ((this.#words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 2] as number) & 0xff_ffff;
  }

  flagsOf(ref: number): number {
    return (this.#words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 3] as number;
  }

  /** Unix seconds; 0 never. */
  expiresAtOf(ref: number): number {
    return (this.#words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 4] as number;
  }

  /** The entry's version. */
  casOf(ref: number): number {
    const words = this.#words[ref >>> 17] as Uint32Array;
    const word = (ref & 0x1ffff) << 1;
    return ((words[word + 6] as number) & casHighMask) * 0x1_0000_0000 + (words[word + 5] as number);
  }

  /** When it was last read or written, in the seconds given to touchLru. */
  lastAccessOf(ref: number): number {
    return (this.#words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 7] as number;
  }

  /** The memory that key and value of the entry lie in, together with keyStartOf and valueStartOf. Read only. */
  memoryOf(ref: number): Uint8Array {
    return this.#bytes[ref >>> 17] as Uint8Array;
  }

  keyStartOf(ref: number): number {
    return ((ref & 0x1ffff) << 3) + headerBytes;
  }

  valueStartOf(ref: number): number {
    return ((ref & 0x1ffff) << 3) + headerBytes + this.keyLengthOf(ref);
  }

  copyValue(ref: number, target: Uint8Array, at: number): void {
    const start = this.valueStartOf(ref);
    copyBytes(this.memoryOf(ref), start, start + this.valueLengthOf(ref), target, at);
  }

  copyKey(ref: number, target: Uint8Array, at: number): void {
    const start = this.keyStartOf(ref);
    copyBytes(this.memoryOf(ref), start, start + this.keyLengthOf(ref), target, at);
  }

  /** A view, not a copy; allocates it, so not for hot paths. */
  keyView(ref: number): Uint8Array {
    const start = this.keyStartOf(ref);
    return this.memoryOf(ref).subarray(start, start + this.keyLengthOf(ref));
  }

  /** A view, not a copy; allocates it, so not for hot paths. */
  valueView(ref: number): Uint8Array {
    const start = this.valueStartOf(ref);
    return this.memoryOf(ref).subarray(start, start + this.valueLengthOf(ref));
  }

  /** Marks the entry as used now, for eviction. */
  touchLru(ref: number, nowSeconds: number): void {
    (this.#words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 7] = nowSeconds;
  }

  /**
   * Inserts or replaces. `value` must not lie in this arena's memory.
   * @throws TroupeError OUT_OF_MEMORY when the arena is at its limit; the table is then as before
   */
  set(key: Uint8Array, keyStart: number, keyEnd: number, hash: number, value: Uint8Array, valueStart: number, valueEnd: number, flags: number, expiresAt: number, cas: number, nowSeconds = 0): void {
    const ref = this.#place(key, keyStart, keyEnd, hash, valueEnd - valueStart, flags, expiresAt, cas, nowSeconds);
    copyBytes(value, valueStart, valueEnd, this.#bytes[ref >>> 17] as Uint8Array, ((ref & 0x1ffff) << 3) + headerBytes + keyEnd - keyStart);
  }

  /** As {@link set}, with a value made of two parts. */
  setParts(
    key: Uint8Array,
    keyStart: number,
    keyEnd: number,
    hash: number,
    first: Uint8Array,
    firstStart: number,
    firstEnd: number,
    second: Uint8Array,
    secondStart: number,
    secondEnd: number,
    flags: number,
    expiresAt: number,
    cas: number,
    nowSeconds = 0,
  ): void {
    const firstLength = firstEnd - firstStart;
    const ref = this.#place(key, keyStart, keyEnd, hash, firstLength + secondEnd - secondStart, flags, expiresAt, cas, nowSeconds);
    const bytes = this.#bytes[ref >>> 17] as Uint8Array;
    const at = ((ref & 0x1ffff) << 3) + headerBytes + keyEnd - keyStart;
    copyBytes(first, firstStart, firstEnd, bytes, at);
    copyBytes(second, secondStart, secondEnd, bytes, at + firstLength);
  }

  setExpiry(ref: number, expiresAt: number, cas: number): void {
    const words = this.#words[ref >>> 17] as Uint32Array;
    const word = (ref & 0x1ffff) << 1;
    words[word + 4] = expiresAt;
    words[word + 5] = cas;
    words[word + 6] = this.#arenaIdBits | (cas / 0x1_0000_0000);
  }

  /** False when there was no such entry. */
  delete(key: Uint8Array, keyStart: number, keyEnd: number, hash: number): boolean {
    const ref = this.get(key, keyStart, keyEnd, hash);
    if (ref === 0) return false;
    this.deleteEntry(ref);
    return true;
  }

  /** Deletes the entry of a reference that get, evictionCandidate or scan has just given. */
  deleteEntry(ref: number): void {
    this.#relink(ref, (this.#words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 1] as number);
    this.#forget(ref);
    this.#shrink();
  }

  /** Empties the table at once; the memory goes back to the arena little by little, with the allocations that follow. */
  clear(): void {
    if (this.#count !== 0) this.#arena.bury(this.#segments, this.#bucketCount());
    this.#segments = [];
    this.#mask = bucketCountMin - 1;
    this.#split = 0;
    this.#count = 0;
    this.#accounted = 0;
    this.flushAt = 0;
  }

  /** Empties the table for good and takes it out of the arena; it must not be used afterwards. */
  dispose(): void {
    this.clear();
    this.#arena.unregister(this, this.#arenaId);
  }

  /** For the arena, when it moves a chunk. */
  relocate(from: number, to: number): boolean {
    return this.#count !== 0 && this.#tryRelink(from, to);
  }

  /** The one of a few entries that was used least recently; another few with each call. 0 when the table is empty. */
  evictionCandidate(): number {
    if (this.#count === 0) return 0;
    let oldest = 0;
    let oldestAccess = Infinity;
    let seen = 0;
    while (seen < evictionSamples) {
      let ref = this.#chainAt(this.#evictionPosition);
      while (ref !== 0) {
        const access = this.lastAccessOf(ref);
        if (access < oldestAccess) {
          oldest = ref;
          oldestAccess = access;
        }
        seen++;
        ref = this.#nextOf(ref);
      }
      this.#evictionPosition = this.#positionAfter(this.#evictionPosition);
      // Once around a small table is enough.
      if (this.#evictionPosition === 0 && oldest !== 0) break;
    }
    return oldest;
  }

  /**
   * Visits about `limit` entries (whole chains) from where the last call stopped. Starts at cursor 0; returns 0 at the end.
   * Every entry that exists from the first call to the last is visited, exactly once; one that comes or goes meanwhile
   * may be. `visit` must not change the table. A cursor does not outlive the table object, nor does `clear` disturb it.
   */
  scan(cursor: number, limit: number, visit: (ref: number) => void): number {
    if (this.#count === 0) return 0;
    let position = cursor;
    let left = limit;
    do {
      let ref = this.#chainAt(position);
      while (ref !== 0) {
        // After a merge the chain also holds what lies before the cursor and was visited.
        if (reverseBits(this.hashOf(ref)) >= position) {
          visit(ref);
          left--;
        }
        ref = this.#nextOf(ref);
      }
      left -= 0.25; // an empty bucket costs something too
      position = this.#positionAfter(position);
    } while (position !== 0 && left > 0);
    return position;
  }

  /**
   * Looks at about `limit` entries from where the last call stopped, at most once around the table, and removes those that
   * have expired; tells `onExpired` of each before it goes (which may read the entry but change nothing).
   * @returns how many it removed
   */
  expireSome(nowSeconds: number, limit: number, onExpired?: (ref: number) => void): number {
    if (this.#count === 0) return 0;
    let removed = 0;
    let left = limit;
    let around = 0;
    do {
      const position = this.#expiryPosition;
      let ref = this.#chainAt(position);
      while (ref !== 0) {
        const next = this.#nextOf(ref);
        const expiresAt = this.expiresAtOf(ref);
        if (expiresAt !== 0 && expiresAt <= nowSeconds) {
          onExpired?.(ref);
          this.#relink(ref, next);
          this.#forget(ref);
          removed++;
        }
        left--;
        ref = next;
      }
      left -= 0.25;
      this.#expiryPosition = this.#positionAfter(position);
      around += (this.#expiryPosition === 0 ? 0x1_0000_0000 : this.#expiryPosition) - position;
    } while (left > 0 && around < 0x1_0000_0000);
    for (let i = 0; i < removed; i++) this.#shrink();
    return removed;
  }

  /** Finds or makes the chunk for an entry and writes all of it but the value. */
  #place(key: Uint8Array, keyStart: number, keyEnd: number, hash: number, valueLength: number, flags: number, expiresAt: number, cas: number, nowSeconds: number): number {
    const keyLength = keyEnd - keyStart;
    assert(keyLength > 0 && keyLength <= keyBytesMax, `a key has 1 to ${keyBytesMax} bytes; this one has ${keyLength}`);
    assert(valueLength <= valueBytesMax, `a value has at most ${valueBytesMax} bytes; this one has ${valueLength}`);
    const size = headerBytes + keyLength + valueLength;
    let old = this.get(key, keyStart, keyEnd, hash);
    let ref = old;
    if (old === 0 || !this.#arena.fits(old, size)) {
      const moves = this.#arena.moves;
      ref = this.#arena.allocate(size);
      if (ref === 0) throw outOfMemory(this.#arena, size);
      if (old !== 0 && moves !== this.#arena.moves) old = this.get(key, keyStart, keyEnd, hash);
      copyBytes(key, keyStart, keyEnd, this.#bytes[ref >>> 17] as Uint8Array, ((ref & 0x1ffff) << 3) + headerBytes);
    }
    const words = this.#words[ref >>> 17] as Uint32Array;
    const word = (ref & 0x1ffff) << 1;
    if (old !== 0) this.#accounted -= entryBytes(keyLength, this.valueLengthOf(old));
    words[word] = hash;
    words[word + 2] = (keyLength << 24) | valueLength;
    words[word + 3] = flags;
    words[word + 4] = expiresAt;
    words[word + 5] = cas;
    words[word + 6] = this.#arenaIdBits | (cas / 0x1_0000_0000);
    words[word + 7] = nowSeconds;
    this.#accounted += entryBytes(keyLength, valueLength);
    if (old === 0) this.#insert(ref, words, word, hash);
    else if (ref !== old) {
      words[word + 1] = this.#nextOf(old);
      this.#relink(old, ref);
      this.#arena.free(old);
    }
    return ref;
  }

  #insert(ref: number, words: Uint32Array, word: number, hash: number): void {
    if (this.#segments.length === 0) this.#segments.push(new Uint32Array(bucketCountMin));
    const bucket = this.#bucketOf(hash);
    const segment = this.#segments[bucket >>> segmentShift] as Uint32Array;
    words[word + 1] = segment[bucket & segmentMask] as number;
    segment[bucket & segmentMask] = ref;
    this.#count++;
    if (this.#count * 4 > this.#bucketCount() * 3) this.#grow();
  }

  #bucketCount(): number {
    return this.#mask + 1 + this.#split;
  }

  #bucketOf(hash: number): number {
    const bucket = hash & this.#mask;
    return bucket < this.#split ? hash & (this.#mask * 2 + 1) : bucket;
  }

  #nextOf(ref: number): number {
    return (this.#words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 1] as number;
  }

  #hasKey(ref: number, lengths: number, key: Uint8Array, keyStart: number, keyEnd: number): boolean {
    if (lengths >>> 24 !== keyEnd - keyStart) return false;
    const bytes = this.#bytes[ref >>> 17] as Uint8Array;
    let at = ((ref & 0x1ffff) << 3) + headerBytes;
    for (let i = keyStart; i < keyEnd; i++, at++) if (bytes[at] !== key[i]) return false;
    return true;
  }

  #relink(ref: number, to: number): void {
    assert(this.#tryRelink(ref, to), `entry ${ref} is not in its chain`);
  }

  /** Lets whatever points to `ref` in its chain point to `to`; false if nothing does. */
  #tryRelink(ref: number, to: number): boolean {
    const bucket = this.#bucketOf(this.hashOf(ref));
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

  /** Takes an unlinked entry out of the books and frees it. */
  #forget(ref: number): void {
    this.#accounted -= entryBytes(this.keyLengthOf(ref), this.valueLengthOf(ref));
    this.#count--;
    this.#arena.free(ref);
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

  /** Takes one bucket away where the index is far too large: joins the last bucket to the one that it was split from. */
  #shrink(): void {
    if (this.#count * 4 >= this.#bucketCount() || this.#bucketCount() <= bucketCountMin) return;
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
    for (let next = this.#nextOf(last); next !== 0; next = this.#nextOf(last)) last = next;
    (this.#words[last >>> 17] as Uint32Array)[((last & 0x1ffff) << 1) + 1] = toSegment[to & segmentMask] as number;
    toSegment[to & segmentMask] = joining;
  }

  /** The first entry of the chain whose interval of reversed hashes holds the position. */
  #chainAt(position: number): number {
    const bucket = this.#bucketOf(reverseBits(position));
    return (this.#segments[bucket >>> segmentShift] as Uint32Array)[bucket & segmentMask] as number;
  }

  /** Where the interval of that chain ends; 0 after the last. */
  #positionAfter(position: number): number {
    const width = 0x1_0000_0000 / ((reverseBits(position) & this.#mask) < this.#split ? (this.#mask + 1) * 2 : this.#mask + 1);
    const end = (Math.floor(position / width) + 1) * width;
    return end === 0x1_0000_0000 ? 0 : end;
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

function outOfMemory(arena: Arena, size: number): TroupeError {
  return new TroupeError('OUT_OF_MEMORY', `cannot store an entry of ${size} bytes: the keyspace holds ${arena.committedBytes} of at most ${arena.limitBytes} bytes on this node; raise maxMemory, allow eviction or delete entries`, {
    sizeBytes: size,
    committedBytes: arena.committedBytes,
    limitBytes: arena.limitBytes,
  });
}
