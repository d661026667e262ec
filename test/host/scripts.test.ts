import { execFileSync } from 'node:child_process';
import { afterAll, describe, expect, test } from 'vitest';
import { HostScripts } from '../../src/host/scripts.ts';
import type { ScriptExit } from '../../src/ports/scripts.ts';
import { poll } from '../poll.ts';

const scripts = new HostScripts();
afterAll(() => scripts.watch.close());

const run = (script: string): { readonly pid: number | undefined; readonly ended: Promise<ScriptExit>; kill(): void } => {
  let end: (exit: ScriptExit) => void = () => {};
  const ended = new Promise<ScriptExit>((resolve) => (end = resolve));
  const running = scripts.run({ script, environment: {}, input: new Uint8Array(0), outputBytesMax: 100 }, end);
  return { pid: running.pid, ended, kill: () => running.kill() };
};
const lives = (group: number): boolean => execFileSync('ps', ['-eo', 'pgid=,stat=']).toString().split('\n').some((line) => new RegExp(`^\\s*${group}\\s+[^Z]`).test(line));

describe('the watch over scripts', () => {
  test('is one for all of them, and small', async () => {
    const first = run('sleep 30');
    const { pid } = scripts.watch;
    const second = run('sleep 30');
    expect(scripts.watch.pid).toBe(pid);
    expect(Number(execFileSync('ps', ['-o', 'rss=', '-p', String(pid)]).toString())).toBeLessThan(8000);
    for (const each of [first, second]) each.kill();
    await Promise.all([first.ended, second.ended]);
  });

  test('ends what runs when its pipe ends, with all that belongs to it, and nothing that has ended', async () => {
    await run('sleep 302 > /dev/null 2>&1 &').ended;
    const before = execFileSync('pgrep', ['-f', '^sleep 302$']).toString().trim();
    const running = run('sleep 303 & wait');
    const stubborn = run("trap '' TERM; while :; do sleep 1; done");
    await poll(() => expect(execFileSync('pgrep', ['-f', '^sleep 303$']).toString().trim()).not.toBe(''));
    // As the death of this process would: the descriptor is closed, and nothing was said before.
    scripts.watch.abandon();
    await poll(() => expect([lives(running.pid as number), lives(stubborn.pid as number)]).toEqual([false, false]), 10_000);
    expect(execFileSync('pgrep', ['-f', '^sleep 302$']).toString().trim()).toBe(before);
    process.kill(Number(before), 'SIGKILL');
  });

  test('is started again if somebody kills it, and told of all that runs', async () => {
    const early = run('sleep 30');
    const { pid } = scripts.watch;
    process.kill(pid as number, 'SIGKILL');
    await poll(() => expect(scripts.watch.pid).toBeUndefined());
    const late = run('sleep 30');
    expect(scripts.watch.pid).not.toBe(pid);
    scripts.watch.abandon();
    await poll(() => expect([lives(early.pid as number), lives(late.pid as number)]).toEqual([false, false]), 10_000);
  });
});
