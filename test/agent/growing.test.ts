/** A cluster that begins as one node, grows to five, loses one for good, gets a new one, and shrinks to a single one that was not there at first. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Agent, buildIfStale, cleanUp, run, temporaryDirectory, until } from './support/agents.ts';
import { Load } from './support/load.ts';

beforeAll(buildIfStale);
afterAll(cleanUp);

const directory = (): string => temporaryDirectory();
const partitionCount = 64;

/** Waits until these nodes and no others are live, nothing needs attention, and each partition has its copies. */
async function whole(agents: readonly Agent[]): Promise<void> {
  let seen: unknown;
  const copies = Math.min(3, agents.length);
  const names = agents.map((agent) => agent.name).toSorted();
  await until(async () => {
    for (const agent of agents) {
      const status = await agent.status();
      seen = status;
      const live = status.nodes.filter((node) => node.state === 'live').map((node) => node.name).toSorted();
      if (live.join() !== names.join() || status.attention.length > 0 || !status.sessionLive || status.partitions.total !== partitionCount) return false;
      const partitions = await agent.partitions();
      if (!partitions.every((partition) => partition.inSync.length === copies && partition.copies.length === copies)) return false;
      if (status.voters.length !== [1, 1, 3, 3, 5][agents.length - 1]) return false;
    }
    return true;
  }, () => `${names.join()} are not whole: ${JSON.stringify(seen)}\n${agents.map((agent) => agent.tail()).join('\n')}`, 60_000);
}

test('from 1 to 3 to 5, one gone for good and replaced, down to 1: nothing acknowledged is lost, no request fails', async () => {
  const agents = new Map<string, Agent>();
  const add = async (name: string, ...flags: string[]): Promise<Agent> => {
    const join = [...agents.values()].slice(0, 2).flatMap((other) => ['--retry-join', `127.0.0.1:${other.gossip}`]);
    const agent = new Agent({ name, flags: ['--data', directory(), ...join, ...flags] });
    agents.set(name, agent);
    await agent.start();
    return agent;
  };
  const leave = async (name: string): Promise<void> => {
    const agent = agents.get(name) as Agent;
    agents.delete(name);
    agent.signal('SIGTERM');
    expect(await agent.exited, agent.tail()).toBe(0);
  };
  const all = (): Agent[] => [...agents.values()];

  const a = await add('a', '--bootstrap-expect', '1');
  const growing = await new Load(a.memcached, 150).start();
  await whole(all());
  for (const name of ['b', 'c']) await add(name);
  await whole(all());
  const e = await add('e');
  await add('d');
  await whole(all());

  // For good: it does not come back, and another one with an empty directory takes its place.
  const d = agents.get('d') as Agent;
  await d.kill();
  agents.delete('d');
  await until(async () => (await a.status()).nodes.find((node) => node.name === 'd')?.state === 'dead', () => a.tail());
  expect(await run(['force-leave', 'd', '--prune', '--http', `127.0.0.1:${a.http}`])).toMatchObject({ code: 0 });
  await add('f');
  await whole(all());
  expect((await a.status()).nodes.map((node) => node.name).toSorted()).toEqual(['a', 'b', 'c', 'e', 'f']);
  const grown = await growing.stop();
  expect(grown.failures).toEqual([]);
  expect(await growing.check(e.memcached)).toEqual([]);

  // The last ones leave right after each other: no time for anything but what leaving itself waits for.
  const shrinking = await new Load(e.memcached, 150).start();
  for (const name of ['a', 'f', 'c', 'b']) await leave(name);
  const before = shrinking.acknowledged;
  await until(() => shrinking.acknowledged > before + 40, () => `nothing is acknowledged any more\n${e.tail()}`, 15_000);
  const shrunk = await shrinking.stop();
  expect(shrunk.failures).toEqual([]);
  for (const load of [growing, shrinking]) expect(await load.check(e.memcached)).toEqual([]);
  const status = await e.status();
  expect(status.voters).toEqual(['e']);
  expect(status.leader).toBe('e');
  console.log(`longest pause: growing ${grown.longestMs.toFixed(0)} ms, shrinking ${shrunk.longestMs.toFixed(0)} ms`);
}, 120_000);
