import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { readFileIfThere, writeFileAtomically } from '../../src/host/files.ts';
import { defaultAddress, isPrivate } from '../../src/host/system.ts';

const directory = mkdtempSync(join(tmpdir(), 'troupe-files-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it('writeFileAtomically() replaces the content whole and leaves no draft behind', async () => {
  const path = join(directory, 'deep/er/file.json');
  await writeFileAtomically(path, 'one');
  await Promise.all(Array.from({ length: 10 }, (_, i) => writeFileAtomically(path, `${i}`.repeat(10_000))));
  expect(readFileSync(path, 'utf8')).toMatch(/^(\d)\1{9999}$/);
  expect(readdirSync(join(directory, 'deep/er'))).toEqual(['file.json']);
});

it('writeFileAtomically() says DISK_UNWRITABLE where it may not write', async () => {
  writeFileSync(join(directory, 'plain'), '');
  await expect(writeFileAtomically(join(directory, 'plain/below'), 'x')).rejects.toMatchObject({ code: 'DISK_UNWRITABLE' });
});

it('readFileIfThere() tells a missing file from an unreadable or too large one', async () => {
  writeFileSync(join(directory, 'big'), 'x'.repeat(100));
  expect(await readFileIfThere(join(directory, 'none'))).toBeUndefined();
  expect(await readFileIfThere(join(directory, 'big'))).toHaveLength(100);
  await expect(readFileIfThere(join(directory, 'big'), 99)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  await expect(readFileIfThere(directory)).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
});

it('defaultAddress() prefers private IPv4, then any IPv4, then IPv6, then loopback', () => {
  const at = (host: string, more: object = {}) => ({ interfaceName: 'e', host, v6: host.includes(':'), loopback: false, linkLocal: false, ...more });
  expect(defaultAddress([at('127.0.0.1', { loopback: true }), at('2001:db8::1'), at('203.0.113.5'), at('192.168.1.2')])).toBe('192.168.1.2');
  expect(defaultAddress([at('2001:db8::1'), at('203.0.113.5')])).toBe('203.0.113.5');
  expect(defaultAddress([at('fe80::1', { linkLocal: true }), at('2001:db8::1')])).toBe('2001:db8::1');
  expect(defaultAddress([at('127.0.0.1', { loopback: true })])).toBe('127.0.0.1');
});

it('isPrivate() knows RFC 1918 and RFC 6598', () => {
  expect(['10.1.2.3', '172.16.0.1', '172.31.9.9', '192.168.0.1', '100.64.0.1'].every(isPrivate)).toBe(true);
  expect(['11.1.2.3', '172.32.0.1', '192.169.0.1', '100.128.0.1', '8.8.8.8', '::1'].some(isPrivate)).toBe(false);
});
