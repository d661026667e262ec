import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TroupeError } from '../../src/base/errors.ts';
import { formatLiveNodes, heldOutIn, LiveNodesFile, liveNodesOf, parseLiveNodes } from '../../src/node/live-nodes.ts';
import type { HeldOut, LiveNodesDocument } from '../../src/node/live-nodes.ts';
import type { Member } from '../../src/node/gossip-types.ts';
import { silentLog } from '../../src/ports/log.ts';
import { FakeGossip, HandClock, member } from './support.ts';

const none: ReadonlySet<string> = new Set();

function setUp(...members: Parameters<typeof member>[]) {
  const clock = new HandClock();
  const pool = new FakeGossip(...members.map((each) => member(...each)));
  const written: LiveNodesDocument[] = [];
  const disk = { failing: false, held: undefined as Promise<void> | undefined };
  const silence = { names: new Set<string>(), tell: (): void => {} };
  const file = new LiveNodesFile({
    gossip: pool.gossip, clock, log: silentLog,
    silent: {
      names: () => new Set(silence.names),
      onChange: (listener) => {
        silence.tell = listener;
        return () => void (silence.tell = () => {});
      },
    },
    async write(text) {
      await disk.held;
      if (disk.failing) throw new TroupeError('DISK_FULL', 'no room', {});
      written.push(parseLiveNodes(text));
    },
  });
  const names = (): string[][] => written.map((document) => document.nodes.map((node) => node.name));
  return { clock, pool, written, disk, file, names, silence };
}

describe('liveNodesOf()', () => {
  test('lists whoever is alive, by name, without those who leave, left, failed or are held out, and without our own facts', () => {
    const members = [member('c'), member('a', 'alive', { role: 'web', 'troupe.id': 'x' }), member('f', 'failed'), member('l', 'left'), member('g', 'leaving'), member('h')];
    expect(liveNodesOf(members, new Set(['h']))).toEqual([
      { name: 'a', address: '10.0.0.1', port: 7946, tags: { role: 'web' }, status: 'alive' },
      { name: 'c', address: '10.0.0.1', port: 7946, tags: {}, status: 'alive' },
    ]);
  });
});

describe('LiveNodesFile', () => {
  test('says nothing while it knows nobody, for otherwise all others would be given up', async () => {
    const { clock, written, names } = setUp(['a']);
    await clock.advance(2999);
    expect(written).toEqual([]);
    await clock.advance(1);
    expect(names()).toEqual([['a']]);
  });

  test('writes the whole list at the first join, and again at each change, at once', async () => {
    const { clock, pool, written, names } = setUp(['a']);
    pool.setSilently(member('c', 'failed'));
    pool.set('member-join', member('b'));
    await clock.turn();
    expect(names()).toEqual([['a', 'b']]);
    pool.set('member-failed', member('b', 'failed'));
    await clock.turn();
    pool.set('member-update', member('c', 'alive', { zone: 'x' }));
    await clock.turn();
    expect(names()).toEqual([['a', 'b'], ['a'], ['a', 'c']]);
    expect(written.map(({ version, revision, node, time }) => [version, revision, node, time])).toEqual([[1, 1, 'a', 1_000_000], [1, 2, 'a', 1_000_000], [1, 3, 'a', 1_000_000]]);
  });

  test('writes from the full membership: a change whose event was lost is in the next list', async () => {
    const { clock, pool, names } = setUp(['a'], ['b'], ['c']);
    await clock.turn();
    pool.setSilently(member('b', 'failed'));
    pool.set('member-leave', member('c', 'left'));
    await clock.turn();
    expect(names()).toEqual([['a', 'b', 'c'], ['a']]);
  });

  test('makes one writing of a burst, and one more of all that comes while it is written', async () => {
    const { clock, pool, disk, names } = setUp(['a'], ['b']);
    await clock.turn();
    let release: () => void = () => {};
    disk.held = new Promise((resolve) => (release = resolve));
    for (let i = 0; i < 50; i++) pool.set('member-join', member(`n${i}`));
    await clock.turn();
    for (let i = 50; i < 100; i++) {
      pool.set('member-join', member(`n${i}`));
      await clock.turn();
    }
    release();
    await clock.turn();
    expect(names().map((list) => list.length)).toEqual([2, 52, 102]);
  });

  test('tries again after a failure, later each time, and says the newest then', async () => {
    const { clock, pool, disk, file, names } = setUp(['a'], ['b']);
    disk.failing = true;
    await clock.turn();
    await clock.advance(250 + 500);
    expect(file.view.failures).toBe(3);
    disk.failing = false;
    pool.setSilently(member('b', 'failed'));
    await clock.advance(1000);
    expect(names()).toEqual([['a']]);
    expect(file.view).toMatchObject({ failures: 0, revision: 1, waiting: 0 });
  });

  test('writes it now and then without cause, should somebody have removed it', async () => {
    const { clock, names } = setUp(['a'], ['b']);
    await clock.turn();
    await clock.advance(30_000);
    expect(names()).toEqual([['a', 'b'], ['a', 'b']]);
  });

  test('rewrites it at user events that say something about who is live, and at no other', async () => {
    const { clock, pool, names } = setUp(['a'], ['b'], ['c']);
    await clock.turn();
    pool.user('deploy', 'b');
    await clock.turn();
    expect(names()).toHaveLength(1);
    pool.user('live-nodes-refresh');
    await clock.turn();
    pool.user('live-nodes-out', ' b  c\n');
    await clock.turn();
    pool.user('live-nodes-in', 'c');
    await clock.turn();
    expect(names().slice(1)).toEqual([['a', 'b', 'c'], ['a'], ['a', 'c']]);
  });

  test('lets a node in again that joins anew after it was held out', async () => {
    const { clock, pool, names } = setUp(['a'], ['b']);
    pool.user('live-nodes-out', 'b');
    await clock.turn();
    pool.set('member-update', member('b', 'alive', { x: 'y' }));
    await clock.turn();
    pool.set('member-join', member('b'));
    await clock.turn();
    expect(names()).toEqual([['a'], ['a'], ['a', 'b']]);
  });

  test('leaves out whom the leader does not hear, and looks again when that changes, not at every change of the map', async () => {
    const { clock, names, silence } = setUp(['a'], ['b']);
    await clock.turn();
    silence.names.add('b');
    silence.tell();
    await clock.turn();
    for (let i = 0; i < 10; i++) {
      silence.tell();
      await clock.turn();
    }
    silence.names.delete('b');
    silence.tell();
    await clock.turn();
    expect(names()).toEqual([['a', 'b'], ['a'], ['a', 'b']]);
  });

  test('answers a query when what it asked for is written', async () => {
    const { clock, pool, disk, names } = setUp(['a'], ['b']);
    await clock.turn();
    const answers: string[] = [];
    let release: () => void = () => {};
    disk.held = new Promise((resolve) => (release = resolve));
    const payload = new TextEncoder().encode('b');
    pool.tell({ type: 'query', name: 'live-nodes-out', payload, lamportTime: 1, id: 1, from: 'b', deadline: 1, respond: (bytes) => answers.push(new TextDecoder().decode(bytes)) > 0 });
    await clock.turn();
    expect(answers).toEqual([]);
    release();
    await clock.turn();
    expect(names()).toEqual([['a', 'b'], ['a']]);
    expect(answers).toEqual(['1 live']);
  });

  test('holds out a bounded number of names', async () => {
    const { clock, pool, file } = setUp(['a'], ['b']);
    for (let i = 0; i < 3000; i++) pool.user('live-nodes-out', `n${i}`);
    await clock.turn();
    expect(file.view.heldOut).toHaveLength(1024);
    expect(file.view.heldOut.at(-1)).toBe('n2999');
  });

  test('remembers through a restart whom an event has held out, until that node has a new life', async () => {
    const start = (b: Member, heldOut: readonly HeldOut[]) => {
      const clock = new HandClock();
      const pool = new FakeGossip(member('a'));
      const written: string[] = [];
      const file = new LiveNodesFile({ gossip: pool.gossip, clock, log: silentLog, heldOut, write: async (text) => void written.push(text) });
      pool.set('member-join', b);
      return { clock, pool, file, last: (): LiveNodesDocument => parseLiveNodes(written.at(-1) as string), text: (): string | undefined => written.at(-1) };
    };
    const live = (document: LiveNodesDocument): string[] => document.nodes.map(({ name }) => name);
    const life = (instance: string): Member => member('b', 'alive', { 'troupe.id': instance, 'troupe.peer': '7947' });
    const first = start(life('1'), []);
    first.pool.user('live-nodes-out', 'b unknown');
    await first.clock.turn();
    expect(first.last()).toMatchObject({ heldOut: [{ name: 'b', instance: '1' }, { name: 'unknown', instance: '' }] });
    const kept = heldOutIn(first.text());

    const same = start(life('1'), kept);
    await same.clock.turn();
    expect(live(same.last())).toEqual(['a']);
    same.pool.set('member-join', life('1')); // it had failed meanwhile
    await same.clock.turn();
    expect(live(same.last())).toEqual(['a', 'b']);

    const newer = start(life('2'), kept);
    await newer.clock.turn();
    expect(live(newer.last())).toEqual(['a', 'b']);
    expect(newer.file.view.heldOut).toEqual(['unknown']);

    const plain = start(member('b'), kept);
    await plain.clock.turn();
    expect(live(plain.last())).toEqual(['a']);
    expect([heldOutIn(undefined), heldOutIn('{'), heldOutIn(first.text()?.replace(/"heldOut": \[.*\]/, '"heldOut": [1, {}]'))]).toEqual([[], [], []]);
  });

  test('close() writes the last change, and nothing more', async () => {
    const { clock, pool, file, names } = setUp(['a'], ['b']);
    await clock.turn();
    pool.set('member-leave', member('a', 'left'));
    await file.close();
    pool.set('member-join', member('c'));
    await clock.advance(100_000);
    expect(names()).toEqual([['a', 'b'], ['b']]);
  });
});

describe('parseLiveNodes()', () => {
  const document: LiveNodesDocument = { version: 1, time: 5, revision: 2, node: 'a', nodes: liveNodesOf([member('a', 'alive', { role: 'ä"\n' }), member('b')], none) };

  test('reads what formatLiveNodes() writes, with one node per line', () => {
    expect(parseLiveNodes(formatLiveNodes(document))).toEqual(document);
    expect(formatLiveNodes(document).split('\n').filter((line) => line.startsWith('    {'))).toHaveLength(2);
    expect(parseLiveNodes(formatLiveNodes({ ...document, nodes: [] })).nodes).toEqual([]);
  });

  test('ignores keys that it does not know, and refuses what is of another version or has no sense', () => {
    expect(parseLiveNodes(JSON.stringify({ ...document, more: 1 }))).toEqual(document);
    for (const wrong of [{ ...document, version: 2 }, { ...document, nodes: {} }, { ...document, node: 1 }, [], null, 7, { ...document, nodes: [{ name: 'a' }] }, { ...document, nodes: [{ ...document.nodes[0], status: 'failed' }] }, { ...document, nodes: [{ ...document.nodes[0], port: 70_000 }] }]) {
      expect(() => parseLiveNodes(JSON.stringify(wrong)), JSON.stringify(wrong)).toThrow(expect.objectContaining({ code: 'BAD_LIVE_NODES' }));
    }
  });

  test('refuses every torn file', () => {
    const text = formatLiveNodes(document);
    for (let length = 0; length < text.trimEnd().length; length++) expect(() => parseLiveNodes(text.slice(0, length))).toThrow(TroupeError);
  });

  test('gives a sound list or a coded error for any text, in bounded memory', () => {
    const before = process.memoryUsage().heapUsed;
    const nearly = fc.record({ version: fc.constantFrom(1, 2, '1', null), time: fc.anything(), revision: fc.nat(), node: fc.string(), nodes: fc.oneof(fc.anything(), fc.array(fc.record({ name: fc.string(), address: fc.string(), port: fc.integer(), tags: fc.oneof(fc.dictionary(fc.string(), fc.string()), fc.anything()), status: fc.constantFrom('alive', 'x') }))) });
    fc.assert(fc.property(fc.oneof(fc.string(), fc.json(), nearly.map((value) => JSON.stringify(value))), (text) => {
      try {
        for (const node of parseLiveNodes(text).nodes) {
          if (typeof node.name !== 'string' || node.name === '' || !Number.isInteger(node.port)) return false;
          if (Object.values(node.tags).some((tag) => typeof tag !== 'string')) return false;
        }
        return true;
      } catch (error) {
        return error instanceof TroupeError && error.code === 'BAD_LIVE_NODES';
      }
    }), { numRuns: 2000 });
    expect(() => parseLiveNodes(`{"version":1,"time":1,"revision":1,"node":"","nodes":[${'{},'.repeat(20_000)}{}]}`)).toThrow(/at most 16384/);
    expect(() => parseLiveNodes(' '.repeat((16 << 20) + 1))).toThrow(/at most/);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(200 * 2 ** 20);
  });
});
