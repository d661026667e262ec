import type { Prng } from '../base/prng.ts';
import { TroupeError } from '../base/errors.ts';
import { applyChange, compareKeys, copyChange, isInRange } from '../ports/disk-changes.ts';
import type { Database, Disk, DiskChange } from '../ports/disk.ts';
import type { SimScheduler } from './scheduler.ts';
import type { Turnstile } from './turnstile.ts';

export interface SimDiskFaults {
  /** Time until a batch is durable (ms, evenly spread); defaults 0.2 to 1. */
  delayMinMs: number;
  delayMaxMs: number;
  /** Writes fail with DISK_FULL from the next commit on. */
  full: boolean;
  /** Writes fail with DISK_UNWRITABLE from the next commit on; opening fails too. */
  broken: boolean;
}

interface Batch {
  readonly changes: readonly DiskChange[];
  readonly done: (error?: Error) => void;
}

/** What survives: one file's durable entries, sorted lazily. */
class StoredFile {
  durable = new Map<string, Uint8Array>();
  handle: SimDatabase | undefined;
}

/** One host's disk. It outlives the processes that use it; each process opens it through {@link SimDisk.forProcess}. */
export class SimDisk {
  readonly faults: SimDiskFaults = { delayMinMs: 0.2, delayMaxMs: 1, full: false, broken: false };
  readonly #scheduler: SimScheduler;
  readonly #random: Prng;
  readonly #files = new Map<string, StoredFile>();
  /** Something on it was damaged, and it has not been replaced since. */
  damaged = false;

  constructor(scheduler: SimScheduler, random: Prng) {
    this.#scheduler = scheduler;
    this.#random = random;
  }

  /** The disk as one process sees it: `directory` is that process's own. */
  forProcess(directory: string, gate: Turnstile): Disk {
    return { open: async (name) => this.#open(directory, name, gate) };
  }

  /**
   * The process died, or the power went: of the batches that were not yet reported durable, a random prefix is on
   * the disk, the rest never was. Each batch is there whole or not at all.
   */
  crash(directory: string): void {
    for (const [path, file] of this.#files) {
      if (!path.startsWith(`${directory}/`) || file.handle === undefined) continue;
      const pending = file.handle.abandon();
      const kept = this.#random.below(pending.length + 1);
      for (const batch of pending.slice(0, kept)) for (const change of batch.changes) applyChange(file.durable, change);
      file.handle = undefined;
    }
  }

  /** The disk was replaced by an empty one. */
  wipe(directory: string): void {
    for (const path of this.#files.keys()) if (path.startsWith(`${directory}/`)) this.#files.delete(path);
    this.damaged = false;
  }

  /** One record of the database is cut off, or one of its bytes is another. False when there is none. Nobody may have it open. */
  damage(directory: string, name: string): boolean {
    const file = this.#files.get(`${directory}/${name}`);
    const key = file === undefined ? undefined : this.#random.pick([...file.durable.keys()].sort(compareKeys));
    const bytes = key === undefined ? undefined : file?.durable.get(key);
    if (key === undefined || bytes === undefined || bytes.length === 0) return false;
    const at = this.#random.below(bytes.length);
    const damaged = this.#random.chance(0.5) ? bytes.slice(0, at) : bytes.slice();
    if (at < damaged.length) damaged[at] = (damaged[at] as number) ^ (1 << this.#random.below(8));
    file?.durable.set(key, damaged);
    this.damaged = true;
    return true;
  }

  #open(directory: string, name: string, gate: Turnstile): Database {
    const path = `${directory}/${name}`;
    const fields = { directory };
    if (this.faults.broken) throw new TroupeError('DISK_UNWRITABLE', `cannot open ${directory}: read-only file system; check that it is a directory that this user may write to`, fields);
    if (this.faults.full) throw new TroupeError('DISK_FULL', `cannot open ${directory}: the disk is full (0 bytes free); free some space and restart`, fields);
    const file = this.#files.get(path) ?? new StoredFile();
    this.#files.set(path, file);
    if (file.handle !== undefined) throw new TroupeError('DATA_LOCKED', `cannot open the data directory ${directory}: another process is using it; stop that process or choose another directory`, fields);
    file.handle = new SimDatabase(this.#scheduler, this.#random, this.faults, directory, gate, file.durable, () => {
      file.handle = undefined;
    });
    return file.handle;
  }
}

class SimDatabase implements Database {
  readonly #scheduler: SimScheduler;
  readonly #random: Prng;
  readonly #faults: SimDiskFaults;
  readonly #directory: string;
  readonly #gate: Turnstile;
  readonly #durable: Map<string, Uint8Array>;
  readonly #view: Map<string, Uint8Array>;
  readonly #onClosed: () => void;
  #sortedKeys: string[] | undefined;
  #pending: Batch[] = [];
  #committing = false;
  #failure: Error | undefined;
  #closed = false;
  #onIdle: (() => void) | undefined;

  constructor(scheduler: SimScheduler, random: Prng, faults: SimDiskFaults, directory: string, gate: Turnstile, durable: Map<string, Uint8Array>, onClosed: () => void) {
    this.#scheduler = scheduler;
    this.#random = random;
    this.#faults = faults;
    this.#directory = directory;
    this.#gate = gate;
    this.#durable = durable;
    this.#view = new Map(durable);
    this.#onClosed = onClosed;
  }

  get(key: string): Uint8Array | undefined {
    return this.#view.get(key)?.slice();
  }

  *range(first: string, end: string): Iterable<readonly [key: string, value: Uint8Array]> {
    this.#sortedKeys ??= [...this.#view.keys()].sort(compareKeys);
    for (const key of this.#sortedKeys) {
      if (!isInRange(key, first, end)) continue;
      const value = this.#view.get(key);
      if (value !== undefined) yield [key, value.slice()];
    }
  }

  write(batch: readonly DiskChange[], done: (error?: Error) => void): void {
    if (this.#gate.shut) return;
    const failure = this.#failure ?? (this.#closed ? new TroupeError('DISK_CLOSED', `cannot write to ${this.#directory}: the database has been closed`, { directory: this.#directory }) : undefined);
    if (failure !== undefined) {
      this.#scheduler.after(0, () => this.#gate.enter(() => done(failure)));
      return;
    }
    const changes = batch.map(copyChange);
    for (const change of changes) applyChange(this.#view, change);
    this.#sortedKeys = undefined;
    this.#pending.push({ changes, done });
    this.#commitLater();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#pending.length > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    this.#onClosed();
  }

  /** The process is gone; gives what was not yet durable. */
  abandon(): readonly Batch[] {
    this.#closed = true;
    const pending = this.#pending;
    this.#pending = [];
    return this.#failure === undefined ? pending : [];
  }

  /** Group commit, as on the host: what comes while one is on its way waits for the next. */
  #commitLater(): void {
    if (this.#committing || this.#pending.length === 0) return;
    this.#committing = true;
    const count = this.#pending.length;
    const delay = this.#faults.delayMinMs + this.#random.float() * (this.#faults.delayMaxMs - this.#faults.delayMinMs);
    this.#scheduler.after(delay, () => this.#commit(count));
  }

  #commit(count: number): void {
    this.#committing = false;
    const failure = this.#faultNow();
    this.#failure = failure;
    const batches = this.#pending.splice(0, failure === undefined ? count : this.#pending.length);
    if (failure === undefined) for (const batch of batches) for (const change of batch.changes) applyChange(this.#durable, change);
    for (const batch of batches) this.#gate.enter(() => batch.done(failure));
    this.#commitLater();
    if (this.#pending.length === 0) this.#onIdle?.();
  }

  #faultNow(): Error | undefined {
    const fields = { path: this.#directory };
    if (this.#faults.full) return new TroupeError('DISK_FULL', `cannot write to ${this.#directory}: the disk is full (0 bytes free); free some space and restart`, fields);
    if (this.#faults.broken) return new TroupeError('DISK_UNWRITABLE', `cannot write to ${this.#directory}: I/O error; check that it is a directory that this user may write to`, fields);
    return undefined;
  }
}
