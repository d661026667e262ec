import { expect, test } from 'vitest';
import { SimCluster } from '../../src/sim/sim-cluster.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';
import type { LastNodeRule } from '../../src/node/node-types.ts';

async function clusterOf(seed: number, lastNode: LastNodeRule): Promise<SimCluster> {
  const cluster = new SimCluster(new SimWorld({ seed }), { nodes: 3, lastNode });
  cluster.startAll();
  expect(await cluster.until(() => cluster.isHealthy() && cluster.nodes().every((node) => node.status().voters.length === 3), 30_000)).toBe(true);
  return cluster;
}

/** Writes through one node; true if it was taken within the limit. */
async function canWrite(cluster: SimCluster, name: string, key: string, limitMs: number): Promise<boolean> {
  let done = false;
  cluster.node(name)?.keyspace('default').put(key, 'v').then(() => { done = true; }, () => {});
  await cluster.until(() => done, limitMs);
  return done;
}

test("'never': without a majority nothing is taken, and both come back without loss", async () => {
  const cluster = await clusterOf(11, 'never');
  expect(await canWrite(cluster, 'n3', 'kept', 1000)).toBe(true);
  cluster.kill('n1');
  expect(await canWrite(cluster, 'n3', 'after-one', 2000)).toBe(true);
  cluster.kill('n2');
  await cluster.runFor(2000);
  expect(await canWrite(cluster, 'n3', 'after-two', 5000)).toBe(false);
  expect(cluster.node('n3')?.status().sessionLive).toBe(false);
  cluster.restart('n1');
  expect(await cluster.until(() => cluster.isHealthy(), 30_000)).toBe(true);
  expect(await cluster.world.scheduler.settle(cluster.node('n1')!.keyspace('default').get('kept'))).toBeDefined();
});

test("'on-refusal': the last of three goes on when the others died one after the other; a restarted one waits for it", async () => {
  const cluster = await clusterOf(12, 'on-refusal');
  expect(await canWrite(cluster, 'n3', 'kept', 1000)).toBe(true);
  cluster.kill('n1');
  expect(await canWrite(cluster, 'n3', 'after-one', 1000)).toBe(true);
  cluster.kill('n2');
  expect(await canWrite(cluster, 'n3', 'after-two', 1000)).toBe(true);
  // The last one dies as well; the others, restarted, have lost the right to go on without it.
  cluster.kill('n3');
  cluster.restart('n1');
  cluster.restart('n2');
  await cluster.runFor(10_000);
  expect(cluster.node('n1')?.status().sessionLive).toBe(false);
  expect(cluster.node('n2')?.status().sessionLive).toBe(false);
  // With the last one back there is nothing to wait for.
  cluster.restart('n3');
  expect(await cluster.until(() => cluster.names.every((name) => cluster.node(name)?.status().sessionLive === true), 20_000)).toBe(true);
});

test("'on-refusal': restarted voters join the last one that went on, instead of outvoting it", async () => {
  const cluster = await clusterOf(15, 'on-refusal');
  cluster.kill('n1');
  cluster.kill('n2');
  expect(await canWrite(cluster, 'n3', 'alone', 2000)).toBe(true);
  cluster.restart('n1');
  cluster.restart('n2');
  expect(await cluster.until(() => cluster.isHealthy(), 30_000)).toBe(true);
  expect(await cluster.world.scheduler.settle(cluster.node('n1')!.keyspace('default').get('alone'))).toBeDefined();
});

test("'on-refusal': silence is no refusal", async () => {
  const cluster = await clusterOf(13, 'on-refusal');
  cluster.world.network.partition([cluster.host('n1').name, cluster.host('n2').name], [cluster.host('n3').name]);
  await cluster.runFor(10_000);
  expect(await canWrite(cluster, 'n3', 'cut-off', 3000)).toBe(false);
  expect(cluster.node('n3')?.status().sessionLive).toBe(false);
});

test("'on-silence': the rest goes on without those that do not answer", async () => {
  const cluster = await clusterOf(14, 'on-silence');
  cluster.process('n1')?.pause();
  cluster.process('n2')?.pause();
  expect(await cluster.until(() => cluster.node('n3')?.status().sessionLive === false, 5000)).toBe(true);
  expect(await cluster.until(() => cluster.node('n3')?.status().sessionLive === true, 15_000)).toBe(true);
  expect(await canWrite(cluster, 'n3', 'alone', 5000)).toBe(true);
});
