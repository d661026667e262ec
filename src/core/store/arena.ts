import { assert } from '../../base/assert.ts';

/**
 * Off-heap memory for the entries of all tables of one keyspace on one node.
 *
 * Memory comes in pages (ArrayBuffers). A page belongs to one size class while any chunk of it is in use; an emptied
 * page goes back to the arena and may serve another class next. So that a shift in value sizes does not strand memory in
 * thinly used pages, the chunks of such a page are moved to others of its class (a few with each allocation) once more
 * than a quarter of the memory is free room. Chunks larger than an eighth of a page
 * have a buffer of their own, which is given back to the process when they are freed.
 *
 * A reference is an unsigned 32-bit number: page index times 2^17, plus the offset within the page in 8-byte granules.
 * 0 is none. 2^15 pages of 1 MiB: an arena can hold 32 GiB (more with large chunks).
 *
 * A chunk belongs to its user while it is in use, but for three things that moving needs: word 2 is not 0 in its upper
 * 8 bits, the upper 11 bits of word 6 are what {@link Arena.register} gave, and word 1 links the chunks of buried chains.
 * Of a free chunk, word 0 links to the next and word 2 is 0.
 */
export interface ArenaOptions {
  /** Hard limit of the bytes held in pages; allocations fail beyond it. The arena's own bookkeeping is about 0.01 % on top. */
  readonly limitBytes: number;
}

export const arenaPageBytes: number = 1 << 20;
const granuleBytes = 8;
const pageShift = 17;
const granuleMask = (1 << pageShift) - 1;
const pageCountMax = 1 << 15;
const smallBytesMax = arenaPageBytes / 8;
/** Emptied pages kept for the next allocation instead of being given back to the process. */
const sparePagesMax = 4;
/** Class of a page that holds one large chunk; and of an index without a page. */
const largeClass = -1;
const noClass = -2;
/** Chunks freed from emptied tables with each allocation: more than one, so that the debt shrinks. */
const reclaimPerAllocation = 8;

/** Buckets of a table's index per segment: 16 KiB, so that growth never allocates or copies more than that at once. */
export const segmentShift = 12;
export const segmentMask: number = (1 << segmentShift) - 1;

const { chunkSizes, classOfGranules } = sizeClasses();

/** Every multiple of 8 up to 256 bytes, then steps of an eighth, each fitted so that a page has no remainder worth a chunk. */
function sizeClasses(): { chunkSizes: number[]; classOfGranules: Uint8Array } {
  const sizes: number[] = [];
  for (let size = 32; size <= 256; size += granuleBytes) sizes.push(size);
  let last = 256;
  while (last < smallBytesMax) {
    const perPage = Math.floor(arenaPageBytes / Math.ceil(last * 1.125));
    const size = Math.floor(arenaPageBytes / perPage / granuleBytes) * granuleBytes;
    sizes.push(size);
    last = size;
  }
  const lookup = new Uint8Array(smallBytesMax / granuleBytes + 1);
  let sizeClass = 0;
  for (let granules = 0; granules < lookup.length; granules++) {
    while ((sizes[sizeClass] as number) < granules * granuleBytes) sizeClass++;
    lookup[granules] = sizeClass;
  }
  return { chunkSizes: sizes, classOfGranules: lookup };
}

/** The bytes that a large chunk takes: rounded up by at most an eighth, so that a value that grows slowly stays in place. */
function largeBytes(size: number): number {
  const step = 2 ** (Math.floor(Math.log2(size)) - 3);
  return Math.ceil(size / step) * step;
}

/** Chunks moved with each allocation while memory is thinly used. */
const movesPerAllocation = 4;
const ownerIdCount = 1 << 11;
/** Free room below this is not worth moving anything for. */
const freeRoomMin = 8 * arenaPageBytes;

/** Whoever holds references into the arena. */
export interface ArenaOwner {
  /** A chunk moves: replaces the reference `from` by `to`. The words at both are alike. False if it does not hold `from`. */
  relocate(from: number, to: number): boolean;
}

interface Burial {
  readonly segments: readonly Uint32Array[];
  bucketCount: number;
}

export class Arena {
  /** The pages, seen as bytes and as words; index 0 is never used. For the table only. */
  readonly bytes: Uint8Array[] = [new Uint8Array(0)];
  readonly words: Uint32Array[] = [new Uint32Array(0)];
  readonly limitBytes: number;
  readonly #class: number[] = [noClass];
  /** Per page: the granule of its first free chunk, or 0 (granule 0 is kept out of the list by storing granule + 1). */
  readonly #freeHead: number[] = [0];
  readonly #usedCount: number[] = [0];
  /** Per page: how many chunks have ever been handed out; those beyond were never touched. */
  readonly #touchedCount: number[] = [0];
  /** Per class: the ring of pages that have room, as a doubly linked list. */
  readonly #next: number[] = [0];
  readonly #previous: number[] = [0];
  readonly #roomHead: Int32Array = new Int32Array(chunkSizes.length);
  readonly #freeIndexes: number[] = [];
  readonly #spare: { bytes: Uint8Array; words: Uint32Array }[] = [];
  readonly #burials: Burial[] = [];
  readonly #owners: ArenaOwner[][] = [];
  #nextOwnerId = 0;
  /** The page that is being emptied, out of its ring meanwhile; 0 for none. */
  #victim = 0;
  #victimCursor = 0;
  #moving = false;
  #committedBytes = 0;
  #usedBytes = 0;
  /** How many chunks have been moved; a reference taken before a change of this number may be stale. */
  moves = 0;

  constructor(options: ArenaOptions) {
    assert(options.limitBytes >= arenaPageBytes, `an arena needs at least one page of ${arenaPageBytes} bytes; limitBytes is ${options.limitBytes}`);
    this.limitBytes = options.limitBytes;
  }

  /** Bytes held in pages, used or not. */
  get committedBytes(): number {
    return this.#committedBytes;
  }

  /** Bytes of chunks in use; includes those of emptied tables that are not reclaimed yet. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** The number to keep in the upper 11 bits of word 6 of each chunk. Not unique: with very many owners some share one. */
  register(owner: ArenaOwner): number {
    const id = this.#nextOwnerId;
    this.#nextOwnerId = (id + 1) % ownerIdCount;
    (this.#owners[id] ??= []).push(owner);
    return id;
  }

  unregister(owner: ArenaOwner, id: number): void {
    this.#owners[id] = (this.#owners[id] ?? []).filter((each) => each !== owner);
  }

  /**
   * Does a bounded piece of whatever clearing up there is: frees up to about `limit` chunks of emptied tables or moves as
   * many out of thinly used pages. For quiet times; allocations do the same a little at a time. True if there is more to do.
   */
  tidy(limit: number): boolean {
    if (this.#burials.length !== 0) return this.reclaim(limit) || this.#isThin();
    if (!this.#moving && !this.#isThin()) return false;
    this.#moving = this.#move(limit) && this.#isThin();
    return this.#moving;
  }

  /**
   * A chunk of at least `size` bytes with unspecified contents, or 0 when the limit is reached. May move other chunks:
   * see {@link moves}.
   */
  allocate(size: number): number {
    if (this.#burials.length !== 0) this.reclaim(reclaimPerAllocation);
    else if (this.#moving) this.#moving = this.#move(movesPerAllocation) && this.#isThin();
    let ref = this.#tryAllocate(size);
    // Chunks of emptied tables count against nobody: take them all back before refusing.
    while (ref === 0 && this.#burials.length !== 0) {
      this.reclaim(4096);
      ref = this.#tryAllocate(size);
    }
    // At the limit: empty thinly used pages until one comes free for this class, or none is left that could be emptied.
    while (ref === 0 && this.#move(1024)) ref = this.#tryAllocate(size);
    return ref;
  }

  /** Gives a chunk back. */
  free(ref: number): void {
    const page = ref >>> pageShift;
    const sizeClass = this.#class[page] as number;
    if (sizeClass === largeClass) {
      const size = (this.bytes[page] as Uint8Array).length;
      this.#usedBytes -= size;
      this.#committedBytes -= size;
      this.#dropPage(page);
      return;
    }
    if (sizeClass < 0) assert(false, `freed reference ${ref} lies in no page`);
    const granule = ref & granuleMask;
    const words = this.words[page] as Uint32Array;
    const head = this.#freeHead[page] as number;
    const size = chunkSizes[sizeClass] as number;
    const used = (this.#usedCount[page] as number) - 1;
    if (head === 0 && page !== this.#victim && ((this.#touchedCount[page] as number) + 1) * size > arenaPageBytes) this.#linkRoom(page, sizeClass);
    words[granule << 1] = head;
    words[(granule << 1) + 2] = 0;
    this.#freeHead[page] = granule + 1;
    this.#usedCount[page] = used;
    this.#usedBytes -= size;
    if (used === 0) this.#retire(page, sizeClass);
  }

  /** The bytes that the chunk at `ref` has, at least those asked for. */
  sizeOf(ref: number): number {
    const page = ref >>> pageShift;
    const sizeClass = this.#class[page] as number;
    return sizeClass === largeClass ? (this.bytes[page] as Uint8Array).length : (chunkSizes[sizeClass] as number);
  }

  /** True when `size` bytes would get a chunk of the same size as the one at `ref` has: it can then be overwritten in place. */
  fits(ref: number, size: number): boolean {
    const rounded = size <= smallBytesMax ? (chunkSizes[classOfGranules[(size + 7) >> 3] as number] as number) : largeBytes(size);
    return this.sizeOf(ref) === rounded;
  }

  /** Takes over the chains of an emptied table, to free their chunks a few at a time. The second word of a chunk links to the next. */
  bury(segments: readonly Uint32Array[], bucketCount: number): void {
    this.#burials.push({ segments, bucketCount });
  }

  /** Frees up to about `limit` chunks of emptied tables; false when none are left. */
  reclaim(limit: number): boolean {
    let left = limit;
    while (left > 0) {
      const burial = this.#burials.at(-1);
      if (burial === undefined) return false;
      if (burial.bucketCount === 0) {
        this.#burials.pop();
        continue;
      }
      const bucket = --burial.bucketCount;
      let ref = (burial.segments[bucket >>> segmentShift] as Uint32Array)[bucket & segmentMask] as number;
      left -= 0.25; // an empty bucket costs something too
      while (ref !== 0) {
        const next = (this.words[ref >>> pageShift] as Uint32Array)[((ref & granuleMask) << 1) + 1] as number;
        this.free(ref);
        left--;
        ref = next;
      }
    }
    return this.#burials.length !== 0;
  }

  #tryAllocate(size: number): number {
    if (size > smallBytesMax) return this.#allocateLarge(largeBytes(size));
    const sizeClass = classOfGranules[(size + 7) >> 3] as number;
    const chunk = chunkSizes[sizeClass] as number;
    let page = this.#roomHead[sizeClass] as number;
    if (page === 0) {
      page = this.#takePage(sizeClass);
      if (page === 0) return 0;
    }
    const head = this.#freeHead[page] as number;
    let granule: number;
    if (head !== 0) {
      granule = head - 1;
      this.#freeHead[page] = (this.words[page] as Uint32Array)[granule << 1] as number;
    } else {
      granule = ((this.#touchedCount[page] as number) * chunk) / granuleBytes;
      (this.#touchedCount[page] as number)++;
    }
    (this.#usedCount[page] as number)++;
    this.#usedBytes += chunk;
    if (this.#freeHead[page] === 0 && ((this.#touchedCount[page] as number) + 1) * chunk > arenaPageBytes) this.#unlinkRoom(page, sizeClass);
    return ((page << pageShift) | granule) >>> 0;
  }

  #allocateLarge(size: number): number {
    if (this.#committedBytes + size > this.limitBytes) this.#dropSpares();
    if (this.#committedBytes + size > this.limitBytes) return 0;
    const index = this.#newIndex();
    if (index === 0) return 0;
    const words = new Uint32Array(size / 4);
    this.words[index] = words;
    this.bytes[index] = new Uint8Array(words.buffer);
    this.#class[index] = largeClass;
    this.#committedBytes += size;
    this.#usedBytes += size;
    return (index << pageShift) >>> 0;
  }

  #takePage(sizeClass: number): number {
    let spare = this.#spare.pop();
    if (spare === undefined && this.#committedBytes + arenaPageBytes > this.limitBytes) return 0;
    const index = this.#newIndex();
    if (index === 0) {
      if (spare !== undefined) this.#spare.push(spare);
      return 0;
    }
    if (spare === undefined) {
      const words = new Uint32Array(arenaPageBytes / 4);
      spare = { words, bytes: new Uint8Array(words.buffer) };
      this.#committedBytes += arenaPageBytes;
      this.#moving ||= this.#isThin();
    }
    this.bytes[index] = spare.bytes;
    this.words[index] = spare.words;
    this.#class[index] = sizeClass;
    this.#freeHead[index] = 0;
    this.#usedCount[index] = 0;
    this.#touchedCount[index] = 0;
    this.#linkRoom(index, sizeClass);
    return index;
  }

  #newIndex(): number {
    const recycled = this.#freeIndexes.pop();
    if (recycled !== undefined) return recycled;
    const index = this.#class.length;
    if (index === pageCountMax) return 0;
    this.#class.push(noClass);
    this.#freeHead.push(0);
    this.#usedCount.push(0);
    this.#touchedCount.push(0);
    this.#next.push(0);
    this.#previous.push(0);
    this.bytes.push(this.bytes[0] as Uint8Array);
    this.words.push(this.words[0] as Uint32Array);
    return index;
  }

  /** A page without a chunk in use leaves its class. */
  #retire(page: number, sizeClass: number): void {
    if (page === this.#victim) this.#victim = 0;
    else this.#unlinkRoom(page, sizeClass);
    if (this.#spare.length < sparePagesMax) this.#spare.push({ bytes: this.bytes[page] as Uint8Array, words: this.words[page] as Uint32Array });
    else this.#committedBytes -= arenaPageBytes;
    this.#dropPage(page);
  }

  /** More than a quarter of the memory, and enough to matter, is free room in pages. */
  #isThin(): boolean {
    const free = this.#committedBytes - this.#spare.length * arenaPageBytes - this.#usedBytes;
    return free > freeRoomMin && free * 4 > this.#committedBytes;
  }

  /** Moves up to `limit` chunks out of the thinnest page; false if there is none that could be emptied. */
  #move(limit: number): boolean {
    if (this.#burials.length !== 0) return false;
    if (this.#victim === 0 && !this.#chooseVictim()) return false;
    const page = this.#victim;
    const sizeClass = this.#class[page] as number;
    const size = chunkSizes[sizeClass] as number;
    const words = this.words[page] as Uint32Array;
    const touched = this.#touchedCount[page] as number;
    let left = limit * 8; // free chunks cost little
    while (this.#victimCursor < touched && left > 0) {
      const granule = (this.#victimCursor * size) / granuleBytes;
      const word = granule << 1;
      left--;
      if ((words[word + 2] as number) >>> 24 !== 0) {
        left -= 7;
        if ((this.#roomHead[sizeClass] as number) === 0) {
          // What was free elsewhere has been used up meanwhile.
          this.#releaseVictim();
          return false;
        }
        const from = ((page << pageShift) | granule) >>> 0;
        const to = this.#tryAllocate(size);
        const toWords = this.words[to >>> pageShift] as Uint32Array;
        const toWord = (to & granuleMask) << 1;
        for (let i = 0; i < size / 4; i++) toWords[toWord + i] = words[word + i] as number;
        this.#relocate(words[word + 6] as number, from, to);
        this.free(from);
        this.moves++;
      }
      this.#victimCursor++;
      if (this.#victim === 0) return true; // emptied
    }
    assert(this.#victimCursor < touched, 'a page that was emptied still counts chunks in use');
    return true;
  }

  #relocate(ownerWord: number, from: number, to: number): void {
    for (const owner of this.#owners[ownerWord >>> 21] ?? []) if (owner.relocate(from, to)) return;
    assert(false, `the chunk at ${from} is in use, but nobody holds it`);
  }

  /** The page with the smallest part in use whose chunks fit into the free room of others of its class. */
  #chooseVictim(): boolean {
    const room = new Float64Array(chunkSizes.length);
    for (let page = 1; page < this.#class.length; page++) {
      const sizeClass = this.#class[page] as number;
      if (sizeClass >= 0) room[sizeClass] = (room[sizeClass] as number) + this.#capacity(sizeClass) - (this.#usedCount[page] as number);
    }
    let best = 0;
    let bestShare = 0.9;
    for (let page = 1; page < this.#class.length; page++) {
      const sizeClass = this.#class[page] as number;
      if (sizeClass < 0) continue;
      const used = this.#usedCount[page] as number;
      const capacity = this.#capacity(sizeClass);
      if (used / capacity >= bestShare || (room[sizeClass] as number) - (capacity - used) < used) continue;
      best = page;
      bestShare = used / capacity;
    }
    if (best === 0) return false;
    this.#unlinkRoom(best, this.#class[best] as number);
    this.#victim = best;
    this.#victimCursor = 0;
    return true;
  }

  /** Lets the page serve again. */
  #releaseVictim(): void {
    const page = this.#victim;
    this.#victim = 0;
    const sizeClass = this.#class[page] as number;
    if ((this.#usedCount[page] as number) < this.#capacity(sizeClass)) this.#linkRoom(page, sizeClass);
  }

  #capacity(sizeClass: number): number {
    return Math.floor(arenaPageBytes / (chunkSizes[sizeClass] as number));
  }

  #dropPage(page: number): void {
    this.bytes[page] = this.bytes[0] as Uint8Array;
    this.words[page] = this.words[0] as Uint32Array;
    this.#class[page] = noClass;
    this.#freeIndexes.push(page);
  }

  #dropSpares(): void {
    this.#committedBytes -= this.#spare.length * arenaPageBytes;
    this.#spare.length = 0;
  }

  #linkRoom(page: number, sizeClass: number): void {
    const head = this.#roomHead[sizeClass] as number;
    this.#next[page] = head;
    this.#previous[page] = 0;
    if (head !== 0) this.#previous[head] = page;
    this.#roomHead[sizeClass] = page;
  }

  #unlinkRoom(page: number, sizeClass: number): void {
    const next = this.#next[page] as number;
    const previous = this.#previous[page] as number;
    if (next !== 0) this.#previous[next] = previous;
    if (previous !== 0) this.#next[previous] = next;
    else this.#roomHead[sizeClass] = next;
  }
}
