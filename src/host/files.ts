import { randomBytes } from 'node:crypto';
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { TroupeError } from '../base/errors.ts';
import { diskError } from './lmdb-disk.ts';
import { makeDirectory } from './make-directory.ts';
import { systemCodeOf } from './socket-errors.ts';

/**
 * Replaces a file so that readers, and a restart after power loss, see the old content or the new, never a part:
 * written aside, synced, renamed, and the directory synced. Makes the directory if need be.
 * @throws TroupeError DISK_UNWRITABLE, DISK_FULL
 */
export async function writeFileAtomically(path: string, content: string | Uint8Array, mode: number = 0o644): Promise<void> {
  const directory = dirname(path);
  const draft = `${path}.${process.pid}.${randomBytes(4).toString('hex')}.tmp`;
  try {
    makeDirectory(directory);
    const file = await open(draft, 'wx', mode);
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(draft, path);
    await syncDirectory(directory);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => {});
    throw diskError('write', path, error);
  }
}

/** The file's text, or undefined when there is none. Fails with FILE_UNREADABLE otherwise, and above `bytesMax` (default 16 MiB). */
export async function readFileIfThere(path: string, bytesMax: number = 16 * 1024 * 1024): Promise<string | undefined> {
  try {
    const content = await readFile(path);
    if (content.length > bytesMax) throw new TroupeError('FILE_UNREADABLE', `cannot read ${path}: it has ${content.length} bytes; at most ${bytesMax} are read`, { path, bytes: content.length, bytesMax });
    return content.toString('utf8');
  } catch (error) {
    if (error instanceof TroupeError) throw error;
    if (systemCodeOf(error) === 'ENOENT') return undefined;
    throw new TroupeError('FILE_UNREADABLE', `cannot read ${path}: ${(error as Error).message}; check that it is a file that this user may read`, { path }, error);
  }
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } catch (error) {
    // Some file systems cannot sync a directory; there the rename is as durable as it gets.
    if (!['EINVAL', 'EISDIR', 'EPERM', 'ENOTSUP'].includes(systemCodeOf(error))) throw error;
  } finally {
    await directory.close();
  }
}
