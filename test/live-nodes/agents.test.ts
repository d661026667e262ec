import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { parseLiveNodes } from '../../src/node/live-nodes.ts';
import { Agent, buildIfStale, cleanUp, temporaryDirectory, until } from '../agent/support/agents.ts';

afterEach(cleanUp);

function namesIn(file: string): string | undefined {
  try {
    return parseLiveNodes(readFileSync(file, 'utf8')).nodes.map((node) => node.name).join();
  } catch {
    return undefined;
  }
}

test('real agents keep the list: alone, together, through a hang, a kill and a return; who leaves takes itself out', { timeout: 180_000 }, async () => {
  buildIfStale();
  const directory = temporaryDirectory();
  const file = (name: string): string => join(directory, 'lists', `${name}.json`);
  const shows = (names: string, ...files: readonly string[]): Promise<void> => until(() => files.every((each) => namesIn(file(each)) === names), () => `not ${names} but ${files.map((each) => namesIn(file(each))).join(' and ')}`, 60_000);
  const agents = ['a', 'b', 'c'].map((name) => new Agent({ name }));
  const [a, b, c] = agents as [Agent, Agent, Agent];
  for (const agent of agents) await agent.choosePorts();
  // The directory is made, too.
  for (const agent of agents) agent.flags = ['--live-nodes', file(agent.name), '--bootstrap-expect', '3', ...(agent === a ? [] : ['--join', `127.0.0.1:${a.gossip}`])];

  await a.spawn();
  await shows('a', 'a');
  await Promise.all([b.spawn(), c.spawn()]);
  await Promise.all(agents.map((agent) => agent.ready()));
  await shows('a,b,c', 'a', 'b', 'c');

  c.signal('SIGSTOP');
  await shows('a,b', 'a', 'b');
  c.signal('SIGCONT');
  await shows('a,b,c', 'a', 'b', 'c');

  await c.kill();
  await shows('a,b', 'a', 'b');
  // Of an agent that was killed the last list stays.
  expect(namesIn(file('c'))).toBe('a,b,c');
  await c.start();
  await shows('a,b,c', 'a', 'b', 'c');

  b.signal('SIGINT');
  await b.exited;
  await shows('a,c', 'a', 'b', 'c');
});
