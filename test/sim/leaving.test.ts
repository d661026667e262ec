import { expect, test } from 'vitest';
import type { AppConfig } from '../../src/node/node-types.ts';
import { SimCluster } from '../../src/sim/sim-cluster.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';

function clusterWith(apps: readonly AppConfig[]): SimCluster {
  const cluster = new SimCluster(new SimWorld({ seed: 5 }), { nodes: 3, apps, loadModule: () => Promise.resolve({ default: { start: () => ({}) } }) });
  cluster.startAll();
  return cluster;
}

async function runsOn(cluster: SimCluster, app: string, node: string, through = 'n2'): Promise<boolean> {
  return await cluster.until(() => cluster.isHealthy() && cluster.node(through)?.map.apps[app]?.node === node && cluster.node(through)?.map.apps[app]?.phase === 'running', 30_000);
}

/** Simulated time until `leave()` has done. */
async function leaveOf(cluster: SimCluster, name: string): Promise<number> {
  const { scheduler } = cluster.world;
  const begun = scheduler.now;
  await scheduler.settle(cluster.node(name)!.leave());
  return scheduler.now - begun;
}

test('leave() does not wait for an app that no other node may run', async () => {
  const cluster = clusterWith([{ name: 'only-here', nodes: ['n1'], module: 'm' }]);
  expect(await runsOn(cluster, 'only-here', 'n1')).toBe(true);
  expect(await leaveOf(cluster, 'n1')).toBeLessThan(5000);
  expect(await cluster.until(() => cluster.node('n2')!.map.nodes['n1']!.live === false, 2000)).toBe(true);
  expect(cluster.node('n2')!.map.nodes['n1']!.ended).toBe('left');
  expect(Object.values(cluster.node('n2')!.map.keyspaces).every((keyspace) => keyspace.partitions.every((partition) => partition.primary !== 'n1' && !partition.lost))).toBe(true);
});

test('leave() waits until an app that another node may run runs there, and until the leadership is handed over', async () => {
  const cluster = clusterWith([{ name: 'moves', nodes: ['n1', 'n2'], module: 'm' }]);
  expect(await runsOn(cluster, 'moves', 'n1')).toBe(true);
  expect(await leaveOf(cluster, 'n1')).toBeLessThan(9000);
  expect(cluster.node('n2')!.map.apps['moves']).toMatchObject({ node: 'n2', type: 'takeover' });
});

test('leave() during maintenance, when nothing is moved, does not wait for it', async () => {
  const cluster = clusterWith([{ name: 'moves', nodes: ['n1', 'n2'], module: 'm' }]);
  expect(await runsOn(cluster, 'moves', 'n1')).toBe(true);
  await cluster.world.scheduler.settle(cluster.node('n2')!.maintenance(true));
  expect(await leaveOf(cluster, 'n1')).toBeLessThan(5000);
});

/** Writes a key through the node and reads it back: the cluster has a leader, sessions and primaries. */
async function serves(cluster: SimCluster, through: string): Promise<boolean> {
  const { scheduler } = cluster.world;
  const node = cluster.node(through)!;
  if (!(await cluster.until(() => node.status().sessionLive && node.status().leader === through, 3000))) return false;
  await scheduler.settle(node.keyspace('default').put('key', 'value'));
  return (await scheduler.settle(node.keyspace('default').get('key'))) !== undefined;
}

test('one after the other leaves, at once after each other: the last one serves on, with everything', async () => {
  const cluster = clusterWith([]);
  expect(await cluster.until(() => cluster.isHealthy() && cluster.node('n1')!.status().voters.length === 3, 30_000)).toBe(true);
  const { scheduler } = cluster.world;
  await scheduler.settle(cluster.node('n1')!.keyspace('default').put('kept', 'value'));
  const leader = cluster.node('n1')!.status().leader!;
  // The leader stays until it is the only voter of two, then leaves too: its vote has to go to the last one.
  const [first, last] = ['n1', 'n2', 'n3'].filter((name) => name !== leader) as [string, string];
  for (const name of [first, leader]) {
    expect(await leaveOf(cluster, name)).toBeLessThan(5000);
    expect(await cluster.until(() => cluster.node(last)!.map.nodes[name]!.ended === 'left', 2000), `${name} has left`).toBe(true);
  }
  expect(await serves(cluster, last)).toBe(true);
  expect(await scheduler.settle(cluster.node(last)!.keyspace('default').get('kept'))).toBeDefined();
  expect(cluster.node(last)!.status().voters).toEqual([last]);
});

test.each([6000, 0])('of three one is dead since %d ms, another one leaves: the third serves on', async (deadForMs) => {
  for (const leaves of ['leader', 'other']) {
    const cluster = clusterWith([]);
    expect(await cluster.until(() => cluster.isHealthy() && cluster.node('n1')!.status().voters.length === 3, 30_000)).toBe(true);
    const leader = cluster.node('n1')!.status().leader!;
    const [dies, other] = ['n1', 'n2', 'n3'].filter((name) => name !== leader) as [string, string];
    const [goes, stays] = leaves === 'leader' ? [leader, other] : [other, leader];
    cluster.crash(dies);
    expect(await cluster.until(() => cluster.node(stays)!.map.nodes[dies]!.live === false, 5000)).toBe(true);
    await cluster.runFor(deadForMs);
    // The dead one is given 5 s to come back.
    expect(await leaveOf(cluster, goes), `the ${leaves} leaves`).toBeLessThan(deadForMs === 0 ? 8000 : 3000);
    expect(await serves(cluster, stays), `after the ${leaves} left`).toBe(true);
  }
});
