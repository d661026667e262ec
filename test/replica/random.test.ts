import { expect, test } from 'vitest';
import type { Acks } from '../../src/core/control/map.ts';
import { Op, Status } from '../../src/core/store/request.ts';
import { requestOf } from '../store/requests.ts';
import { Call, Cell, contents } from './cell.ts';

/**
 * Random runs against a model. Every write appends a token of its own to one of a few keys, and is retried under its name
 * until it is answered. Then: an answered write's token is there exactly once, in every copy, and no token is there
 * twice; and a read at a serving primary shows everything that was answered before the read began.
 */
const keys = ['a', 'b', 'c'];

interface Write {
  readonly key: string;
  readonly token: string;
  readonly call: Call;
}

interface Read {
  readonly call: Call;
  readonly needs: readonly string[];
}

class Run {
  readonly cell: Cell;
  readonly writes: Write[] = [];
  readonly open: Write[] = [];
  readonly reads: Read[] = [];
  readonly answered = new Map<string, string[]>(keys.map((key) => [key, []]));
  readonly #seed: number;
  readonly #kills: boolean;
  #counted = new Set<Write>();

  constructor(seed: number, acks: Acks, kills: boolean) {
    this.#seed = seed;
    this.#kills = kills;
    this.cell = new Cell(['n1', 'n2', 'n3', 'n4'], ['n1', 'n2', 'n3'], acks, seed);
    expect(this.cell.settle()).toBe(true);
    keys.forEach((key, index) => {
      const call = new Call(requestOf(Op.set, key), 1_000_000 + index);
      call.try(this.cell.primary()!);
      expect(this.cell.settle()).toBe(true);
      expect(call.done?.status).toBe(Status.stored);
    });
  }

  steps(count: number): void {
    for (let i = 0; i < count && !this.cell.partition.lost; i++) {
      this.#step();
      this.#look();
    }
  }

  #step(): void {
    const { cell } = this;
    const { random } = cell;
    const some = <T>(list: readonly T[]): T => list[random.below(list.length)]!;
    const node = some(cell.nodes);
    const other = some(cell.nodes.filter((candidate) => candidate !== node));
    const roll = random.below(1000);
    if (roll < 300) cell.deliverAny();
    else if (roll < 420) cell.pass(random.below(60));
    else if (roll < 560) this.#write();
    else if (roll < 640) this.#retry();
    else if (roll < 720) this.#read();
    else if (roll < 840) this.#follow(node.name);
    else if (roll < 890) cell.lead(random.below(3) === 0);
    else if (roll < 915) cell.cut(node.name, other.name);
    else if (roll < 945) cell.mend(node.name, other.name);
    else if (roll < 955) cell.transfer(some(cell.partition.copies));
    else if (roll < 963) this.#loseSession(node.name);
    else if (roll < 975) this.#resume(node.name);
    else if (roll < 983) node.frozen = !node.frozen;
    else if (roll < 990) this.#place(node.name);
    else if (this.#kills) this.#kill(node.name);
  }

  #write(): void {
    if (this.open.length >= 20) return;
    const key = keys[this.cell.random.below(keys.length)]!;
    const token = `<${this.writes.length}>`;
    const write = { key, token, call: new Call(requestOf(Op.append, key, { value: token }), this.writes.length + 1) };
    this.writes.push(write);
    this.open.push(write);
    this.#try(write.call);
  }

  /** At whoever takes itself for the primary, which may be more than one. */
  #try(call: Call): void {
    const able = this.cell.nodes.filter((node) => node.copy()?.serving === true);
    const node = able[this.cell.random.below(Math.max(1, able.length))];
    if (node !== undefined) call.try(node);
  }

  #retry(): void {
    const write = this.open[this.cell.random.below(Math.max(1, this.open.length))];
    // Only what was given back, or hangs on a node that is out of reach, is sent again, as the router does.
    if (write !== undefined) this.#try(write.call);
  }

  #read(): void {
    const key = keys[this.cell.random.below(keys.length)]!;
    const needs = [...this.answered.get(key)!];
    const call = new Call(requestOf(Op.get, key), 0);
    this.#try(call);
    if (call.firstTriedAt >= 0) this.reads.push({ call, needs });
  }

  #follow(name: string): void {
    const node = this.cell.node(name);
    const behind = this.cell.maps.length - 1 - node.version;
    if (!node.alive || node.frozen || behind === 0) return;
    node.follow(node.version + 1 + this.cell.random.below(behind));
  }

  /** Silent: the leader waits until the node's own lease has certainly ended. */
  #loseSession(name: string): void {
    const { cell } = this;
    // Under majority only a minority may be away at once; kept simple: nobody is.
    if (!this.#kills) return;
    if (cell.map.nodes[name]?.live !== true || !this.#othersInSync(name)) return;
    cell.closeSession(name, 'silent');
  }

  #resume(name: string): void {
    if (this.cell.node(name).alive && this.cell.map.nodes[name]?.live !== true) this.cell.openSession(name);
  }

  #place(name: string): void {
    const { partition } = this.cell;
    const held = partition.copies.includes(name);
    if (!held && partition.copies.length < 4) this.cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, add: name }] });
    else if (held && partition.copies.length > 2) this.cell.command({ type: 'place', moves: [{ keyspace: 'k', partition: 0, remove: name }] });
  }

  #kill(name: string): void {
    const node = this.cell.node(name);
    if (!node.alive) this.cell.restart(name);
    else if (this.#othersInSync(name)) this.cell.kill(name);
  }

  /** One in-sync copy must survive in a living process: that is what the model promises to be enough. */
  #othersInSync(name: string): boolean {
    const { partition, map } = this.cell;
    return partition.inSync.some((other) => other !== name && map.nodes[other]?.live === true && this.cell.node(other).alive);
  }

  #look(): void {
    for (const write of this.open.filter((candidate) => candidate.call.done !== undefined)) {
      this.open.splice(this.open.indexOf(write), 1);
      if (write.call.done?.status === Status.stored) this.#count(write);
    }
    for (const read of this.reads.splice(0)) {
      const outcome = read.call.outcomes[0];
      if (outcome === undefined) {
        if (this.reads.length < 200) this.reads.push(read);
        continue;
      }
      if (outcome.status !== Status.hit) continue;
      for (const token of read.needs) if (!outcome.value.includes(token)) throw new Error(`seed ${this.#seed}: a read misses ${token}, which was acknowledged before: ${outcome.value}`);
    }
  }

  #count(write: Write): void {
    if (this.#counted.has(write)) return;
    this.#counted.add(write);
    this.answered.get(write.key)!.push(write.token);
  }

  finish(): void {
    const { cell } = this;
    expect(cell.partition.lost, `seed ${this.#seed}: lost although an in-sync copy survived`).toBe(false);
    for (const node of cell.nodes) {
      node.frozen = false;
      if (!node.alive) cell.restart(node.name);
      else if (cell.map.nodes[node.name]?.live !== true) cell.openSession(node.name);
    }
    expect(cell.settle(), `seed ${this.#seed}: does not come to rest: ${JSON.stringify(cell.partition)}`).toBe(true);
    for (let i = 0; this.open.length > 0 && i < 50; i++) {
      for (const write of this.open) this.#try(write.call);
      expect(cell.settle(), `seed ${this.#seed}`).toBe(true);
      this.#look();
    }
    expect(this.open.length, `seed ${this.#seed}: writes without an answer`).toBe(0);
    const tables = cell.partition.inSync.map((name) => contents(cell.node(name).copy()!.table));
    for (const table of tables) expect(table, `seed ${this.#seed}: copies differ`).toEqual(tables[0]);
    for (const key of keys) {
      const value = tables[0]!.find((line) => line.startsWith(`${key}=`)) ?? '';
      for (const token of this.answered.get(key)!) expect(value.includes(token), `seed ${this.#seed}: ${token} was acknowledged and is gone`).toBe(true);
      for (const write of this.writes) if (value.split(write.token).length > 2) throw new Error(`seed ${this.#seed}: ${write.token} took effect twice`);
    }
  }
}

function play(seed: number, acks: Acks, kills: boolean, steps: number): Run {
  const run = new Run(seed, acks, kills);
  run.steps(steps);
  run.finish();
  return run;
}

const seedCount = Number(process.env['REPLICA_SEEDS'] ?? 60);
const firstSeed = Number(process.env['REPLICA_SEED'] ?? 1);

test('acks all: no acknowledged write is lost or doubled while one in-sync copy survives, copies end equal', { timeout: 120_000 }, () => {
  let answered = 0;
  for (let seed = firstSeed; seed < firstSeed + seedCount; seed++) {
    const run = play(seed, 'all', true, 600);
    for (const tokens of run.answered.values()) answered += tokens.length;
  }
  // The runs get somewhere: they are not one long outage.
  expect(answered).toBeGreaterThan(seedCount * 10);
});

test('acks majority: nothing acknowledged is lost while no process dies', { timeout: 120_000 }, () => {
  for (let seed = firstSeed; seed < firstSeed + seedCount / 3; seed++) play(seed, 'majority', false, 600);
});
