import { writeSync } from 'node:fs';
import { systemCodeOf } from './socket-errors.ts';

/** Bytes of lines that wait while stderr takes none. */
const waitingBytesMax = 1 << 20;
const retryMs = 250;

/**
 * Where log lines go: written at once, so that the last words of a crash are not lost, but never at the price of the node.
 * A disk that is full, a reader of the pipe that sleeps or has gone: lines wait, up to 1 MiB, and are tried again every
 * 250 ms; what is over that is left out, and its number told once lines are taken again. Does not throw, does not block
 * where the descriptor does not.
 */
export class LogSink {
  readonly #write: (bytes: Uint8Array) => number;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #lostCount = 0;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param write takes some of the bytes and says how many, or throws the system's error */
  constructor(write: (bytes: Uint8Array) => number = (bytes) => writeSync(2, bytes)) {
    this.#write = write;
  }

  write(line: string): void {
    if (this.#closed) return;
    const bytes = Buffer.from(line);
    if (this.#waiting.length > 0 && !this.#retry()) {
      this.#keep(bytes);
      return;
    }
    const rest = this.#take(bytes);
    if (rest !== undefined) this.#keep(rest);
  }

  #keep(bytes: Uint8Array): void {
    if (this.#closed) return;
    if (this.#waitingBytes + bytes.length > waitingBytesMax) this.#lostCount++;
    else {
      this.#waiting.push(bytes);
      this.#waitingBytes += bytes.length;
    }
    this.#retryLater();
  }

  #retryLater(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      if (!this.#retry()) this.#retryLater();
    }, retryMs).unref();
  }

  /** Whether nothing waits any more. */
  #retry(): boolean {
    for (;;) {
      const [first] = this.#waiting;
      if (first === undefined) break;
      const rest = this.#take(first);
      this.#waitingBytes -= first.length - (rest?.length ?? 0);
      if (rest !== undefined) {
        this.#waiting[0] = rest;
        return false;
      }
      this.#waiting.shift();
    }
    const lost = this.#lostCount;
    this.#lostCount = 0;
    if (lost > 0) {
      const rest = this.#take(Buffer.from(`${JSON.stringify({ level: 'warn', time: new Date().toISOString(), lines: lost, msg: 'stderr took no lines for a while: some were left out of this log' })}\n`));
      if (rest !== undefined) this.#keep(rest);
    }
    return this.#waiting.length === 0;
  }

  /** What could not be written now; undefined when all of it was, or never can be. */
  #take(bytes: Uint8Array): Uint8Array | undefined {
    let rest = bytes;
    while (rest.length > 0) {
      try {
        const taken = this.#write(rest);
        if (taken === 0) return rest;
        rest = rest.subarray(taken);
      } catch (error) {
        const code = systemCodeOf(error);
        if (code === 'EINTR') continue;
        // Nobody will ever read there again.
        if (code !== 'EPIPE' && code !== 'EBADF') return rest;
        this.#close();
        return undefined;
      }
    }
    return undefined;
  }

  #close(): void {
    this.#closed = true;
    this.#waiting = [];
    this.#waitingBytes = 0;
    clearTimeout(this.#timer);
  }
}
