import { spawn } from 'node:child_process';
import { afterEach, expect, test } from 'vitest';
import { hostSystem } from '../../src/host/system.ts';

const children: ReturnType<typeof spawn>[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
});

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(what);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test('tells of this process', () => {
  const facts = hostSystem.process(hostSystem.pid);
  expect(hostSystem.pid).toBe(process.pid);
  expect(facts?.residentBytes).toBeGreaterThan(10 * 2 ** 20);
  expect(facts?.cpuMs).toBeGreaterThan(1);
  expect(facts?.uptimeMs).toBeGreaterThan(1);
});

test('tells of another process what the kernel says, and nothing once it is gone', async () => {
  const script = 'const kept = Buffer.alloc(64 << 20, 1); const end = Date.now() + 300; while (Date.now() < end); setInterval(() => kept.length, 1000); console.log("up")';
  const child = spawn(process.execPath, ['-e', script, 'a (b) c'], { stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  const pid = child.pid as number;
  const facts = hostSystem.process(pid);
  expect(facts?.residentBytes).toBeGreaterThan(64 * 2 ** 20);
  expect(facts?.residentBytes).toBeLessThan(400 * 2 ** 20);
  // It was busy for 0.3 s by the wall clock; on a loaded machine it got less of it.
  expect(facts?.cpuMs).toBeGreaterThanOrEqual(20);
  expect(facts?.cpuMs).toBeLessThan(60_000);
  expect(facts?.uptimeMs).toBeGreaterThanOrEqual(250);
  expect(facts?.uptimeMs).toBeLessThan(60_000);
  expect(facts?.command).toContain('-e const kept');
  expect(facts?.command.length).toBeLessThanOrEqual(200);
  child.kill('SIGKILL');
  await until(() => hostSystem.process(pid) === undefined, 'a killed process is still told of');
});

test('tells what a process has started, and that one stands still', async () => {
  const child = spawn('sh', ['-c', 'sleep 1000 & sleep 1001 & echo up; wait'], { stdio: ['ignore', 'pipe', 'ignore'], detached: true });
  await new Promise((resolve) => child.stdout?.once('data', resolve));
  const pid = child.pid as number;
  try {
    expect(hostSystem.children(process.pid)).toContain(pid);
    await until(() => hostSystem.children(pid).map((each) => hostSystem.process(each)?.command).join() === 'sleep 1000,sleep 1001', 'the children are not told of');
    await until(() => hostSystem.process(pid)?.state === 'sleeping', 'a process that waits is not told of as sleeping');
    process.kill(pid, 'SIGSTOP');
    await until(() => hostSystem.process(pid)?.state === 'stopped', 'a stopped process is not told of');
  } finally {
    process.kill(-pid, 'SIGKILL');
  }
  await until(() => hostSystem.children(pid).length === 0, 'children of nobody are told of');
});
