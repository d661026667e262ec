import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { appendFiles } from '../../src/host/append-files.ts';
import type { AppendFiles } from '../../src/ports/append-files.ts';
import { MemoryAppendFiles } from '../../src/ports/memory-append-files.ts';

const directory = mkdtempSync(join(tmpdir(), 'troupe-append-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const memory = new MemoryAppendFiles();

describe.each([
  { which: 'in memory', files: memory as AppendFiles, path: 'a', read: () => memory.read('a') },
  { which: 'on the host', files: appendFiles, path: join(directory, 'new/a'), read: () => readFileSync(join(directory, 'new/a'), 'utf8') },
])('append files $which', ({ files, path, read }) => {
  test('a new file is empty; what is appended follows, in order, also after a replacement and another opening', async () => {
    const { text, file } = await files.open(path, 1000);
    expect(text).toBe('');
    await Promise.all([file.append('one\n'), file.append('two\n'), file.sync()]);
    expect(read()).toBe('one\ntwo\n');
    await Promise.all([file.replace('three\n'), file.append('four\n')]);
    expect(read()).toBe('three\nfour\n');
    await file.close();
    const again = await files.open(path, 1000);
    expect(again.text).toBe('three\nfour\n');
    await again.file.append('five\n');
    expect(read()).toBe('three\nfour\nfive\n');
    await again.file.close();
    await expect(files.open(path, 5)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });
});

test('on the host the file is for this user alone, and what cannot be written is told', async () => {
  const path = join(directory, 'private');
  const { file } = await appendFiles.open(path, 1000);
  expect(statSync(path).mode & 0o777).toBe(0o600);
  await file.replace('x');
  expect(statSync(path).mode & 0o777).toBe(0o600);
  await file.close();
  await expect(file.append('y')).rejects.toMatchObject({ code: 'DISK_UNWRITABLE' });
  writeFileSync(join(directory, 'plain'), '');
  await expect(appendFiles.open(join(directory, 'plain/below'), 1000)).rejects.toThrow();
});

test('in memory a crash of the machine takes what was not synced', async () => {
  const files = new MemoryAppendFiles();
  const { file } = await files.open('a', 1000);
  await file.append('one\n');
  await file.sync();
  await file.append('two\n');
  files.crash();
  expect(files.read('a')).toBe('one\n');
});
