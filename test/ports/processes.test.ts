import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ChildProcess, ProcessExit } from '../../src/ports/processes.ts';
import type { PortWorld } from './worlds.ts';
import { worlds } from './worlds.ts';

// TLS makes no difference to processes.
describe.each(worlds.filter(([name]) => !name.includes('TLS')))('Processes of %s', (_name, make) => {
  let world: PortWorld;
  const children: ChildProcess[] = [];
  beforeEach(() => {
    world = make();
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill();
    await world.end();
  });

  interface Seen {
    readonly child: ChildProcess;
    readonly events: string[];
    readonly out: { stdout: string; stderr: string };
    exit: ProcessExit | undefined;
  }

  function spawn(command: readonly string[], leaseMs = 30_000): Seen {
    const events: string[] = [];
    const out = { stdout: '', stderr: '' };
    const seen: Seen = {
      events,
      out,
      exit: undefined,
      child: world.processes.spawn({ command, environment: {}, leaseMs }, {
        onStarted: (pid) => events.push(pid > 0 ? 'started' : `pid ${pid}`),
        onOutput: (stream, bytes) => {
          out[stream] += Buffer.from(bytes).toString();
          events.push(stream);
        },
        onExit: (exit) => {
          seen.exit = exit;
          events.push('exit');
        },
      }),
    };
    children.push(seen.child);
    expect(events).toEqual([]);
    return seen;
  }

  it('tells of the start, the output of both streams and then, last and once, of the end', async () => {
    const seen = spawn(world.commands.speak);
    await world.until(() => seen.exit !== undefined);
    await world.pass(300);
    expect(seen.out).toEqual({ stdout: 'out\n', stderr: 'err\n' });
    expect(seen.exit).toEqual({ type: 'exited', code: 3 });
    expect([seen.events[0], seen.events.at(-1), seen.events.filter((event) => event === 'exit').length]).toEqual(['started', 'exit', 1]);
    expect(seen.child.pid).toBeGreaterThan(0);
  });

  it('says failed of what cannot be started', async () => {
    const seen = spawn(world.commands.missing);
    await world.until(() => seen.exit !== undefined);
    expect(seen.exit).toMatchObject({ type: 'failed', error: expect.stringContaining('ENOENT') });
    expect(seen.events).toEqual(['exit']);
  });

  it('stop() ends by SIGTERM what does not mind, and lets others end by themselves', async () => {
    const idle = spawn(world.commands.idle);
    const polite = spawn(world.commands.polite);
    await world.until(() => idle.out.stdout === 'up\n' && polite.out.stdout === 'up\n');
    idle.child.stop(3000);
    polite.child.stop(3000);
    await world.until(() => idle.exit !== undefined && polite.exit !== undefined);
    expect(idle.exit).toEqual({ type: 'signalled', signal: 'SIGTERM' });
    expect(polite.exit).toEqual({ type: 'exited', code: 7 });
    expect(polite.out.stdout).toBe('up\nbye\n');
  });

  it('stop() kills what ignores SIGTERM after the given time, not before', async () => {
    const seen = spawn(world.commands.stubborn);
    await world.until(() => seen.out.stdout === 'up\n');
    const asked = world.clock.now();
    seen.child.stop(200);
    await world.until(() => seen.exit !== undefined);
    expect(world.clock.now() - asked).toBeGreaterThanOrEqual(200);
    expect(seen.exit).toEqual({ type: 'signalled', signal: 'SIGKILL' });
  });

  it('kill() ends it at once, and calls after the end do nothing', async () => {
    const seen = spawn(world.commands.stubborn);
    await world.until(() => seen.out.stdout === 'up\n');
    seen.child.kill();
    await world.until(() => seen.exit !== undefined);
    expect(seen.exit).toEqual({ type: 'signalled', signal: 'SIGKILL' });
    seen.child.kill();
    seen.child.stop(1);
    seen.child.renew();
    await world.pass(50);
    expect(seen.events.filter((event) => event === 'exit').length).toBe(1);
  });

  it('kills it when the lease is not renewed, and holds it as long as it is', async () => {
    // Long enough for a busy machine to let this process renew it in time.
    const seen = spawn(world.commands.idle, 2500);
    await world.until(() => seen.out.stdout === 'up\n');
    for (let i = 0; i < 14; i++) {
      await world.pass(200);
      seen.child.renew();
    }
    expect(seen.exit).toBeUndefined();
    const last = world.clock.now();
    seen.child.renew(300);
    await world.until(() => seen.exit !== undefined);
    expect(world.clock.now() - last).toBeGreaterThanOrEqual(299);
    expect(world.clock.now() - last).toBeLessThan(2490);
    expect(seen.exit).toEqual({ type: 'signalled', signal: 'SIGKILL' });
  });
});
