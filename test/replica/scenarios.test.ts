import { describe, expect, test } from 'vitest';
import { Op, Status } from '../../src/core/store/request.ts';
import { requestOf } from '../store/requests.ts';
import { Call, Cell, contents } from './cell.ts';
import type { CellNode } from './cell.ts';

let nextId = 1;

function call(op: Op, key: string, value = '', delta = 1): Call {
  return new Call(requestOf(op, key, { value, delta }), nextId++);
}

function newCell(copies: readonly string[] = ['n1', 'n2', 'n3'], acks: 'all' | 'majority' | 'one' = 'all', maxMemoryBytes?: number): Cell {
  const cell = new Cell(['n1', 'n2', 'n3', 'n4'], copies, acks, 7, maxMemoryBytes === undefined ? {} : { maxMemoryBytes });
  // In the order of a role table: what matters is who is primary, not what the hash says.
  expect(cell.settle()).toBe(true);
  return cell;
}

function primaryOf(cell: Cell): CellNode {
  const node = cell.primary();
  if (node === undefined) throw new Error('no primary');
  return node;
}

function replicasOf(cell: Cell): CellNode[] {
  return cell.partition.inSync.filter((name) => name !== cell.partition.primary).map((name) => cell.node(name));
}

function done(cell: Cell, op: Op, key: string, value = '', delta = 1): Call {
  const request = call(op, key, value, delta);
  expect(request.try(primaryOf(cell))).toBe(true);
  expect(cell.settle()).toBe(true);
  expect(request.done).toBeDefined();
  return request;
}

/** Lets frames flow between the nodes for a while; the map stays where it is for each of them. */
function flow(cell: Cell, ms = 100): void {
  for (let left = ms; left > 0; left -= 10) {
    for (let i = 0; i < 100 && cell.deliverAny(); i++);
    cell.pass(10);
  }
}

function followAll(cell: Cell, except?: string): void {
  for (const node of cell.nodes) if (node.alive && node.name !== except) node.follow(cell.maps.length - 1);
}

describe('acknowledgement', () => {
  test('a write is answered only once every in-sync copy has it', () => {
    const cell = newCell();
    const [a, b] = replicasOf(cell) as [CellNode, CellNode];
    b.frozen = true;
    const write = call(Op.set, 'k', '1');
    write.try(primaryOf(cell));
    flow(cell, 50);
    expect(a.copy()!.log.lastSeq).toBe(1);
    expect(write.outcomes).toEqual([]);
    b.frozen = false;
    flow(cell, 50);
    expect(write.done?.status).toBe(Status.stored);
  });

  test('a read of a key whose write is under way waits for that write; other keys do not', () => {
    const cell = newCell();
    done(cell, Op.set, 'other', 'x');
    for (const replica of replicasOf(cell)) replica.frozen = true;
    call(Op.set, 'k', '1').try(primaryOf(cell));
    const same = call(Op.get, 'k');
    const other = call(Op.get, 'other');
    same.try(primaryOf(cell));
    other.try(primaryOf(cell));
    expect(other.done?.value).toBe('x');
    expect(same.outcomes).toEqual([]);
    for (const replica of replicasOf(cell)) replica.frozen = false;
    flow(cell);
    expect(same.done?.value).toBe('1');
  });

  test('a copy that does not answer leaves by a map change before the writes that it missed are answered', () => {
    const cell = newCell();
    const [, b] = replicasOf(cell) as [CellNode, CellNode];
    b.frozen = true;
    const write = call(Op.set, 'k', '1');
    write.try(primaryOf(cell));
    flow(cell, 600);
    expect(write.outcomes).toEqual([]);
    expect(cell.leaderInbox).toContainEqual(expect.objectContaining({ remove: b.name }));
    const before = cell.partition.epoch;
    while (cell.leaderInbox.length > 0) cell.lead();
    expect(cell.partition.epoch).toBe(before + 1);
    followAll(cell, b.name);
    flow(cell, 100);
    expect(write.done?.status).toBe(Status.stored);
  });

  test('a primary that stood still does not count its own sleep against its copies, whose answers wait in its sockets', () => {
    const cell = newCell();
    const [a] = replicasOf(cell) as [CellNode];
    const primary = primaryOf(cell);
    flow(cell, 1000);
    const write = call(Op.set, 'k', '1');
    write.try(primary);
    primary.endTurn();
    primary.frozen = true;
    flow(cell, 600);
    primary.frozen = false;
    cell.pass(1); // what is due comes before what has arrived
    expect(cell.leaderInbox).toEqual([]);
    flow(cell, 50);
    expect(write.done?.status).toBe(Status.stored);
    // One that does not answer is still given up after as long as ever.
    a.frozen = true;
    call(Op.set, 'k', '2').try(primary);
    flow(cell, 600);
    expect(cell.leaderInbox).toContainEqual(expect.objectContaining({ remove: a.name }));
  });

  test('an addition that was asked for before a removal comes too late after it', () => {
    const cell = newCell();
    const { epoch } = cell.partition;
    const [a] = replicasOf(cell) as [CellNode];
    const session = cell.map.nodes[a.name]!.session;
    cell.command({ type: 'in-sync', changes: [{ keyspace: 'k', partition: 0, epoch, remove: a.name }] });
    expect(cell.partition.inSync).not.toContain(a.name);
    expect(cell.command({ type: 'in-sync', changes: [{ keyspace: 'k', partition: 0, epoch, add: a.name, session }] })).toBe(false);
    expect(cell.partition.inSync).not.toContain(a.name);
  });

  test('an addition counts only for the session in which the copy caught up', () => {
    const cell = newCell();
    const [a] = replicasOf(cell) as [CellNode];
    const { session } = cell.map.nodes[a.name]!;
    cell.closeSession(a.name, 'silent');
    cell.openSession(a.name);
    expect(cell.command({ type: 'in-sync', changes: [{ keyspace: 'k', partition: 0, epoch: cell.partition.epoch, add: a.name, session }] })).toBe(false);
  });

  test('a joiner counts for acknowledgements before it is named to the leader', () => {
    const cell = newCell(['n1', 'n2']);
    done(cell, Op.set, 'k', '1');
    cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, add: 'n3' }] });
    followAll(cell);
    flow(cell, 100);
    expect(cell.leaderInbox).toContainEqual(expect.objectContaining({ add: 'n3' }));
    cell.node('n3').frozen = true;
    const write = call(Op.set, 'k', '2');
    write.try(primaryOf(cell));
    flow(cell, 100);
    expect(write.outcomes, 'the leader may be naming n3 at this moment').toEqual([]);
  });
});

describe('acknowledgement by a majority', () => {
  test('is not given on the word of a joiner that the map does not name yet', () => {
    const cell = newCell(['n1', 'n2'], 'majority');
    done(cell, Op.set, 'k', '1');
    const old = primaryOf(cell);
    const [other] = replicasOf(cell) as [CellNode];
    cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, add: 'n3' }] });
    followAll(cell);
    flow(cell);
    expect(cell.leaderInbox).toContainEqual(expect.objectContaining({ add: 'n3' }));
    other.frozen = true;
    const write = call(Op.set, 'k', '2');
    write.try(old);
    flow(cell, 50);
    expect(cell.node('n3').copy()!.log.lastSeq).toBe(old.copy()!.log.lastSeq);
    // The primary dies before its word about n3 is heard: of those who count, nobody else has the write.
    expect(write.outcomes).toEqual([]);
    cell.leaderInbox = [];
    cell.kill(old.name);
    expect(cell.settle()).toBe(true);
    expect(primaryOf(cell)).toBe(other);
    write.try(other);
    expect(cell.settle()).toBe(true);
    expect(done(cell, Op.get, 'k').done?.value).toBe('2');
  });

  test('needs a majority of those that will be in sync, too', () => {
    const cell = newCell(['n1', 'n2', 'n3'], 'majority');
    cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, add: 'n4' }] });
    followAll(cell);
    flow(cell);
    const [a] = replicasOf(cell) as [CellNode];
    for (const node of cell.nodes) if (node !== a && node !== primaryOf(cell)) node.frozen = true;
    const write = call(Op.set, 'k', '2');
    write.try(primaryOf(cell));
    flow(cell, 50);
    expect(write.outcomes).toEqual([]);
    cell.node('n4').frozen = false;
    flow(cell, 50);
    expect(write.done?.status).toBe(Status.stored);
  });
});

describe('what goes by itself', () => {
  test('an entry that had to make room is missed only once every copy has let go of it', () => {
    const cell = new Cell(['n1', 'n2', 'n3'], ['n1', 'n2', 'n3'], 'all', 7, { maxMemoryBytes: 1000, eviction: 'lru' });
    expect(cell.settle()).toBe(true);
    const old = primaryOf(cell);
    const names = Array.from({ length: 30 }, (_, index) => `key${index}`);
    for (const name of names) done(cell, Op.set, name, 'v');
    const before = contents(old.copy()!.table).length;
    const replicas = replicasOf(cell);
    for (const replica of replicas) replica.frozen = true;
    call(Op.set, 'other', 'v').try(old);
    const held = contents(old.copy()!.table).map((line) => line.split('=')[0]);
    expect(held.length).toBe(before);
    const present = contents(replicas[0]!.copy()!.table).map((line) => line.split('=')[0] as string);
    const evicted = present.find((name) => !held.includes(name)) as string;
    const read = call(Op.get, evicted);
    read.try(old);
    expect(read.outcomes, 'the next primary would still have it').toEqual([]);
    for (const replica of replicas) replica.frozen = false;
    flow(cell);
    expect(read.done?.status).toBe(Status.miss);
    expect(contents(replicas[0]!.copy()!.table)).toEqual(contents(old.copy()!.table));
  });

  test('an entry that has expired goes from every copy at the primary\'s word', () => {
    const cell = newCell();
    const primary = primaryOf(cell);
    const set = new Call(requestOf(Op.set, 'k', { value: 'v', expiresAt: Math.floor(primary.wallMs / 1000) + 2 }), nextId++);
    set.try(primary);
    expect(cell.settle()).toBe(true);
    // However far ahead a copy's clock is.
    const [ahead] = replicasOf(cell) as [CellNode];
    ahead.wallAheadMs = 3_600_000;
    flow(cell, 1000);
    expect(ahead.copy()!.table.count).toBe(1);
    flow(cell, 2500);
    expect(cell.nodes.slice(0, 3).map((node) => node.copy()!.table.count)).toEqual([0, 0, 0]);
  });

  test('a primary without a lease takes nothing out: who took over may have prolonged its life', () => {
    const cell = newCell();
    const old = primaryOf(cell);
    const [next, third] = replicasOf(cell) as [CellNode, CellNode];
    const seconds = Math.floor(old.wallMs / 1000);
    next.wallAheadMs = -5000;
    const set = new Call(requestOf(Op.set, 'k', { value: 'v', expiresAt: seconds + 3 }), nextId++);
    set.try(old);
    expect(cell.settle()).toBe(true);
    for (const other of [next, third]) for (const [from, to] of [[old, other], [other, old]] as const) cell.cut(from.name, to.name);
    cell.closeSession(old.name, 'silent');
    cell.closeSession(third.name, 'silent');
    next.follow(cell.maps.length - 1);
    flow(cell, 4000);
    expect(old.copy()!.serving).toBe(true);
    // By the clock of the new primary it is there for another four seconds.
    const touch = new Call(requestOf(Op.touch, 'k'), nextId++);
    expect(touch.try(next)).toBe(true);
    expect(touch.done?.status).toBe(Status.touched);
    cell.openSession(old.name);
    expect(cell.settle()).toBe(true);
    expect(cell.partition.inSync).toContain(old.name);
    expect(contents(old.copy()!.table)).toEqual(contents(next.copy()!.table));
    expect(old.copy()!.table.count).toBe(1);
  });
});

describe('failover', () => {
  test('what was answered, and what was only under way on one copy, is there after the primary died', () => {
    const cell = newCell();
    done(cell, Op.set, 'k', '1');
    const old = primaryOf(cell);
    const [a, b] = replicasOf(cell) as [CellNode, CellNode];
    // Only a hears of the second write.
    const write = call(Op.append, 'k', '2');
    write.try(old);
    cell.deliver(old.name, a.name);
    cell.kill(old.name);
    expect([a.name, b.name]).toContain(cell.partition.primary);
    expect(cell.settle()).toBe(true);
    for (const node of [a, b]) expect(contents(node.copy()!.table)[0]).toMatch(/^k=12 /);
    expect(write.outcomes).toEqual([]);
    write.try(primaryOf(cell));
    expect(cell.settle()).toBe(true);
    expect(write.done?.status).toBe(Status.stored);
    expect(contents(a.copy()!.table)[0]).toMatch(/^k=12 /);
  });

  test('the same primary under a new epoch answers what was under way, once', () => {
    const cell = newCell();
    done(cell, Op.set, 'n', '5');
    const primary = primaryOf(cell);
    const [a, b] = replicasOf(cell) as [CellNode, CellNode];
    b.frozen = true;
    const write = call(Op.incr, 'n');
    write.try(primary);
    flow(cell, 20);
    cell.command({ type: 'in-sync', changes: [{ keyspace: 'k', partition: 0, epoch: cell.partition.epoch, remove: b.name }] });
    // Its replica hears of the new epoch first, and refuses the old one's frames.
    a.follow(cell.maps.length - 1);
    flow(cell, 100);
    primary.follow(cell.maps.length - 1);
    flow(cell, 200);
    expect(write.outcomes.filter((outcome) => outcome.status === Status.number)).toHaveLength(1);
    expect(write.done?.counter).toBe(6);
  });

  test('a transfer with writes under way gives them back; the retry is told the first outcome', () => {
    const cell = newCell();
    done(cell, Op.set, 'n', '5');
    const old = primaryOf(cell);
    const [a, b] = replicasOf(cell) as [CellNode, CellNode];
    b.frozen = true;
    const write = call(Op.incr, 'n');
    write.try(old);
    cell.transfer(a.name);
    a.follow(cell.maps.length - 1);
    b.frozen = false;
    flow(cell, 200);
    expect(write.outcomes.map((outcome) => outcome.status)).toEqual(['moved']);
    expect(cell.settle()).toBe(true);
    expect(primaryOf(cell)).toBe(a);
    write.try(a);
    expect(cell.settle()).toBe(true);
    expect(write.done).toMatchObject({ status: Status.number, counter: 6 });
    expect(contents(a.copy()!.table)[0]).toMatch(/^n=6 /);
  });

  test('a touch that took effect is not done again over what came after it; a gat is told what it had read', () => {
    const cell = newCell();
    const far = 4_000_000_000;
    done(cell, Op.set, 'k', 'v');
    const touch = new Call(requestOf(Op.touch, 'k', { expiresAt: far }), nextId++);
    touch.try(primaryOf(cell));
    expect(cell.settle()).toBe(true);
    done(cell, Op.set, 'k', 'w');
    cell.pass(10);
    touch.try(primaryOf(cell));
    expect(cell.settle()).toBe(true);
    expect(touch.outcomes.map((outcome) => outcome.status)).toEqual([Status.touched, Status.touched]);
    const { table } = primaryOf(cell).copy()!;
    const { key, keyEnd, hash } = touch.request;
    expect(table.expiresAtOf(table.get(key, 0, keyEnd, hash))).toBe(0);
    // Its time is over by when it is asked for again.
    const gat = new Call(requestOf(Op.gat, 'k', { expiresAt: 1 }), nextId++);
    gat.try(primaryOf(cell));
    expect(cell.settle()).toBe(true);
    expect(done(cell, Op.get, 'k').done?.status).toBe(Status.miss);
    gat.try(primaryOf(cell));
    expect(cell.settle()).toBe(true);
    expect(gat.outcomes.map((outcome) => [outcome.status, outcome.value])).toEqual([[Status.hit, 'w'], [Status.hit, 'w']]);
    done(cell, Op.set, 'k', 'x');
    gat.try(primaryOf(cell));
    expect(cell.settle()).toBe(true);
    expect(gat.outcomes.at(-1)?.status).toBe(Status.unknownOutcome);
  });

  test('a frame of the new epoch that is ahead of the map ends the old tenure', () => {
    const cell = newCell();
    const old = primaryOf(cell);
    const [a] = replicasOf(cell) as [CellNode];
    cell.transfer(a.name);
    a.follow(cell.maps.length - 1);
    expect(old.copy()!.serving).toBe(true);
    while (cell.deliver(a.name, old.name));
    expect(old.copy()!.serving).toBe(false);
    expect(call(Op.get, 'k').try(old)).toBe(false);
  });
});

describe('a replaced primary whose map lags', () => {
  function laggard(): { cell: Cell; old: CellNode; next: CellNode } {
    const cell = newCell();
    done(cell, Op.set, 'k', 'old');
    const old = primaryOf(cell);
    const next = replicasOf(cell)[0]!;
    // The two do not hear of each other, and the old one not of the map.
    cell.cut(old.name, next.name);
    cell.cut(next.name, old.name);
    expect(cell.transfer(next.name)).toBe(true);
    followAll(cell, old.name);
    return { cell, old, next };
  }

  test('is not taken out by a move, nor is the partition handed on, before it has given up', () => {
    const { cell, old } = laggard();
    expect(cell.partition.former).toBe(old.name);
    expect(cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, remove: old.name }] })).toBe(false);
    const third = cell.partition.inSync.find((name) => name !== old.name && name !== cell.partition.primary)!;
    expect(cell.transfer(third)).toBe(false);
  });

  test('serves reads only as long as its successor does not serve', () => {
    const { cell, old, next } = laggard();
    let reads = 0;
    for (let passed = 0; passed < 2000; passed += 10) {
      flow(cell, 10);
      while (cell.leaderInbox.length > 0) cell.lead();
      followAll(cell, old.name);
      const read = call(Op.get, 'k');
      if (read.try(old)) reads++;
      const serving = [old, next].filter((node) => node.copy()?.serving === true && node.hasRights());
      expect(serving.length).toBeLessThan(2);
    }
    expect(reads).toBeGreaterThan(0);
    expect(next.copy()!.serving).toBe(true);
    expect(cell.partition.inSync).not.toContain(old.name);
  });
});

describe('retries', () => {
  test('after the log was trimmed the outcome is unknown, never a second effect', () => {
    const cell = newCell(['n1']);
    done(cell, Op.set, 'n', '5');
    const lost = call(Op.incr, 'n');
    lost.try(primaryOf(cell));
    const first = lost.outcomes.length;
    cell.pass(100);
    const filler = 'x'.repeat(200_000);
    for (let i = 0; i < 20; i++) call(Op.set, 'filler', filler).try(primaryOf(cell));
    expect(primaryOf(cell).copy()!.log.baseSeq).toBeGreaterThan(2);
    lost.try(primaryOf(cell));
    expect(lost.outcomes.slice(first).map((outcome) => outcome.status)).toEqual([Status.unknownOutcome]);
  });

  test('after an accepted loss nothing is known of earlier requests', () => {
    const cell = newCell(['n1']);
    done(cell, Op.set, 'n', '5');
    const lost = call(Op.incr, 'n');
    lost.try(primaryOf(cell));
    cell.kill('n1');
    expect(cell.partition.lost).toBe(true);
    cell.command({ type: 'accept-loss', keyspace: 'k', partitions: [{ partition: 0, epoch: cell.partition.epoch }] });
    expect(cell.settle()).toBe(true);
    lost.outcomes = [];
    lost.try(primaryOf(cell));
    expect(lost.done?.status).toBe(Status.unknownOutcome);
    const fresh = done(cell, Op.set, 'n', '1');
    expect(fresh.done?.status).toBe(Status.stored);
    expect(fresh.done!.cas, 'versions do not repeat those of the lost data').toBeGreaterThan(2 ** 32);
  });
});

describe('a partition that begins anew', () => {
  test('is kept by a copy that was filled before its map knew of the beginning, when the first primary dies', () => {
    const cell = newCell(['n1', 'n2']);
    done(cell, Op.set, 'k', 'old');
    cell.kill('n2');
    cell.kill('n1');
    expect(cell.partition.lost).toBe(true);
    cell.restart('n1');
    cell.restart('n2');
    followAll(cell);
    const behind = cell.maps.length - 1;
    cell.command({ type: 'accept-loss', keyspace: 'k', partitions: [{ partition: 0, epoch: cell.partition.epoch }] });
    const { primary } = cell.partition;
    const [first, late] = primary === 'n1' ? [cell.node('n1'), cell.node('n2')] : [cell.node('n2'), cell.node('n1')];
    for (let passed = 0; passed < 2000 && cell.partition.inSync.length < 2; passed += 50) {
      followAll(cell, late.name);
      flow(cell, 50);
      while (cell.leaderInbox.length > 0) cell.lead();
    }
    expect(cell.partition.inSync).toContain(late.name);
    followAll(cell, late.name);
    const write = call(Op.set, 'k', 'new');
    expect(write.try(first)).toBe(true);
    flow(cell, 200);
    expect(write.done?.status).toBe(Status.stored);
    cell.kill(first.name);
    for (let version = behind; version < cell.maps.length; version++) late.follow(version);
    expect(cell.settle()).toBe(true);
    expect(primaryOf(cell).name).toBe(late.name);
    expect(done(cell, Op.get, 'k').done).toMatchObject({ status: Status.hit, value: 'new' });
  });
});

describe('incomplete copies', () => {
  test('an in-sync copy that ran out of memory is never served from: the partition is lost, and says so', () => {
    const cell = newCell(['n1', 'n2']);
    done(cell, Op.set, 'k', 'v');
    const old = primaryOf(cell);
    const [replica] = replicasOf(cell) as [CellNode];
    replica.copy()!.cannotHold({ message: 'full', fields: {} } as never);
    // The primary dies before it hears of it.
    cell.kill(old.name);
    expect(cell.partition.primary).toBe(replica.name);
    for (let passed = 0; passed < 500; passed += 10) {
      followAll(cell);
      flow(cell, 10);
      while (cell.leaderInbox.length > 0) cell.lead();
      expect(replica.copy()!.serving).toBe(false);
    }
    expect(cell.partition).toMatchObject({ primary: undefined, lost: true, inSync: [] });
  });

  test('with another complete copy, that one takes over', () => {
    const cell = newCell();
    done(cell, Op.set, 'k', 'v');
    const old = primaryOf(cell);
    const next = replicasOf(cell);
    for (const replica of next.slice(0, 1)) replica.copy()!.cannotHold({ message: 'full', fields: {} } as never);
    cell.kill(old.name);
    expect(cell.settle()).toBe(true);
    expect(cell.partition.lost).toBe(false);
    expect(contents(primaryOf(cell).copy()!.table)[0]).toMatch(/^k=v /);
  });

  test('a copy that was made anew behind the map\'s back does not start empty', () => {
    const cell = newCell(['n1', 'n2', 'n3']);
    done(cell, Op.set, 'k', 'v');
    const joiner = replicasOf(cell)[1]!;
    cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, remove: joiner.name }] });
    const removed = cell.maps.length - 1;
    cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, add: joiner.name }] });
    // Everybody else is far ahead; the joiner, still on its old map, answers for its old copy and is named in sync.
    for (let passed = 0; passed < 300 && !cell.partition.inSync.includes(joiner.name); passed += 10) {
      followAll(cell, joiner.name);
      flow(cell, 10);
      while (cell.leaderInbox.length > 0) cell.lead();
    }
    expect(cell.partition.inSync).toContain(joiner.name);
    joiner.follow(removed);
    joiner.follow(cell.maps.length - 1);
    expect(joiner.copy()!.complete).toBe(false);
    expect(cell.settle()).toBe(true);
    expect(contents(joiner.copy()!.table)[0]).toMatch(/^k=v /);
  });

  test('with acks majority, a new primary that misses what no log has any more steps back for one that has it', () => {
    const cell = newCell(['n1', 'n2', 'n3'], 'majority', 64 << 20);
    done(cell, Op.set, 'k', 'v');
    const old = primaryOf(cell);
    const [a, b] = replicasOf(cell) as [CellNode, CellNode];
    cell.cut(old.name, b.name);
    const filler = 'x'.repeat(100_000);
    let last = call(Op.set, 'f', filler);
    for (let i = 0; i < 60; i++) {
      last = call(Op.set, 'f', `${i}${filler}`);
      last.try(old);
      cell.deliver(old.name, a.name);
      cell.deliver(a.name, old.name);
      if (i % 20 === 0) flow(cell, 10);
    }
    flow(cell, 60);
    expect(last.done?.status).toBe(Status.stored);
    expect(a.copy()!.log.baseSeq).toBeGreaterThan(b.copy()!.log.lastSeq);
    cell.kill(old.name);
    expect(cell.settle()).toBe(true);
    expect(contents(primaryOf(cell).copy()!.table).find((line) => line.startsWith('f='))).toMatch(/^f=59x/);
  });
});

describe('filling', () => {
  function fill(cell: Cell, count: number): void {
    for (let i = 0; i < count; i++) call(Op.set, `key${i}`, 'v'.repeat(2000)).try(primaryOf(cell));
    expect(cell.settle()).toBe(true);
    // The log is cut when something is sent.
    done(cell, Op.set, 'key0', 'w');
  }

  test('a copy filled while writes go on ends equal', () => {
    const cell = newCell(['n1', 'n2'], 'all', 64 << 20);
    fill(cell, 1500);
    // The log alone does not reach back: everything has to be sent.
    expect(primaryOf(cell).copy()!.log.baseSeq).toBeGreaterThan(0);
    cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, add: 'n3' }] });
    followAll(cell);
    let filled = 0;
    for (let i = 0; i < 2000 && !cell.partition.inSync.includes('n3'); i++) {
      cell.deliverAny();
      if (cell.node('n3').copy()?.filling === true) filled++;
      const key = `key${cell.random.below(1500)}`;
      const roll = cell.random.below(4);
      const write = roll === 0 ? call(Op.delete, key) : roll === 1 ? call(Op.set, `new${i}`, 'n') : roll === 2 ? call(Op.append, key, 'a') : call(Op.touch, key);
      write.try(primaryOf(cell));
      if (i % 5 === 0) cell.pass(5);
      if (i % 50 === 0) while (cell.leaderInbox.length > 0) cell.lead();
    }
    expect(filled).toBeGreaterThan(10);
    expect(cell.settle()).toBe(true);
    expect(cell.partition.inSync).toContain('n3');
    expect(contents(cell.node('n3').copy()!.table)).toEqual(contents(primaryOf(cell).copy()!.table));
  });

  test('late answers to earlier questions neither restart a snapshot nor use up its slot', () => {
    const cell = newCell(['n1', 'n2'], 'all', 64 << 20);
    fill(cell, 1500);
    const primary = primaryOf(cell);
    for (let round = 0; round < 8; round++) {
      cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, add: 'n3' }] });
      const n3 = cell.node('n3');
      n3.frozen = true;
      followAll(cell, 'n3');
      // Several questions gather before the first answer.
      cell.pass(60);
      cell.pass(60);
      cell.pass(60);
      n3.frozen = false;
      n3.follow(cell.maps.length - 1);
      expect(cell.settle(), `round ${round}`).toBe(true);
      expect(cell.partition.inSync).toContain('n3');
      cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, remove: 'n3' }] });
      expect(cell.settle()).toBe(true);
    }
    expect(primary.copy()!.serving).toBe(true);
  });

  test('a steady load does not keep a joiner out', () => {
    const cell = newCell(['n1', 'n2']);
    done(cell, Op.set, 'k', '');
    cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, add: 'n3' }] });
    followAll(cell);
    for (let i = 0; i < 400 && !cell.partition.inSync.includes('n3'); i++) {
      // A write before each delivery: the joiner is never level with the primary's log.
      call(Op.set, 'k', String(i)).try(primaryOf(cell));
      cell.deliverAny();
      call(Op.set, 'k', String(i)).try(primaryOf(cell));
      cell.pass(1);
      while (cell.leaderInbox.length > 0) cell.lead();
    }
    expect(cell.partition.inSync).toContain('n3');
  });
});

test('a returned copy is rid of a tail that was overruled before it may be primary', () => {
  const cell = newCell();
  done(cell, Op.set, 'k', 'v');
  const old = primaryOf(cell);
  const [heard, next] = replicasOf(cell) as [CellNode, CellNode];
  next.frozen = true;
  cell.cut(old.name, next.name);
  call(Op.set, 'x', 'first').try(old);
  const replaced = call(Op.replace, 'x', 'second');
  replaced.try(old);
  flow(cell);
  expect(heard.copy()!.log.lastSeq).toBe(old.copy()!.log.lastSeq);
  for (const gone of [old, heard]) cell.closeSession(gone.name, 'silent');
  next.frozen = false;
  expect(cell.settle()).toBe(true);
  expect(primaryOf(cell)).toBe(next);
  // It has never heard of either, and says so for good.
  replaced.try(next);
  expect(cell.settle()).toBe(true);
  expect(replaced.done?.status).toBe(Status.notStored);
  cell.openSession(heard.name);
  expect(cell.settle()).toBe(true);
  expect(cell.partition.inSync).toContain(heard.name);
  // Nobody has written since.
  expect(cell.transfer(heard.name)).toBe(true);
  expect(cell.settle()).toBe(true);
  expect(primaryOf(cell)).toBe(heard);
  expect(contents(heard.copy()!.table).map((entry) => entry.split(' ')[0])).toEqual(['k=v']);
});

describe('the last holders', () => {
  test('a process that only lost contact goes on with what it holds', () => {
    const cell = newCell(['n1', 'n2']);
    done(cell, Op.set, 'k', 'v');
    const last = primaryOf(cell).name;
    for (const name of cell.partition.inSync.slice()) cell.closeSession(name, 'silent');
    expect(cell.partition).toMatchObject({ primary: undefined, lost: false });
    cell.openSession(cell.partition.lastInSync[0]!.name);
    expect(cell.settle()).toBe(true);
    expect(contents(primaryOf(cell).copy()!.table)[0]).toMatch(/^k=v /);
    expect(cell.partition.copies).toContain(last);
  });

  test('a new process of the same name does not', () => {
    const cell = newCell(['n1']);
    done(cell, Op.set, 'k', 'v');
    cell.closeSession('n1', 'silent');
    cell.kill('n1');
    cell.restart('n1');
    expect(cell.partition).toMatchObject({ primary: undefined, lost: true });
  });

  test('a last holder stays placed', () => {
    const cell = newCell(['n1', 'n2']);
    for (const name of ['n1', 'n2']) cell.closeSession(name, 'silent');
    const [holder] = cell.partition.lastInSync;
    expect(cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, remove: holder!.name }] })).toBe(false);
    expect(cell.partition.copies).toContain(holder!.name);
  });
});

describe('offers', () => {
  /** The primary is dead; the survivor that is to follow has heard of it, the new primary has not. */
  function offered(tail: boolean): { cell: Cell; next: CellNode; other: CellNode } {
    const cell = newCell();
    done(cell, Op.set, 'k', '1');
    const first = primaryOf(cell).name;
    if (tail) {
      // One replica has an entry that the other misses.
      const [ahead, behind] = replicasOf(cell) as [CellNode, CellNode];
      behind.frozen = true;
      call(Op.set, 'k', '2').try(primaryOf(cell));
      cell.deliver(first, ahead.name);
      cell.node(first).wires.get(behind.name)!.queue.length = 0;
      behind.frozen = false;
    }
    cell.kill(first);
    const next = primaryOf(cell);
    const other = replicasOf(cell)[0] as CellNode;
    other.follow(cell.maps.length - 1);
    return { cell, next, other };
  }

  test('a copy that hears of a new primary first offers its position; the primary settles the moment it learns that it is one', () => {
    const { cell, next, other } = offered(false);
    expect(cell.deliver(other.name, next.name)).toBe(true);
    expect(next.copy()!.primary).toBeUndefined();
    next.follow(cell.maps.length - 1);
    expect(next.copy()!.serving).toBe(true);
    const read = call(Op.get, 'k');
    expect(read.try(next)).toBe(true);
    expect(read.done?.value).toBe('1');
    expect(cell.settle()).toBe(true);
  });

  test('an offer of a longer log does not let the primary serve before it has that log', () => {
    const { cell, next, other } = offered(true);
    cell.deliver(other.name, next.name);
    next.follow(cell.maps.length - 1);
    // Either log may be the longer one: what counts is that both are brought to it first.
    expect(next.copy()!.serving).toBe(false);
    expect(cell.settle()).toBe(true);
    expect([next.copy()!.log.lastSeq, other.copy()!.log.lastSeq]).toEqual([2, 2]);
  });

  test('the offer of a session that has ended counts for nothing', () => {
    const { cell, next, other } = offered(false);
    expect(cell.deliver(other.name, next.name)).toBe(true);
    cell.kill(other.name);
    cell.restart(other.name);
    next.follow(cell.maps.length - 1);
    // Alone in sync now, it serves; the newcomer must be filled, and is, though its predecessor offered a whole copy.
    expect(next.copy()!.primary!.followers.get(other.name)?.position).toBeUndefined();
    expect(cell.partition.inSync).toEqual([next.name]);
    expect(cell.settle()).toBe(true);
    expect(contents(other.copy()!.table)).toEqual(contents(next.copy()!.table));
  });

  test('an offer that is lost is made up for by a probe; one that comes late changes nothing', () => {
    const { cell, next, other } = offered(false);
    cell.cut(other.name, next.name);
    cell.mend(other.name, next.name);
    next.follow(cell.maps.length - 1);
    expect(next.copy()!.serving).toBe(false);
    flow(cell);
    expect(next.copy()!.serving).toBe(true);
    const again = offered(false);
    again.next.follow(again.cell.maps.length - 1);
    again.cell.deliver(again.next.name, again.other.name);
    flow(again.cell);
    expect(again.next.copy()!.serving).toBe(true);
    const write = call(Op.set, 'k', '3');
    expect(write.try(again.next)).toBe(true);
    flow(again.cell);
    expect(write.done?.status).toBe(Status.stored);
    expect(again.cell.settle()).toBe(true);
  });
});
