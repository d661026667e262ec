/**
 * A small ordered key-value file with atomic, durable batches: what consensus and identity are kept in.
 * LMDB on the host. Not for bulk data.
 */
export interface Disk {
  /**
   * Opens or creates the database called `name`.
   * Rejects with a TroupeError: DISK_UNWRITABLE, DISK_FULL, DISK_CORRUPT, DATA_LOCKED (another process has it).
   */
  open(name: string): Promise<Database>;
}

export interface Database {
  /** Reads see every batch written so far, durable or not. */
  get(key: string): Uint8Array | undefined;
  /** Entries with first <= key < end, in byte order of the key. */
  range(first: string, end: string): Iterable<readonly [key: string, value: Uint8Array]>;
  /**
   * Applies the batch atomically; batches take effect in order. `done` is called once the batch and all before it
   * would survive a loss of power, or with the error that says why not; after an error no later batch succeeds.
   * `done` is never called synchronously. Values are copied before the call returns.
   */
  write(batch: readonly DiskChange[], done: (error?: Error) => void): void;
  close(): Promise<void>;
}

export type DiskChange =
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array }
  | { readonly type: 'delete'; readonly key: string }
  /** Deletes first <= key < end. */
  | { readonly type: 'delete-range'; readonly first: string; readonly end: string };
