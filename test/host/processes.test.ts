import type { ChildProcess as NodeChildProcess } from 'node:child_process';
import { fork, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'vite';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { ChildProcess, ProcessExit, SpawnOptions } from '../../src/ports/processes.ts';
import { HostProcesses } from '../../src/host/processes.ts';

const directory = mkdtempSync(join(tmpdir(), 'troupe-processes-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

class Watcher {
  pid: number | undefined;
  output = '';
  errors = '';
  exits: ProcessExit[] = [];
  onStarted = (pid: number): void => void (this.pid = pid);
  onOutput = (stream: 'stdout' | 'stderr', bytes: Uint8Array): void => {
    if (stream === 'stdout') this.output += Buffer.from(bytes).toString();
    else this.errors += Buffer.from(bytes).toString();
  };
  onExit = (exit: ProcessExit): void => void this.exits.push(exit);
}

const started: ChildProcess[] = [];
function run(command: readonly string[], more: Partial<SpawnOptions> = {}): { child: ChildProcess; watcher: Watcher } {
  const watcher = new Watcher();
  const child = new HostProcesses().spawn({ command, environment: {}, leaseMs: 30_000, ...more }, watcher);
  started.push(child);
  return { child, watcher };
}
afterEach(() => started.splice(0).forEach((child) => child.kill()));

/** Processes of the group that live; zombies do not count. */
function living(group: number): string[] {
  return spawnSync('ps', ['-eo', 'pgid=,stat=,pid=,args='], { encoding: 'utf8' }).stdout.split('\n')
    .filter((line) => Number(line.trim().split(/\s+/)[0]) === group && !/^\s*\d+\s+Z/.test(line));
}

const until = (condition: () => boolean, timeout = 8000): Promise<void> => expect.poll(condition, { timeout, interval: 5 }).toBe(true);
/** Ignores SIGTERM, and so do its two descendants; says its group and then that all are up. */
const stubborn = 'trap "" TERM; sh -c \'trap "" TERM; sleep 1000 & echo up; wait; sleep 1000\' & wait; sleep 1000';

describe('HostProcesses.spawn()', () => {
  it('runs a command with its environment, arguments and directory, and gives its output and code', async () => {
    const { child, watcher } = run(['sh', '-c', 'echo "$TROUPE_APP $1 $HOME" ; pwd; echo oops >&2; exit 3', 'sh', 'a b'], { environment: { TROUPE_APP: 'web' }, directory });
    await until(() => watcher.exits.length === 1);
    expect(watcher.output).toBe(`web a b ${process.env['HOME'] ?? ''}\n${directory}\n`);
    expect(watcher.errors).toBe('oops\n');
    expect(watcher.exits).toEqual([{ type: 'exited', code: 3 }]);
    expect(child.pid).toBe(watcher.pid);
  });

  it('gives the input, which then ends, and does not mind a command that leaves it unread', async () => {
    const input = Buffer.from('line\n'.repeat(100_000));
    const counted = run(['wc', '-c'], { input });
    const deaf = run(['true'], { input });
    const none = run(['wc', '-c']);
    await until(() => [counted, deaf, none].every(({ watcher }) => watcher.exits.length === 1));
    expect([counted.watcher.output.trim(), none.watcher.output.trim()]).toEqual(['500000', '0']);
    for (const { watcher } of [counted, deaf, none]) expect(watcher.exits).toEqual([{ type: 'exited', code: 0 }]);
  });

  it('carries large output whole', async () => {
    const { watcher } = run(['sh', '-c', 'head -c 3000000 /dev/zero']);
    await until(() => watcher.exits.length === 1);
    expect(watcher.output.length).toBe(3_000_000);
  });

  it('reports what cannot be started', async () => {
    const cases: [readonly string[], Partial<SpawnOptions>, RegExp][] = [
      [['/no/such/program'], {}, /ENOENT/],
      [[directory], {}, /EACCES/],
      [[], {}, /the command is empty/],
      [['true'], { directory: join(directory, 'missing') }, /working directory .* does not exist/],
      [['true'], { directory: '/etc/passwd' }, /is not a directory/],
    ];
    for (const [command, more, expected] of cases) {
      const { watcher } = run(command, more);
      expect(watcher.exits).toEqual([]);
      await until(() => watcher.exits.length === 1);
      expect(watcher.exits[0]).toMatchObject({ type: 'failed', error: expect.stringMatching(expected) });
    }
  });

  it('reports the signal that ended the command', async () => {
    const { watcher } = run(['sh', '-c', 'kill -USR1 $$']);
    await until(() => watcher.exits.length === 1);
    expect(watcher.exits).toEqual([{ type: 'signalled', signal: 'SIGUSR1' }]);
  });

  it('shows the warden by the app\'s name', async () => {
    const { watcher } = run(['sleep', '1000'], { environment: { TROUPE_APP: 'wikipedy' } });
    await until(() => watcher.pid !== undefined);
    const parent = spawnSync('ps', ['-o', 'ppid=', '-p', String(watcher.pid)], { encoding: 'utf8' }).stdout.trim();
    expect(readFileSync(`/proc/${parent}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()).toBe('troupe-warden wikipedy');
  });

  it('stop() lets the command end by itself', async () => {
    const { child, watcher } = run(['sh', '-c', 'trap "echo bye; exit 7" TERM; echo up; while :; do sleep 0.02; done']);
    await until(() => watcher.output === 'up\n');
    child.stop(5000);
    await until(() => watcher.exits.length === 1);
    expect([watcher.output, watcher.exits]).toEqual(['up\nbye\n', [{ type: 'exited', code: 7 }]]);
  });

  it('stop() kills descendants that ignore SIGTERM once the time is up, and reports only when the group is empty', async () => {
    const { child, watcher } = run(['sh', '-c', stubborn]);
    await until(() => watcher.output === 'up\n');
    const group = watcher.pid as number;
    expect(living(group).length).toBeGreaterThanOrEqual(3);
    const asked = performance.now();
    child.stop(300);
    await until(() => watcher.exits.length === 1);
    expect(performance.now() - asked).toBeGreaterThanOrEqual(300);
    expect(living(group)).toEqual([]);
    expect(watcher.exits).toEqual([{ type: 'signalled', signal: 'SIGKILL' }]);
  });

  it('stop() waits for a descendant that still tidies up after its parent has ended', async () => {
    const { child, watcher } = run(['sh', '-c', 'sh -c \'trap "sleep 0.3; echo tidy; exit" TERM; echo up; while :; do sleep 0.02; done\' & trap "exit 0" TERM; while :; do sleep 0.02; done']);
    await until(() => watcher.output === 'up\n');
    child.stop(5000);
    await until(() => watcher.exits.length === 1);
    expect(watcher.output).toBe('up\ntidy\n');
  });

  it('kill() empties the group at once', async () => {
    const { child, watcher } = run(['sh', '-c', stubborn]);
    await until(() => watcher.output === 'up\n');
    child.kill();
    await until(() => watcher.exits.length === 1);
    expect(living(watcher.pid as number)).toEqual([]);
  });

  it('takes what the command left behind away when it exits by itself', async () => {
    const { watcher } = run(['sh', '-c', 'sleep 1000 & exit 0']);
    await until(() => watcher.exits.length === 1);
    expect(living(watcher.pid as number)).toEqual([]);
    expect(watcher.exits).toEqual([{ type: 'exited', code: 0 }]);
  });

  it('kills the group when the lease runs out, and not while it is renewed', async () => {
    const { child, watcher } = run(['sh', '-c', stubborn], { leaseMs: 600 });
    await until(() => watcher.output === 'up\n');
    const began = performance.now();
    let last = began;
    // Two leases' time, renewed as often as it is looked at.
    await until(() => {
      last = performance.now();
      child.renew();
      return last - began > 1200 || watcher.exits.length > 0;
    });
    expect(watcher.exits).toEqual([]);
    await until(() => watcher.exits.length === 1);
    const held = performance.now() - last;
    expect(held).toBeGreaterThanOrEqual(590);
    expect(held).toBeLessThan(1500);
    expect(living(watcher.pid as number)).toEqual([]);
  });

  it('counts the lease from the moment it was given, the warden\'s own start included', async () => {
    const { watcher } = run(['sleep', '1000'], { leaseMs: 1 });
    await until(() => watcher.exits.length === 1);
    expect(watcher.exits).toEqual([{ type: 'signalled', signal: 'SIGKILL' }]);
  });

  it('kills the group itself when the warden is killed', async () => {
    const { watcher } = run(['sh', '-c', stubborn]);
    await until(() => watcher.output === 'up\n');
    const warden = Number(spawnSync('ps', ['-o', 'ppid=', '-p', String(watcher.pid)], { encoding: 'utf8' }).stdout.trim());
    process.kill(warden, 'SIGKILL');
    await until(() => watcher.exits.length === 1);
    expect(watcher.exits[0]).toMatchObject({ type: 'failed' });
    expect(living(watcher.pid as number)).toEqual([]);
  });
});

describe('the warden of an agent that', () => {
  const agents: NodeChildProcess[] = [];
  let program = '';
  beforeAll(async () => {
    // A bundle, as an application might make one: the warden must start from there too.
    const entry = join(directory, 'agent.ts');
    writeFileSync(entry, `
      import { HostProcesses } from ${JSON.stringify(join(import.meta.dirname, '../../src/host/processes.ts'))};
      const leaseMs = Number(process.argv[2]);
      const child = new HostProcesses().spawn({ command: ['sh', '-c', process.argv[3]], environment: {}, leaseMs }, {
        onStarted: (pid) => process.send({ pid }),
        onOutput: (_stream, bytes) => process.send({ output: Buffer.from(bytes).toString() }),
        onExit: (exit) => process.send({ exit }),
      });
      setInterval(() => child.renew(), 50);
      process.on('message', () => process.exit(0));
    `);
    await build({ configFile: false, logLevel: 'silent', build: { ssr: entry, outDir: join(directory, 'out'), minify: true } });
    program = join(directory, 'out/agent.js');
    if (!existsSync(program)) program = join(directory, 'out/agent.mjs');
  });
  afterEach(() => agents.splice(0).forEach((agent) => agent.kill('SIGKILL')));

  async function agentWith(leaseMs: number): Promise<{ agent: NodeChildProcess; group: number }> {
    const agent = fork(program, [String(leaseMs), stubborn], { stdio: 'inherit' });
    agents.push(agent);
    let group = 0;
    let up = false;
    agent.on('message', (message: { pid?: number; output?: string }) => {
      group = message.pid ?? group;
      up ||= message.output === 'up\n';
    });
    await until(() => up);
    expect(living(group).length).toBeGreaterThanOrEqual(3);
    return { agent, group };
  }

  /** How long until the group's leader has been reaped; then all of it must be gone. */
  async function timeToEmpty(group: number): Promise<number> {
    const start = performance.now();
    const deadline = start + 8000;
    for (;;) {
      try {
        process.kill(-group, 0);
      } catch {
        break;
      }
      // Where orphans are not reaped, zombies keep the group's number alive.
      if (performance.now() - start > 60 && living(group).length === 0) break;
      if (performance.now() > deadline) throw new Error(`the group lives on: ${living(group).join('; ')}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    return performance.now() - start;
  }

  it('is killed with kill -9 empties the group within 100 ms', async () => {
    // The best of ten: on a busy machine the kernel may let any process wait.
    const times: number[] = [];
    for (let i = 0; i < 10 && !times.some((time) => time < 100); i++) {
      const { agent, group } = await agentWith(30_000);
      agent.kill('SIGKILL');
      times.push(await timeToEmpty(group));
    }
    expect(Math.min(...times)).toBeLessThan(100);
  });

  it('exits without stopping its commands empties the group', async () => {
    const { agent, group } = await agentWith(30_000);
    agent.send('exit');
    await timeToEmpty(group);
    await until(() => agent.exitCode === 0);
  });

  it('is stopped (SIGSTOP) empties the group within its lease', async () => {
    const { agent, group } = await agentWith(700);
    agent.kill('SIGSTOP');
    const took = await timeToEmpty(group);
    expect(took).toBeGreaterThan(400);
    expect(took).toBeLessThan(1200);
  });
});
