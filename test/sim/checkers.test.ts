import { describe, expect, it } from 'vitest';
import type { NodeParts } from '../../src/node/node-parts.ts';
import { encodeCommand } from '../../src/core/control/commands.ts';
import type { Command } from '../../src/core/control/commands.ts';
import { defaultTiming, emptyMap } from '../../src/core/control/map.ts';
import { BoundedMemory } from '../../src/sim/checkers/bounded-memory.ts';
import type { RunningNode } from '../../src/sim/checkers/checker.ts';
import { checkKeptWrites } from '../../src/sim/checkers/kept-writes.ts';
import { checkKey } from '../../src/sim/checkers/linearizability.ts';
import { OnePlace } from '../../src/sim/checkers/one-place.ts';
import { OnePrimary } from '../../src/sim/checkers/one-primary.ts';
import { checkOrigins } from '../../src/sim/checkers/origins.ts';
import { RaftInvariants } from '../../src/sim/checkers/raft-invariants.ts';
import { ShadowMap } from '../../src/sim/checkers/shadow-map.ts';
import { everyKey, History } from '../../src/sim/history.ts';
import type { Operation, OperationKind, OperationResult } from '../../src/sim/history.ts';
import { simKeyspace } from '../../src/sim/sim-cluster.ts';

function collector(): { report: (checker: string, detail: string) => void; found: string[] } {
  const found: string[] = [];
  return { report: (checker) => void found.push(checker), found };
}

/** Histories are written as one call or return after the other. */
class Story {
  readonly history = new History();
  #now = 0;

  call(kind: OperationKind, value = '', version = 0): Operation {
    return this.history.call(this.#now++, { node: 'n1', kind, key: 'k', value, version });
  }

  done(operation: Operation, status: OperationResult['status'], value = '', version = 0): this {
    this.history.done(this.#now++, operation, { status, value, version });
    return this;
  }

  unknown(operation: Operation): this {
    this.history.unknown(this.#now++, operation, 'DIED');
    return this;
  }

  /** Called and returned at once. */
  step(kind: OperationKind, status: OperationResult['status'], value = '', result = '', version = 0, expected = 0): this {
    return this.done(this.call(kind, value, expected), status, result, version);
  }

  get verdict(): string {
    return checkKey(this.history.operations).type;
  }
}

describe('checkKey()', () => {
  it('accepts what one store, asked one after the other, answers', () => {
    const story = new Story().step('get', 'miss').step('put', 'stored', 'a', '', 1).step('get', 'hit', '', 'a', 1).step('cas', 'stored', 'b', '', 2, 1)
      .step('cas', 'exists', 'c', '', 0, 1).step('append', 'stored', '+').step('get', 'hit', '', 'b+', 3).step('delete', 'deleted').step('update', 'notStored', 'x').step('create', 'stored', '7')
      .step('increment', 'number', '2', '9').step('touch', 'touched').step('get', 'hit', '', '9', 5).step('increment', 'number', '1', '10');
    expect(story.verdict).toBe('linearizable');
  });

  it('accepts calls at the same time in whichever order explains them', () => {
    const story = new Story();
    const put = story.call('put', 'a');
    const get = story.call('get');
    story.done(get, 'hit', 'a', 4).done(put, 'stored', '', 4);
    expect(story.verdict).toBe('linearizable');
  });

  it.each<[string, (story: Story) => void]>([
    ['a stale read', (story) => story.step('put', 'stored', 'a', '', 1).step('put', 'stored', 'b', '', 2).step('get', 'hit', '', 'a', 1)],
    ['a lost write', (story) => story.step('put', 'stored', 'a', '', 1).step('get', 'miss')],
    ['a value from nowhere', (story) => story.step('get', 'hit', '', 'ghost', 1)],
    ['a version that is not the one', (story) => story.step('put', 'stored', 'a', '', 1).step('get', 'hit', '', 'a', 9)],
    ['an increment that counted twice', (story) => story.step('create', 'stored', '0').step('increment', 'number', '1', '1').step('get', 'hit', '', '2', 3)],
    ['an increment that did not count', (story) => story.step('create', 'stored', '0').step('increment', 'number', '1', '1').step('increment', 'number', '1', '1')],
    ['a cas against a version that was gone', (story) => story.step('put', 'stored', 'a', '', 1).step('put', 'stored', 'b', '', 2).step('cas', 'stored', 'c', '', 3, 1)],
    ['two creates that both won', (story) => story.step('create', 'stored', 'a').step('create', 'stored', 'b')],
    ['a delete of nothing', (story) => story.step('delete', 'deleted')],
    ['an append that is gone', (story) => story.step('put', 'stored', 'a', '', 1).step('append', 'stored', 'b').step('get', 'hit', '', 'a', 2)],
    ['a read that goes back behind an earlier one', (story) => {
      const put = story.call('put', 'b');
      story.step('get', 'hit', '', 'b', 2).step('get', 'miss').done(put, 'stored', '', 2);
    }],
    ['a failed write that shows', (story) => {
      story.history.failed(5, story.call('put', 'no'), 'BUSY');
      story.step('get', 'hit', '', 'no', 1);
    }],
    ['a write of unknown outcome that shows, vanishes and shows again', (story) => {
      story.step('put', 'stored', 'a', '', 1).unknown(story.call('put', 'b'));
      story.step('get', 'hit', '', 'b', 2).step('put', 'stored', 'c', '', 3).step('get', 'hit', '', 'b', 2);
    }],
  ])('finds %s', (_what, tell) => {
    const story = new Story();
    tell(story);
    expect(story.verdict).toBe('violation');
  });

  it('lets a write of unknown outcome take effect late, or never', () => {
    const late = new Story().step('put', 'stored', 'a', '', 1);
    late.unknown(late.call('put', 'b'));
    late.step('get', 'hit', '', 'a', 1).step('get', 'hit', '', 'b', 2).step('put', 'stored', 'c', '', 3).step('get', 'hit', '', 'c', 3);
    expect(late.verdict).toBe('linearizable');
    const never = new Story().step('put', 'stored', 'a', '', 1);
    never.unknown(never.call('delete'));
    never.step('get', 'hit', '', 'a', 1);
    expect(never.verdict).toBe('linearizable');
  });

  it('knows that an increment reads what a write of unknown outcome wrote', () => {
    const story = new Story();
    story.unknown(story.call('create', '0'));
    expect(story.step('increment', 'number', '2', '2').verdict).toBe('linearizable');
  });

  it('decides quickly among many writes of unknown outcome', () => {
    const story = new Story().step('create', 'stored', '0');
    for (let i = 0; i < 25; i++) story.unknown(story.call('increment', String(1 + (i % 3))));
    for (let i = 0; i < 25; i++) story.unknown(story.call('put', `p${i}.`));
    story.step('get', 'hit', '', '23', 40).step('get', 'hit', '', 'p13.', 50).step('get', 'miss');
    expect(story.verdict).toBe('violation');
    const fine = new Story().step('create', 'stored', '0');
    for (let i = 0; i < 60; i++) fine.unknown(fine.call('increment', String(1 + (i % 3))));
    fine.step('get', 'hit', '', '61', 40);
    expect(fine.verdict).toBe('linearizable');
  });

  it('lets an accepted loss empty the key, once', () => {
    const story = new Story().step('put', 'stored', 'a', '', 1);
    story.history.wiped(10, () => true, story.history.mark());
    story.step('get', 'miss').step('put', 'stored', 'b', '', 7).step('get', 'hit', '', 'b', 7);
    expect(story.verdict).toBe('linearizable');
    story.step('get', 'miss');
    expect(story.verdict).toBe('violation');
  });
});

describe('checkKey() where entries go by themselves', () => {
  /** Calls with a time to live, on a clock that is known to within half a second. */
  class Timed extends Story {
    seconds = 100;

    at(seconds: number): this {
      this.seconds = seconds;
      return this;
    }

    timed(kind: OperationKind, status: OperationResult['status'], { value = '', result = '', until = 0, evicts = false }: { value?: string; result?: string; until?: number; evicts?: boolean } = {}): this {
      const operation = this.history.call(this.seconds, { node: 'n1', kind, key: 'k', value, version: 0, expiresAt: until, evicts });
      this.history.done(this.seconds, operation, { status, value: result, version: 0 });
      operation.wallFrom = this.seconds - 0.5;
      operation.wallTo = this.seconds + 0.5;
      return this;
    }
  }
  const put = (until: number): Timed => new Timed().timed('put', 'stored', { value: 'a', until });

  it('lets an entry vanish about its time, not before, and not much later', () => {
    expect(put(110).at(109.6).timed('get', 'miss').verdict).toBe('linearizable');
    expect(put(110).at(110.4).timed('get', 'hit', { result: 'a' }).verdict).toBe('linearizable');
    expect(put(110).at(109.4).timed('get', 'miss').verdict).toBe('violation');
    expect(put(110).at(110.6).timed('get', 'hit', { result: 'a' }).verdict).toBe('violation');
    expect(put(110).at(111).timed('create', 'notStored', { value: 'b' }).verdict).toBe('violation');
  });

  it('follows what touch, gat and a new value do to the time', () => {
    expect(put(110).timed('touch', 'touched', { until: 120 }).at(115).timed('get', 'miss').verdict).toBe('violation');
    expect(put(110).timed('gat', 'hit', { result: 'a', until: 105 }).at(106).timed('get', 'hit', { result: 'a' }).verdict).toBe('violation');
    expect(put(110).timed('append', 'stored', { value: 'b' }).at(111).timed('get', 'miss').verdict).toBe('linearizable');
    expect(put(110).timed('put', 'stored', { value: 'b' }).at(111).timed('get', 'miss').verdict).toBe('violation');
  });

  it('places a touch that changes nothing where another order needs it', () => {
    const story = put(110);
    const other = story.history.call(100, { node: 'n1', kind: 'touch', key: 'k', value: '', version: 0, expiresAt: 110 });
    story.timed('put', 'stored', { value: 'b' });
    story.done(other, 'touched').at(112).timed('get', 'miss');
    expect(story.verdict).toBe('linearizable');
  });

  it('lets a delayed flush empty what was there before its time, also what was written after it was ordered', () => {
    const flushed = (): Timed => put(0).timed('flush', 'flushed', { until: 110 });
    expect(flushed().at(105).timed('get', 'hit', { result: 'a' }).timed('put', 'stored', { value: 'b' }).at(112).timed('get', 'miss').verdict).toBe('linearizable');
    expect(flushed().at(105).timed('get', 'miss').verdict).toBe('violation');
    expect(flushed().at(112).timed('get', 'hit', { result: 'a' }).verdict).toBe('violation');
    expect(flushed().at(112).timed('put', 'stored', { value: 'b' }).at(113).timed('get', 'miss').verdict).toBe('violation');
    expect(put(0).timed('flush', 'flushed').timed('get', 'hit', { result: 'a' }).verdict).toBe('violation');
  });

  it('takes a delayed flush for lost with its partition, also for a key that is written only afterwards', () => {
    const written = (isIn: (key: string) => boolean): string => {
      const story = new Timed();
      const flush = story.history.call(100, { node: 'n1', kind: 'flush', key: everyKey, value: '', version: 0, expiresAt: 110 });
      [flush.wallFrom, flush.wallTo] = [99.5, 100.5];
      story.done(flush, 'flushed');
      story.history.wiped(101, isIn, story.history.mark());
      story.timed('put', 'stored', { value: 'a' }).at(112).timed('get', 'hit', { result: 'a' });
      return checkKey(story.history.byKey().get('k') ?? []).type;
    };
    expect(written((key) => key === 'k')).toBe('linearizable');
    expect(written(() => false)).toBe('violation');
  });

  it('lets an entry make room for others, but not come back or be another', () => {
    const small = (): Timed => new Timed().timed('put', 'stored', { value: 'a', evicts: true });
    expect(small().timed('get', 'hit', { result: 'a', evicts: true }).timed('get', 'miss', { evicts: true }).timed('create', 'stored', { value: 'b', evicts: true }).verdict).toBe('linearizable');
    expect(small().timed('get', 'miss', { evicts: true }).timed('get', 'hit', { result: 'a', evicts: true }).verdict).toBe('violation');
    // Expired by one node's clock, and not yet by the next primary's.
    const expiring = new Timed().timed('put', 'stored', { value: 'a', until: 110, evicts: true }).at(109.7);
    expect(expiring.timed('get', 'miss', { evicts: true }).timed('get', 'hit', { result: 'a', evicts: true }).verdict).toBe('linearizable');
    expect(small().timed('put', 'stored', { value: 'b', evicts: true }).timed('get', 'hit', { result: 'a', evicts: true }).verdict).toBe('violation');
    expect(small().timed('create', 'notStored', { value: 'b', evicts: true }).timed('get', 'hit', { result: 'b', evicts: true }).verdict).toBe('violation');
  });

  it('counts as memcached does: over 2^64 to 0, not below 0, and a shorter number keeps its length', () => {
    const count = (value: string, kind: OperationKind, by: string, number: string, read: string): string =>
      new Timed().timed('put', 'stored', { value }).timed(kind, 'number', { value: by, result: number }).timed('get', 'hit', { result: read }).verdict;
    expect(count('18446744073709551615', 'increment', '2', '1', '1'.padEnd(20))).toBe('linearizable');
    expect(count('10', 'decrement', '1', '9', '9 ')).toBe('linearizable');
    expect(count('10', 'decrement', '11', '0', '0 ')).toBe('linearizable');
    expect(count('10', 'decrement', '1', '9', '9')).toBe('violation');
  });

  it('lets a lost tail take a key back to anything, once; what is read then holds', () => {
    const story = (): Timed => {
      const told = put(0).timed('put', 'stored', { value: 'b' });
      told.history.rolledBack(10, 'default', ['k'], told.history.mark(), [], false);
      return told;
    };
    expect(story().timed('get', 'hit', { result: 'a' }).timed('get', 'hit', { result: 'a' }).verdict).toBe('linearizable');
    expect(story().timed('get', 'hit', { result: 'a' }).timed('get', 'hit', { result: 'b' }).verdict).toBe('violation');
    expect(story().timed('create', 'notStored', { value: 'c' }).timed('get', 'hit', { result: 'a' }).verdict).toBe('linearizable');
  });
});

describe('checkOrigins()', () => {
  it('finds a value that nobody had written yet', () => {
    const { report, found } = collector();
    checkOrigins(new Story().step('put', 'stored', 'v1.').step('append', 'stored', 'v2.').step('get', 'hit', '', 'v1.v2.').history.byKey(), report);
    expect(found).toEqual([]);
    checkOrigins(new Story().step('get', 'hit', '', 'v1.').step('put', 'stored', 'v1.').history.byKey(), report);
    expect(found).toEqual(['origins']);
  });
});

describe('checkKeptWrites()', () => {
  it('finds an acknowledged write that is gone, and forgives one whose partition was lost', () => {
    const { report, found } = collector();
    const lost = new Story().step('put', 'stored', 'a', '', 1).step('get', 'miss');
    checkKeptWrites(lost.history.byKey(), report);
    expect(found).toEqual(['kept-writes']);
    const accepted = new Story().step('put', 'stored', 'a', '', 1);
    accepted.history.wiped(10, () => true, accepted.history.mark());
    accepted.step('get', 'miss');
    checkKeptWrites(accepted.history.byKey(), report);
    expect(found).toHaveLength(1);
  });
});

interface FakeCopy { serving: boolean; epoch: number; log: { bytes: number }; primary: { pendingCount: number } | undefined; address: { partition: number } }

interface FakeRaft { id: string; role: string; term: number; commitIndex: number; appliedIndex: number; firstIndex: number; entries: { index: number; term: number; type: 'normal'; data: Uint8Array }[] }

function fakeRaft(id: string, part: Partial<FakeRaft> = {}): FakeRaft & { entryAt(index: number): FakeRaft['entries'][number] | undefined; termAt(index: number): number | undefined } {
  const raft = { id, role: 'follower', term: 2, commitIndex: 1, appliedIndex: 1, firstIndex: 2, entries: [], ...part } as FakeRaft;
  const entryAt = (index: number): FakeRaft['entries'][number] | undefined => raft.entries.find((entry) => entry.index === index);
  return Object.assign(raft, { entryAt, termAt: (index: number): number | undefined => entryAt(index)?.term });
}

function fakeNode(name: string, { rights = true, copies = [], raft = fakeRaft(name), waiting = 0, paused = false }: { rights?: boolean; copies?: Partial<FakeCopy>[]; raft?: FakeRaft; waiting?: number; paused?: boolean } = {}): RunningNode {
  const parts = {
    instance: `i-${name}`, closed: false, session: { hasRights: () => rights }, requests: { waiting }, consensus: { raft, map: emptyMap() },
    store: { keyspaces: new Map([[1, { copies: copies.map((copy, partition) => ({ serving: false, epoch: 1, log: { bytes: 0 }, primary: undefined, address: { partition }, ...copy })) }]]) },
  };
  return { name, node: {} as RunningNode['node'], process: { paused, alive: true, clock: { now: () => 0 } } as RunningNode['process'], parts: parts as unknown as NodeParts };
}

describe('OnePrimary', () => {
  it('finds two nodes that serve one partition at once', () => {
    const { report, found } = collector();
    const checker = new OnePrimary(report);
    checker.afterEvent(1, [fakeNode('n1', { copies: [{ serving: true }, {}] }), fakeNode('n2', { copies: [{}, { serving: true }] })]);
    checker.afterEvent(2, [fakeNode('n1', { copies: [{ serving: true }], rights: false }), fakeNode('n2', { copies: [{ serving: true }] })]);
    checker.afterEvent(3, [fakeNode('n1', { copies: [{ serving: true }], paused: true }), fakeNode('n2', { copies: [{ serving: true }] })]);
    expect(found).toEqual([]);
    checker.afterEvent(4, [fakeNode('n1', { copies: [{ serving: true }] }), fakeNode('n2', { copies: [{ serving: true }] })]);
    expect(found).toEqual(['one-primary']);
  });
});

describe('BoundedMemory', () => {
  it.each<[string, Parameters<typeof fakeNode>[1]]>([
    ['requests', { waiting: 100_000 }],
    ['a log', { copies: [{ log: { bytes: 1 << 30 } }] }],
    ['writes under way', { copies: [{ primary: { pendingCount: 100_000 } }] }],
  ])('finds %s without bound', (_what, part) => {
    const { report, found } = collector();
    const checker = new BoundedMemory(report);
    for (let i = 0; i < 200; i++) checker.afterEvent(i, [fakeNode('n1', part)]);
    expect(found).toEqual(['bounded-memory']);
  });
});

describe('OnePlace', () => {
  const life = (node: string, epoch: number, active: { now: boolean }, hasRights = true): Parameters<OnePlace['started']>[0] =>
    ({ app: 'app', node, instance: `i-${node}`, epoch, type: 'normal', isActive: () => active.now, hasRights: () => hasRights });

  it('finds an app that runs in two places', () => {
    const { report, found } = collector();
    const checker = new OnePlace(report);
    const first = { now: true };
    checker.started(life('n1', 1, first));
    first.now = false;
    checker.started(life('n2', 2, { now: true }));
    expect(found).toEqual([]);
    first.now = true;
    checker.checkAll();
    expect(found).toEqual(['one-place']);
  });

  it('finds an epoch that was given twice, or went back', () => {
    const { report, found } = collector();
    const checker = new OnePlace(report);
    checker.started(life('n1', 2, { now: false }));
    checker.started(life('n1', 2, { now: false }));
    expect(found).toEqual([]);
    checker.started(life('n2', 2, { now: false }));
    checker.started(life('n1', 1, { now: false }));
    expect(found).toEqual(['app-epochs', 'app-epochs']);
  });

  it('finds a start without rights', () => {
    const { report, found } = collector();
    new OnePlace(report).started(life('n1', 1, { now: true }, false));
    expect(found).toEqual(['one-place']);
  });
});

const noEvents = { isAlive: () => false, lost: () => {}, lossAccepted: () => {}, command: () => {} };
const entry = (index: number, command: Command): { index: number; term: number; type: 'normal'; data: Uint8Array } => ({ index, term: 2, type: 'normal', data: encodeCommand(command) });
const found: Command = { type: 'found-cluster', clusterId: 'c', timing: defaultTiming };
const session = (name: string): Command => ({
  type: 'open-session', name, raftId: `${name}/d`, instance: `i-${name}`, peer: { host: 'h', port: 1 }, gossip: { host: 'h', port: 2 }, zone: '', eligible: true, storage: true, version: '1', offers: {}, resumes: 0, replaces: '',
});

describe('RaftInvariants', () => {
  const checkerFor = (report: (checker: string, detail: string) => void): RaftInvariants => new RaftInvariants(report, new ShadowMap(report, noEvents));

  it.each<[string, string, (checker: RaftInvariants) => void]>([
    ['two leaders of one term', 'raft', (checker) => checker.afterEvent(0, [fakeNode('n1', { raft: fakeRaft('n1', { role: 'leader' }) }), fakeNode('n2', { raft: fakeRaft('n2', { role: 'leader' }) })])],
    ['different entries committed at one index', 'raft', (checker) => checker.afterEvent(0, [
      fakeNode('n1', { raft: fakeRaft('n1', { commitIndex: 2, entries: [entry(2, found)] }) }), fakeNode('n2', { raft: fakeRaft('n2', { commitIndex: 2, entries: [entry(2, session('x'))] }) }),
    ])],
    ['a leader without what was committed', 'raft', (checker) => {
      checker.afterEvent(0, [fakeNode('n1', { raft: fakeRaft('n1', { commitIndex: 2, entries: [entry(2, found)] }) })]);
      checker.afterEvent(1, [fakeNode('n2', { raft: fakeRaft('n2', { role: 'leader', term: 5 }) })]);
    }],
    ['a commit that goes back', 'raft', (checker) => {
      const raft = fakeRaft('n1', { commitIndex: 7 });
      checker.afterEvent(0, [fakeNode('n1', { raft })]);
      raft.commitIndex = 6;
      checker.afterEvent(1, [fakeNode('n1', { raft })]);
    }],
    ['a map that the log does not make', 'maps-agree', (checker) => checker.afterEvent(0, [fakeNode('n1', { raft: fakeRaft('n1', { commitIndex: 2, appliedIndex: 2, entries: [entry(2, found)] }) })])],
  ])('finds %s', (_what, name, play) => {
    const { report, found: findings } = collector();
    play(checkerFor(report));
    expect(findings[0]).toBe(name);
  });

  it('finds a map version that falls', () => {
    const { report, found: findings } = collector();
    const checker = checkerFor(report);
    const raft = fakeRaft('n1', { appliedIndex: 5 });
    const node = fakeNode('n1', { raft });
    node.parts.consensus.map.version = 5;
    checker.afterEvent(0, [node]);
    raft.appliedIndex = 6;
    node.parts.consensus.map.version = 4;
    checker.afterEvent(1, [node]);
    expect(findings).toEqual(['map-versions']);
  });
});

describe('ShadowMap', () => {
  const play = (alive: boolean): { found: string[]; lost: string[] } => {
    const { report, found: findings } = collector();
    const lost: string[] = [];
    const shadow = new ShadowMap(report, { ...noEvents, isAlive: () => alive, lost: (keyspace, partition) => void lost.push(`${keyspace}/${partition}`) });
    const commands: Command[] = [
      found, session('n1'), { type: 'create-keyspace', name: 'default', options: { ...simKeyspace, partitions: 1 }, copies: [['n1']] },
      { type: 'close-sessions', sessions: [{ name: 'n1', session: 1, evidence: 'refused' }] },
    ];
    commands.forEach((command, index) => shadow.apply(entry(index + 2, command)));
    return { found: findings, lost };
  };

  it('lets a partition be lost with the process that held it', () => expect(play(false)).toEqual({ found: [], lost: ['default/0'] }));
  it('finds a partition that is called lost while its holder lives', () => expect(play(true).found).toEqual(['no-false-loss']));
});
