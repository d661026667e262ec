/** Apps in real processes: who runs what, how it was started, what it was handed, and that it never runs twice. */
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { buildIfStale, cleanUp, Cluster, run, temporaryDirectory, until } from './support/agents.ts';
import type { Agent, Result } from './support/agents.ts';

beforeAll(buildIfStale);
afterEach(cleanUp);
afterAll(cleanUp);

/** Longer than this test's processes are ever kept from the processor: a lapsed lease would end an app where none is meant to end. */
const timing = { leaseMs: 4000 };

interface Start {
  readonly what: 'start';
  readonly at: number;
  readonly app: string;
  readonly node: string;
  readonly type: string;
  readonly from: string;
  readonly epoch: number;
  readonly handover: string;
  readonly config: unknown;
  readonly pid: number;
}
type Line = Start | { readonly what: 'stop'; readonly at: number; readonly node: string; readonly epoch: number; readonly app: string };

/** What both kinds of app write down: a line per start and orderly stop, by the clock that all processes share. */
const writer = `
import { appendFileSync, existsSync } from 'node:fs';
export const note = (diary, line) => appendFileSync(diary, JSON.stringify({ at: Number(process.hrtime.bigint() / 1000n) / 1000, ...line }) + '\\n');
export const isThere = existsSync;
`;

/** A command: hands over what it was handed and its node; a file DIARY.NODE.sick makes it fail at the start, .deaf makes it ignore SIGTERM, .dying makes it end soon. */
const commandText = `
import { readFileSync, writeFileSync } from 'node:fs';
import { spawn } from 'node:child_process';
import { note, isThere } from './writer.mjs';
const { TROUPE_APP: app, TROUPE_NODE: node, TROUPE_START_TYPE: type, TROUPE_FROM: from, TROUPE_EPOCH: epoch, TROUPE_HANDOVER: file, TROUPE_CONFIG: config } = process.env;
const diary = process.argv[2];
const has = (sign) => isThere(diary + '.' + node + '.' + sign);
const handover = isThere(file) ? readFileSync(file, 'utf8') : '';
// Of the same process group: must not outlive it.
const child = spawn('sleep', ['600']);
note(diary, { what: 'start', app, node, type, from, epoch: Number(epoch), handover, config: JSON.parse(config), pid: process.pid, child: child.pid });
if (has('dying')) setTimeout(() => process.exit(7), 30);
process.on('SIGTERM', () => {
  if (has('deaf')) return;
  writeFileSync(file, (handover === '' ? '' : handover + ' ') + node);
  note(diary, { what: 'stop', app, node, epoch: Number(epoch) });
  process.exit(0);
});
setInterval(() => {}, 1000);
`;

const moduleText = `
import { note, isThere } from './writer.mjs';
export default {
  async start({ type, from, epoch, handover, node, signal }) {
    const { diary, app } = node.config;
    if (isThere(diary + '.' + node.name + '.sick')) throw new Error('this node is sick');
    await node.keyspace('default').put('ran-on', node.name);
    note(diary, { what: 'start', app, node: node.name, type, from: from ?? '', epoch, handover: handover?.path ?? '', config: node.config, pid: process.pid });
    const timer = setInterval(() => {}, 1000);
    signal.addEventListener('abort', () => clearInterval(timer));
    return { async stop() {
      note(diary, { what: 'stop', app, node: node.name, epoch });
      return { path: (handover === undefined ? '' : handover.path + ' ') + node.name };
    } };
  },
};
`;

class Stage {
  readonly directory: string = temporaryDirectory();
  readonly diary: string = join(this.directory, 'diary');
  readonly commandFile: string = join(this.directory, 'command.mjs');
  readonly moduleFile: string = join(this.directory, 'module.mjs');

  constructor() {
    writeFileSync(join(this.directory, 'writer.mjs'), writer);
    writeFileSync(this.commandFile, commandText);
    writeFileSync(this.moduleFile, moduleText);
    writeFileSync(this.diary, '');
    chmodSync(this.commandFile, 0o755);
  }

  get lines(): Line[] {
    return readFileSync(this.diary, 'utf8').split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as Line);
  }

  starts(app?: string): Start[] {
    return this.lines.filter((line): line is Start => line.what === 'start' && (app === undefined || line.app === app));
  }

  sign(node: string, what: 'sick' | 'deaf' | 'dying'): string {
    const path = `${this.diary}.${node}.${what}`;
    writeFileSync(path, '');
    return path;
  }

  /** The newest start, once it is on the node: the cluster says `running` when a command's process is there, which then needs a moment to write. */
  async last(app: string, node: string): Promise<Start> {
    await until(() => this.starts(app).at(-1)?.node === node, () => `${app} has not started on ${node}: ${JSON.stringify(this.lines)}`);
    return this.starts(app).at(-1) as Start;
  }
}

function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

const troupe = (agent: Agent, ...words: string[]): Promise<Result> => run([...words, '--http', `127.0.0.1:${agent.http}`]);

async function runsOn(asked: Agent, app: string, node: string | undefined): Promise<void> {
  let seen: unknown;
  await until(async () => {
    const view = await asked.app(app).catch(() => undefined);
    seen = view;
    return node === undefined ? view?.node === undefined && view?.state !== undefined : view?.node === node && view.state === 'running';
  }, () => `${app} should run on ${node}: ${JSON.stringify(seen)}`);
}

test.each(['command', 'module'] as const)('a %s goes through fail-over, take-over and the operator’s hands; it never runs twice', async (kind) => {
  const stage = new Stage();
  const spec = { nodes: ['a', ['b', 'c']], stopTimeoutMs: 3000, ...(kind === 'command' ? { command: [process.execPath, stage.commandFile, stage.diary], config: { n: 1 } } : { module: stage.moduleFile, config: { diary: stage.diary, app: 'play' } }) };
  const cluster = await new Cluster(['a', 'b', 'c'], { config: { timing, apps: { play: spec } } }).start();
  const [a, b, c] = ['a', 'b', 'c'].map((name) => cluster.get(name)) as [Agent, Agent, Agent];
  await runsOn(b, 'play', 'a');
  const first = await stage.last('play', 'a');
  expect(first).toMatchObject({ app: 'play', node: 'a', from: '', handover: '', config: kind === 'command' ? { n: 1 } : { diary: stage.diary } });
  expect(['normal', 'failover']).toContain(first.type);

  // kill -9 of the agent: the command's whole group goes with it, and the next of the list takes over.
  const members = stage.lines.flatMap((line) => (line.what === 'start' && kind === 'command' ? [line.pid, (line as unknown as { child: number }).child] : []));
  const killedAt = performance.now();
  await a.kill();
  await until(() => stage.starts().length === 2, () => b.tail());
  console.log(`${kind}: fail-over after kill -9: the next was started within ${(performance.now() - killedAt).toFixed(0)} ms`);
  await until(() => !members.some(isRunning), () => 'the command outlived its agent');
  await runsOn(c, 'play', 'b');
  const second = await stage.last('play', 'b');
  expect(second).toMatchObject({ type: 'failover', from: 'a', handover: '' });
  expect(second.epoch).toBeGreaterThan(first.epoch);

  // The first returns and takes it over, with what the other hands over.
  await a.start();
  await runsOn(b, 'play', 'a');
  expect(await stage.last('play', 'a'), `${JSON.stringify(stage.lines)} ${a.tail()} ${b.tail()}`).toMatchObject({ type: 'takeover', from: 'b', handover: 'b' });

  // The operator.
  expect(await troupe(b, 'apps', 'takeover', 'play', 'c')).toMatchObject({ code: 0, stdout: 'c takes play over.\n' });
  await until(() => stage.starts().some((start) => start.node === 'c' && start.type === 'takeover' && start.from === 'a'), () => c.tail());
  expect(stage.starts().find((start) => start.node === 'c'), `${JSON.stringify(stage.lines)} ${a.tail()} ${c.tail()}`).toMatchObject({ handover: 'b a' });
  // Told what to do, not what to hold against the list for ever: it may go back to the first at once.
  expect(await troupe(b, 'apps', 'stop', 'play')).toMatchObject({ code: 0 });
  await until(async () => (await b.app('play')).state === 'stopped', () => 'it does not stop');
  const stopped = stage.lines.length;
  expect(stage.lines.at(-1)).toMatchObject({ what: 'stop' });
  expect(await troupe(b, 'apps', 'forbid', 'play', 'a')).toMatchObject({ code: 0 });
  expect(await troupe(b, 'apps', 'start', 'play')).toMatchObject({ code: 0 });
  await runsOn(b, 'play', 'b');
  await stage.last('play', 'b');
  expect(stage.lines.slice(stopped)).toEqual([expect.objectContaining({ node: 'b', type: 'normal', from: '', handover: '' })]);
  expect((await b.app('play')).forbidden).toEqual(['a']);
  expect(await troupe(b, 'apps', 'permit', 'play', 'a')).toMatchObject({ code: 0 });
  await runsOn(b, 'play', 'a');
  expect(await stage.last('play', 'a'), `${JSON.stringify(stage.lines)} ${a.tail()} ${b.tail()}`).toMatchObject({ type: 'takeover', from: 'b', handover: 'b' });
  expect(await troupe(b, 'apps', 'stop', 'nothing')).toMatchObject({ code: 1, stderr: "troupe: there is no app 'nothing'\n" });

  // Epochs only grow, and between two starts that did not follow a death lies the stop of the first.
  const epochs = stage.starts().map((start) => start.epoch);
  expect(epochs).toEqual(epochs.toSorted((x, y) => x - y));
  expect(new Set(epochs).size).toBe(epochs.length);
  for (const [i, line] of stage.lines.entries()) {
    const before = stage.lines[i - 1];
    if (line.what === 'start' && line.type !== 'failover' && before !== undefined) expect(before, `line ${i}`).toMatchObject({ what: 'stop' });
  }
  await cluster.stop();
  await until(() => !stage.starts().some((start) => isRunning(start.pid)), () => 'a command outlived all agents');
});

test('sick nodes: a failed start tries the next, a crash loop moves on, a failed take-over brings the old one back, the deaf are killed', async () => {
  const stage = new Stage();
  const command = [process.execPath, stage.commandFile, stage.diary];
  const cluster = new Cluster(['a', 'b', 'c'], {
    config: {
      timing,
      apps: {
        loop: { nodes: ['a', 'b'], takeover: 'manual', command, restart: { count: 2, periodMs: 20_000 }, stopTimeoutMs: 1500 },
        mod: { nodes: ['a', 'b', 'c'], takeover: 'manual', module: stage.moduleFile, config: { diary: stage.diary, app: 'mod' } },
        absent: { nodes: ['a', 'b'], command: ['/nonexistent/program'] },
      },
    },
  });
  stage.sign('a', 'dying');
  const sick = stage.sign('a', 'sick');
  // `absent` keeps it from ever being without need of attention.
  await cluster.start({ healthy: false });
  const [a, b, c] = ['a', 'b', 'c'].map((name) => cluster.get(name)) as [Agent, Agent, Agent];

  // A crash loop: one start and two restarts in place, then the next node.
  await runsOn(c, 'loop', 'b');
  await stage.last('loop', 'b');
  const onA = stage.starts('loop').filter((start) => start.node === 'a');
  if (onA.length > 0) {
    expect(onA.map((start) => start.type).slice(1)).toEqual(['local', 'local']);
    expect(await stage.last('loop', 'b')).toMatchObject({ type: 'failover', from: 'a' });
  }
  // A start that throws.
  await runsOn(c, 'mod', 'b');
  expect(stage.starts('mod').map((start) => start.node)).toEqual(['b']);
  // A program that is not there: tried everywhere, and told.
  await until(async () => (await c.app('absent')).lastError !== undefined, () => JSON.stringify(a.tail()));
  expect((await c.app('absent')).lastError).toMatch(/^[ab]: .*\/nonexistent\/program/);
  const status = await troupe(c, 'status');
  expect(status.code).toBe(1);
  expect(status.stdout).toMatch(/app absent is (idle|starting); last error: [ab]: /);

  // A take-over to a sick node: the old one is started again, with what it had handed over.
  expect(await troupe(c, 'apps', 'takeover', 'mod', 'a')).toMatchObject({ code: 0 });
  await until(() => stage.starts('mod').length === 2, () => b.tail());
  expect(await stage.last('mod', 'b')).toMatchObject({ from: 'a', handover: 'b' });
  await runsOn(c, 'mod', 'b');
  await until(() => a.stderr.includes('this node is sick'), () => a.tail());
  expect(existsSync(sick)).toBe(true);

  // Deaf to SIGTERM: ended by force after stopTimeoutMs, and nothing of its group is left.
  const deaf = await stage.last('loop', 'b');
  stage.sign('b', 'deaf');
  const asked = performance.now();
  expect(await c.post('/v1/apps/loop/stop', {})).toMatchObject({ status: 200 });
  await until(async () => (await c.app('loop')).state === 'stopped', () => b.tail());
  expect(performance.now() - asked).toBeGreaterThan(1400);
  expect(isRunning(deaf.pid)).toBe(false);
  expect(isRunning((deaf as unknown as { child: number }).child)).toBe(false);
});

test('two apps of one tier are spread by load', async () => {
  const stage = new Stage();
  const app = { nodes: [['a', 'b', 'c']], command: ['/bin/sleep', '600'] };
  const cluster = await new Cluster(['a', 'b', 'c'], { config: { timing, apps: { one: app, two: app, three: app } } }).start();
  const b = cluster.get('b');
  await until(async () => (await b.status()).apps.every((each) => each.state === 'running'), () => b.tail());
  expect(new Set((await b.status()).apps.map((each) => each.node))).toEqual(new Set(['a', 'b', 'c']));
  await cluster.get('c').kill();
  await until(async () => (await b.status()).apps.every((each) => each.state === 'running' && each.node !== 'c'), () => b.tail());
  expect((await b.status()).apps.map((each) => each.node ?? '').toSorted((x, y) => (x < y ? -1 : 1)).join()).toMatch(/^(a,a,b|a,b,b)$/);
  expect(existsSync(stage.diary)).toBe(true);
});
