import { execFileSync, fork, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import type { Database } from '../../src/ports/disk.ts';
import { lockData } from '../../src/host/data-lock.ts';
import { diskError, LmdbDisk } from '../../src/host/lmdb-disk.ts';

const base = mkdtempSync(join(tmpdir(), 'troupe-lmdb-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));
let count = 0;
const fresh = (): string => {
  const directory = join(base, String(count++));
  mkdirSync(directory);
  return directory;
};
const disks: LmdbDisk[] = [];
afterEach(() => Promise.all(disks.splice(0).map((disk) => disk.close())));
function diskAt(directory: string): LmdbDisk {
  const disk = new LmdbDisk(directory);
  disks.push(disk);
  return disk;
}

const writeOne = (database: Database, key: string, bytes: number): Promise<Error | undefined> =>
  new Promise((resolve) => database.write([{ type: 'put', key, value: new Uint8Array(bytes) }], resolve));

/** What the lock file of a process says; the format is part of what a newer version must still read. */
function holderOf(pid: number): { pid: number; startTime: string; bootId: string } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  return { pid, startTime: stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] as string, bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim() };
}

describe('LmdbDisk.open()', () => {
  it('says DISK_UNWRITABLE where no directory can be', async () => {
    const directory = fresh();
    writeFileSync(join(directory, 'file'), '');
    await expect(diskAt(join(directory, 'file/data')).open('raft')).rejects.toMatchObject({ code: 'DISK_UNWRITABLE', message: expect.stringContaining('file/data') });
    await expect(diskAt('/proc/troupe').open('raft')).rejects.toMatchObject({ code: 'DISK_UNWRITABLE' });
    await expect(diskAt('/sys').open('raft')).rejects.toMatchObject({ code: 'DISK_UNWRITABLE' });
  });

  it('says DISK_UNWRITABLE about a file of the lock that cannot be opened, where LMDB itself would end the process', async () => {
    const directory = fresh();
    const disk = diskAt(directory);
    const database = await disk.open('raft');
    expect(await writeOne(database, 'a', 10)).toBeUndefined();
    await disk.close();
    const lock = join(directory, 'raft.lmdb-lock');
    rmSync(lock);
    mkdirSync(lock);
    await expect(diskAt(directory).open('raft')).rejects.toMatchObject({ code: 'DISK_UNWRITABLE', message: expect.stringContaining(lock) });
    rmSync(lock, { recursive: true });
    symlinkSync('/nowhere/lock', lock);
    await expect(diskAt(directory).open('raft')).rejects.toMatchObject({ code: 'DISK_UNWRITABLE', message: expect.stringContaining(lock) });
    rmSync(lock);
    expect((await diskAt(directory).open('raft')).get('a')).toHaveLength(10);
  });

  it('says DISK_CORRUPT about a file that is not a database, and leaves it as it is', async () => {
    const directory = fresh();
    writeFileSync(join(directory, 'raft.lmdb'), 'not a database '.repeat(2000));
    await expect(diskAt(directory).open('raft')).rejects.toMatchObject({ code: 'DISK_CORRUPT' });
    expect(readFileSync(join(directory, 'raft.lmdb'), 'utf8')).toBe('not a database '.repeat(2000));
    expect(readFileSync(join(directory, 'lock-1'), 'utf8')).toBe('');
  });

  it('says DISK_CORRUPT about a damaged database, where LMDB itself would end the process', async () => {
    const damages: readonly ((bytes: Buffer) => Buffer)[] = [
      (bytes) => bytes.subarray(0, 5000),
      (bytes) => bytes.subarray(0, 8192),
      (bytes) => bytes.fill(0, 0, 4096),
      (bytes) => bytes.fill(0, 4096, 8192),
      (bytes) => bytes.fill(0xff, 0, 4096),
    ];
    for (const damage of damages) {
      const directory = fresh();
      const disk = diskAt(directory);
      const database = await disk.open('raft');
      for (let i = 0; i < 20; i++) await writeOne(database, `k${i}`, 1000);
      await disk.close();
      await diskAt(directory).open('raft');
      await disks.pop()?.close();
      const path = join(directory, 'raft.lmdb');
      writeFileSync(path, damage(readFileSync(path)));
      await expect(diskAt(directory).open('raft')).rejects.toMatchObject({ code: 'DISK_CORRUPT' });
    }
  });

  it('says DISK_CORRUPT when a page inside is damaged', async () => {
    const directory = fresh();
    const disk = diskAt(directory);
    const database = await disk.open('raft');
    for (let i = 0; i < 20; i++) await writeOne(database, `k${i}`, 1000);
    await disk.close();
    const path = join(directory, 'raft.lmdb');
    writeFileSync(path, readFileSync(path).fill(0, 8192));
    await expect(diskAt(directory).open('raft')).rejects.toMatchObject({ code: 'DISK_CORRUPT', message: expect.stringContaining('move the directory away') });
  });

  it('says DATA_LOCKED and by whom while another living process has the directory', async () => {
    const directory = fresh();
    const other = spawn('sleep', ['1000']);
    try {
      writeFileSync(join(directory, 'lock-1'), JSON.stringify(holderOf(other.pid as number)));
      await expect(diskAt(directory).open('raft')).rejects.toMatchObject({ code: 'DATA_LOCKED', fields: { pid: other.pid }, message: expect.stringContaining(`process ${other.pid}`) });
    } finally {
      other.kill('SIGKILL');
    }
    // It is a zombie or gone by now: its lock no longer counts.
    await expect.poll(() => new LmdbDisk(directory).open('raft').then(() => 'open', (error: { code: string }) => error.code), { timeout: 3000 }).toBe('open');
  });

  it('is refused to a second disk of the same process, until the first is closed', async () => {
    const directory = fresh();
    const first = diskAt(directory);
    await first.open('raft');
    await first.open('identity');
    await expect(diskAt(directory).open('raft')).rejects.toMatchObject({ code: 'DATA_LOCKED' });
    await first.close();
    await diskAt(directory).open('raft');
  });

  it('takes over the lock of a dead process, of another one with its pid, of another boot, and a torn one', async () => {
    const living = holderOf(process.ppid);
    const dead = spawn('true');
    await new Promise((resolve) => dead.once('exit', resolve));
    for (const stale of [JSON.stringify({ ...living, pid: dead.pid }), JSON.stringify({ ...living, startTime: '1' }), JSON.stringify({ ...living, bootId: 'x' }), '{"pid":', '', 'null']) {
      const directory = fresh();
      writeFileSync(join(directory, 'lock-7'), stale);
      await diskAt(directory).open('raft');
      expect(JSON.parse(readFileSync(join(directory, 'lock-8'), 'utf8'))).toEqual(holderOf(process.pid));
      expect(readdirSync(directory).filter((name) => name.startsWith('lock'))).toEqual(['lock-8']);
    }
  });

  it('lets exactly one of many processes take over a stale lock', async () => {
    const entry = join(base, 'locker.ts');
    writeFileSync(entry, `
      import { lockData } from ${JSON.stringify(join(import.meta.dirname, '../../src/host/data-lock.ts'))};
      process.send('ready');
      process.on('message', (directory) => {
        try { lockData(directory); process.send('mine'); } catch (error) { process.send(error.code ?? String(error)); }
      });
    `);
    await build({ configFile: false, logLevel: 'silent', build: { ssr: entry, outDir: join(base, 'out') } });
    const processes = Array.from({ length: 4 }, () => fork(join(base, 'out/locker.js')));
    const next = (): Promise<unknown[]> => Promise.all(processes.map((each) => new Promise((resolve) => each.once('message', resolve))));
    try {
      await next();
      for (let round = 0; round < 200; round++) {
        const directory = fresh();
        writeFileSync(join(directory, 'lock-1'), JSON.stringify({ pid: 2 ** 22 + 1, startTime: '1', bootId: 'x' }));
        const answers = next();
        for (const each of processes) each.send(directory);
        expect((await answers).map(String).sort()).toEqual(['DATA_LOCKED', 'DATA_LOCKED', 'DATA_LOCKED', 'mine']);
      }
    } finally {
      for (const each of processes) each.kill('SIGKILL');
    }
  });
});

it('diskError() counts what is free also for a file that could not be made', () => {
  expect(diskError('write', join(base, 'not-there.json'), Object.assign(new Error('no room'), { code: 'ENOSPC' })).message).toMatch(/^cannot write .*: the disk is full \(\d+ bytes free\)/);
});

it('lockData() does not succeed to a lock that has had successors since it was looked at', () => {
  const directory = fresh();
  const stale = JSON.stringify({ ...holderOf(process.ppid), startTime: '1' });
  writeFileSync(join(directory, 'lock-3'), stale);
  // Between the look at lock-3 and the making of lock-4 another process makes both lock-4 and lock-5, and removes what is older.
  const taken = JSON.stringify(holderOf(process.ppid));
  const readdir = vi.spyOn(fs, 'readdirSync').mockImplementationOnce((() => {
    rmSync(join(directory, 'lock-3'));
    writeFileSync(join(directory, 'lock-5'), taken);
    return ['lock-3'];
  }) as unknown as typeof fs.readdirSync);
  try {
    syncBuiltinESMExports();
    expect(() => lockData(directory)).toThrow(expect.objectContaining({ code: 'DATA_LOCKED', fields: expect.objectContaining({ pid: process.ppid }) }));
  } finally {
    readdir.mockRestore();
    syncBuiltinESMExports();
  }
  expect(readdirSync(directory)).toEqual(['lock-5']);
  expect(readFileSync(join(directory, 'lock-5'), 'utf8')).toBe(taken);
});

it('lockData() gives the lock back only if it is still its own', () => {
  const directory = fresh();
  const unlock = lockData(directory);
  const taken = JSON.stringify(holderOf(process.ppid));
  writeFileSync(join(directory, 'lock-1'), taken);
  unlock();
  expect(readFileSync(join(directory, 'lock-1'), 'utf8')).toBe(taken);
});

const canMount = ((): boolean => {
  const directory = fresh();
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory], { stdio: 'ignore' });
    execFileSync('umount', [directory]);
    return true;
  } catch {
    return false;
  }
})();

// Needs a file system that can be filled: a tmpfs of 1 MiB, which only root may mount.
describe.runIf(canMount)('LmdbDisk on a disk that fills up', () => {
  it('reports DISK_FULL to the batch and to all after it, keeps what was durable, and goes on living', async () => {
    const directory = fresh();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory]);
    try {
      const disk = diskAt(directory);
      const database = await disk.open('raft');
      let written = 0;
      let failure: Error | undefined;
      while (failure === undefined && written < 50) {
        failure = await writeOne(database, `k${String(written).padStart(3, '0')}`, 60_000);
        if (failure === undefined) written++;
      }
      expect(failure).toMatchObject({ code: 'DISK_FULL' });
      expect(written).toBeGreaterThan(3);
      // A small one would fit, but must not overtake the one that failed.
      expect(await writeOne(database, 'small', 1)).toMatchObject({ code: 'DISK_FULL' });
      await disk.close();
      rmSync(join(directory, 'filler'), { force: true });
      const again = await diskAt(directory).open('raft');
      expect([...again.range('', 'z')].map(([key]) => key)).toEqual(Array.from({ length: written }, (_, i) => `k${String(i).padStart(3, '0')}`));
      await disks.pop()?.close();
    } finally {
      execFileSync('umount', ['-l', directory]);
    }
  });

  it('says DISK_FULL at open when there is no room at all', async () => {
    const directory = fresh();
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', directory]);
    try {
      try {
        writeFileSync(join(directory, 'filler'), new Uint8Array(1_000_000));
      } catch {
        // Full now.
      }
      await expect(diskAt(directory).open('raft')).rejects.toMatchObject({ code: 'DISK_FULL' });
    } finally {
      execFileSync('umount', ['-l', directory]);
    }
  });
});

it('a durable write takes a few milliseconds at most', async () => {
  const database = await diskAt(fresh()).open('raft');
  const times: number[] = [];
  for (let i = 0; i < 60; i++) {
    const start = performance.now();
    expect(await writeOne(database, 'k', 200)).toBeUndefined();
    times.push(performance.now() - start);
  }
  times.sort((a, b) => a - b);
  // The disk decides; a regression to batching delays would show as tens of milliseconds.
  expect(times[30]).toBeLessThan(15);
});
