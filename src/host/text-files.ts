import { lstat, mkdir, opendir, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { TroupeError, messageOf } from '../base/errors.ts';
import type { Files } from '../ports/files.ts';
import { readFileIfThere, writeFileAtomically } from './files.ts';
import { diskError } from './lmdb-disk.ts';
import { makeDirectory } from './make-directory.ts';
import { systemCodeOf } from './socket-errors.ts';

/** The file system. */
export const textFiles: Files = {
  async read(path, bytesMax) {
    const size = (await statIfThere(path))?.size;
    // Before it is read: a huge file should not be in memory first.
    if (size !== undefined && size > bytesMax) throw new TroupeError('FILE_UNREADABLE', `cannot read ${path}: it has ${size} bytes; at most ${bytesMax} are read`, { path, bytes: size, bytesMax });
    return await readFileIfThere(path, bytesMax);
  },
  async revision(path) {
    const found = await statIfThere(path);
    return found === undefined ? undefined : `${found.mtimeMs} ${found.size} ${found.ino}`;
  },
  async list(directory, countMax) {
    try {
      const names: string[] = [];
      for await (const entry of await opendir(directory)) {
        if (names.length >= countMax) break;
        names.push(entry.name);
      }
      return names;
    } catch (error) {
      if (systemCodeOf(error) === 'ENOENT') return [];
      throw new TroupeError('FILE_UNREADABLE', `cannot list ${directory}: ${messageOf(error)}`, { path: directory }, error);
    }
  },
  write: (path, text) => writeFileAtomically(path, text, 0o600),
  async remove(path) {
    try {
      await rm(path, { force: true });
    } catch (error) {
      throw diskError('remove', path, error);
    }
  },
  async makePrivate(directory) {
    try {
      makeDirectory(dirname(directory));
      await mkdir(directory, { mode: 0o700 }).catch((error: unknown) => {
        if (systemCodeOf(error) !== 'EEXIST') throw error;
      });
      // Not stat: a link that another user laid there must not lead us elsewhere.
      const found = await lstat(directory);
      const mine = found.isDirectory() && found.uid === (process.getuid?.() ?? found.uid) && (found.mode & 0o022) === 0;
      if (!mine) throw new TroupeError('DISK_UNWRITABLE', `will not use ${directory}: it must be a directory of this user that nobody else may write to; remove it or name another`, { path: directory });
    } catch (error) {
      throw error instanceof TroupeError ? error : diskError('make', directory, error);
    }
  },
};

async function statIfThere(path: string): Promise<{ readonly size: number; readonly mtimeMs: number; readonly ino: number } | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw new TroupeError('FILE_UNREADABLE', `cannot read ${path}: ${messageOf(error)}`, { path }, error);
  }
}
