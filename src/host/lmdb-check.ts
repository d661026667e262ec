import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { endianness } from 'node:os';
import { TroupeError } from '../base/errors.ts';
import { damageIn, isOfKind } from './lmdb-walk.ts';
import { systemCodeOf } from './socket-errors.ts';

/** Offsets within a meta page of the LMDB that the `lmdb` package brings (mdb.c, MDB_meta after a page header of 24 bytes). */
const meta = { flags: 18, magic: 24, version: 28, mapBytes: 40, free: 48, pageSize: 48, main: 96, freeRoot: 88, mainRoot: 136, lastPage: 144, transaction: 152, end: 160 };
const magic = 0xbeefc0de;
/** A larger file is read page by page. */
const wholeBytesMax = 16 << 20;
/** Far more than one transaction ever frees. */
const missingBytesMax = 1 << 30;
const dataVersion = 2;
const metaPage = 0x08;
/** More than a process can map. */
const mapBytesMax = 1n << 46n;
const noRoot = 0xffff_ffff_ffff_ffffn;

/**
 * Looks at a database file before LMDB does: LMDB trusts it, and a file that is something else, was cut short or has a
 * damaged page ends the process with SIGSEGV or SIGBUS instead of an error. Checks what holds for every sound file: both
 * meta pages, and every page that the newest of them reaches. The log of consensus is small: that takes a few milliseconds.
 * @throws TroupeError DISK_CORRUPT
 */
export function checkLmdbFile(path: string): void {
  if (endianness() !== 'LE') return;
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return;
    throw error;
  }
  try {
    const size = fstatSync(file).size;
    const bytes = size === 0 || size > wholeBytesMax ? undefined : readAt(file, size, 0);
    const read = (length: number, at: number): DataView => bytes === undefined || at + length > size ? readAt(file, length, at) : new DataView(bytes.buffer, at, length);
    const problem = size === 0 ? undefined : problemWith(size, read);
    if (problem !== undefined) throw new TroupeError('DISK_CORRUPT', `cannot open ${path}: the data is damaged (${problem}); move the directory away and start empty, to be filled by the other nodes`, { path, bytes: size });
  } finally {
    closeSync(file);
  }
}

function readAt(file: number, length: number, at: number): DataView {
  const bytes = new Uint8Array(length);
  readSync(file, bytes, 0, length, at);
  return new DataView(bytes.buffer);
}

function problemWith(size: number, read: (length: number, at: number) => DataView): string | undefined {
  const first = read(meta.end, 0);
  if (first.getUint32(meta.magic, true) !== magic) return 'it is not a database';
  const version = first.getUint16(meta.version, true);
  if (version !== dataVersion) return `its format is ${version}, not ${dataVersion}`;
  const pageSize = first.getUint32(meta.pageSize, true);
  if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) return `its page size is ${pageSize}`;
  const second = read(meta.end, pageSize);
  if (second.getUint32(meta.magic, true) !== magic) return 'its second page is not one of a database';
  for (const page of [first, second]) {
    if (page.getUint32(meta.pageSize, true) !== pageSize || page.getUint16(meta.flags, true) !== metaPage || page.getBigUint64(meta.mapBytes, true) > mapBytesMax
      || !isOfKind(headAt(page, meta.free), true) || !isOfKind(headAt(page, meta.main), false)) return 'its head is not one of a database';
  }
  const newest = second.getBigUint64(meta.transaction, true) > first.getBigUint64(meta.transaction, true) ? second : first;
  for (const at of [meta.freeRoot, meta.mainRoot]) {
    const root = newest.getBigUint64(at, true);
    if (root !== noRoot && (root + 1n) * BigInt(pageSize) > BigInt(size)) return `it was cut short to ${size} bytes`;
  }
  const lastPage = newest.getBigUint64(meta.lastPage, true);
  // Free pages at the end need not be in the file, but LMDB makes its map large enough for them.
  if ((lastPage + 1n) * BigInt(pageSize) > BigInt(size + missingBytesMax)) return `its last page is ${lastPage}, and it has ${size} bytes`;
  return damageIn({ pageSize, fileBytes: size, lastPage: Number(lastPage), transaction: newest.getBigUint64(meta.transaction, true), free: headAt(newest, meta.free), main: headAt(newest, meta.main), read: (at, length) => read(length, at) });
}

function headAt(page: DataView, offset: number): DataView {
  return new DataView(page.buffer, page.byteOffset + offset, meta.main - meta.free);
}
