import { mkdtempSync, rmSync } from 'node:fs';
import { readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assert } from '../base/assert.ts';
import { TroupeError } from '../base/errors.ts';
import { writeFileAtomically } from './files.ts';
import { systemCodeOf } from './socket-errors.ts';

/** A command that leaves more than this is not handed over; see docs/LIMITS.md. */
export const handoverBytesMax: number = 16 * 1024 * 1024;

/** Where commands find the state handed to them, and leave theirs: one file per app, readable by this user only. */
export class HandoverDirectory {
  #directory: string | undefined;
  readonly #temporary: boolean;

  /** Without a directory one is made for this process once a command needs it, and removed by `close`. */
  constructor(directory?: string) {
    this.#temporary = directory === undefined;
    this.#directory = directory;
  }

  async prepare(app: string, state: Uint8Array | undefined): Promise<string> {
    const path = this.#path(app);
    // The directory must be there in any case: the command may want to leave something.
    if (state === undefined) {
      await writeFileAtomically(path, '', 0o600);
      await rm(path, { force: true });
    } else {
      await writeFileAtomically(path, state, 0o600);
    }
    return path;
  }

  async collect(app: string): Promise<Uint8Array | undefined> {
    if (this.#directory === undefined) return undefined;
    const path = this.#path(app);
    try {
      const { size } = await stat(path);
      if (size > handoverBytesMax) throw new TroupeError('HANDOVER_TOO_LARGE', `cannot hand over the state of '${app}': its command left ${size} bytes in ${path}; at most ${handoverBytesMax} are taken`, { app, path, bytes: size, bytesMax: handoverBytesMax });
      return new Uint8Array(await readFile(path));
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  close(): void {
    if (this.#temporary && this.#directory !== undefined) rmSync(this.#directory, { recursive: true, force: true });
  }

  #path(app: string): string {
    assert(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(app), `'${app}' is no app's name`);
    this.#directory ??= mkdtempSync(join(tmpdir(), 'troupe-handover-'));
    return join(this.#directory, `${app}.state`);
  }
}
