/** Too few left: nobody acts without a majority, nothing stale is answered, and nothing lost is papered over. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { buildIfStale, cleanUp, Cluster, run, temporaryDirectory, until } from './support/agents.ts';
import type { Agent, Result } from './support/agents.ts';
import { Load, TextClient } from './support/load.ts';

beforeAll(buildIfStale);
afterEach(cleanUp);
afterAll(cleanUp);

const timing = { requestTimeoutMs: 1500 };
const troupe = (agent: Agent, ...words: string[]): Promise<Result> => run([...words, '--http', `127.0.0.1:${agent.http}`]);

async function write(agent: Agent, keys: readonly string[]): Promise<void> {
  const client = new TextClient(agent.memcached);
  const answers = await Promise.all(keys.map((key) => client.set(key, `value-of-${key}`)));
  client.close();
  expect(new Set(answers)).toEqual(new Set(['STORED']));
}

async function readAll(agent: Agent, keys: readonly string[]): Promise<(string | undefined)[]> {
  const client = new TextClient(agent.memcached);
  try {
    return await Promise.all(keys.map((key) => client.get(key).catch((error: unknown) => (error as Error).message)));
  } finally {
    client.close();
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

test('all killed at once: the cluster re-forms by itself, says loudly what is lost, and serves again once told so', async () => {
  const cluster = await new Cluster(['a', 'b', 'c'], { config: { timing, keyspaces: { default: { partitions: 16 } } } }).start();
  const keys = Array.from({ length: 64 }, (_, i) => `k${i}`);
  await write(cluster.get('a'), keys);
  const before = await cluster.get('a').status();
  await cluster.stop();
  await Promise.all([...cluster.agents.values()].map((agent) => agent.start()));

  const a = cluster.get('a');
  await until(async () => (await a.status()).partitions.lost === 16, () => a.tail());
  const status = await troupe(a, 'status');
  expect(status.code).toBe(1);
  expect(status.stdout).toContain('16 LOST');
  expect(status.stdout).toContain('16 partitions are LOST: every copy is gone; restore them, or accept the loss with: troupe partitions accept-loss KEYSPACE');
  expect(status.stdout).toContain('quorum      yes: 3 voters');
  expect((await a.status()).clusterId).toBe(before.clusterId);
  expect((await troupe(a, 'partitions', '--keyspace', 'default')).stdout).toMatch(/^default\s+0\s+\d+\s+LOST/m);
  // An error, not "there is none".
  const client = new TextClient(a.memcached);
  await expect(client.get('k0')).rejects.toThrow(/^SERVER_ERROR .*/);
  expect(await client.set('k0', 'x')).toMatch(/^SERVER_ERROR /);
  client.close();
  const kv = await troupe(a, 'kv', 'get', 'k0');
  expect(kv.code).toBe(1);
  expect(kv.stderr).not.toContain("there is no 'k0'");

  expect(await troupe(a, 'partitions', 'accept-loss', 'default')).toMatchObject({ code: 0, stdout: "16 partitions of 'default' begin anew, empty.\n" });
  await cluster.healthy();
  expect(new Set(await readAll(cluster.get('b'), keys))).toEqual(new Set([undefined]));
  await write(cluster.get('c'), keys);
  expect(await readAll(a, keys)).toEqual(keys.map((key) => `value-of-${key}`));
  expect(await troupe(a, 'status')).toMatchObject({ code: 0 });
});

test('a minority answers errors in bounded time, its app stops; when the others thaw all is well, and nothing is lost', async () => {
  const pidFile = join(temporaryDirectory(), 'pid');
  const apps = { lonely: { nodes: ['c'], command: ['/bin/sh', '-c', `echo $$ > ${pidFile}; exec sleep 600`] } };
  const cluster = await new Cluster(['a', 'b', 'c'], { config: { timing, apps } }).start();
  const c = cluster.get('c');
  await until(async () => (await c.app('lonely')).state === 'running', () => c.tail());
  const pid = Number(readFileSync(pidFile, 'utf8'));
  expect(isRunning(pid)).toBe(true);
  const keys = Array.from({ length: 64 }, (_, i) => `k${i}`);
  await write(c, keys);

  const frozenAt = performance.now();
  for (const name of ['a', 'b']) cluster.get(name).signal('SIGSTOP');
  // No lease outlives 0.75 s, and a request's wait is bounded by requestTimeoutMs.
  await until(() => !isRunning(pid), () => `the app's command still runs: ${c.tail()}`, 5000);
  const stoppedAfter = performance.now() - frozenAt;
  const asked = performance.now();
  const answers = await readAll(c, keys);
  const writer = new TextClient(c.memcached);
  const written = await writer.set('k0', 'never');
  writer.close();
  const answeredAfter = performance.now() - asked;
  for (const answer of answers) expect(answer).toMatch(/^SERVER_ERROR /);
  expect(written).toMatch(/^SERVER_ERROR /);
  expect(answeredAfter).toBeLessThan(2 * timing.requestTimeoutMs + 3000);
  const status = await troupe(c, 'status');
  expect(status.code).toBe(1);
  expect(status.stdout).toContain('session NOT LIVE');
  expect(status.stdout).toContain('this node has no live session: it holds no part; see its log for why');
  console.log(`minority: its app's command was gone ${stoppedAfter.toFixed(0)} ms after the freeze; all of ${keys.length} reads and a write were refused within ${answeredAfter.toFixed(0)} ms; "${written}"`);

  for (const name of ['a', 'b']) cluster.get(name).signal('SIGCONT');
  await cluster.healthy();
  for (const name of cluster.names) expect((await readAll(cluster.get(name), keys)).map((value, i) => (i === 0 && value === 'never' ? 'value-of-k0' : value)), name).toEqual(keys.map((key) => `value-of-${key}`));
  await until(async () => (await c.app('lonely')).state === 'running' && isRunning(Number(readFileSync(pidFile, 'utf8'))), () => c.tail());
  expect(await troupe(c, 'status')).toMatchObject({ code: 0 });
});

test('quorum.lastNode on-refusal: the last of three serves on after the others died, and keeps every acknowledged write', async () => {
  // The right to go on ends with the lease: it must outlast what a busy machine keeps a process waiting.
  const cluster = await new Cluster(['a', 'b', 'c'], { flags: ['--last-node', 'on-refusal'], config: { timing: { leaseMs: 3000 } } }).start();
  for (const together of [false, true]) {
    await cluster.healthy();
    const survivor = cluster.get(together ? 'b' : 'a');
    const load = await new Load(survivor.memcached).start();
    await until(() => load.acknowledged > 20, () => 'the load does not run');
    const others = [...cluster.agents.values()].filter((agent) => agent !== survivor);
    if (together) await Promise.all(others.map((agent) => agent.kill()));
    else {
      for (const agent of others) {
        await agent.kill();
        // On a busy machine the survivor may just then have kept a write waiting: it has to be in sync again before the last other one goes.
        await until(async () => {
          const { nodes, partitions } = await survivor.status();
          return nodes.some((node) => node.name === agent.name && node.state === 'dead') && partitions.underReplicated === 0;
        }, () => cluster.logs());
      }
    }
    const before = load.acknowledged;
    await until(() => load.acknowledged > before + 40, () => `the last node does not serve: ${survivor.tail()}`, 15_000);
    const result = await load.stop();
    expect(result.failures).toEqual([]);
    expect(await load.check(survivor.memcached)).toEqual([]);
    const status = await survivor.status();
    expect(status).toMatchObject({ quorum: true, sessionLive: true, leader: survivor.name, voters: [survivor.name] });
    expect(status.attention).toEqual(expect.arrayContaining(others.map((agent) => `node ${agent.name} is dead: its process has ended`)));
    console.log(`last node, the others ${together ? 'killed together' : 'killed one by one'}: longest pause ${result.longestMs.toFixed(0)} ms`);
    for (const agent of others) await agent.start();
    await cluster.healthy();
    for (const agent of others) expect(await load.check(agent.memcached), agent.name).toEqual([]);
  }
});

test('quorum.lastNode never: the last of three stops and says so', async () => {
  const cluster = await new Cluster(['a', 'b', 'c'], { config: { timing } }).start();
  const a = cluster.get('a');
  await write(a, ['k']);
  await Promise.all(['b', 'c'].map((name) => cluster.get(name).kill()));
  await until(async () => !(await a.status()).sessionLive, () => a.tail(), 5000);
  expect((await readAll(a, ['k']))[0]).toMatch(/^SERVER_ERROR /);
  const status = await troupe(a, 'status');
  expect(status.code).toBe(1);
  expect(status.stdout).toContain('quorum      NO');
  expect(status.stdout).toContain('no majority of the voters is live: nothing can change hands');
  await cluster.get('b').start();
  await cluster.get('c').start();
  // One copy has lived through all of it: nothing is lost.
  await cluster.healthy();
  expect(await readAll(cluster.get('b'), ['k'])).toEqual(['value-of-k']);
});
