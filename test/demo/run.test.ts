import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { buildIfStale, until } from '../cli/program.ts';

const demo = fileURLToPath(new URL('../../examples/demo/demo.js', import.meta.url));

interface Summary {
  readonly ok: boolean;
  readonly nodes: number;
  readonly requests: number;
  readonly failed: number;
  readonly acknowledgedLost: number;
  readonly ranTwice: number;
  readonly counters: { readonly stored: number; readonly acknowledged: number };
  readonly events: readonly { readonly what: string; readonly node: string; readonly longestPauseMs: number; readonly appGapMs: number | null }[];
  readonly starts: readonly { readonly app: string; readonly node: string; readonly type: string; readonly from?: string; readonly epoch: number }[];
}

let temporary: string;

beforeAll(buildIfStale);
beforeEach(() => {
  temporary = mkdtempSync(join(tmpdir(), 'troupe-demo-test-'));
});
afterEach(() => rmSync(temporary, { recursive: true, force: true }));

function start(): { finished: Promise<number | null>; output: () => string; interrupt: () => void } {
  // Agents show where they belong by the path of their config file, which lies in the temporary directory.
  const child = spawn(process.execPath, [demo, '--json'], { env: { ...process.env, TMPDIR: temporary }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk) => (output += String(chunk)));
  child.stderr.on('data', (chunk) => (output += String(chunk)));
  return { finished: new Promise((resolve) => child.on('close', resolve)), output: () => output, interrupt: () => child.kill('SIGINT') };
}

/** Processes that were started from this test's temporary directory. */
function agents(): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(temporary);
    } catch {
      return false;
    }
  });
}

describe('npm run demo', () => {
  test('loses nothing, fails nothing, runs nothing twice, and leaves nothing behind', async () => {
    const run = start();
    const code = await run.finished;
    const summary = JSON.parse(run.output().trim().split('\n').findLast((line) => line.startsWith('{')) ?? '{}') as Summary;
    expect(summary, run.output().slice(-4000)).toMatchObject({ ok: true, nodes: 5, failed: 0, acknowledgedLost: 0, ranTwice: 0 });
    expect(code).toBe(0);
    expect(summary.requests).toBeGreaterThan(5000);
    expect(summary.counters.stored).toBe(summary.counters.acknowledged);
    expect(summary.events.map((event) => event.what)).toEqual(['kill -9', 'kill -9', 'start again', 'start again', 'SIGSTOP for 4 s']);
    expect(summary.starts[0]).toMatchObject({ app: 'wikipedy', node: 'master', type: 'normal', epoch: 1 });
    for (const type of ['normal', 'failover', 'takeover']) expect(summary.starts.map((each) => each.type)).toContain(type);
    expect(agents()).toEqual([]);
    expect(readdirSync(temporary)).toEqual([]);
  }, 90_000);

  test('--help and a flag that it does not have start nothing', () => {
    const run = (flag: string): { status: number | null; stdout: string; stderr: string } => spawnSync(process.execPath, [demo, flag], { encoding: 'utf8', timeout: 10_000 });
    expect(run('--help')).toMatchObject({ status: 0, stdout: expect.stringContaining('--keep'), stderr: '' });
    expect(run('--jsn')).toMatchObject({ status: 2, stdout: '', stderr: expect.stringContaining('no flag --jsn') });
  });

  test('interrupted, it leaves nothing behind either', async () => {
    const run = start();
    await until(() => agents().length === 5, () => `there are ${agents().length} agents: ${run.output()}`);
    run.interrupt();
    expect(await run.finished).not.toBe(0);
    await until(() => agents().length === 0, () => `left: ${agents().join(', ')}`);
    expect(readdirSync(temporary)).toEqual([]);
  });
});
