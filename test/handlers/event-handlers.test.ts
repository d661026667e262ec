import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentEvent } from '../../src/core/serf/agent-event.ts';
import { HostClock } from '../../src/host/clock.ts';
import { HostScripts } from '../../src/host/scripts.ts';
import { EventHandlers, parseHandler } from '../../src/node/event-handlers.ts';
import type { HandlerLimits } from '../../src/node/event-handlers.ts';
import type { Log } from '../../src/ports/log.ts';
import { silentLog } from '../../src/ports/log.ts';
import type { RunningScript, ScriptExit, ScriptOptions, Scripts } from '../../src/ports/scripts.ts';
import { poll } from '../poll.ts';
import { member, queryEvent, userEvent } from './events.ts';

const self = member('me', { 'role': 'web', 'a.b-c': 'x y', 'troupe.peer': '1' });
const warnings: string[] = [];
const log: Log = { ...silentLog, warn: (message) => void warnings.push(message), error: (message) => void warnings.push(message) };
beforeEach(() => void (warnings.length = 0));

function runner(handlers: readonly string[], scripts: Scripts, limits: Partial<HandlerLimits> = {}, leads = () => false): EventHandlers {
  return new EventHandlers(handlers.map(parseHandler), { scripts, clock: new HostClock(), log, self: () => self, leads }, limits);
}

/** Scripts that run until they are told to end. */
class HeldScripts implements Scripts {
  readonly started: { readonly options: ScriptOptions; readonly end: (exit?: Partial<ScriptExit>) => void; readonly signals: string[] }[] = [];

  run(options: ScriptOptions, onExit: (exit: ScriptExit) => void): RunningScript {
    const signals: string[] = [];
    this.started.push({ options, signals, end: (exit) => onExit({ end: { type: 'exited', code: 0 }, output: new Uint8Array(0), outputBytes: 0, ...exit }) });
    return { pid: 1, terminate: () => void signals.push('TERM'), kill: () => void signals.push('KILL') };
  }

  get told(): string[] {
    return this.started.map(({ options }) => `${options.script} ${Buffer.from(options.input).toString().trim().split('\t')[0]}`);
  }
}

function joined(...names: string[]): AgentEvent {
  return { type: 'member-join', members: names.map((name) => member(name)) };
}

describe('EventHandlers, with scripts that are held', () => {
  // serf-wire D7: Serf runs one script at a time; a slow one delays everything.
  test('a slow script delays neither other events nor other scripts, but its own row keeps its order', () => {
    const scripts = new HeldScripts();
    const handlers = runner(['user=u', 'query=q', 'member-join,member-failed=m'], scripts);
    handlers.handle(userEvent('deploy', '1'));
    handlers.handle(userEvent('deploy', '2'));
    handlers.handle(userEvent('other', '3'));
    handlers.handle(joined('a'));
    handlers.handle({ type: 'member-failed', members: [member('a')] });
    handlers.handle(queryEvent('load', '4'));
    expect(scripts.told).toEqual(['u 1', 'u 3', 'm a', 'q 4']);
    scripts.started[0]!.end();
    scripts.started[2]!.end();
    expect(scripts.told.slice(4)).toEqual(['u 2', 'm a']);
    expect(scripts.started[5]!.options.environment['SERF_EVENT']).toBe('member-failed');
    expect(handlers.counts).toEqual({ running: 4, waiting: 0, dropped: 0 });
  });

  test('no more than runningMax run at one time', () => {
    const scripts = new HeldScripts();
    const handlers = runner(['user=u'], scripts, { runningMax: 2 });
    for (let i = 0; i < 5; i++) handlers.handle(userEvent(`e${i}`, String(i)));
    expect(handlers.counts).toMatchObject({ running: 2, waiting: 3 });
    for (let i = 0; i < 5; i++) scripts.started[i]!.end();
    expect(scripts.told).toEqual(['u 0', 'u 1', 'u 2', 'u 3', 'u 4']);
    expect(handlers.counts).toMatchObject({ running: 0, waiting: 0 });
  });

  test('past waitingMax the oldest of the longest row is dropped, and that is logged', () => {
    const scripts = new HeldScripts();
    const handlers = runner(['user=u'], scripts, { runningMax: 1, waitingMax: 3 });
    handlers.handle(userEvent('rare', 'r'));
    handlers.handle(userEvent('rare', 'r2'));
    for (let i = 0; i < 5; i++) handlers.handle(userEvent('flood', String(i)));
    expect(handlers.counts).toEqual({ running: 1, waiting: 3, dropped: 3 });
    for (let i = 0; i < 4; i++) scripts.started[i]!.end();
    expect(scripts.told.sort()).toEqual(['u 3', 'u 4', 'u r', 'u r2']);
    expect(warnings).toEqual([expect.stringContaining('too slow')]);
  });

  test('a row whose only event was dropped is gone', () => {
    const scripts = new HeldScripts();
    const handlers = runner(['user=u'], scripts, { runningMax: 1, waitingMax: 1 });
    for (const name of ['a', 'b', 'c', 'd']) handlers.handle(userEvent(name, name));
    expect(handlers.counts).toEqual({ running: 1, waiting: 1, dropped: 2 });
    scripts.started[0]!.end();
    scripts.started[1]!.end();
    expect(scripts.told).toHaveLength(2);
    expect(handlers.counts).toMatchObject({ running: 0, waiting: 0 });
  });

  test('the answer to a query is its output, if it succeeded and wrote something', () => {
    const scripts = new HeldScripts();
    const handlers = runner(['query=q'], scripts);
    const answers: string[] = [];
    const ask = (name: string): void => handlers.handle(queryEvent(name, '', Infinity, (payload) => answers.push(Buffer.from(payload).toString()) < 2));
    ask('a');
    ask('b');
    ask('c');
    ask('d');
    scripts.started[0]!.end({ output: Buffer.from('yes\n'), outputBytes: 4 });
    scripts.started[1]!.end({ end: { type: 'exited', code: 1 }, output: Buffer.from('no'), outputBytes: 2 });
    scripts.started[2]!.end();
    expect(answers).toEqual(['yes\n']);
    scripts.started[3]!.end({ output: Buffer.from('late'), outputBytes: 4 });
    expect(warnings).toEqual([expect.stringContaining('exit code 1'), expect.stringContaining('was not sent')]);
  });

  test('a query whose time is over is not begun', () => {
    const scripts = new HeldScripts();
    const handlers = runner(['query=q', 'user=u'], scripts);
    handlers.handle(queryEvent('x', '', -1));
    handlers.handle(userEvent('y', 'y'));
    expect(scripts.told).toEqual(['u y']);
    expect(handlers.counts).toMatchObject({ running: 1, waiting: 0 });
  });

  test('leader: only where the node leads when the event comes', () => {
    const scripts = new HeldScripts();
    let leads = false;
    const handlers = runner(['leader:user=u'], scripts, {}, () => leads);
    handlers.handle(userEvent('a', '1'));
    leads = true;
    handlers.handle(userEvent('a', '2'));
    expect(scripts.told).toEqual(['u 2']);
  });

  test('setHandlers() takes effect with the next event', () => {
    const scripts = new HeldScripts();
    const handlers = runner(['user=old'], scripts, { runningMax: 1 });
    handlers.handle(userEvent('a', '1'));
    handlers.handle(userEvent('a', '2'));
    handlers.setHandlers([parseHandler('user=new')]);
    handlers.handle(userEvent('a', '3'));
    scripts.started[0]!.end();
    scripts.started[1]!.end();
    expect([...scripts.told].sort()).toEqual(['new 3', 'old 1', 'old 2']);
  });

  test('a script that runs too long is terminated, then killed', async () => {
    const scripts = new HeldScripts();
    runner(['user=u'], scripts, { timeoutMs: 20, killAfterMs: 20 }).handle(userEvent('a'));
    await poll(() => expect(scripts.started[0]!.signals).toEqual(['TERM', 'KILL']));
  });

  test('close() waits for what runs and waits, and takes nothing more', async () => {
    const scripts = new HeldScripts();
    const handlers = runner(['user=u'], scripts, { runningMax: 1 });
    handlers.handle(userEvent('a', '1'));
    handlers.handle(userEvent('a', '2'));
    let closed = false;
    const closing = handlers.close(10_000).then(() => (closed = true));
    handlers.handle(userEvent('a', '3'));
    scripts.started[0]!.end();
    await Promise.resolve();
    expect(closed).toBe(false);
    scripts.started[1]!.end();
    await closing;
    expect(scripts.told).toEqual(['u 1', 'u 2']);
    await handlers.close(10_000);
  });

  test('close() terminates what does not end in time, and drops what waits', async () => {
    const scripts = new HeldScripts();
    const handlers = runner(['user=u'], scripts, { runningMax: 1 });
    handlers.handle(userEvent('a', '1'));
    handlers.handle(userEvent('a', '2'));
    const closing = handlers.close(10);
    await poll(() => expect(scripts.started[0]!.signals).toEqual(['TERM']));
    scripts.started[0]!.end({ end: { type: 'signalled', signal: 'SIGTERM' } });
    await closing;
    expect(scripts.told).toEqual(['u 1']);
  });
});

describe('EventHandlers, with real scripts', () => {
  const directory = mkdtempSync(join(tmpdir(), 'troupe-handlers-'));
  const file = (name: string): string => join(directory, name);
  const text = (name: string): string => readFileSync(file(name), 'utf8');
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  test('environment and input are Serf\'s', async () => {
    const handlers = runner([`env | grep -E '^SERF_' | sort > ${file('env')}.$SERF_EVENT; cat > ${file('in')}.$SERF_EVENT`].map((script) => `*=${script}`), new HostScripts());
    handlers.handle({ type: 'member-join', members: [self, member('tab\there', { role: 'db', note: 'a\nb' })] });
    handlers.handle(userEvent('deploy', 'v7', 42));
    handlers.handle(queryEvent('load', 'x\n'));
    await handlers.close(10_000);
    const common = ['SERF_SELF_NAME=me', 'SERF_SELF_ROLE=web', 'SERF_TAG_A_B_C=x y', 'SERF_TAG_ROLE=web']; // and not what Troupe nodes tell each other in tags
    expect(text('env.member-join').trim().split('\n')).toEqual(['SERF_EVENT=member-join', ...common]);
    expect(text('env.user').trim().split('\n')).toEqual(['SERF_EVENT=user', ...common, 'SERF_USER_EVENT=deploy', 'SERF_USER_LTIME=42']);
    expect(text('env.query').trim().split('\n')).toEqual(['SERF_EVENT=query', 'SERF_QUERY_LTIME=7', 'SERF_QUERY_NAME=load', ...common, 'SERF_USER_QUERY=load']);
    expect(text('in.member-join')).toBe('me\t127.0.0.1\tweb\trole=web,a.b-c=x y\ntab\\there\t127.0.0.1\tdb\trole=db,note=a\\nb\n');
    expect(text('in.user')).toBe('v7\n');
    expect(text('in.query')).toBe('x\n');
  });

  test('an empty payload is empty input; a name with a NUL breaks nothing', async () => {
    const handlers = runner([`*=printf '%s' "$SERF_USER_EVENT" > ${file('nul')}; wc -c >> ${file('nul')}`], new HostScripts());
    handlers.handle(userEvent('a\0b'));
    await handlers.close(10_000);
    expect(text('nul').replaceAll(/\s/g, '')).toBe('ab0');
    expect(warnings).toEqual([]);
  });

  test('the last 8 KiB of output are the answer', async () => {
    let answer = '';
    const handlers = runner(['query=i=0; while [ $i -lt 3000 ]; do printf "%05d" $i; i=$((i+1)); done; echo err >&2'], new HostScripts());
    handlers.handle(queryEvent('x', '', Infinity, (payload) => {
      answer = Buffer.from(payload).toString();
      return true;
    }));
    await handlers.close(10_000);
    expect(answer).toHaveLength(8192);
    expect(answer).toMatch(/0299802999err\n$/);
    expect(warnings).toEqual([expect.stringContaining('cut to its last 8192 of 15004 bytes')]);
  });

  test('the whole group of a script that runs too long ends', async () => {
    const handlers = runner([`user=trap '' TERM; sleep 1000 & echo $! > ${file('pid')}; wait; while :; do sleep 0.05; done`], new HostScripts(), { timeoutMs: 300, killAfterMs: 100 });
    handlers.handle(userEvent('x'));
    await poll(() => expect(warnings).toEqual([expect.stringContaining('has run for 300 ms'), expect.stringContaining('signal SIGKILL')]));
    const pid = Number(text('pid'));
    await poll(() => expect(() => process.kill(pid, 0)).toThrow());
  });

  test('a script that leaves something behind in the background does not hold up its row', async () => {
    const handlers = runner([`user=sleep 30 & echo $! > ${file('background')}`], new HostScripts());
    handlers.handle(userEvent('x'));
    await poll(() => expect(handlers.counts.running).toBe(0), 5000);
    process.kill(Number(text('background')), 'SIGKILL');
  });

  test('a script need not read its input; one that does not exist is an error in the log', async () => {
    const handlers = runner(['user:big=exit 0', 'user:gone=/no/such/script'], new HostScripts());
    handlers.handle(userEvent('big', 'x'.repeat(500_000)));
    handlers.handle(userEvent('gone'));
    await handlers.close(10_000);
    expect(warnings).toEqual([expect.stringContaining('exit code 127')]);
  });
});
