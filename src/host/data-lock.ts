import { linkSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TroupeError } from '../base/errors.ts';
import { systemCodeOf } from './socket-errors.ts';

/** lock-1, lock-2, …: each holder of the directory made one, and only the newest counts. */
const lockPattern = /^lock-([1-9][0-9]{0,14})$/;
const attemptsMax = 20;

/** Who holds a data directory. The start time tells a living holder from another process that got its pid later. */
interface Holder {
  readonly pid: number;
  /** From /proc/PID/stat, in clock ticks since boot; '' where there is no /proc. */
  readonly startTime: string;
  readonly bootId: string;
}

/**
 * Makes this process the only one that uses `directory`, until the result is called. A lock whose holder is dead
 * (kill -9, power loss) or has given it back is taken over by making its successor; of several that try, one can. Whoever looked
 * too early makes a successor to a lock that is no longer the newest, sees that, and removes it. The newest is never
 * removed: for that moment the old number would be as good as new.
 *
 * The lock is a file, so it holds among processes that see one another's pids; two containers that share a volume do not.
 * @throws TroupeError DATA_LOCKED
 */
export function lockData(directory: string): () => void {
  const mine: Holder = { pid: process.pid, startTime: startTimeOf(process.pid) ?? '', bootId: bootId() };
  // Written aside and linked: the lock appears whole or not at all.
  const draft = join(directory, `lock.${process.pid}`);
  writeFileSync(draft, JSON.stringify(mine));
  try {
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      const newest = locksIn(directory).at(-1) ?? 0;
      const holder = newest === 0 ? 'gone' : readHolder(lockPath(directory, newest));
      if (holder !== 'gone' && holder !== 'unreadable' && isAlive(holder)) throw lockedError(directory, holder.pid);
      const own = newest + 1;
      const path = lockPath(directory, own);
      if (!tryLink(draft, path)) continue;
      const all = locksIn(directory);
      if (all.at(-1) === own) {
        for (const older of all.slice(0, -1)) rmSync(lockPath(directory, older), { force: true });
        return () => unlock(path, mine);
      }
      rmSync(path, { force: true });
    }
  } finally {
    rmSync(draft, { force: true });
  }
  throw lockedError(directory, undefined);
}

function lockPath(directory: string, number: number): string {
  return join(directory, `lock-${number}`);
}

/** The newest comes last. */
function locksIn(directory: string): number[] {
  return readdirSync(directory).flatMap((name) => lockPattern.exec(name)?.[1] ?? []).map(Number).sort((a, b) => a - b);
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

/** An empty lock has no holder. Making it so needs no room on the disk. */
function unlock(path: string, mine: Holder): void {
  const holder = readHolder(path);
  if (holder === 'gone' || holder === 'unreadable' || holder.pid !== mine.pid || holder.startTime !== mine.startTime) return;
  try {
    truncateSync(path);
  } catch {
    // It counts no more as soon as this process ends.
  }
}

function lockedError(directory: string, pid: number | undefined): TroupeError {
  const who = pid === undefined ? 'another process' : `process ${pid}`;
  return new TroupeError('DATA_LOCKED', `cannot open the data directory ${directory}: ${who} is using it; stop that process or choose another directory`, { directory, ...(pid === undefined ? {} : { pid }) });
}
