import { TroupeError } from '../../base/errors.ts';
import { crc32 } from '../wire/crc32.ts';
import { Reader, Writer } from './bytes.ts';
import { readEntry, readSnapshot, writeEntry, writeSnapshot } from './codec.ts';
import type { Entry, HardState, RaftState, Ready, Snapshot } from './types.ts';

/** A change of an ordered key-value store; the same shape as the disk port's. A list is one atomic batch, in order. */
export type StorageChange =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'delete'; readonly key: string }
  | { readonly type: 'delete-range'; readonly first: string; readonly end: string };

/** The reading half of the disk port's database. */
export interface StorageReader {
  get(key: string): Uint8Array | undefined;
  range(first: string, end: string): Iterable<readonly [key: string, value: Uint8Array]>;
}

/** Stands at the head of each record: what it is, and the version of its form. */
const magic = [0x54, 0x52, 0x46, 0x01];

const indexDigits = 14;
const hardKey = (prefix: string): string => `${prefix}hard`;
const snapshotKey = (prefix: string): string => `${prefix}snapshot`;
/** Whether a group was ever founded or followed with this store: its vote and its log are kept from then on. */
export function hasState(storage: { get(key: string): Uint8Array | undefined }, prefix: string = 'raft/'): boolean {
  return storage.get(hardKey(prefix)) !== undefined || storage.get(snapshotKey(prefix)) !== undefined;
}

/** Hexadecimal of fixed width, so that the order of the keys is that of the log. */
const entryKey = (prefix: string, index: number): string => `${prefix}log/${index.toString(16).padStart(indexDigits, '0')}`;
/** '0' follows '/' in ASCII, so this is past every entry. */
const logEnd = (prefix: string): string => `${prefix}log0`;

/** The changes that make one `ready` batch durable; empty if there is nothing to write. */
export function changesFor(ready: Pick<Ready, 'hardState' | 'snapshot' | 'truncateFrom' | 'entries'>, prefix: string = 'raft/'): StorageChange[] {
  const changes: StorageChange[] = [];
  if (ready.snapshot !== undefined) {
    changes.push({ type: 'delete-range', first: entryKey(prefix, 0), end: logEnd(prefix) });
    changes.push(snapshotChange(ready.snapshot, prefix));
  }
  if (ready.truncateFrom !== undefined) changes.push({ type: 'delete-range', first: entryKey(prefix, ready.truncateFrom), end: logEnd(prefix) });
  for (const entry of ready.entries) changes.push(put(entryKey(prefix, entry.index), (writer) => writeEntry(writer, entry)));
  if (ready.hardState !== undefined) changes.push(hardStateChange(ready.hardState, prefix));
  return changes;
}

/** The changes that make what `compact` returned durable. @param firstIndex the member's `firstIndex` after it */
export function changesForCompaction(snapshot: Snapshot, firstIndex: number, prefix: string = 'raft/'): StorageChange[] {
  return [snapshotChange(snapshot, prefix), { type: 'delete-range', first: entryKey(prefix, 0), end: entryKey(prefix, firstIndex) }];
}

/** The changes that make a whole state durable in an empty store, such as the one of `Raft.bootstrap`. */
export function changesForState(state: RaftState, prefix: string = 'raft/'): StorageChange[] {
  return changesFor(state, prefix);
}

function snapshotChange(snapshot: Snapshot, prefix: string): StorageChange {
  return put(snapshotKey(prefix), (writer) => writeSnapshot(writer, snapshot));
}

function hardStateChange(hardState: HardState, prefix: string): StorageChange {
  return put(hardKey(prefix), (writer) => {
    writer.number(hardState.term);
    writer.optionalText(hardState.votedFor);
    writer.number(hardState.commit);
  });
}

/** The checksum covers the key, so that a record that was moved or copied from elsewhere is refused too. */
function put(key: string, write: (writer: Writer) => void): StorageChange {
  const writer = new Writer();
  write(writer);
  const body = writer.finish();
  const value = new Uint8Array(magic.length + 4 + body.length);
  value.set(magic);
  new DataView(value.buffer).setUint32(magic.length, checksumOf(key, body));
  value.set(body, magic.length + 4);
  return { type: 'put', key, value };
}

function checksumOf(key: string, body: Uint8Array): number {
  const writer = new Writer();
  writer.text(key);
  writer.bytes(body);
  return crc32(writer.finish());
}

function corrupt(key: string, why: string): never {
  throw new TroupeError('RAFT_LOG_CORRUPT', `cannot load the consensus log: record '${key}' ${why}. The disk lost or changed what was written; `
    + 'remove this node from the group, delete its data directory, and let it join again under a new identity', { key, why });
}

function read<T>(key: string, value: Uint8Array, readBody: (reader: Reader) => T): T {
  if (value.length < magic.length + 4 || magic.some((byte, i) => value[i] !== byte)) corrupt(key, 'is not one of ours, or of an unknown version');
  const body = value.subarray(magic.length + 4);
  const stored = new DataView(value.buffer, value.byteOffset, value.byteLength).getUint32(magic.length);
  if (stored !== checksumOf(key, body)) corrupt(key, 'does not match its checksum');
  try {
    const reader = new Reader(body, 'a record');
    const result = readBody(reader);
    reader.end();
    return result;
  } catch {
    return corrupt(key, 'cannot be read');
  }
}

function readHardState(reader: Reader): HardState {
  return { term: reader.number(), votedFor: reader.optionalText(), commit: reader.number() };
}

/**
 * Reads and checks everything: each record's checksum, no gap in the log, terms that only grow, a log that reaches the
 * snapshot and a hard state as new as the log. An empty store gives an empty state.
 * @throws TroupeError RAFT_LOG_CORRUPT that names the record
 */
export function load(reader: StorageReader, prefix: string = 'raft/'): RaftState {
  const hardBytes = reader.get(hardKey(prefix));
  const snapshotBytes = reader.get(snapshotKey(prefix));
  const hardState = hardBytes && read(hardKey(prefix), hardBytes, readHardState);
  const snapshot = snapshotBytes && read(snapshotKey(prefix), snapshotBytes, readSnapshot);
  const entries: Entry[] = [];
  for (const [key, value] of reader.range(entryKey(prefix, 0), logEnd(prefix))) {
    const entry = read(key, value, readEntry);
    checkNext(key, prefix, entry, entries.at(-1), snapshot);
    entries.push(entry);
  }
  checkEnd(prefix, hardState, snapshot, entries);
  return { ...(hardState && { hardState }), ...(snapshot && { snapshot }), entries };
}

function checkNext(key: string, prefix: string, entry: Entry, previous: Entry | undefined, snapshot: Snapshot | undefined): void {
  if (key !== entryKey(prefix, entry.index)) corrupt(key, `holds entry ${entry.index}`);
  if (previous === undefined && entry.index > (snapshot?.index ?? 0) + 1) corrupt(key, `is the first of the log, but the snapshot ends at ${snapshot?.index ?? 0}`);
  if (previous !== undefined && entry.index !== previous.index + 1) corrupt(key, `follows entry ${previous.index}: entries are missing`);
  if (previous !== undefined && entry.term < previous.term) corrupt(key, `has term ${entry.term} after term ${previous.term}`);
  if (entry.index === snapshot?.index && entry.term !== snapshot.term) corrupt(key, `has term ${entry.term}, but the snapshot there has ${snapshot.term}`);
}

function checkEnd(prefix: string, hardState: HardState | undefined, snapshot: Snapshot | undefined, entries: readonly Entry[]): void {
  const last = entries.at(-1);
  const lastIndex = last?.index ?? snapshot?.index ?? 0;
  if (snapshot !== undefined && lastIndex < snapshot.index) corrupt(entryKey(prefix, lastIndex), `is the last of the log, but the snapshot is at ${snapshot.index}`);
  const lastTerm = Math.max(last?.term ?? 0, snapshot?.term ?? 0);
  if ((hardState?.term ?? 0) < lastTerm) corrupt(hardKey(prefix), `is missing or older than the log: term ${hardState?.term ?? 0}, and the log's is ${lastTerm}`);
  if ((hardState?.commit ?? 0) > lastIndex) corrupt(hardKey(prefix), `says that entry ${hardState?.commit} was committed, but the log ends at ${lastIndex}`);
}
