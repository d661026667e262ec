import { fork } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { checkLmdbFile } from '../../src/host/lmdb-check.ts';
import { LmdbDisk } from '../../src/host/lmdb-disk.ts';
import type { Database, DiskChange } from '../../src/ports/disk.ts';

const base = mkdtempSync(join(tmpdir(), 'troupe-walk-'));
afterAll(() => rmSync(base, { recursive: true, force: true }));

function write(database: Database, changes: readonly DiskChange[]): Promise<void> {
  return new Promise((resolve, reject) => database.write(changes, (error) => (error === undefined ? resolve() : reject(error))));
}

/** Small and large values, put, overwritten and deleted, singly and by ranges. */
function changesBy(random: Prng, keys: number): DiskChange[] {
  return Array.from({ length: 1 + random.below(20) }, (): DiskChange => {
    const key = `raft/log/${String(random.below(keys)).padStart(14, '0')}`;
    const what = random.below(12);
    if (what < 3) return { type: 'delete', key };
    if (what === 3) return { type: 'delete-range', first: key, end: `raft/log/${String(random.below(keys)).padStart(14, '0')}` };
    return { type: 'put', key, value: new Uint8Array(random.below(random.below(15) === 0 ? 60_000 : 600)).fill(random.below(256)) };
  });
}

it('checkLmdbFile() finds nothing wrong with any database that LMDB has written', async () => {
  let checks = 0;
  for (let seed = 1; seed <= 10; seed++) {
    const random = new Prng(seed);
    const directory = join(base, `sound${seed}`);
    const path = join(directory, 'raft.lmdb');
    const keys = 20 + random.below(1000);
    for (let life = 0; life < 2; life++) {
      const disk = new LmdbDisk(directory);
      const database = await disk.open('raft');
      for (let batch = 0; batch < 60; batch++) {
        await write(database, changesBy(random, keys));
        checkLmdbFile(path);
        checks++;
      }
      await disk.close();
      checkLmdbFile(path);
    }
  }
  expect(checks).toBe(1200);
});

let program = '';
beforeAll(async () => {
  const entry = join(base, 'program.ts');
  const from = (file: string): string => JSON.stringify(join(import.meta.dirname, '../../src', file));
  writeFileSync(entry, `
    import { LmdbDisk } from ${from('host/lmdb-disk.ts')};
    const write = (database, changes) => new Promise((resolve, reject) => database.write(changes, (error) => (error === undefined ? resolve() : reject(error))));
    const use = async (directory) => {
      const disk = new LmdbDisk(directory);
      try {
        const database = await disk.open('raft');
        for (const entry of database.range('', '~')) void entry;
        for (let i = 0; i < 4; i++) await write(database, [{ type: 'put', key: 'raft/x' + i, value: new Uint8Array(i % 2 ? 9000 : 100) }, { type: 'delete-range', first: 'raft/log/' + i, end: 'raft/log/' + i + 'z' }]);
        return 'sound';
      } catch (error) {
        return error.code;
      } finally {
        await disk.close().catch(() => {});
      }
    };
    process.on('message', async ({ fill, directory }) => {
      if (!fill) return process.send(await use(directory));
      const database = await new LmdbDisk(directory).open('raft');
      process.send('filling');
      for (let i = 0; ; i++) await write(database, [{ type: 'put', key: 'raft/log/' + (i % 300), value: new Uint8Array((i * 7919) % 9000) }, { type: 'delete', key: 'raft/log/' + ((i * 31) % 300) }]);
    });
  `);
  await build({ configFile: false, logLevel: 'silent', build: { ssr: entry, outDir: join(base, 'out') } });
  // What it is built of finds lmdb where this does.
  symlinkSync(join(import.meta.dirname, '../../node_modules'), join(base, 'node_modules'));
  program = join(base, 'out/program.js');
});

it('checkLmdbFile() finds nothing wrong with what a kill -9 in the middle of writing leaves', async () => {
  const directory = join(base, 'killed');
  for (let kill = 0; kill < 8; kill++) {
    const child = fork(program);
    try {
      child.send({ fill: true, directory });
      await new Promise((resolve) => child.once('message', resolve));
      const before = sizeAndTransactions(directory);
      await expect.poll(() => sizeAndTransactions(directory), { interval: 3 + 7 * kill, timeout: 20_000 }).not.toBe(before);
    } finally {
      child.kill('SIGKILL');
      await new Promise((resolve) => (child.exitCode === null && child.signalCode === null ? child.once('exit', resolve) : resolve(undefined)));
    }
    checkLmdbFile(join(directory, 'raft.lmdb'));
  }
});

/** Changes with each commit. */
function sizeAndTransactions(directory: string): string {
  const bytes = readFileSync(join(directory, 'raft.lmdb'));
  return `${bytes.length} ${bytes.readBigUInt64LE(152)} ${bytes.readBigUInt64LE(4096 + 152)}`;
}

it('no damage ends the process by a signal: a damaged file is refused, or is as good as a sound one', async () => {
  const origin = join(base, 'origin');
  const disk = new LmdbDisk(origin);
  const database = await disk.open('raft');
  await write(database, Array.from({ length: 160 }, (_, i): DiskChange => ({ type: 'put', key: `raft/log/${String(i).padStart(14, '0')}`, value: new Uint8Array(i % 40 === 7 ? 9000 : 120).fill(i) })));
  for (let i = 0; i < 6; i++) await write(database, [{ type: 'put', key: 'raft/hard', value: new Uint8Array(40).fill(i) }]);
  await disk.close();
  const sound = readFileSync(join(origin, 'raft.lmdb'));
  const answers = new Map<string, number>();
  const child = fork(program);
  try {
    for (let seed = 0; seed < 300; seed++) {
      const directory = join(base, `damaged${seed}`);
      mkdirSync(directory);
      writeFileSync(join(directory, 'raft.lmdb'), damaged(sound, new Prng(seed)));
      child.send({ directory });
      const answer = await new Promise<string>((resolve) => {
        child.once('message', (message: string) => resolve(message));
        child.once('exit', (code, signal) => resolve(`ended by ${signal ?? code}`));
      });
      child.removeAllListeners();
      expect(answer, `seed ${seed}`).toMatch(/^(sound|DISK_CORRUPT)$/);
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
      rmSync(directory, { recursive: true, force: true });
    }
  } finally {
    child.kill('SIGKILL');
  }
  // The sound ones were hit where nothing is, or within a value.
  expect(answers.get('DISK_CORRUPT')).toBeGreaterThan(60);
  expect(answers.get('sound')).toBeGreaterThan(60);
}, 120_000);

/** One to three places: in a page's head, in its list of nodes, anywhere; a few bytes or many. */
function damaged(sound: Uint8Array, random: Prng): Uint8Array {
  const bytes = new Uint8Array(sound);
  for (let left = 1 + random.below(3); left > 0; left--) {
    const page = 4096 * random.below(bytes.length / 4096);
    const how = random.below(5);
    const start = how === 0 ? page + random.below(24) : how === 1 ? page + 24 + random.below(60) : random.below(bytes.length);
    const length = 1 + random.below(how === 4 ? 4096 : 8);
    for (let at = start; at < Math.min(bytes.length, start + length); at++) bytes[at] = how === 2 ? 0 : how === 3 ? 255 : random.below(256);
  }
  return bytes;
}

it('a file with numbers that only a liar would write is refused', () => {
  const path = join(base, 'liar.lmdb');
  const sound = readFileSync(join(base, 'origin/raft.lmdb'));
  const says = (offset: number, value: bigint): (() => void) => {
    const bytes = Buffer.from(sound);
    for (const page of [0, 4096]) bytes.writeBigUInt64LE(value, page + offset);
    writeFileSync(path, bytes);
    return () => checkLmdbFile(path);
  };
  copyFileSync(join(base, 'origin/raft.lmdb'), path);
  expect(() => checkLmdbFile(path)).not.toThrow();
  expect(says(144, 1n << 39n)).toThrow(/its last page is 549755813888/);
  expect(says(40, 1n << 50n)).toThrow(/its head/);
  expect(says(128, 7n)).toThrow(/the data has 161 entries, not 7/);
  expect(says(136, 1n)).toThrow(/page 1 is outside the file/);
});
