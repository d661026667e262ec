import type { FileHandle } from 'node:fs/promises';
import { open, readFile, rename, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { TroupeError, messageOf } from '../base/errors.ts';
import type { AppendFile, AppendFiles } from '../ports/append-files.ts';
import { syncDirectory } from './files.ts';
import { diskError } from './lmdb-disk.ts';
import { makeDirectory } from './make-directory.ts';
import { systemCodeOf } from './socket-errors.ts';

export const appendFiles: AppendFiles = {
  async open(path, bytesMax) {
    const text = await readBounded(path, bytesMax);
    try {
      makeDirectory(dirname(path));
      return { text, file: new HostAppendFile(path, await open(path, 'a', 0o600)) };
    } catch (error) {
      throw diskError('open', path, error);
    }
  },
};

class HostAppendFile implements AppendFile {
  readonly #path: string;
  #handle: FileHandle;
  /** One operation at a time, in order. */
  #last: Promise<void> = Promise.resolve();

  constructor(path: string, handle: FileHandle) {
    this.#path = path;
    this.#handle = handle;
  }

  append(text: string): Promise<void> {
    return this.#then('append to', () => this.#handle.appendFile(text));
  }

  sync(): Promise<void> {
    return this.#then('sync', () => this.#handle.datasync());
  }

  replace(text: string): Promise<void> {
    return this.#then('replace', async () => {
      // The name that Serf uses; what a crash left of an earlier one is overwritten.
      const draft = `${this.#path}.compact`;
      const next = await open(draft, 'w', 0o600);
      try {
        await next.appendFile(text);
        await next.sync();
        await rename(draft, this.#path);
      } catch (error) {
        await next.close();
        throw error;
      }
      const old = this.#handle;
      this.#handle = next; // it writes on at its end
      await old.close();
      await syncDirectory(dirname(this.#path));
    });
  }

  close(): Promise<void> {
    return this.#then('close', () => this.#handle.close());
  }

  #then(what: string, run: () => Promise<void>): Promise<void> {
    const done = this.#last.then(run).catch((error: unknown) => {
      throw diskError(what, this.#path, error);
    });
    this.#last = done.catch(() => {});
    return done;
  }
}

async function readBounded(path: string, bytesMax: number): Promise<string> {
  try {
    const { size } = await stat(path);
    if (size > bytesMax) throw new TroupeError('FILE_UNREADABLE', `cannot read ${path}: it has ${size} bytes; at most ${bytesMax} are read`, { path, bytes: size, bytesMax });
    return await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof TroupeError) throw error;
    if (systemCodeOf(error) === 'ENOENT') return '';
    throw new TroupeError('FILE_UNREADABLE', `cannot read ${path}: ${messageOf(error)}; check that it is a file that this user may read`, { path }, error);
  }
}
