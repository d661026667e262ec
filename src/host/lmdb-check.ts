import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { endianness } from 'node:os';
import { TroupeError } from '../base/errors.ts';
import { systemCodeOf } from './socket-errors.ts';

/** Offsets within a meta page of the LMDB that the `lmdb` package brings (mdb.c, MDB_meta after a page header of 24 bytes). */
const meta = { magic: 24, pageSize: 48, freeRoot: 88, mainRoot: 136, transaction: 152, end: 160 };
const magic = 0xbeefc0de;
const noRoot = 0xffff_ffff_ffff_ffffn;

/**
 * Looks at a database file before LMDB does: LMDB trusts it, and a file that is something else, or was cut short,
 * ends the process with SIGSEGV or SIGBUS instead of an error. Checks only what holds for every sound file: both
 * meta pages, and that the roots of the newest lie within the file. Damage inside is LMDB's to find.
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
    const problem = size === 0 ? undefined : problemWith(size, (length, at) => readAt(file, length, at));
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
  const pageSize = first.getUint32(meta.pageSize, true);
  if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0) return `its page size is ${pageSize}`;
  const second = read(meta.end, pageSize);
  if (second.getUint32(meta.magic, true) !== magic) return 'its second page is not one of a database';
  const newest = second.getBigUint64(meta.transaction, true) > first.getBigUint64(meta.transaction, true) ? second : first;
  for (const at of [meta.freeRoot, meta.mainRoot]) {
    const root = newest.getBigUint64(at, true);
    if (root !== noRoot && (root + 1n) * BigInt(pageSize) > BigInt(size)) return `it was cut short to ${size} bytes`;
  }
  return undefined;
}
