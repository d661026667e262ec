import { closeSync, lstatSync, openSync, statfsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Key, RootDatabase } from 'lmdb';
import { assert } from '../base/assert.ts';
import { TroupeError, messageOf } from '../base/errors.ts';
import { applyChange, compareKeys, copyChange, isInRange } from '../ports/disk-changes.ts';
import type { Database, Disk, DiskChange } from '../ports/disk.ts';
import { lockData } from './data-lock.ts';
import { checkLmdbFile } from './lmdb-check.ts';
import { makeDirectory } from './make-directory.ts';

/** Its form for `require` is one file, which loads in half the time of the many for `import`. */
const { open: openLmdb } = createRequire(import.meta.url)('lmdb') as typeof import('lmdb');

/** Below this many free bytes a failed write is put down to the disk being full: LMDB reports a short write as an I/O error. */
const fullBelowBytes = 1024 * 1024;

/**
 * Databases in one directory, one LMDB file each (`NAME.lmdb`). The directory is locked for this process from the
 * first `open` until `close`.
 */
export class LmdbDisk implements Disk {
  readonly directory: string;
  #unlock: (() => void) | undefined;
  readonly #open = new Set<LmdbDatabase>();

  constructor(directory: string) {
    this.directory = directory;
  }

  async open(name: string): Promise<Database> {
    assert(/^[a-z0-9-]+$/.test(name), `a database name is made of a-z, 0-9 and '-': '${name}' is not`);
    try {
      makeDirectory(this.directory);
      this.#unlock ??= lockData(this.directory);
      const database = new LmdbDatabase(this.directory, openFile(join(this.directory, `${name}.lmdb`)), () => this.#open.delete(database));
      this.#open.add(database);
      return database;
    } catch (error) {
      if (this.#open.size === 0) this.#release();
      throw error instanceof TroupeError ? error : diskError('open', this.directory, error);
    }
  }

  /** Closes every database and gives the directory free. */
  async close(): Promise<void> {
    await Promise.all([...this.#open].map((database) => database.close()));
    this.#release();
  }

  #release(): void {
    this.#unlock?.();
    this.#unlock = undefined;
  }
}

function openFile(path: string): RootDatabase<Buffer, Key> {
  checkLmdbFile(path);
  for (const file of [path, `${path}-lock`]) checkWritable(file);
  return openLmdb<Buffer, Key>({
    path,
    encoding: 'binary',
    // Bytes, not lmdb's typed keys: their order is the byte order that the port promises.
    keyEncoding: 'binary',
    // One commit at a time, begun at once, durable when it resolves: consensus waits for each of them.
    eventTurnBatching: false,
    overlappingSync: false,
  });
}

/** A file that LMDB cannot open, above all that of its lock, ends the process with SIGSEGV instead of an error. */
function checkWritable(file: string): void {
  if (lstatSync(file, { throwIfNoEntry: false }) !== undefined) closeSync(openSync(file, 'r+'));
}

interface Write {
  readonly changes: readonly DiskChange[];
  readonly done: (error?: Error) => void;
}

/**
 * Group commit: while one commit is on its way to the disk (in LMDB's own thread), what comes meanwhile gathers
 * for the next. Until then reads look through those changes first.
 */
class LmdbDatabase implements Database {
  readonly #directory: string;
  readonly #lmdb: RootDatabase<Buffer, Key>;
  readonly #onClosed: () => void;
  #committing: readonly Write[] = [];
  #waiting: Write[] = [];
  #busy: Promise<void> | undefined;
  #failure: Error | undefined;
  #closed: Promise<void> | undefined;

  constructor(directory: string, lmdb: RootDatabase<Buffer, Key>, onClosed: () => void) {
    this.#directory = directory;
    this.#lmdb = lmdb;
    this.#onClosed = onClosed;
  }

  get(key: string): Uint8Array | undefined {
    for (const writes of [this.#waiting, this.#committing]) {
      for (let i = writes.length - 1; i >= 0; i--) {
        const found = lookUp((writes[i] as Write).changes, key);
        if (found !== undefined) return found.value;
      }
    }
    return this.#read(() => this.#lmdb.get(Buffer.from(key)));
  }

  range(first: string, end: string): Iterable<readonly [key: string, value: Uint8Array]> {
    const entries = new Map<string, Uint8Array>();
    this.#read(() => {
      for (const { key, value } of this.#lmdb.getRange({ start: Buffer.from(first), end: Buffer.from(end) })) {
        entries.set((key as Buffer).toString(), value);
      }
    });
    if (this.#committing.length + this.#waiting.length === 0) return entries;
    for (const write of [...this.#committing, ...this.#waiting]) for (const change of write.changes) applyChange(entries, change);
    return [...entries].filter(([key]) => isInRange(key, first, end)).sort(([a], [b]) => compareKeys(a, b));
  }

  write(batch: readonly DiskChange[], done: (error?: Error) => void): void {
    const failure = this.#failure ?? (this.#closed === undefined ? undefined : new TroupeError('DISK_CLOSED', `cannot write to ${this.#directory}: the database has been closed`, { directory: this.#directory }));
    if (failure !== undefined) {
      setImmediate(done, failure);
      return;
    }
    this.#waiting.push({ changes: batch.map(copyChange), done });
    this.#busy ??= this.#commitAll();
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      await this.#busy;
      await this.#lmdb.close();
      this.#onClosed();
    })();
    return this.#closed;
  }

  #read<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw diskError('read', this.#directory, error);
    }
  }

  async #commitAll(): Promise<void> {
    // What is written in the same turn shares the first commit.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const writes = this.#waiting;
      this.#committing = writes;
      this.#waiting = [];
      try {
        await this.#lmdb.batch(() => {
          for (const write of writes) for (const change of write.changes) this.#put(change);
        });
        this.#committing = [];
      } catch (error) {
        this.#fail(error);
        return;
      }
      callAll(writes, undefined);
    }
    this.#busy = undefined;
  }

  #put(change: DiskChange): void {
    // The returned promises settle with the batch's own.
    if (change.type === 'put') void this.#lmdb.put(Buffer.from(change.key), change.value as Buffer).catch(ignore);
    else if (change.type === 'delete') void this.#lmdb.remove(Buffer.from(change.key)).catch(ignore);
    else this.#removeRange(change.first, change.end);
  }

  /** Covers what is committed and what this commit has put before: only the latter is not in LMDB's range yet. */
  #removeRange(first: string, end: string): void {
    const keys = new Set<string>();
    for (const key of this.#lmdb.getKeys({ start: Buffer.from(first), end: Buffer.from(end) })) keys.add((key as Buffer).toString());
    for (const write of this.#committing) {
      for (const change of write.changes) if (change.type === 'put' && isInRange(change.key, first, end)) keys.add(change.key);
    }
    for (const key of keys) void this.#lmdb.remove(Buffer.from(key)).catch(ignore);
  }

  /** The first error ends the database: no later batch may succeed, for a gap would break the order. */
  #fail(error: unknown): void {
    // lmdb hangs the cause on the error as a promise of its own, which rejects.
    const cause = (error as { commitError?: Promise<unknown> }).commitError;
    const report = (reason: unknown): void => {
      const failure = diskError('write to', this.#directory, reason);
      this.#failure = failure;
      const failed = [...this.#committing, ...this.#waiting];
      this.#waiting = [];
      this.#busy = undefined;
      callAll(failed, failure);
    };
    if (cause === undefined) report(error);
    else cause.then(() => report(error), report);
  }
}

function ignore(): void {}

/** Each in a callback of its own, outside the promise chain: an error thrown by one must surface and spare the others. Still in this turn, for somebody waits. */
function callAll(writes: readonly Write[], error: Error | undefined): void {
  for (const write of writes) queueMicrotask(() => write.done(error));
}

function lookUp(changes: readonly DiskChange[], key: string): { readonly value: Uint8Array | undefined } | undefined {
  for (let i = changes.length - 1; i >= 0; i--) {
    const change = changes[i] as DiskChange;
    if (change.type === 'delete-range') {
      if (isInRange(key, change.first, change.end)) return { value: undefined };
    } else if (change.key === key) return { value: change.type === 'put' ? change.value : undefined };
  }
  return undefined;
}

/** `doing` completes "cannot …". */
export function diskError(doing: string, path: string, cause: unknown): TroupeError {
  const code = (cause as { code?: unknown } | undefined)?.code;
  const text = messageOf(cause);
  const fields = { path };
  if (code === 'ENOSPC' || code === 28 || code === 'EDQUOT' || code === 122 || (code === 5 && freeBytes(path) < fullBelowBytes)) {
    return new TroupeError('DISK_FULL', `cannot ${doing} ${path}: the disk is full (${freeBytes(path)} bytes free); free some space and restart`, fields, cause);
  }
  if (/MDB_(INVALID|CORRUPTED|VERSION_MISMATCH|PAGE_NOTFOUND|PANIC)/.test(text) || code === -30793 || code === -30796 || code === -30794) {
    return new TroupeError('DISK_CORRUPT', `cannot ${doing} ${path}: the data is damaged (${text}); move the directory away and start empty, to be filled by the other nodes`, fields, cause);
  }
  return new TroupeError('DISK_UNWRITABLE', `cannot ${doing} ${path}: ${text}; check that it is a directory that this user may write to`, fields, cause);
}

function freeBytes(path: string): number {
  // What could not be made is not there: its directory is on the same disk.
  for (const place of [path, dirname(path)]) {
    try {
      const { bavail, bsize } = statfsSync(place);
      return bavail * bsize;
    } catch {
      continue;
    }
  }
  return Infinity;
}
