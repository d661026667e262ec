/**
 * Walks every page of an LMDB file that its newest snapshot reaches. LMDB itself trusts what it maps into memory: a
 * page number or an offset that points nowhere ends the process by a signal, without a word. After this walk none does:
 * each page is where it says, of the kind that its place asks for, reached once; its nodes fill just the room that
 * they take, in the order of their keys; the counts agree; no page is both used and free. What keys and values say is for their readers to check (checksums).
 *
 * The layout is that of the LMDB that the `lmdb` package brings (mdb.c: MDB_page_header, MDB_node, MDB_db, MDB_ovpage;
 * its free lists have blocks: a negative length before the first page). Little endian only.
 */
export const pageHeader = 24;
const at = { number: 0, transaction: 8, flags: 18, lower: 20, upper: 22, pages: 20 } as const;
const database = { flags: 4, depth: 6, branches: 8, leaves: 16, overflows: 24, entries: 32, root: 40 } as const;
const kind = { branch: 0x01, leaf: 0x02, overflow: 0x04 } as const;
const nodeHeader = 8;
const bigData = 0x01;
const overflowInfo = 24;
const integerKeys = 0x08;
/** Those of a tree's flags that say how it is to be read; how the file was opened is kept beside them. */
const kindFlags = 0x2fff;
const noRoot = 0xffff_ffff_ffff_ffffn;
/** Of LMDB's cursors. */
const depthMax = 32;

export interface LmdbSnapshot {
  readonly pageSize: number;
  readonly fileBytes: number;
  /** The last page that is used or free. */
  readonly lastPage: number;
  /** The last that was committed. */
  readonly transaction: bigint;
  /** MDB_db of the free list, then of the data. */
  readonly free: DataView;
  readonly main: DataView;
  /** `length` bytes of the file from `offset` on, which lie within it. */
  read(offset: number, length: number): DataView;
}

class Damage extends Error {}

/** What is wrong with it; undefined when it is sound. */
export function damageIn(snapshot: LmdbSnapshot): string | undefined {
  try {
    new Walk(snapshot).run();
    return undefined;
  } catch (error) {
    // A number that led out of a view is damage as well.
    if (error instanceof Damage || error instanceof RangeError) return error.message;
    throw error;
  }
}

class Walk {
  readonly #in: LmdbSnapshot;
  readonly #reached: Uint8Array;
  #lastKey: Uint8Array | undefined;
  #lastIsBound = false;
  readonly #counts = { branches: 0, leaves: 0, overflows: 0, entries: 0 };

  constructor(snapshot: LmdbSnapshot) {
    this.#in = snapshot;
    // Free pages at the end need not be in the file; what is reached must.
    this.#reached = new Uint8Array(Math.ceil(snapshot.fileBytes / snapshot.pageSize));
  }

  run(): void {
    const lists: DataView[] = [];
    this.#tree('free list', this.#in.free, integerKeys, (value) => lists.push(value));
    this.#tree('data', this.#in.main, 0, () => {});
    for (const list of lists) this.#freeList(list);
  }

  #tree(name: string, head: DataView, flags: number, onValue: (value: DataView) => void): void {
    const root = head.getBigUint64(database.root, true);
    const depth = head.getUint16(database.depth, true);
    check(depth <= depthMax && (depth === 0) === (root === noRoot), `the ${name} has depth ${depth}`);
    this.#lastKey = undefined;
    const counts = this.#counts;
    counts.branches = counts.leaves = counts.overflows = counts.entries = 0;
    if (root !== noRoot) this.#page(root, depth, flags, onValue);
    for (const what of ['branches', 'leaves', 'overflows', 'entries'] as const) {
      const said = head.getBigUint64(database[what], true);
      check(said === BigInt(counts[what]), `the ${name} has ${counts[what]} ${what}, not ${said}`);
    }
  }

  /** @param depth of what is under this page, itself included */
  #page(number: bigint, depth: number, flags: number, onValue: (value: DataView) => void): void {
    const { pageSize } = this.#in;
    const page = this.#reach(number, 1);
    const isLeaf = depth === 1;
    check(page.getUint16(at.flags, true) === (isLeaf ? kind.leaf : kind.branch), `page ${number} is no ${isLeaf ? 'leaf' : 'branch'}`);
    const lower = page.getUint16(at.lower, true);
    const upper = page.getUint16(at.upper, true);
    check(lower % 2 === 0 && lower <= upper && pageHeader + upper <= pageSize, `page ${number} has no room for its ${lower >> 1} nodes`);
    const count = lower >> 1;
    check(count >= (isLeaf ? 1 : 2), `page ${number} has ${count} nodes`);
    if (isLeaf) this.#counts.leaves++;
    else this.#counts.branches++;
    let taken = 0;
    for (let i = 0; i < count; i++) {
      const start = page.getUint16(pageHeader + 2 * i, true);
      check(start >= upper && start % 2 === 0 && pageHeader + start + nodeHeader <= pageSize, `node ${i} of page ${number} is outside`);
      const node = pageHeader + start;
      const end = node + nodeHeader + page.getUint16(node + 6, true);
      check(end <= pageSize, `the key of node ${i} of page ${number} is outside`);
      const key = new Uint8Array(page.buffer, page.byteOffset + node + nodeHeader, end - node - nodeHeader);
      if (isLeaf) {
        check(key.length > 0 && (flags !== integerKeys || key.length === 8), `node ${i} of page ${number} has no key`);
        this.#inOrder(key, flags, true, number);
        taken += this.#leafNode(page, `node ${i} of page ${number}`, node, end, onValue);
      } else {
        // The first child has no lower bound.
        if (i > 0) check(flags !== integerKeys || key.length === 8, `the key of node ${i} of page ${number} is no number`);
        if (i > 0) this.#inOrder(key, flags, false, number);
        taken += end - node;
        this.#page(BigInt(page.getUint32(node, true)) + (BigInt(page.getUint16(node + 4, true)) << 32n), depth - 1, flags, onValue);
      }
      taken += taken % 2;
    }
    check(taken === pageSize - pageHeader - upper, `the nodes of page ${number} take ${taken} bytes of its ${pageSize - pageHeader - upper}`);
  }

  /** @param isNew a leaf's key, greater than all before; a branch's key may be equal to the first one under it */
  #inOrder(key: Uint8Array, flags: number, isNew: boolean, page: bigint): void {
    const last = this.#lastKey;
    const order = last === undefined ? 1 : flags === integerKeys ? Number(numberOf(key) - numberOf(last)) : Buffer.compare(key, last);
    check(order > 0 || (order === 0 && isNew && this.#lastIsBound), `the keys of page ${page} are not in order`);
    this.#lastKey = key;
    this.#lastIsBound = !isNew;
  }

  /** Returns the bytes that it takes in its page. */
  #leafNode(page: DataView, what: string, node: number, keyEnd: number, onValue: (value: DataView) => void): number {
    const nodeFlags = page.getUint16(node + 4, true);
    const length = page.getUint32(node, true);
    check((nodeFlags & ~bigData) === 0, `${what} is of an unknown kind`);
    this.#counts.entries++;
    if ((nodeFlags & bigData) === 0) {
      check(keyEnd + length <= page.byteLength, `the value of ${what} is outside`);
      onValue(new DataView(page.buffer, page.byteOffset + keyEnd, length));
      return keyEnd + length - node;
    }
    check(keyEnd + overflowInfo <= page.byteLength, `the value of ${what} is outside`);
    const number = page.getBigUint64(keyEnd, true);
    const pages = page.getBigUint64(keyEnd + 16, true);
    check(pages >= 1n && pages * BigInt(this.#in.pageSize) >= BigInt(length + pageHeader), `the value of ${what} does not fit its ${pages} pages`);
    const first = this.#reach(number, Number(pages));
    check(first.getUint16(at.flags, true) === kind.overflow && first.getUint32(at.pages, true) === Number(pages), `page ${number} does not begin the value of ${what}`);
    this.#counts.overflows += Number(pages);
    onValue(this.#in.read(Number(number) * this.#in.pageSize + pageHeader, length));
    return keyEnd + overflowInfo - node;
  }

  #reach(number: bigint, count: number): DataView {
    const { pageSize, fileBytes, lastPage } = this.#in;
    const end = number + BigInt(count);
    check(number >= 2n && end <= BigInt(lastPage) + 1n && end * BigInt(pageSize) <= BigInt(fileBytes), `page ${number} is outside the file`);
    const first = Number(number);
    for (let i = first; i < first + count; i++) {
      check(this.#reached[i] === 0, `page ${i} is used twice`);
      this.#reached[i] = 1;
    }
    const page = this.#in.read(first * pageSize, pageSize);
    check(page.getBigUint64(at.number, true) === number, `page ${number} says that it is another`);
    // LMDB would take one from the future for its own, not yet written.
    check(page.getBigUint64(at.transaction, true) <= this.#in.transaction, `page ${number} is of a transaction that never was`);
    return page;
  }

  #freeList(list: DataView): void {
    check(list.byteLength >= 8, 'a free list is empty');
    const count = list.getBigUint64(0, true);
    check(count <= BigInt(list.byteLength / 8 - 1), `a free list has ${count} pages in ${list.byteLength} bytes`);
    for (let i = 1; i <= Number(count); i++) {
      let number = list.getBigInt64(8 * i, true);
      let length = 1n;
      if (number < 0n) {
        length = -number;
        check(i < Number(count), 'a free list ends within a block');
        number = list.getBigInt64(8 * ++i, true);
      }
      // Taken out since.
      if (number === 0n) continue;
      check(number >= 2n && length <= BigInt(this.#in.lastPage) && number + length <= BigInt(this.#in.lastPage) + 1n, `free page ${number} is outside the file`);
      for (let page = Number(number); page < Number(number + length); page++) check(this.#reached[page] !== 1, `page ${page} is both used and free`);
    }
  }
}

/** @param head MDB_db */
export function isOfKind(head: DataView, isFreeList: boolean): boolean {
  return (head.getUint16(database.flags, true) & kindFlags) === (isFreeList ? integerKeys : 0);
}

function numberOf(key: Uint8Array): bigint {
  return new DataView(key.buffer, key.byteOffset, 8).getBigUint64(0, true);
}

function check(holds: boolean, otherwise: string): void {
  if (!holds) throw new Damage(otherwise);
}
