import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { watchLiveNodes } from '../../src/index.ts';
import type { LiveNode, WatchLiveNodesOptions } from '../../src/index.ts';
import { writeFileAtomically } from '../../src/host/files.ts';
import { formatLiveNodes } from '../../src/node/live-nodes.ts';

const directories: string[] = [];
const controllers: AbortController[] = [];
afterEach(() => {
  for (const controller of controllers.splice(0)) controller.abort();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
});

function temporaryFile(): string {
  const directory = mkdtempSync(join(tmpdir(), 'troupe-live-'));
  directories.push(directory);
  return join(directory, 'live.json');
}

let revision = 0;
const listOf = (...names: readonly string[]): string => formatLiveNodes({ version: 1, time: 0, revision: ++revision, node: 'a', nodes: names.map((name) => ({ name, address: '10.0.0.1', port: 1, tags: {}, status: 'alive' as const })) });

/** What the iteration has given, as names; of expected nodes with a question mark. */
function watching(file: string, options: WatchLiveNodesOptions = {}): { lists: string[]; ended: Promise<void>; stop: () => void; settled: (last: string) => Promise<void> } {
  const controller = new AbortController();
  controllers.push(controller);
  const lists: string[] = [];
  const ended = (async () => {
    for await (const nodes of watchLiveNodes(file, { signal: controller.signal, expected: ['x', 'y'], graceMs: 300, ...options })) lists.push(namesOf(nodes));
  })();
  return { lists, ended, stop: () => controller.abort(), settled: (last) => until(() => lists.at(-1) === last, () => `${last} is not the last of ${lists.join(' | ')}`) };
}

function namesOf(nodes: readonly LiveNode[]): string {
  return nodes.map((node) => (node.status === 'alive' ? node.name : `${node.name}?`)).join(',');
}

async function until(condition: () => boolean, what: () => string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(what());
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test('gives the expected nodes until the agent speaks, then each list, and ends with the signal', async () => {
  const file = temporaryFile();
  const watch = watching(file);
  await watch.settled('x?,y?');
  await writeFileAtomically(file, listOf('a', 'b'));
  await watch.settled('a,b');
  await writeFileAtomically(file, listOf('a'));
  await watch.settled('a');
  await writeFileAtomically(file, listOf());
  await watch.settled('');
  watch.stop();
  await watch.ended;
  expect(watch.lists).toEqual(['x?,y?', 'a,b', 'a', '']);
});

test('begins with the list that is there, and gives no list twice', async () => {
  const file = temporaryFile();
  writeFileSync(file, listOf('a'));
  const watch = watching(file);
  await watch.settled('a');
  await writeFileAtomically(file, listOf('a'));
  await writeFileAtomically(file, listOf('a', 'c'));
  await watch.settled('a,c');
  expect(watch.lists).toEqual(['a', 'a,c']);
});

test('sees every replacement, however quickly one follows the other', async () => {
  const file = temporaryFile();
  const watch = watching(file, { pollMs: 10_000 });
  await watch.settled('x?,y?');
  for (let round = 0; round < 30; round++) {
    const name = round % 2 === 0 ? 'a' : 'b';
    writeFileSync(`${file}.new`, listOf(name));
    renameSync(`${file}.new`, file);
    if (round % 3 === 0) await watch.settled(name);
  }
  await watch.settled('b');
});

test('holds on to the last list while the file is torn, and takes the next whole one', async () => {
  const file = temporaryFile();
  const watch = watching(file, { graceMs: 60_000 });
  await writeFileAtomically(file, listOf('a', 'b'));
  await watch.settled('a,b');
  const text = listOf('a', 'c');
  for (let length = 0; length < text.length; length += 17) {
    writeFileSync(file, text.slice(0, length));
    await new Promise((resolve) => setImmediate(resolve));
  }
  writeFileSync(file, text);
  await watch.settled('a,c');
  expect(watch.lists.filter((list) => list !== 'x?,y?')).toEqual(['a,b', 'a,c']);
});

test('falls back to the expected nodes when the file stays away or makes no sense, and comes back', async () => {
  const file = temporaryFile();
  const watch = watching(file);
  await writeFileAtomically(file, listOf('a'));
  await watch.settled('a');
  rmSync(file);
  await watch.settled('x?,y?');
  await writeFileAtomically(file, listOf('b'));
  await watch.settled('b');
  writeFileSync(file, 'no list at all');
  await watch.settled('x?,y?');
  await writeFileAtomically(file, listOf('b'));
  await watch.settled('b');
});

test('waits for a directory that is not there yet, and for one that was replaced', async () => {
  const directory = join(temporaryFile(), '..', 'later');
  const file = join(directory, 'live.json');
  const watch = watching(file, { pollMs: 20 });
  await watch.settled('x?,y?');
  mkdirSync(directory);
  writeFileSync(file, listOf('a'));
  await watch.settled('a');
  renameSync(directory, `${directory}-old`);
  mkdirSync(directory);
  writeFileSync(file, listOf('b'));
  await watch.settled('b');
});

test('a directory in the place of the file, and a file that is too long, are no list', async () => {
  const file = temporaryFile();
  mkdirSync(file);
  const watch = watching(file);
  await watch.settled('x?,y?');
  rmSync(file, { recursive: true });
  writeFileSync(file, Buffer.alloc((16 << 20) + 1, 32));
  writeFileSync(`${file}.new`, listOf('a'));
  renameSync(`${file}.new`, file);
  await watch.settled('a');
});

test('a reader that breaks off leaves nothing open', async () => {
  const file = temporaryFile();
  writeFileSync(file, listOf('a'));
  for await (const nodes of watchLiveNodes(file)) {
    expect(nodes).toEqual([{ name: 'a', address: '10.0.0.1', port: 1, tags: {}, status: 'alive' }]);
    break;
  }
});
