import { TroupeError } from '../base/errors.ts';
import { applyChange, compareKeys, copyChange, isInRange } from './disk-changes.ts';
import type { Database, Disk, DiskChange } from './disk.ts';

/**
 * A Disk that forgets everything with the process: for nodes without a data directory. What a node keeps here it
 * must not promise to remember: after a restart it is a new instance with nothing.
 */
export class MemoryDisk implements Disk {
  readonly #files = new Map<string, Map<string, Uint8Array>>();

  async open(name: string): Promise<Database> {
    const entries = this.#files.get(name) ?? new Map<string, Uint8Array>();
    this.#files.set(name, entries);
    return new MemoryDatabase(entries);
  }
}

class MemoryDatabase implements Database {
  readonly #entries: Map<string, Uint8Array>;
  #closed = false;

  constructor(entries: Map<string, Uint8Array>) {
    this.#entries = entries;
  }

  get(key: string): Uint8Array | undefined {
    return this.#entries.get(key);
  }

  range(first: string, end: string): Iterable<readonly [key: string, value: Uint8Array]> {
    return [...this.#entries].filter(([key]) => isInRange(key, first, end)).sort(([a], [b]) => compareKeys(a, b));
  }

  write(batch: readonly DiskChange[], done: (error?: Error) => void): void {
    if (this.#closed) {
      queueMicrotask(() => done(new TroupeError('DISK_CLOSED', 'cannot write to the memory: the database has been closed')));
      return;
    }
    for (const change of batch) applyChange(this.#entries, copyChange(change));
    queueMicrotask(() => done());
  }

  async close(): Promise<void> {
    this.#closed = true;
  }
}
