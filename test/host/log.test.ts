import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'vite';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { LogLine } from '../../src/ports/log.ts';
import { createLog } from '../../src/host/log.ts';

// Beside the checkout's own modules, so that the bundle finds pino.
const directory = mkdtempSync(join(import.meta.dirname, '../../node_modules/.troupe-log-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

beforeAll(async () => {
  const entry = join(directory, 'logger.ts');
  writeFileSync(entry, `
    import { createLog } from ${JSON.stringify(join(import.meta.dirname, '../../src/host/log.ts'))};
    const log = createLog({ level: 'info', fields: { node: 'master' }, ...JSON.parse(process.argv[2]) });
    log.debug('not shown');
    log.child({ part: 'raft' }).warn('lost the leader', { term: 3 });
    log.setLevel('debug');
    log.debug('shown now');
    log.error('failed', { error: new Error('why').message });
    process.kill(process.pid, 'SIGKILL');
  `);
  await build({ configFile: false, logLevel: 'silent', build: { ssr: entry, outDir: join(directory, 'out') } });
});

const run = (options: object): { stdout: string; stderr: string } => spawnSync(process.execPath, [join(directory, 'out/logger.js'), JSON.stringify(options)], { encoding: 'utf8' });

it('writes JSON lines to stderr, with the fields of its parents, and loses none when killed', () => {
  const { stdout, stderr } = run({});
  expect(stdout).toBe('');
  const lines = stderr.trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  expect(lines).toMatchObject([
    { level: 'warn', node: 'master', part: 'raft', term: 3, msg: 'lost the leader' },
    { level: 'debug', node: 'master', msg: 'shown now' },
    { level: 'error', error: 'why', msg: 'failed' },
  ]);
  expect(Date.parse(String(lines[0]?.['time']))).toBeGreaterThan(Date.UTC(2025, 0));
});

it('writes lines for people when asked to', () => {
  const { stderr } = run({ pretty: true });
  expect(stderr).toContain('lost the leader');
  expect(stderr).toContain('term');
  expect(() => JSON.parse(stderr.split('\n')[0] as string) as unknown).toThrow();
});

it('keeps the last 512 lines from debug up, whatever is written, and lets others follow', () => {
  const log = createLog({ level: 'error' });
  const followed: LogLine[] = [];
  const stop = log.follow((line) => followed.push(line));
  log.trace('not kept');
  for (let i = 0; i < 600; i++) log.debug(`line ${i}`, { i });
  stop();
  log.child({ part: 'x' }).info('last');
  const recent = log.recent();
  expect(recent).toHaveLength(512);
  expect([recent[0]?.message, recent.at(-1)?.message, recent.at(-1)?.fields]).toEqual(['line 89', 'last', { part: 'x' }]);
  expect([followed.length, followed[0]]).toEqual([600, expect.objectContaining({ level: 'debug', message: 'line 0', fields: { i: 0 } })]);
});
