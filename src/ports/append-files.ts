/** Text files that grow at their end: what was appended survives the end of the process at once, and a crash of the machine after `sync`. */
export interface AppendFiles {
  /**
   * Opens or makes a file, for this user alone, and reads what is in it; then what is appended follows it.
   * Rejects with FILE_UNREADABLE above `bytesMax`, and with DISK_UNWRITABLE, DISK_FULL.
   */
  open(path: string, bytesMax: number): Promise<{ readonly text: string; readonly file: AppendFile }>;
}

/** Calls take effect in their order; several may wait. */
export interface AppendFile {
  /** Rejects with a TroupeError DISK_UNWRITABLE or DISK_FULL. */
  append(text: string): Promise<void>;
  /** Makes durable what was appended so far. */
  sync(): Promise<void>;
  /** Puts the text in the place of the whole content: readers and a crash find the old or the new. */
  replace(text: string): Promise<void>;
  close(): Promise<void>;
}
