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
