import { watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { basename, dirname } from 'node:path';

/**
 * Wakes whoever waits for a file to change: at once where the system tells (it is the directory that is watched, because a
 * replaced file is another file), and after a time-out where it does not: network file systems, a directory that is not
 * there yet. It may wake for nothing: look at the file itself.
 */
export class FileWatch {
  readonly #path: string;
  #watcher: FSWatcher | undefined;
  #changed = false;
  #wake: () => void = () => {};

  constructor(path: string) {
    this.#path = path;
    this.#attach();
  }

  /** Resolves at a change since the last call (with true), after the time-out (ms), or when the signal aborts. */
  async next(timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    if (this.#watcher === undefined) this.#attach();
    if (!this.#changed && signal?.aborted !== true) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, timeoutMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
        signal?.addEventListener('abort', this.#wake, { once: true });
      });
      signal?.removeEventListener('abort', this.#wake);
    }
    const changed = this.#changed;
    this.#changed = false;
    return changed;
  }

  close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #attach(): void {
    const name = basename(this.#path);
    try {
      const watcher = watch(dirname(this.#path), { persistent: false }, (_type, changed) => {
        if (changed !== null && changed !== name) return;
        this.#changed = true;
        this.#wake();
      });
      watcher.on('error', () => this.close());
      this.#watcher = watcher;
    } catch {
      // No such directory, or no more watches to be had: the time-out has to do.
    }
  }
}
