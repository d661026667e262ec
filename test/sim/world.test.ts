import { describe, expect, it } from 'vitest';
import type { Database } from '../../src/ports/disk.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';
import { Recorder } from '../ports/worlds.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text);
const value = (n: number): Uint8Array => bytes(String(n));

/** A small world with everything in it: datagrams, streams, timers, promises, disks, kills and partitions. */
async function trace(seed: number): Promise<string[]> {
  const world = new SimWorld({ seed, network: { link: { loss: 0.05, duplicate: 0.05, reorder: 0.1 } } });
  const lines: string[] = [];
  const note = (text: string): void => void lines.push(`${world.scheduler.now.toFixed(6)} ${text}`);
  const hosts = ['a', 'b', 'c'].map((name) => world.addHost(name));
  const start = async (name: string): Promise<void> => {
    const process = world.host(name).start(name, { clock: { drift: 0.001, lateMaxMs: 1 } });
    const { clock, random, streams, datagrams } = process;
    const database = await process.disk.open('data');
    note(`${name} starts with ${Buffer.from(database.get('n') ?? new Uint8Array(0)).toString()}`);
    const socket = await datagrams.bind({ host: '0.0.0.0', port: 1 }, (packet) => note(`${name} got ${Buffer.from(packet).toString()}`));
    await streams.listen({ host: '0.0.0.0', port: 2 }, (stream) => stream.setHandler({ onData: (data) => note(`${name} read ${data.length}`), onClose: (reason) => note(`${name} closed ${reason}`) }));
    let n = 0;
    const tick = (): void => {
      n++;
      const to = random.pick(hosts)?.address ?? '';
      socket.send(bytes(`${name}${n}`), { host: to, port: 1 });
      const stream = streams.connect({ host: to, port: 2 }, { timeoutMs: 500 });
      stream.setHandler({ onOpen: () => { stream.write(new Uint8Array(random.below(1000))); stream.end(); }, onData: () => {}, onClose: (reason) => note(`${name} done ${reason}`) });
      database.write([{ type: 'put', key: 'n', value: value(n) }], () => note(`${name} wrote ${n}`));
      clock.endOfTurn(() => note(`${name} turn`));
      void (async () => {
        for (let i = 0; i < 5; i++) await Promise.resolve();
        note(`${name} awaited`);
      })();
      clock.at(clock.now() + random.float() * 50, tick);
    };
    tick();
  };
  for (const host of hosts) await start(host.name);
  for (let i = 0; i < 15; i++) {
    await world.scheduler.runFor(100);
    const victim = world.random.pick(hosts);
    if (victim === undefined) continue;
    if (i % 3 === 0) {
      for (const process of victim.processes) process.kill();
      await start(victim.name);
    } else if (i % 3 === 1) world.network.partition([victim.name], hosts.filter((host) => host !== victim).map((host) => host.name));
    else world.network.heal();
  }
  return lines;
}

describe('a simulated world', () => {
  it('says so when time does not pass any more', async () => {
    const { scheduler } = new SimWorld({ seed: 1 });
    const again = (): void => void scheduler.after(1e-20, again);
    scheduler.after(5, again);
    await expect(scheduler.runFor(10)).rejects.toThrow('time stands still at 5 ms');
  });

  it('runs the same from the same seed, and otherwise from another', async () => {
    const first = await trace(42);
    expect(first.length).toBeGreaterThan(1000);
    expect(await trace(42)).toEqual(first);
    expect(await trace(43)).not.toEqual(first);
  });

  it('lets every promise settle before the next event, however long the chain', async () => {
    const world = new SimWorld({ seed: 1 });
    const { clock } = world.addHost('a').start('p');
    const order: string[] = [];
    clock.at(1, () => void (async () => {
      for (let i = 0; i < 1000; i++) await Promise.resolve();
      order.push('chain');
    })());
    clock.at(1, () => order.push('next'));
    await world.scheduler.runUntil(2);
    expect(order).toEqual(['chain', 'next']);
  });

  it('a killed process does nothing more: no timer, no callback, no effect of code after an await', async () => {
    const world = new SimWorld({ seed: 1 });
    const a = world.addHost('a').start('p');
    const b = world.addHost('b').start('p');
    const heard: string[] = [];
    await b.datagrams.bind({ host: b.host.address, port: 1 }, (packet) => heard.push(Buffer.from(packet).toString()));
    const socket = await a.datagrams.bind({ host: a.host.address, port: 1 }, () => heard.push('received'));
    const database = await a.disk.open('d');
    const events: string[] = [];
    a.clock.at(10, () => events.push('timer'));
    a.clock.at(5, () => {
      void Promise.resolve().then(() => {
        socket.send(bytes('from beyond'), { host: b.host.address, port: 1 });
        database.write([{ type: 'put', key: 'k', value: value(1) }], () => events.push('done'));
        a.log.info('never');
        a.clock.endOfTurn(() => events.push('turn'));
        a.streams.connect({ host: 'b', port: 9 }).setHandler({ onData: () => {}, onClose: () => events.push('closed') });
      });
      a.kill();
    });
    await world.scheduler.runUntil(1000);
    expect([events, heard, a.alive]).toEqual([[], [], false]);
    expect((await a.host.start('p').disk.open('d')).get('k')).toBeUndefined();
  });

  it('a paused process sees everything late and in order', async () => {
    const world = new SimWorld({ seed: 1 });
    const p = world.addHost('a').start('p');
    const events: string[] = [];
    for (const at of [10, 30, 20, 200]) p.clock.at(at, () => events.push(`${at} at ${p.clock.now()}`));
    await world.scheduler.runUntil(15);
    p.pause();
    await world.scheduler.runUntil(100);
    expect(events).toEqual(['10 at 10']);
    p.resume();
    await world.scheduler.runUntil(300);
    expect(events).toEqual(['10 at 10', '20 at 100', '30 at 100', '200 at 200']);
  });

  it('gives clocks their own offset, drift and wall time', async () => {
    const world = new SimWorld({ seed: 1 });
    const p = world.addHost('a').start('p', { clock: { offsetMs: 5000, drift: -0.01, wallStartMs: 1_000_000 } });
    const fired: number[] = [];
    for (let i = 1; i <= 300; i++) p.clock.at(5000 + i * 3.3, () => fired.push(p.clock.now() - (5000 + i * 3.3)));
    await world.scheduler.runUntil(2000);
    expect(fired.length).toBe(300);
    expect(Math.min(...fired)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...fired)).toBeLessThan(0.001);
    expect(p.clock.now()).toBe(5000 + 1980);
    expect(p.clock.wallTime()).toBe(1_000_000 + 1980);
    p.clock.jumpWall(-60_000);
    expect([p.clock.wallTime(), p.clock.now()]).toEqual([1_000_000 + 1980 - 60_000, 6980]);
  });

  it('surfaces what a callback throws', async () => {
    const world = new SimWorld({ seed: 1 });
    world.addHost('a').start('p').clock.at(1, () => {
      throw new Error('broken invariant');
    });
    await expect(world.scheduler.runUntil(2)).rejects.toThrow('broken invariant');
  });

  it('runs a hundred thousand events in a few seconds', async () => {
    const world = new SimWorld({ seed: 1 });
    const { clock } = world.addHost('a').start('p');
    let left = 100_000;
    const tick = (): void => {
      if (--left > 0) clock.at(clock.now() + 1, tick);
    };
    tick();
    const start = performance.now();
    await world.scheduler.runUntil(200_000);
    expect(left).toBe(0);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});

describe('a simulated disk', () => {
  const write = (database: Database, n: number, done: (error?: Error) => void = () => {}): void =>
    database.write([{ type: 'put', key: `a${n}`, value: value(n) }, { type: 'put', key: `b${n}`, value: value(n) }], done);
  const keys = (database: Database): string[] => [...database.range('', 'z')].map(([key]) => key);

  it('keeps, over a crash, all that was reported durable, then a prefix of the rest, batches whole', async () => {
    const kept = new Set<number>();
    for (let seed = 1; seed <= 60; seed++) {
      const world = new SimWorld({ seed });
      const host = world.addHost('a');
      const p = host.start('p');
      const database = await p.disk.open('d');
      let durable = 0;
      for (let n = 0; n < 5; n++) write(database, n, () => (durable = n + 1));
      await world.scheduler.runFor(5);
      expect(durable).toBe(5);
      for (let n = 5; n < 9; n++) write(database, n, () => (durable = n + 1));
      if (seed % 2 === 0) p.kill();
      else {
        host.crash();
        host.boot();
      }
      await world.scheduler.runFor(5);
      expect(durable).toBe(5);
      const left = keys(await host.start('p').disk.open('d'));
      const count = left.length / 2;
      expect(left).toEqual([...Array.from({ length: count }, (_, n) => `a${n}`), ...Array.from({ length: count }, (_, n) => `b${n}`)]);
      expect(count).toBeGreaterThanOrEqual(5);
      kept.add(count);
    }
    expect([...kept].sort((a, b) => a - b)).toEqual([5, 6, 7, 8, 9]);
  });

  it('reports a full and a broken disk, after which nothing more is written', async () => {
    for (const [fault, code] of [['full', 'DISK_FULL'], ['broken', 'DISK_UNWRITABLE']] as const) {
      const world = new SimWorld({ seed: 1 });
      const host = world.addHost('a');
      const p = host.start('p');
      const database = await p.disk.open('d');
      const results: string[] = [];
      const note = (error?: Error): void => void results.push(error === undefined ? 'ok' : (error as Error & { code: string }).code);
      write(database, 1, note);
      await world.scheduler.runFor(5);
      host.disk.faults[fault] = true;
      write(database, 2, note);
      await world.scheduler.runFor(5);
      host.disk.faults[fault] = false;
      write(database, 3, note);
      await world.scheduler.runFor(5);
      expect(results).toEqual(['ok', code, code]);
      p.kill();
      expect(keys(await host.start('p').disk.open('d'))).toEqual(['a1', 'b1']);
    }
  });

  it('belongs to one living process at a time', async () => {
    const world = new SimWorld({ seed: 1 });
    const host = world.addHost('a');
    const p = host.start('p');
    await p.disk.open('d');
    const q = host.start('q', { directory: 'p' });
    await expect(q.disk.open('d')).rejects.toMatchObject({ code: 'DATA_LOCKED' });
    p.kill();
    await q.disk.open('d');
  });

  it('is slow when told to be', async () => {
    const world = new SimWorld({ seed: 1 });
    const host = world.addHost('a');
    host.disk.faults.delayMinMs = host.disk.faults.delayMaxMs = 500;
    const database = await host.start('p').disk.open('d');
    let at = 0;
    write(database, 1, () => (at = world.scheduler.now));
    await world.scheduler.runFor(1000);
    expect(at).toBe(500);
  });
});

it('a recorder sees a poisoned buffer when it keeps one without copying', async () => {
  const world = new SimWorld({ seed: 1 });
  const p = world.addHost('a').start('p');
  let kept: Uint8Array | undefined;
  const listener = await p.streams.listen({ host: '127.0.0.1', port: 0 }, (stream) => stream.setHandler({ onData: (data) => (kept = data), onClose: () => {} }));
  const stream = p.streams.connect(listener.address);
  stream.setHandler(new Recorder());
  stream.write(bytes('x'));
  await world.scheduler.runFor(10);
  expect(kept).toEqual(new Uint8Array([0xdb]));
});
