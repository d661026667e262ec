import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { createNode } from '../../src/index.ts';
import type { ConfigInput, Node, NodeProcesses, ProcessView } from '../../src/index.ts';
import { silentLog } from '../../src/ports/log.ts';

const nodes: Node[] = [];
const directories: string[] = [];
afterEach(async () => {
  await Promise.all(nodes.splice(0).map((node) => node.close()));
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

async function start(name: string, config: ConfigInput = {}): Promise<Node> {
  const node = await createNode({ name, gossip: { bind: '127.0.0.1:0', profile: 'local' }, peer: '127.0.0.1:0', keyspaces: { default: { partitions: 4 } }, ...config }, { log: silentLog });
  nodes.push(node);
  return node;
}

function addressOf(node: Node): string {
  const { host, port } = node.addresses.gossip;
  return `${host}:${port}`;
}

/** Polls until what runs in the node is as wanted. */
async function until(look: () => Promise<NodeProcesses>, wanted: (processes: readonly ProcessView[]) => boolean): Promise<NodeProcesses> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const seen = await look().catch((error: unknown) => error as Error);
    if (!(seen instanceof Error) && wanted(seen.processes)) return seen;
    if (performance.now() > deadline) throw new Error(`not as wanted: ${JSON.stringify(seen instanceof Error ? String(seen) : seen)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const named = (processes: readonly ProcessView[], name: string): ProcessView | undefined => processes.find((each) => each.name === name);

test('shows the node, its services, apps and handlers, of itself and of another node by name', { timeout: 60_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'troupe-ps-'));
  directories.push(directory);
  const module = join(directory, 'app.mjs');
  writeFileSync(module, 'export default { async start({ node }) { await node.keyspace("default").put("x", "y"); return {}; } };\n');
  const apps = {
    counting: { nodes: ['a', 'b'], module },
    sleeping: { nodes: ['a', 'b'], command: [process.execPath, '-e', 'setInterval(() => {}, 1000); require("node:child_process").spawn("sleep", ["1234"])'] },
  };
  const a = await start('a', { apps, bootstrap: { expect: 1 }, memcached: { bind: '127.0.0.1:0' }, http: { bind: '127.0.0.1:0' }, handlers: ['user:nap=sleep 30', 'member-join=true'], liveNodes: { file: join(directory, 'live.json') } });
  const b = await start('b', { apps, join: [addressOf(a)] });
  await Promise.all([a.ready(), b.ready()]);
  a.gossip.userEvent('nap', new Uint8Array(), false);
  a.gossip.userEvent('nap', new Uint8Array(), false);

  const isUp = (processes: readonly ProcessView[]): boolean => {
    const nap = named(processes, 'user:nap');
    return named(processes, 'counting')?.status.startsWith('running') === true && named(processes, 'sleeping')?.pid !== undefined && nap?.status === 'running' && nap.queue === 1 && processes.some((each) => each.runs === 'sleep 1234');
  };
  const { node, version, processes } = await until(() => b.ps('a'), isUp);
  expect({ node, version }).toEqual({ node: 'a', version: expect.any(String) });
  // What an app has started is there too, with whom it belongs to.
  expect(processes.find((each) => each.runs === 'sleep 1234')).toMatchObject({ kind: 'child', name: expect.stringMatching(/^sleep\/\d+$/) as string, status: 'sleeping', links: ['app sleeping'], memoryBytes: expect.any(Number) as number });
  expect(named(processes, 'a')).toMatchObject({ kind: 'node', pid: process.pid, status: 'live', restarts: 0, links: ['node b'], memoryBytes: expect.any(Number), cpuMs: expect.any(Number) });
  expect(named(processes, 'counting')).toMatchObject({ kind: 'app', runs: module, status: 'running, epoch 1', restarts: 0, links: ['service consensus', 'keyspace default'] });
  const sleeping = named(processes, 'sleeping') as ProcessView;
  expect(sleeping).toMatchObject({ kind: 'app', status: 'running, epoch 1', restarts: 0 });
  expect(sleeping.runs).toContain('setInterval');
  expect(sleeping.memoryBytes).toBeGreaterThan(2 ** 20);
  expect(sleeping.pid).not.toBe(process.pid);
  expect(named(processes, 'user:nap')).toMatchObject({ kind: 'handler', runs: 'sleep 30', pid: expect.any(Number) });
  expect(named(processes, 'member-join')).toMatchObject({ kind: 'handler', runs: 'true', status: 'idle' });
  for (const name of ['gossip', 'peers', 'consensus', 'store', 'memcached', 'http', 'live nodes']) expect(named(processes, name), name).toMatchObject({ kind: 'service', runs: expect.any(String) });
  expect(named(processes, 'consensus')).toMatchObject({ status: 'leader', links: expect.arrayContaining(['service peers']) });
  expect(named(processes, 'store')?.memoryBytes).toBeGreaterThan(0);
  expect(named(processes, 'gossip')?.links).toEqual(['node b']);
  expect(named(processes, 'memcached')?.links).toEqual(['service store', 'keyspace default']);

  // The same asked for at the node itself, but for what changes all the time.
  const same = (each: ProcessView): unknown => [each.kind, each.name, each.pid, each.runs, each.links];
  expect((await a.ps()).processes.map(same)).toEqual(processes.map(same));
  expect(named((await b.ps()).processes, 'counting')).toMatchObject({ status: 'standing by for a', links: ['service consensus', 'node a'] });

  process.kill(sleeping.pid as number, 'SIGKILL');
  const restarted = await until(() => a.ps('a'), (now) => named(now, 'sleeping')?.restarts === 1 && named(now, 'sleeping')?.pid !== undefined);
  expect(named(restarted.processes, 'sleeping')?.pid).not.toBe(sleeping.pid);
});

test('says who is not known, and who cannot be reached', { timeout: 60_000 }, async () => {
  const a = await start('a', { bootstrap: { expect: 1 } });
  const b = await start('b', { join: [addressOf(a)] });
  await Promise.all([a.ready(), b.ready()]);
  await expect(a.ps('c')).rejects.toMatchObject({ code: 'NO_SUCH_NODE' });
  await expect(a.ps('__proto__')).rejects.toMatchObject({ code: 'NO_SUCH_NODE' });
  await b.close();
  await until(() => a.ps(), (processes) => named(processes, 'peers')?.status === '0 connected');
  await expect(a.ps('b')).rejects.toMatchObject({ code: 'NODE_NOT_ACTIVE' });
});
