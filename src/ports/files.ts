/** Small text files. Every method rejects with a TroupeError (FILE_UNREADABLE, DISK_UNWRITABLE, DISK_FULL). */
export interface Files {
  /** Undefined when there is none. Rejects with FILE_UNREADABLE above `bytesMax`. */
  read(path: string, bytesMax: number): Promise<string | undefined>;
  /** A text that changes when the file may have changed (its time, size and identity); undefined when there is none. */
  revision(path: string): Promise<string | undefined>;
  /** The names in a directory, at most `countMax` of them; none when it does not exist. */
  list(directory: string, countMax: number): Promise<readonly string[]>;
  /** Replaces the file as a whole. */
  write(path: string, text: string): Promise<void>;
  /** No error when there is none. */
  remove(path: string): Promise<void>;
  /**
   * Makes the directory for this user alone. Rejects with DISK_UNWRITABLE when it exists and others own it or may
   * write there.
   */
  makePrivate(directory: string): Promise<void>;
}
