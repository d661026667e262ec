import { assert } from '../../base/assert.ts';
import { copyBytes } from '../../base/copy-bytes.ts';
import { TroupeError } from '../../base/errors.ts';
import type { Arena, ArenaOwner } from './arena.ts';
import { BucketIndex, reverseBits } from './bucket-index.ts';
import { Entries, headerBytes } from './entries.ts';

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

/** The hand of the eviction clock looks at this many entries and takes the one that was used least recently. */
const evictionSamples = 16;

/** The entries of one partition, in the arena's memory: no JavaScript object per entry. */
export class Table extends Entries implements ArenaOwner {
  readonly budgetBytes: number;
  /** When a delayed flush takes effect, in unix seconds; 0 when none is due. Part of the replicated state. */
  flushAt = 0;
  readonly #arena: Arena;
  readonly #arenaId: number;
  readonly #arenaIdBits: number;
  readonly #index: BucketIndex;
  #count = 0;
  /** Entries that expire some time. */
  #mortal = 0;
  #accounted = 0;
  /** Where the eviction hand and the reaper stand, in reversed hash order. */
  #evictionPosition = 0;
  #expiryPosition = 0;

  constructor(options: TableOptions) {
    super(options.arena);
    this.#index = new BucketIndex(options.arena.words);
    this.budgetBytes = options.budgetBytes;
    this.#arena = options.arena;
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
    let ref = this.#index.headOf(hash);
    while (ref !== 0) {
      const words = this.words[ref >>> 17] as Uint32Array;
      const word = (ref & 0x1ffff) << 1;
      if (words[word] === hash && this.#hasKey(ref, words[word + 2] as number, key, keyStart, keyEnd)) return ref;
      ref = words[word + 1] as number;
    }
    return 0;
  }

  /**
   * Inserts or replaces. `value` must not lie in this arena's memory.
   * @throws TroupeError OUT_OF_MEMORY when the arena is at its limit; the table is then as before
   */
  set(key: Uint8Array, keyStart: number, keyEnd: number, hash: number, value: Uint8Array, valueStart: number, valueEnd: number, flags: number, expiresAt: number, cas: number, nowSeconds = 0): void {
    const ref = this.#place(key, keyStart, keyEnd, hash, valueEnd - valueStart, flags, expiresAt, cas, nowSeconds);
    copyBytes(value, valueStart, valueEnd, this.pages[ref >>> 17] as Uint8Array, ((ref & 0x1ffff) << 3) + headerBytes + keyEnd - keyStart);
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
    const bytes = this.pages[ref >>> 17] as Uint8Array;
    const at = ((ref & 0x1ffff) << 3) + headerBytes + keyEnd - keyStart;
    copyBytes(first, firstStart, firstEnd, bytes, at);
    copyBytes(second, secondStart, secondEnd, bytes, at + firstLength);
  }

  setExpiry(ref: number, expiresAt: number, cas: number): void {
    const words = this.words[ref >>> 17] as Uint32Array;
    const word = (ref & 0x1ffff) << 1;
    if (words[word + 4] !== 0) this.#mortal--;
    if (expiresAt !== 0) this.#mortal++;
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
    this.#index.relink(ref, (this.words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 1] as number);
    this.#forget(ref);
    this.#index.shrink(this.#count);
  }

  /** Empties the table at once; the memory goes back to the arena little by little, with the allocations that follow. */
  clear(): void {
    if (this.#count !== 0) this.#arena.bury(this.#index.segments, this.#index.bucketCount);
    this.#index.reset();
    this.#count = 0;
    this.#mortal = 0;
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
    return this.#count !== 0 && this.#index.tryRelink(from, to);
  }

  /** The one of a few entries that was used least recently; another few with each call. 0 when the table is empty. */
  evictionCandidate(): number {
    if (this.#count === 0) return 0;
    let oldest = 0;
    let oldestAccess = Infinity;
    let seen = 0;
    while (seen < evictionSamples) {
      let ref = this.#index.chainAt(this.#evictionPosition);
      while (ref !== 0) {
        const access = this.lastAccessOf(ref);
        if (access < oldestAccess) {
          oldest = ref;
          oldestAccess = access;
        }
        seen++;
        ref = this.#index.nextOf(ref);
      }
      this.#evictionPosition = this.#index.positionAfter(this.#evictionPosition);
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
      let ref = this.#index.chainAt(position);
      while (ref !== 0) {
        // After a merge the chain also holds what lies before the cursor and was visited.
        if (reverseBits(this.hashOf(ref)) >= position) {
          visit(ref);
          left--;
        }
        ref = this.#index.nextOf(ref);
      }
      left -= 0.25; // an empty bucket costs something too
      position = this.#index.positionAfter(position);
    } while (position !== 0 && left > 0);
    return position;
  }

  /**
   * Looks at about `limit` entries from where the last call stopped, at most once around the table, and removes those that
   * have expired; tells `onExpired` of each before it goes (which may read the entry but change nothing).
   * @returns how many it removed
   */
  expireSome(nowSeconds: number, limit: number, onExpired?: (ref: number) => void): number {
    if (this.#mortal === 0) return 0;
    let removed = 0;
    let left = limit;
    let around = 0;
    do {
      const position = this.#expiryPosition;
      let ref = this.#index.chainAt(position);
      while (ref !== 0) {
        const next = this.#index.nextOf(ref);
        const expiresAt = this.expiresAtOf(ref);
        if (expiresAt !== 0 && expiresAt <= nowSeconds) {
          onExpired?.(ref);
          this.#index.relink(ref, next);
          this.#forget(ref);
          removed++;
        }
        left--;
        ref = next;
      }
      left -= 0.25;
      this.#expiryPosition = this.#index.positionAfter(position);
      around += (this.#expiryPosition === 0 ? 0x1_0000_0000 : this.#expiryPosition) - position;
    } while (left > 0 && around < 0x1_0000_0000);
    for (let i = 0; i < removed; i++) this.#index.shrink(this.#count);
    return removed;
  }

  /** Finds or makes the chunk for an entry and writes all of it but the value. */
  #place(key: Uint8Array, keyStart: number, keyEnd: number, hash: number, valueLength: number, flags: number, expiresAt: number, cas: number, nowSeconds: number): number {
    const keyLength = keyEnd - keyStart;
    // The messages are made only when they are needed: here each byte of garbage counts.
    if (keyLength <= 0 || keyLength > keyBytesMax) assert(false, `a key has 1 to ${keyBytesMax} bytes; this one has ${keyLength}`);
    if (valueLength > valueBytesMax) assert(false, `a value has at most ${valueBytesMax} bytes; this one has ${valueLength}`);
    const size = headerBytes + keyLength + valueLength;
    let old = this.get(key, keyStart, keyEnd, hash);
    let ref = old;
    if (old === 0 || !this.#arena.fits(old, size)) {
      const moves = this.#arena.moves;
      ref = this.#arena.allocate(size);
      if (ref === 0) throw outOfMemory(this.#arena, size);
      if (old !== 0 && moves !== this.#arena.moves) old = this.get(key, keyStart, keyEnd, hash);
      copyBytes(key, keyStart, keyEnd, this.pages[ref >>> 17] as Uint8Array, ((ref & 0x1ffff) << 3) + headerBytes);
    }
    const words = this.words[ref >>> 17] as Uint32Array;
    const word = (ref & 0x1ffff) << 1;
    if (old !== 0) {
      this.#accounted -= entryBytes(keyLength, this.valueLengthOf(old));
      if (this.expiresAtOf(old) !== 0) this.#mortal--;
    }
    if (expiresAt !== 0) this.#mortal++;
    words[word] = hash;
    words[word + 2] = (keyLength << 24) | valueLength;
    words[word + 3] = flags;
    words[word + 4] = expiresAt;
    words[word + 5] = cas;
    words[word + 6] = this.#arenaIdBits | (cas / 0x1_0000_0000);
    words[word + 7] = nowSeconds;
    this.#accounted += entryBytes(keyLength, valueLength);
    if (old === 0) this.#index.insert(ref, hash, ++this.#count);
    else if (ref !== old) {
      words[word + 1] = this.#index.nextOf(old);
      this.#index.relink(old, ref);
      this.#arena.free(old);
    }
    return ref;
  }

  #hasKey(ref: number, lengths: number, key: Uint8Array, keyStart: number, keyEnd: number): boolean {
    if (lengths >>> 24 !== keyEnd - keyStart) return false;
    const bytes = this.pages[ref >>> 17] as Uint8Array;
    let at = ((ref & 0x1ffff) << 3) + headerBytes;
    for (let i = keyStart; i < keyEnd; i++, at++) if (bytes[at] !== key[i]) return false;
    return true;
  }

  /** Takes an unlinked entry out of the books and frees it. */
  #forget(ref: number): void {
    this.#accounted -= entryBytes(this.keyLengthOf(ref), this.valueLengthOf(ref));
    if (this.expiresAtOf(ref) !== 0) this.#mortal--;
    this.#count--;
    this.#arena.free(ref);
  }
}

function outOfMemory(arena: Arena, size: number): TroupeError {
  return new TroupeError('OUT_OF_MEMORY', `cannot store an entry of ${size} bytes: the keyspace holds ${arena.committedBytes} of at most ${arena.limitBytes} bytes on this node; raise maxMemory, allow eviction or delete entries`, {
    sizeBytes: size,
    committedBytes: arena.committedBytes,
    limitBytes: arena.limitBytes,
  });
}
