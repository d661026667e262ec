import { existsSync, mkdtempSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { HandoverDirectory, handoverBytesMax } from '../../src/host/handover-files.ts';

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'troupe-handover-test-'));
  directories.push(made);
  return join(made, 'not', 'there', 'yet');
}

test('gives a command its state, and takes what it leaves', async () => {
  const files = new HandoverDirectory(directory());
  const path = await files.prepare('ticker', new Uint8Array([1, 2, 3]));
  expect(statSync(path).mode & 0o777).toBe(0o600);
  expect(await files.collect('ticker')).toEqual(new Uint8Array([1, 2, 3]));
  writeFileSync(path, 'left');
  expect(new TextDecoder().decode(await files.collect('ticker'))).toBe('left');
});

test('an old state is gone when there is none to hand over, and the command may still leave one', async () => {
  const files = new HandoverDirectory(directory());
  await files.prepare('ticker', new Uint8Array([1]));
  const path = await files.prepare('ticker', undefined);
  expect(existsSync(path)).toBe(false);
  expect(await files.collect('ticker')).toBeUndefined();
  expect(existsSync(dirname(path))).toBe(true);
});

test('refuses what is too large without reading it', async () => {
  const files = new HandoverDirectory(directory());
  const path = await files.prepare('ticker', new Uint8Array(1));
  truncateSync(path, handoverBytesMax + 1);
  await expect(files.collect('ticker')).rejects.toMatchObject({ code: 'HANDOVER_TOO_LARGE' });
});

test('names that lead elsewhere are no names', async () => {
  const files = new HandoverDirectory(directory());
  for (const name of ['../x', 'a/b', '', '.hidden']) await expect(files.prepare(name, undefined)).rejects.toThrow();
});

test('a temporary directory goes when it is closed, one of the user stays', async () => {
  const temporary = new HandoverDirectory();
  expect(await temporary.collect('ticker')).toBeUndefined();
  const path = await temporary.prepare('ticker', new Uint8Array(1));
  temporary.close();
  expect(existsSync(dirname(path))).toBe(false);
  const kept = new HandoverDirectory(directory());
  const keptPath = await kept.prepare('ticker', new Uint8Array(1));
  kept.close();
  expect(existsSync(keptPath)).toBe(true);
});
