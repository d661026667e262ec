import { messageOf } from '../base/errors.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';

/** A change that could not be kept is tried again after this (ms). */
const keepAgainMs = 5000;

interface Wanted {
  readonly text: string;
  readonly kept: () => void;
  readonly failed: (error: unknown) => void;
}

/** A small file that follows a value: one write at a time, and of several that wait the newest. What cannot be written is tried again. */
export class KeptFile {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #write: (path: string, text: string) => Promise<void>;
  #newest: string | undefined;
  #waiting: Wanted[] = [];
  #writing: Promise<void> | undefined;
  #again: Timer | undefined;
  #closed = false;

  constructor(path: string, write: (path: string, text: string) => Promise<void>, clock: Clock, log: Log) {
    this.#path = path;
    this.#clock = clock;
    this.#log = log;
    this.#write = write;
  }

  /** What the file holds, or will as soon as it can be written; undefined: as it was found. */
  get newest(): string | undefined {
    return this.#newest;
  }

  /** Resolves once this, or something newer, is in the file; rejects when it cannot be written now. Then it is tried again all the same. */
  write(text: string): Promise<void> {
    this.#newest = text;
    this.#forgetRetry();
    return new Promise((kept, failed) => {
      this.#waiting.push({ text, kept, failed });
      this.#writing ??= this.#writeAll();
    });
  }

  /** Takes back what was refused: it is not tried again. */
  giveUp(): void {
    this.#forgetRetry();
    this.#newest = undefined;
  }

  /** With a last try of what could not be written so far. */
  async close(): Promise<void> {
    this.#closed = true;
    if (this.#again !== undefined) await this.#retry();
    await this.#writing;
  }

  async #writeAll(): Promise<void> {
    for (let batch = this.#waiting; batch.length > 0; batch = this.#waiting) {
      this.#waiting = [];
      try {
        await this.#write(this.#path, (batch.at(-1) as Wanted).text);
        for (const { kept } of batch) kept();
      } catch (error) {
        this.#log.error('a change was not kept: a restart now would bring back what was before; it is tried again', { path: this.#path, reason: messageOf(error) });
        if (!this.#closed) this.#again = this.#clock.at(this.#clock.now() + keepAgainMs, () => void this.#retry());
        for (const { failed } of batch) failed(error);
      }
    }
    this.#writing = undefined;
  }

  #forgetRetry(): void {
    this.#again?.cancel();
    this.#again = undefined;
  }

  #retry(): Promise<void> {
    return this.write(this.#newest as string).then(() => this.#log.info('what had changed is kept now', { path: this.#path }), () => {});
  }
}
