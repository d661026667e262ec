/** Three agents under load through one that survives: each misfortune costs a pause, never a request, a write or a count. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildIfStale, cleanUp, Cluster, pause, until } from './support/agents.ts';
import { Load, TextClient } from './support/load.ts';

let cluster: Cluster;
beforeAll(async () => {
  buildIfStale();
  cluster = await new Cluster(['a', 'b', 'c']).start();
});
afterAll(cleanUp);

async function underLoad(survivor: string, misfortune: () => Promise<void>): Promise<number> {
  const load = await new Load(cluster.get(survivor).memcached).start();
  await until(() => load.acknowledged > 20, () => 'the load does not run');
  await misfortune();
  const before = load.acknowledged;
  await until(() => load.acknowledged > before + 40, () => 'nothing is acknowledged any more', 15_000);
  const result = await load.stop();
  expect(result.failures).toEqual([]);
  // Read back through an agent that took no load, then through the one that did.
  for (const agent of [cluster.other(survivor), cluster.get(survivor)]) expect(await load.check(agent.memcached), `through ${agent.name}`).toEqual([]);
  return result.longestMs;
}

test('kill -9 of the leader, of another one and again of the leader: 0 failed, 0 lost, every count exact', async () => {
  const pauses: number[] = [];
  for (const leads of [true, false, true]) {
    const { leader } = await cluster.healthy();
    const victim = leads ? cluster.get(leader as string) : cluster.other(leader);
    pauses.push(await underLoad(cluster.other(victim.name, leads ? undefined : leader).name, async () => victim.kill()));
    await victim.start();
  }
  // Far above what is normal (tens of ms), far below what a time-out would cost: a dead process is known to be dead.
  for (const ms of pauses) expect(ms, cluster.logs()).toBeLessThan(2500);
  console.log(`longest pause of a request per kill -9: ${pauses.map((ms) => ms.toFixed(0)).join(', ')} ms`);
});

test('SIGSTOP of the leader and of another one: 0 failed, 0 lost; after SIGCONT nothing stale comes from it', async () => {
  for (const leads of [true, false]) {
    const { leader } = await cluster.healthy();
    const victim = leads ? cluster.get(leader as string) : cluster.other(leader);
    const survivor = cluster.other(victim.name);
    const keys = Array.from({ length: 60 }, (_, i) => `stale-${leads}-${i}`);
    const writer = new TextClient(survivor.memcached);
    const reader = new TextClient(victim.memcached);
    for (const key of keys) expect(await writer.set(key, 'old')).toBe('STORED');
    expect(await reader.get(keys[0] as string)).toBe('old');
    const longest = await underLoad(survivor.name, async () => {
      victim.signal('SIGSTOP');
      await Promise.all(keys.map(async (key) => expect(await writer.set(key, 'new')).toBe('STORED')));
      // These lie in the frozen process's socket: it reads them in its first moment, when its clock says nothing yet.
      const answers = keys.map((key) => reader.get(key));
      const increments = Promise.all(Array.from({ length: 20 }, (_, i) => reader.send(`set once-${leads}-${i} 0 0 1\r\n0\r\n`).then(() => reader.incr(`once-${leads}-${i}`))));
      await pause(300);
      victim.signal('SIGCONT');
      expect(new Set(await Promise.all(answers))).toEqual(new Set(['new']));
      expect(new Set(await increments)).toEqual(new Set(['1']));
    });
    console.log(`longest pause of a request over SIGSTOP of ${leads ? 'the leader' : 'another node'}: ${longest.toFixed(0)} ms`);
    expect(longest).toBeLessThan(5000);
    for (let i = 0; i < 20; i++) expect(await writer.get(`once-${leads}-${i}`)).toBe('1');
    writer.close();
    reader.close();
  }
});

test('a graceful leave under load, and a rolling restart of all: zeros for clients of the others', async () => {
  for (const name of ['a', 'b', 'c']) {
    await cluster.healthy();
    const agent = cluster.get(name);
    await underLoad(cluster.other(name).name, async () => {
      agent.signal('SIGINT');
      expect(await agent.exited, agent.tail()).toBe(0);
      await agent.start();
    });
  }
  await cluster.healthy();
});

test('two are killed one right after the other, while the first is only just back: what both acknowledged is there', async () => {
  const { leader } = await cluster.healthy();
  const survivor = cluster.other(leader);
  const others = cluster.names.filter((name) => name !== survivor.name);
  await underLoad(survivor.name, async () => {
    for (const name of others) {
      await cluster.get(name).kill();
      await cluster.get(name).start();
      await cluster.healthy();
    }
  });
});
