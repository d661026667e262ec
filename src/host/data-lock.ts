import { linkSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TroupeError } from '../base/errors.ts';
import { systemCodeOf } from './socket-errors.ts';

const lockFileName = 'lock';

/** Who holds a data directory. The start time tells a living holder from another process that got its pid later. */
interface Holder {
  readonly pid: number;
  /** From /proc/PID/stat, in clock ticks since boot; '' where there is no /proc. */
  readonly startTime: string;
  readonly bootId: string;
}

/**
 * Makes this process the only one that uses `directory`, until the result is called. A lock whose holder is dead
 * (kill -9, power loss) is taken over. The lock is a file, so it holds among processes that see one another's
 * pids; two containers that share a volume do not.
 * @throws TroupeError DATA_LOCKED
 */
export function lockData(directory: string): () => void {
  const path = join(directory, lockFileName);
  const mine: Holder = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '', bootId: bootId() };
  // Written aside and linked: the lock appears whole or not at all.
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(mine));
  try {
    for (let attempt = 0; attempt < 10; attempt++) {
      if (tryLink(draft, path)) return () => unlock(path, mine);
      takeOverIfStale(directory, path);
    }
  } finally {
    rmSync(draft, { force: true });
  }
  throw lockedError(directory, undefined);
}

function tryLink(draft: string, path: string): boolean {
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (systemCodeOf(error) === 'EEXIST') return false;
    throw error;
  }
}

/**
 * Of several processes that find the same stale lock, each renames it aside; only one rename of it succeeds.
 * A process that renames late could take away a fresh lock instead, so what was renamed is checked, and put back.
 */
function takeOverIfStale(directory: string, path: string): void {
  const holder = readHolder(path);
  if (holder === 'gone') return;
  if (holder !== 'unreadable' && isAlive(holder)) throw lockedError(directory, holder.pid);
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch {
    return; // Another was quicker.
  }
  const renamed = readHolder(aside);
  if (renamed !== 'gone' && renamed !== 'unreadable' && isAlive(renamed)) tryLink(aside, path);
  rmSync(aside, { force: true });
}

function readHolder(path: string): Holder | 'gone' | 'unreadable' {
  try {
    const holder = JSON.parse(readFileSync(path, 'utf8')) as Partial<Holder>;
    if (typeof holder.pid !== 'number') return 'unreadable';
    return { pid: holder.pid, startTime: String(holder.startTime ?? ''), bootId: String(holder.bootId ?? '') };
  } catch (error) {
    return systemCodeOf(error) === 'ENOENT' ? 'gone' : 'unreadable';
  }
}

function isAlive(holder: Holder): boolean {
  if (holder.bootId !== bootId()) return false;
  const startTime = startTimeOf(holder.pid);
  if (startTime !== undefined) return holder.startTime === '' || holder.startTime === startTime;
  if (holder.startTime !== '') return false;
  try {
    process.kill(holder.pid, 0);
    return true;
  } catch (error) {
    return systemCodeOf(error) === 'EPERM';
  }
}

function startTimeOf(pid: number): string | undefined {
  try {
    // The name in field 2 may hold spaces and brackets: count from the last bracket. Field 22 is the start time.
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie has lost its files and memory: it holds nothing.
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return '';
  }
}

function unlock(path: string, mine: Holder): void {
  const holder = readHolder(path);
  if (holder === 'gone' || holder === 'unreadable' || holder.pid !== mine.pid || holder.startTime !== mine.startTime) return;
  try {
    unlinkSync(path);
  } catch {
    // Left behind, it is stale as soon as this process ends.
  }
}

function lockedError(directory: string, pid: number | undefined): TroupeError {
  const who = pid === undefined ? 'another process' : `process ${pid}`;
  return new TroupeError('DATA_LOCKED', `cannot open the data directory ${directory}: ${who} is using it; stop that process or choose another directory`, { directory, ...(pid === undefined ? {} : { pid }) });
}
