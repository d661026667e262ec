import type { Database, Disk, DiskChange } from '../ports/disk.ts';
import { assert } from '../base/assert.ts';

/** A disk that is forgotten with the process: for nodes that have no data directory. */
export class MemoryDisk implements Disk {
  readonly #files = new Map<string, MemoryDatabase>();

  async open(name: string): Promise<Database> {
    const file = this.#files.get(name) ?? new MemoryDatabase();
    this.#files.set(name, file);
    return file;
  }
}

class MemoryDatabase implements Database {
  readonly #entries = new Map<string, Uint8Array>();

  get(key: string): Uint8Array | undefined {
    return this.#entries.get(key);
  }

  range(first: string, end: string): Iterable<readonly [key: string, value: Uint8Array]> {
    return this.#keysWithin(first, end).map((key) => [key, this.#entries.get(key) as Uint8Array] as const);
  }

  write(batch: readonly DiskChange[], done: (error?: Error) => void): void {
    for (const change of batch) {
      switch (change.type) {
        case 'put':
          assert(change.key.length > 0, 'a key has at least one character');
          this.#entries.set(change.key, change.value.slice());
          break;
        case 'delete':
          this.#entries.delete(change.key);
          break;
        case 'delete-range':
          for (const key of this.#keysWithin(change.first, change.end)) this.#entries.delete(key);
          break;
      }
    }
    setImmediate(done);
  }

  async close(): Promise<void> {}

  #keysWithin(first: string, end: string): string[] {
    return [...this.#entries.keys()].filter((key) => compare(first, key) <= 0 && compare(key, end) < 0).sort(compare);
  }
}

/** Byte order of UTF-8, which differs from that of JavaScript's strings beyond the basic plane. */
function compare(a: string, b: string): number {
  return a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b));
}
