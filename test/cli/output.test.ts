/** Where the agent's words go must not decide whether it serves: full disks, readers that sleep or have gone. */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { anyPorts, buildIfStale, cleanUp, program, run, temporaryDirectory, until } from './program.ts';

beforeAll(buildIfStale);
const groups: number[] = [];
afterEach(cleanUp);
afterEach(() => {
  for (const group of groups.splice(0)) {
    try {
      process.kill(-group, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }
});
afterAll(cleanUp);

/** Runs the shell text in a process group of its own; AGENT in it is the agent's command line, READY the file for its stdout. */
function shell(text: string): { words: () => string; ready: () => Promise<Record<string, string>>; ended: Promise<number | null> } {
  const file = join(temporaryDirectory(), 'ready');
  const agent = [process.execPath, program, 'agent', '--dev', '--name', 'one', ...anyPorts, '--log-level', 'debug'].join(' ');
  const child = spawn('/bin/sh', ['-c', text.replaceAll('AGENT', agent).replaceAll('READY', file)], { stdio: 'ignore', detached: true });
  groups.push(child.pid as number);
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const words = (): string => (existsSync(file) ? readFileSync(file, 'utf8') : '');
  return {
    words,
    ended,
    async ready() {
      await until(() => /^ready .*\n/m.test(words()) || child.exitCode !== null, () => 'the agent is not ready');
      return Object.fromEntries((/^ready (.*)\n/m.exec(words())?.[1] ?? '').split(' ').map((part) => part.split('=') as [string, string]));
    },
  };
}

test.each([
  ['is a disk without room', 'exec AGENT 2>/dev/full >READY'],
  ['is a full pipe whose reader sleeps', '{ head -c 65536 /dev/zero >&2; exec AGENT; } 2>&1 >READY | sleep 60'],
  ['is a pipe whose reader has gone', '{ sleep 0.1; exec AGENT; } 2>&1 >READY | true'],
  ['is closed', 'exec AGENT 2>&- >READY'],
])('the agent serves and leaves where its stderr %s', async (_, text) => {
  const agent = shell(text);
  const { http } = await agent.ready();
  const env = { TROUPE_HTTP: http as string };
  expect(await run(['kv', 'put', 'a', 'b'], { env })).toMatchObject({ code: 0 });
  for (let i = 0; i < 3; i++) expect((await run(['maintenance', i % 2 === 0 ? 'on' : 'off'], { env })).code).toBe(0);
  expect((await run(['kv', 'get', 'a'], { env })).stdout).toBe('b');
  expect(await run(['leave'], { env })).toMatchObject({ code: 0 });
  if (!text.includes('| sleep')) expect(await agent.ended).toBe(0);
});

test('an agent that may open few files says so', async () => {
  const agent = shell('(ulimit -n 200; exec AGENT) >READY 2>&1');
  const { http } = await agent.ready();
  expect(await run(['leave'], { env: { TROUPE_HTTP: http as string } })).toMatchObject({ code: 0 });
  expect(agent.words()).toMatch(/"limit":200,.*ulimit -n/);
});

test('in a directory that is gone the agent says so', async () => {
  const agent = shell(`cd "$(mktemp -d)" && rmdir "$PWD" && AGENT 2>READY; test $? = 1 && grep -q '^troupe: cannot tell the working directory: .*start in another one' READY`);
  expect(await agent.ended).toBe(0);
});
