import { describe, expect, test } from 'vitest';
import { aesGcmCipher } from '../../src/host/aes-gcm-cipher.ts';
import { startGossip } from '../../src/node/gossip.ts';
import type { Gossip, GossipEvent, GossipOptions } from '../../src/node/gossip.ts';
import { SnapshotKeeper } from '../../src/node/snapshot-keeper.ts';
import { MemoryAppendFiles } from '../../src/ports/memory-append-files.ts';
import type { LogLine } from '../../src/ports/log.ts';
import type { SimProcess } from '../../src/sim/sim-host.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';

interface Running {
  readonly name: string;
  readonly gossip: Gossip;
  readonly keeper: SnapshotKeeper;
  readonly process: SimProcess;
  readonly events: GossipEvent[];
}

const text = (payload: string): Uint8Array => new TextEncoder().encode(payload);

class Pool {
  readonly world: SimWorld;
  readonly files = new Map<string, MemoryAppendFiles>();
  readonly logs: LogLine[] = [];
  readonly nodes = new Map<string, Running>();

  constructor(seed: number) {
    this.world = new SimWorld({ seed });
  }

  async start(name: string, { rejoin = false, options = {} }: { rejoin?: boolean; options?: Partial<GossipOptions> } = {}): Promise<Running> {
    const { scheduler } = this.world;
    const host = this.world.hosts.find((known) => known.name === name) ?? this.world.addHost(name);
    const process = host.start(name, { onLog: (line) => void this.logs.push(line) });
    const files = this.files.get(name) ?? new MemoryAppendFiles();
    this.files.set(name, files);
    const { clock, random, log, datagrams, streams } = process;
    const keeper = await scheduler.settle(SnapshotKeeper.open({ path: 'snapshot', rejoin }, { files, clock, random, log }));
    const { resume } = keeper;
    const gossip = await scheduler.settle(startGossip({ name, bind: { host: host.address, port: 7946 }, profile: 'lan', tags: {}, ...(resume === undefined ? {} : { resume }), ...options }, { datagrams, streams, clock, random, log, cipher: aesGcmCipher }));
    keeper.attach(gossip);
    const events: GossipEvent[] = [];
    gossip.onEvent((event) => void events.push(event));
    const running = { name, gossip, keeper, process, events };
    this.nodes.set(name, running);
    return running;
  }

  async grow(count: number): Promise<void> {
    for (let i = 0; i < count; i++) await this.start(`n${i}`);
    const first = this.get('n0').gossip.address;
    for (let i = 1; i < count; i++) await this.world.scheduler.settle(this.get(`n${i}`).gossip.join([first]));
    await this.until(10_000, () => this.allAlive());
    await this.world.scheduler.runFor(2000);
  }

  get(name: string): Running {
    return this.nodes.get(name) as Running;
  }

  others(name: string): Running[] {
    return [...this.nodes.values()].filter((node) => node.name !== name);
  }

  snapshot(name: string): string {
    return (this.files.get(name) as MemoryAppendFiles).read('snapshot');
  }

  allAlive(): boolean {
    return [...this.nodes.values()].every(({ gossip }) => gossip.members().length === this.nodes.size && gossip.members().every((member) => member.status === 'alive'));
  }

  status(of: string, by: string): string | undefined {
    return this.get(by).gossip.member(of)?.status;
  }

  async until(ms: number, condition: () => boolean): Promise<number> {
    const { scheduler } = this.world;
    const start = scheduler.now;
    await scheduler.runWhile(() => !condition(), ms);
    expect(condition(), [...this.nodes.values()].map(({ name, gossip }) => `${name}: ${gossip.members().map((member) => `${member.name} ${member.status}`).join(', ')}`).join('\n')).toBe(true);
    return scheduler.now - start;
  }
}

const userEvents = (node: Running): string[] => node.events.flatMap((event) => (event.type === 'user' ? [`${event.name}:${new TextDecoder().decode(event.payload)}`] : []));

describe('a killed and restarted node', () => {
  test('is back in the list of all within a second, also when most of the members it knew are gone', async () => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const pool = new Pool(seed);
      await pool.grow(9);
      // Hosts that swallow packets must not stand in the way of those that answer.
      for (const name of ['n5', 'n6', 'n7']) pool.get(name).process.host.crash();
      pool.get('n8').process.kill();
      await pool.until(90_000, () => ['n0', 'n1', 'n2', 'n3', 'n4'].every((by) => ['n5', 'n6', 'n7', 'n8'].every((of) => pool.status(of, by) === 'failed')));
      for (const name of ['n5', 'n6', 'n7']) pool.nodes.delete(name);
      await pool.start('n8');
      const took = await pool.until(5000, () => ['n0', 'n1', 'n2', 'n3', 'n4'].every((by) => pool.status('n8', by) === 'alive'));
      expect(took).toBeLessThan(1000);
    }
  });

  test('is told the user events that it missed, each once, in their order, before newer ones; no older ones', async () => {
    for (const seed of [1, 2, 3]) {
      const pool = new Pool(seed);
      await pool.grow(5);
      for (let i = 0; i < 5; i++) pool.get('n0').gossip.userEvent('before', text(String(i)));
      await pool.until(5000, () => userEvents(pool.get('n4')).length === 5);
      pool.get('n4').process.kill();
      await pool.until(60_000, () => pool.others('n4').every(({ name }) => pool.status('n4', name) === 'failed'));
      for (let i = 0; i < 40; i++) {
        pool.get(`n${i % 4}`).gossip.userEvent('missed', text(String(i)));
        await pool.world.scheduler.runFor(1000); // at once they would be of one Lamport time, and in no order
      }
      const back = await pool.start('n4');
      // Live ones come at the same time as the past: they wait for it. Further apart than packets overtake each other: who has caught up tells them as they come.
      for (let i = 0; i < 5; i++) {
        pool.get('n1').gossip.userEvent('live', text(String(i)));
        await pool.world.scheduler.runFor(2);
      }
      const wanted = [...Array.from({ length: 40 }, (_, i) => `missed:${i}`), ...Array.from({ length: 5 }, (_, i) => `live:${i}`)];
      await pool.until(10_000, () => userEvents(back).length >= wanted.length);
      await pool.world.scheduler.runFor(40_000); // push/pulls bring it all again
      expect(userEvents(back)).toEqual(wanted);
      // And once more: nothing was missed.
      back.process.kill();
      const again = await pool.start('n4');
      await pool.until(5000, () => again.gossip.members().length === 5);
      await pool.world.scheduler.runFor(40_000);
      expect(userEvents(again)).toEqual([]);
    }
  });

  test('what was history when it first joined stays history', async () => {
    const pool = new Pool(7);
    await pool.grow(3);
    for (let i = 0; i < 3; i++) pool.get('n0').gossip.userEvent('old', text(String(i)));
    await pool.world.scheduler.runFor(2000);
    const late = await pool.start('late');
    await pool.world.scheduler.settle(late.gossip.join([pool.get('n0').gossip.address]));
    await pool.world.scheduler.runFor(2000);
    late.process.kill();
    const back = await pool.start('late');
    await pool.until(5000, () => back.gossip.members().length === 4);
    await pool.world.scheduler.runFor(40_000);
    expect(userEvents(back)).toEqual([]);
  });

  test('a join that is asked for at the same time costs it none of the missed events', async () => {
    const pool = new Pool(8);
    await pool.grow(3);
    pool.get('n2').process.kill();
    await pool.until(60_000, () => pool.status('n2', 'n0') === 'failed');
    pool.get('n0').gossip.userEvent('missed', text('1'));
    await pool.world.scheduler.runFor(2000);
    const back = await pool.start('n2');
    await pool.world.scheduler.settle(back.gossip.join([pool.get('n1').gossip.address]));
    await pool.world.scheduler.runFor(2000);
    expect(userEvents(back)).toEqual(['missed:1']);
  });

  test('does not execute a query that it had executed', async () => {
    const pool = new Pool(9);
    await pool.grow(3);
    pool.get('n0').gossip.query('do', text(''), { timeoutMs: 30_000 }, () => {});
    await pool.until(5000, () => pool.get('n2').events.some((event) => event.type === 'query'));
    const { queryTime } = pool.get('n2').gossip.times();
    pool.get('n2').process.kill();
    const back = await pool.start('n2');
    expect(back.gossip.times().queryTime).toBe(queryTime);
    await pool.world.scheduler.runFor(20_000);
    expect(back.events.filter((event) => event.type === 'query')).toEqual([]);
  });

  test('after a loss of power the members are on the disk', async () => {
    const pool = new Pool(10);
    await pool.grow(4);
    (pool.files.get('n3') as MemoryAppendFiles).crash();
    pool.get('n3').process.host.crash();
    pool.get('n3').process.host.boot();
    await pool.start('n3');
    expect(await pool.until(5000, () => pool.allAlive())).toBeLessThan(1000);
  });

  test('with garbage and a torn line in its file it goes back all the same, and says which lines it left out', async () => {
    const pool = new Pool(11);
    await pool.grow(3);
    pool.get('n2').process.kill();
    const files = pool.files.get('n2') as MemoryAppendFiles;
    files.write('snapshot', `\u0000\u0000rubbish\n${files.read('snapshot')}clock: banana\nalive: n7 10.`);
    await pool.start('n2');
    expect(await pool.until(5000, () => pool.allAlive())).toBeLessThan(1000);
    expect(pool.logs.filter((line) => line.message.includes('2 lines of the snapshot'))).toHaveLength(1);
    expect(pool.snapshot('n2')).not.toContain('rubbish');
  });
});

describe('a node that left', () => {
  test('stays away at its next start, alone; a join brings it back', async () => {
    const pool = new Pool(20);
    await pool.grow(3);
    await pool.world.scheduler.settle(pool.get('n2').gossip.leave());
    await pool.world.scheduler.settle(pool.get('n2').keeper.close());
    pool.get('n2').process.kill();
    expect(pool.snapshot('n2')).toMatch(/leave\n$/);
    await pool.until(5000, () => pool.status('n2', 'n0') === 'left' && pool.status('n2', 'n1') === 'left');
    const back = await pool.start('n2');
    await pool.world.scheduler.runFor(60_000);
    expect(back.gossip.members().map((member) => member.name)).toEqual(['n2']);
    expect(pool.status('n2', 'n0')).toBe('left');
    await pool.world.scheduler.settle(back.gossip.join([pool.get('n0').gossip.address]));
    await pool.until(5000, () => pool.allAlive());
  });

  test('with rejoin goes back', async () => {
    const pool = new Pool(21);
    await pool.grow(3);
    await pool.start('extra', { rejoin: true });
    await pool.world.scheduler.settle(pool.get('extra').gossip.join([pool.get('n0').gossip.address]));
    await pool.until(5000, () => pool.allAlive());
    await pool.world.scheduler.settle(pool.get('extra').gossip.leave());
    await pool.world.scheduler.settle(pool.get('extra').keeper.close());
    pool.get('extra').process.kill();
    await pool.until(5000, () => pool.status('extra', 'n0') === 'left');
    await pool.start('extra', { rejoin: true });
    expect(await pool.until(5000, () => pool.allAlive())).toBeLessThan(1500);
  });
});

describe('the file', () => {
  test('grows by a line for each change, and is written anew before it is long', async () => {
    const pool = new Pool(30);
    await pool.grow(2);
    const before = pool.snapshot('n0');
    expect(before).toContain(`alive: n1 ${pool.get('n1').gossip.address.host}:7946\n`);
    let longest = 0;
    for (let i = 0; i < 9000; i++) {
      pool.get('n0').gossip.userEvent('e', text(String(i)));
      await pool.world.scheduler.runFor(1);
      longest = Math.max(longest, pool.snapshot('n0').length);
    }
    await pool.world.scheduler.runFor(1000);
    expect(longest).toBeGreaterThan(100_000);
    expect(longest).toBeLessThan(140_000);
    expect(pool.snapshot('n0')).toContain(`event-clock: ${pool.get('n0').gossip.times().eventTime}\n`);
    pool.get('n1').process.kill();
    await pool.until(60_000, () => pool.status('n1', 'n0') === 'failed');
    await pool.world.scheduler.runFor(1);
    expect(pool.snapshot('n0')).toMatch(/not-alive: n1\n/);
  });

  test('a disk that is full for a while is told once for each try, and made up for', async () => {
    const pool = new Pool(31);
    await pool.grow(2);
    const files = pool.files.get('n0') as MemoryAppendFiles;
    files.full = true;
    for (let i = 0; i < 20; i++) {
      pool.get('n1').gossip.userEvent('e', text(String(i)));
      await pool.world.scheduler.runFor(500);
    }
    const complaints = pool.logs.filter((line) => line.message.startsWith('the snapshot cannot be written'));
    expect(complaints.length).toBeGreaterThan(0);
    expect(complaints.length).toBeLessThan(5);
    files.full = false;
    await pool.world.scheduler.runFor(10_000);
    expect(pool.snapshot('n0')).toContain(`event-clock: ${pool.get('n0').gossip.times().eventTime}\n`);
  });
});
