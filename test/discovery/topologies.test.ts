import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { DiscoveryPorts, Sink } from '../../src/discovery/strategy.ts';
import { defineStrategy } from '../../src/discovery/strategy.ts';
import { Topologies } from '../../src/discovery/topologies.ts';
import type { JoinOutcome } from '../../src/discovery/topologies.ts';
import type { TopologyEvent, TopologyHooks } from '../../src/discovery/topology.ts';
import type { Address } from '../../src/ports/address.ts';
import { formatAddress } from '../../src/ports/address.ts';
import type { LogLine } from '../../src/ports/log.ts';
import type { SimScheduler } from '../../src/sim/scheduler.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';
import { hostPorts } from './support/ports.ts';

const at = (last: number): Address => ({ host: `10.0.0.${last}`, port: 7946 });
const self = at(1);

/** Topologies on a virtual clock, over sources that the test speaks for and a pool that it holds. */
class Bench {
  readonly sinks = new Map<string, Sink>();
  readonly events: TopologyEvent[] = [];
  readonly lines: LogLine[] = [];
  readonly attempts: { readonly host: string; readonly atMs: number }[] = [];
  readonly members = new Set<string>([self.host]);
  readonly disconnected: string[] = [];
  readonly names = new Map<string, readonly string[]>();
  /** Hosts that answer when they are asked to join. */
  readonly up = new Set<string>();
  /** Hosts that neither answer nor refuse. */
  readonly mute = new Set<string>();
  stoppedSources = 0;
  openAttempts = 0;
  openAttemptsMax = 0;
  readonly scheduler: SimScheduler;
  readonly topologies: Topologies;

  constructor(names: readonly string[] = ['home'], hooks: Partial<TopologyHooks> = {}) {
    const world = new SimWorld({ seed: 5 });
    this.scheduler = world.scheduler;
    const process = world.addHost('one').start('one', { onLog: (line) => this.lines.push(line) });
    const strategy = defineStrategy<{ name: string }, 'clock'>({
      name: 'scripted', summary: 'The test speaks for it.', ports: ['clock'], options: { name: { kind: { type: 'text' }, help: '', fallback: undefined, required: true, fallbackText: undefined } },
      start: ({ name }, _ports, sink) => {
        this.sinks.set(name, sink);
        return { stop: async () => void this.stoppedSources++ };
      },
    });
    const ports: DiscoveryPorts = {
      ...hostPorts('one', self), clock: process.clock, random: process.random, log: process.log,
      dns: {
        lookup: async (host) => {
          if (host.startsWith('10.')) return [host];
          const found = this.names.get(host);
          if (found === undefined) throw new Error(`there is no ${host}`);
          return found;
        },
        addresses: async () => [],
        services: async () => [],
      },
    };
    this.topologies = new Topologies(names.map((name) => ({ name, strategy, options: { name }, retryMaxMs: 4000 })), ports, {
      list: () => [...this.members].map((host) => ({ host, port: 7946 })),
      connect: async (address, signal) => {
        this.attempts.push({ host: address.host, atMs: this.scheduler.now });
        this.openAttemptsMax = Math.max(this.openAttemptsMax, ++this.openAttempts);
        try {
          if (this.mute.has(address.host)) await new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('gave up')), { once: true }));
          await new Promise<void>((resolve) => this.scheduler.after(1, resolve));
          if (!this.up.has(address.host)) return { ok: false, reason: 'refused' };
          this.members.add(address.host);
          return { ok: true };
        } finally {
          this.openAttempts--;
        }
      },
      ...hooks,
    });
    this.topologies.onEvent((event) => this.events.push(event));
  }

  sink(name: string = 'home'): Sink {
    return this.sinks.get(name) as Sink;
  }

  attemptsOf(host: number): number[] {
    return this.attempts.filter((each) => each.host === at(host).host).map((each) => each.atMs);
  }

  type(type: TopologyEvent['type']): TopologyEvent[] {
    return this.events.filter((event) => event.type === type);
  }

  said(level: string, message: string): LogLine[] {
    return this.lines.filter((line) => line.level === level && line.message === message);
  }
}

describe('Topologies', () => {
  let bench: Bench;
  beforeEach(() => {
    bench = new Bench();
  });
  afterEach(async () => {
    await bench.scheduler.settle(bench.topologies.stop());
  });
  const run = (ms: number): Promise<void> => bench.scheduler.runFor(ms);

  test('connects whoever is named and no member, at once; not itself', async () => {
    bench.up.add('10.0.0.2');
    bench.members.add('10.0.0.3');
    bench.sink().found([self, at(2), at(3)]);
    await run(50);
    expect(bench.attempts.map((each) => each.host)).toEqual(['10.0.0.2']);
    expect(bench.type('connected')).toMatchObject([{ topology: 'home', address: at(2) }]);
    expect(bench.said('info', 'connected to 10.0.0.2:7946')).toMatchObject([{ fields: { discovery: 'home', strategy: 'scripted', durationMs: 1 } }]);
    await run(60_000);
    expect(bench.attempts).toHaveLength(1);
  });

  test('a host that fails is tried again with pauses that grow up to the limit, and told of once', async () => {
    bench.sink().found([at(2)]);
    await run(60_000);
    const times = bench.attemptsOf(2);
    const pauses = times.slice(1).map((time, i) => time - (times[i] as number));
    expect(pauses[0]).toBeLessThan(700);
    expect(Math.max(...pauses)).toBeGreaterThan(1900);
    // The limit, and the time until the next look.
    expect(Math.max(...pauses)).toBeLessThanOrEqual(4000 + 320);
    expect(times.length).toBeGreaterThan(60_000 / 4320);
    expect(times.length).toBeLessThan(40);
    expect(bench.said('info', 'unable to connect to 10.0.0.2:7946')).toMatchObject([{ fields: { reason: 'refused', attempts: 1 } }]);
    expect(bench.topologies.views()[0]?.hosts).toMatchObject([{ address: at(2), live: false, attempts: times.length, lastReason: 'refused' }]);
    bench.up.add('10.0.0.2');
    await run(5000);
    expect(bench.members).toContain('10.0.0.2');
    expect(bench.topologies.views()[0]?.hosts).toMatchObject([{ live: true, attempts: 0 }]);
  });

  test('a member that is lost is tried again soon', async () => {
    bench.up.add('10.0.0.2');
    bench.sink().found([at(2)]);
    await run(10_000);
    bench.members.delete('10.0.0.2');
    await run(400);
    expect(bench.members).toContain('10.0.0.2');
  });

  test('an outage of the source changes nothing, and is told once', async () => {
    bench.up.add('10.0.0.2');
    bench.sink().found([at(2), at(3)]);
    await run(1000);
    for (let i = 0; i < 20; i++) {
      bench.sink().failed(new Error('SERVFAIL'));
      await run(1000);
    }
    const before = bench.attemptsOf(3).length;
    expect(before).toBeGreaterThan(3);
    bench.members.delete('10.0.0.2');
    await run(10_000);
    expect(bench.members).toContain('10.0.0.2');
    expect(bench.attemptsOf(3).length).toBeGreaterThan(before);
    expect(bench.type('lost')).toEqual([]);
    expect(bench.lines.filter((line) => line.level === 'warn')).toHaveLength(1);
    expect(bench.topologies.views()[0]?.failure).toBe('SERVFAIL');
    bench.sink().found([at(2)]);
    expect(bench.type('source-recovered')).toHaveLength(1);
    expect(bench.topologies.views()[0]?.failure).toBeUndefined();
    expect(bench.type('lost')).toMatchObject([{ address: at(3) }]);
  });

  test('disconnect() is called for hosts that a good answer leaves out, and never because of an outage', async () => {
    await bench.scheduler.settle(bench.topologies.stop());
    bench = new Bench(['home'], { disconnect: (address) => void bench.disconnected.push(formatAddress(address)) });
    bench.sink().found([self, at(2), at(3)]);
    bench.sink().failed(new Error('403'));
    await run(30_000);
    expect(bench.disconnected).toEqual([]);
    bench.sink().found([at(3)]);
    expect(bench.disconnected).toEqual(['10.0.0.2:7946']);
    expect(bench.said('info', 'disconnected from 10.0.0.2:7946')).toHaveLength(1);
  });

  test('disconnect() that fails is told, tried again, and given up after eight times; not when the host is named again', async () => {
    await bench.scheduler.settle(bench.topologies.stop());
    let calls = 0;
    bench = new Bench(['home'], { disconnect: async (_address, _signal, reason) => {
      calls++;
      await new Promise<void>((resolve) => bench.scheduler.after(3, resolve));
      throw new Error(`cannot: ${reason}`);
    } });
    bench.up.add('10.0.0.2').add('10.0.0.3');
    bench.sink().found([at(2), at(3)]);
    await run(1000);
    bench.sink().found([at(3)]);
    await run(10);
    expect(bench.type('disconnect-failed')).toMatchObject([{ address: at(2), durationMs: 3, attempts: 1, reason: 'cannot: the source does not name it any more' }]);
    expect(bench.said('info', 'unable to disconnect from 10.0.0.2:7946')).toHaveLength(1);
    await run(60_000);
    expect(calls).toBe(8);
    expect(bench.said('info', 'unable to disconnect from 10.0.0.2:7946')).toHaveLength(1);
    bench.sink().found([at(2)]);
    await run(50);
    expect(calls).toBe(9);
    bench.sink().found([at(2), at(3)]);
    await run(60_000);
    expect(calls).toBe(9);
    expect(bench.topologies.views()[0]?.counters).toMatchObject({ disconnects: 0, disconnectFailures: 9, connects: 2 });
  });

  test('an answer that suddenly names nobody disconnects nobody for a minute; then it is believed', async () => {
    await bench.scheduler.settle(bench.topologies.stop());
    bench = new Bench(['home'], { disconnect: (address) => void bench.disconnected.push(formatAddress(address)) });
    for (const wrong of [[], [self]]) {
      bench.sink().found([self, at(2), at(3)]);
      await run(1000);
      for (let i = 0; i < 11; i++) {
        bench.sink().found(wrong);
        await run(5000);
      }
      expect(bench.disconnected).toEqual([]);
    }
    bench.sink().found([self, at(2), at(3)]);
    await run(100_000);
    expect(bench.disconnected).toEqual([]);
    bench.sink().found([]);
    await run(61_000);
    expect(bench.disconnected).toEqual(['10.0.0.2:7946', '10.0.0.3:7946']);
    // An answer that names others is believed at once, also about those who were missing before.
    bench.sink().found([at(4), at(5)]);
    bench.sink().found([]);
    await run(1000);
    bench.sink().found([at(5)]);
    await run(1000);
    expect(bench.disconnected.slice(2)).toEqual(['10.0.0.4:7946']);
  });

  test('a disconnect() that hangs is given up after 10 s, and stop() does not wait for it', async () => {
    await bench.scheduler.settle(bench.topologies.stop());
    bench = new Bench(['home'], { disconnect: (_address, signal) => new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(new Error('aborted')), { once: true })) });
    bench.sink().found([at(2), at(3)]);
    bench.sink().found([at(3)]);
    await run(10_500);
    expect(bench.type('disconnect-failed')).toMatchObject([{ durationMs: 10_000 }]);
    await run(2000);
    await bench.scheduler.settle(bench.topologies.stop(), 100);
  });

  test('a node that finds itself under another address notices, says so once, and does not wait for others', async () => {
    bench.up.add('10.0.0.9');
    await bench.scheduler.settle(bench.topologies.stop());
    bench = new Bench(['home'], { connect: async () => ({ ok: true }) });
    let outcome: JoinOutcome | undefined;
    void bench.topologies.joined(600_000).then((value) => (outcome = value));
    bench.sink().found([{ host: 'me.example.org', port: 7946 }]);
    bench.names.set('me.example.org', ['192.0.2.1']);
    await run(300_000);
    expect(outcome).toBe('alone');
    expect(bench.said('info', 'me.example.org:7946 is this node itself')).toHaveLength(1);
    expect(bench.lines.filter((line) => line.message.startsWith('connected to'))).toEqual([]);
    // Somebody else moves to that address.
    bench.members.add('10.0.0.4');
    await run(40_000);
    expect(bench.said('info', 'connected to me.example.org:7946')).not.toEqual([]);
  });

  test('two ways to write one address are one host', async () => {
    const v6 = (host: string): Address => ({ host, port: 7946 });
    bench.members.add('fd00::1').add('10.0.0.7');
    bench.sink().found([v6('FD00:0:0:0:0:0:0:1'), v6('fd00::1'), v6('::ffff:10.0.0.7'), v6('::ffff:a00:7'), at(7)]);
    await run(60_000);
    expect(bench.topologies.views()[0]?.hosts).toHaveLength(2);
    expect(bench.attempts).toEqual([]);
  });

  test('of a name with many addresses all are tried, eight at a time', async () => {
    const many = Array.from({ length: 30 }, (_, i) => at(i + 100).host);
    bench.names.set('many.test', many);
    bench.up.add('10.0.0.127');
    bench.sink().found([{ host: 'many.test', port: 7946 }]);
    await run(20_000);
    expect(bench.members).toContain('10.0.0.127');
    expect(bench.openAttemptsMax).toBeLessThanOrEqual(8);
  });

  test('what is no list of hosts counts as an outage, and changes nothing', async () => {
    bench.up.add('10.0.0.2');
    bench.sink().found([at(2)]);
    await run(100);
    for (const rubbish of [undefined, 'x', [undefined], ['10.0.0.3'], [{ host: '10.0.0.3' }], [{ host: 'a b', port: 1 }], [{ host: 'x', port: 0 }], [{ host: 'x', port: 1.5 }], Array.from({ length: 1025 }, (_, i) => ({ host: `h${i}`, port: 1 }))]) {
      bench.sink().found(rubbish as unknown as Address[]);
      expect(bench.topologies.views()[0]?.failure).toBeDefined();
      expect(bench.topologies.views()[0]?.hosts).toHaveLength(1);
      bench.sink().found([at(2)]);
      expect(bench.topologies.views()[0]?.failure).toBeUndefined();
    }
  });

  test('a list() that throws is told once; what it said last holds', async () => {
    await bench.scheduler.settle(bench.topologies.stop());
    let broken = false;
    bench = new Bench(['home'], { list: () => {
      if (broken) throw new Error('the database is away');
      return [at(2)];
    } });
    bench.sink().found([self, at(2)]);
    await run(1000);
    broken = true;
    await run(30_000);
    expect(bench.attempts).toEqual([]);
    expect(bench.lines.filter((line) => line.level === 'warn')).toHaveLength(1);
  });

  test('topologies are apart: the failure of one does not touch the other', async () => {
    await bench.scheduler.settle(bench.topologies.stop());
    bench = new Bench(['one', 'two']);
    bench.up.add('10.0.0.2').add('10.0.0.3');
    bench.sink('one').failed(new Error('away'));
    bench.sink('two').found([at(3)]);
    await run(100);
    expect(bench.members).toContain('10.0.0.3');
    bench.sink('one').found([at(2)]);
    bench.sink('two').found([]);
    await run(100);
    expect(bench.topologies.views().map((view) => [view.name, view.hosts.length])).toEqual([['one', 1], ['two', 0]]);
    expect(bench.type('connected').map((event) => event.topology)).toEqual(['two', 'one']);
  });

  test('a host that stays mute is given up after 10 s, and holds nobody up', async () => {
    for (let i = 2; i < 12; i++) bench.mute.add(at(i).host);
    for (let i = 12; i < 200; i++) bench.up.add(at(i).host);
    bench.sink().found(Array.from({ length: 198 }, (_, i) => at(i + 2)));
    await run(9000);
    expect(bench.members.size).toBe(1 + 188);
    expect(bench.openAttemptsMax).toBeLessThanOrEqual(16);
    await run(2000);
    expect(bench.type('connect-failed').length).toBeGreaterThanOrEqual(10);
  });

  test('a name is resolved anew for each attempt, and all its addresses are tried', async () => {
    const name = { host: 'nodes.test', port: 7946 };
    bench.sink().found([name]);
    await run(1000);
    expect(bench.type('connect-failed')[0]).toMatchObject({ address: name, reason: 'there is no nodes.test' });
    bench.names.set('nodes.test', ['10.0.0.2', '10.0.0.3']);
    bench.up.add('10.0.0.2');
    await run(5000);
    expect(bench.members).toContain('10.0.0.2');
    expect(bench.attemptsOf(3).length).toBeGreaterThan(0);
    bench.up.add('10.0.0.3');
    await run(40_000);
    expect(bench.members).toContain('10.0.0.3');
    expect(bench.topologies.views()[0]?.hosts).toMatchObject([{ live: true }]);
  });

  test('a host that answers under no address that we know is left alone for a while', async () => {
    await bench.scheduler.settle(bench.topologies.stop());
    let asked = 0;
    bench = new Bench(['home'], { connect: async () => (asked++, { ok: true }) });
    bench.sink().found([at(2)]);
    await run(29_000);
    expect(asked).toBe(1);
    await run(5000);
    expect(asked).toBe(2);
  });

  describe('joined()', () => {
    const settled = async (timeoutMs: number, during: () => Promise<void>): Promise<JoinOutcome | undefined> => {
      let outcome: JoinOutcome | undefined;
      void bench.topologies.joined(timeoutMs).then((value) => (outcome = value));
      await during();
      return outcome;
    };

    test('waits until another node is a member', async () => {
      expect(await settled(30_000, async () => {
        bench.sink().found([at(2)]);
        await run(5000);
      })).toBeUndefined();
      expect(await settled(30_000, async () => {
        bench.up.add('10.0.0.2');
        await run(5000);
      })).toBe('joined');
    });

    test('does not wait when all sources know of nobody else', async () => {
      expect(await settled(30_000, async () => {
        bench.sink().found([self]);
        await run(1);
      })).toBe('alone');
    });

    test('an outage is no sign of being alone; the time-out ends the waiting, not the search', async () => {
      expect(await settled(3000, async () => {
        bench.sink().failed(new Error('away'));
        await run(2900);
      })).toBeUndefined();
      expect(await settled(3000, async () => run(3001))).toBe('timeout');
      bench.up.add('10.0.0.2');
      bench.sink().found([at(2)]);
      await run(100);
      expect(bench.members).toContain('10.0.0.2');
    });

    test('ends when discovery is stopped', async () => {
      expect(await settled(30_000, async () => {
        await bench.scheduler.settle(bench.topologies.stop());
      })).toBe('stopped');
    });
  });

  test('stop() ends sources, timers and attempts under way, and nothing is told after it', async () => {
    bench.mute.add('10.0.0.2');
    bench.sink().found([at(2)]);
    await run(100);
    expect(bench.openAttempts).toBe(1);
    await bench.scheduler.settle(bench.topologies.stop(), 1000);
    expect(bench.openAttempts).toBe(0);
    expect(bench.stoppedSources).toBe(1);
    const told = bench.events.length;
    bench.sink().found([at(3)]);
    bench.sink().failed(new Error('late'));
    await run(20_000);
    expect(bench.events.length).toBe(told);
    expect(bench.attemptsOf(3)).toEqual([]);
    expect(bench.scheduler.waitingCount).toBe(0);
  });
});
