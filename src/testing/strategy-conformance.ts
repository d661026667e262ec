import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { completeOptions } from '../discovery/strategy.ts';
import type { DiscoveryPorts, Source, Strategy } from '../discovery/strategy.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import { SinkRecorder } from './sink-recorder.ts';

/** A strategy with the real or scripted source that it asks. The suite's hosts are 127.0.0.2 to 127.0.0.5, on port 7946. */
export interface StrategyRig {
  readonly strategy: Strategy;
  readonly ports: DiscoveryPorts;
  /** As in a config file; short intervals make the suite quick. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Makes these, and no others, the hosts that the source knows. */
  set(hosts: readonly Address[]): Promise<void>;
  /** What it names is settled when it starts, and it cannot be away. Default false. */
  readonly fixed?: boolean;
  /** Named besides those of `set`: an address that is always there, this node itself. */
  readonly always?: readonly string[];
  /** The source is away, until `recover`. Needed unless `fixed`. */
  readonly outage?: () => Promise<void>;
  readonly recover?: () => Promise<void>;
  /**
   * Bad answers: the word for each, how to make the source give it, and the code of the failure that must follow;
   * undefined: it must be ignored. Needed unless `fixed`.
   */
  readonly troubles?: readonly (readonly [name: string, make: () => Promise<void> | void, code: string | undefined])[];
  /** Ends the trouble. */
  readonly calm?: () => Promise<void> | void;
  /** How much is still open that belongs to the source. */
  readonly leftOpen?: () => Promise<number> | number;
  end(): Promise<void>;
}

export interface ConformanceCase {
  readonly name: string;
  /** Rejects with an AssertionError that says what is wrong. */
  readonly run: () => Promise<void>;
}

const at = (last: number): Address => ({ host: `127.0.0.${last}`, port: 7946 });

/** What every strategy owes, whatever its source. Each case makes a rig of its own: `for (const { name, run } of strategyConformance(make)) test(name, run)`. */
export function strategyConformance(make: () => Promise<StrategyRig>): ConformanceCase[] {
  return Object.entries(cases).map(([name, run]) => ({
    name,
    run: async () => {
      const bench = new Bench(await make());
      try {
        await run(bench);
      } finally {
        await bench.source?.stop();
        await bench.rig.end();
      }
    },
  }));
}

class Bench {
  readonly rig: StrategyRig;
  source: Source | undefined;
  sink: SinkRecorder = new SinkRecorder();

  constructor(rig: StrategyRig) {
    this.rig = rig;
  }

  begin(): void {
    const { strategy, options, ports } = this.rig;
    this.sink = new SinkRecorder();
    this.source = strategy.start(completeOptions(strategy, options), ports, this.sink);
  }

  seen(): string[] | undefined {
    const { ports, always = [] } = this.rig;
    return this.sink.hosts?.filter((each) => each !== formatAddress(ports.self.address) && !always.includes(each));
  }

  async sees(...hosts: number[]): Promise<void> {
    await poll(() => assert.deepEqual(this.seen(), hosts.map((each) => formatAddress(at(each)))), 15_000);
  }
}

const cases: Readonly<Record<string, (bench: Bench) => Promise<void>>> = {
  async 'finds what is there, what comes, and notices what goes'(bench) {
    const { rig } = bench;
    await rig.set([at(2), at(3)]);
    bench.begin();
    await bench.sees(2, 3);
    if (rig.fixed === true) return;
    await rig.set([at(2), at(3), at(4)]);
    await bench.sees(2, 3, 4);
    await rig.set([at(3)]);
    await bench.sees(3);
    await rig.set([at(3), at(2)]);
    await bench.sees(2, 3);
  },

  async 'an outage is told, and changes nothing; afterwards it goes on'(bench) {
    const { rig } = bench;
    if (rig.outage === undefined) return needsFixed(rig, 'outage');
    await rig.set([at(2), at(3)]);
    bench.begin();
    await bench.sees(2, 3);
    const told = bench.sink.foundCount;
    await rig.outage();
    await poll(() => assert.ok(bench.sink.failures.length > 0, 'the outage is not told: no word of failed()'), 15_000);
    await bench.sees(2, 3);
    assert.deepEqual(bench.sink.failures.filter((each) => each.startsWith('not coded')), [], 'a failure is told that is no TroupeError');
    assert.ok(told > 0);
    await rig.recover?.();
    await rig.set([at(3), at(5)]);
    await bench.sees(3, 5);
  },

  async 'an outage at the start is no end: it finds everything once the source is there'(bench) {
    const { rig } = bench;
    if (rig.outage === undefined) return needsFixed(rig, 'outage');
    await rig.set([at(2)]);
    await rig.outage();
    bench.begin();
    await poll(() => assert.ok(bench.sink.failures.length > 0, 'the outage is not told: no word of failed()'), 15_000);
    assert.equal(bench.sink.hosts, undefined, 'hosts are told although the source is away');
    await rig.recover?.();
    await bench.sees(2);
  },

  async 'bad answers are told, and change nothing'(bench) {
    const { rig } = bench;
    if (rig.troubles === undefined) return needsFixed(rig, 'troubles');
    await rig.set([at(2), at(3)]);
    bench.begin();
    for (const [name, trouble, code] of rig.troubles) {
      await bench.sees(2, 3);
      bench.sink.failures.length = 0;
      const answers = bench.sink.foundCount;
      await trouble();
      if (code === undefined) {
        // Ignored: it goes on as if nothing had been.
        await rig.set([at(2), at(3), at(4)]);
        await bench.sees(2, 3, 4);
        assert.deepEqual(bench.sink.failures, [], name);
      } else {
        await poll(() => assert.ok(bench.sink.failures.includes(code), `${name}: expected ${code}, found ${bench.sink.failures.join() || 'no failure'}`), 15_000);
        assert.deepEqual(bench.seen(), [at(2), at(3)].map(formatAddress), name);
      }
      assert.ok(bench.sink.foundCount >= answers);
      await rig.calm?.();
      await rig.set([at(2), at(3)]);
    }
    await bench.sees(2, 3);
  },

  async 'stop() leaves nothing behind, and after it no word comes'(bench) {
    const { rig } = bench;
    const before = resources();
    await rig.set([at(2)]);
    bench.begin();
    await bench.sees(2);
    const left = bench.source?.stop();
    const { words } = bench.sink;
    await left;
    await bench.source?.stop();
    await poll(async () => assert.equal((await rig.leftOpen?.()) ?? 0, 0, 'something is left open'));
    await rig.set([at(3)]);
    // The rig's own sources and servers are still there until its end.
    await rig.end();
    await poll(() => {
      for (const [kind, count] of Object.entries(resources())) assert.ok(count <= (before[kind] ?? 0), `${count} of ${kind} are left, ${before[kind] ?? 0} were there before`);
    });
    assert.equal(bench.sink.words, words, 'a word came after stop()');
  },

  async 'stop() right after the start, and in the midst of a slow answer, is quick'(bench) {
    const { rig } = bench;
    bench.begin();
    await bench.source?.stop();
    assert.equal(bench.sink.words, 0, 'a word came although it was stopped at once');
    const slow = rig.troubles?.find(([, , code]) => code === 'DISCOVERY_TIMEOUT');
    if (slow === undefined) return;
    await rig.set([at(2)]);
    bench.begin();
    await bench.sees(2);
    await slow[1]();
    await poll(() => assert.ok(bench.sink.failures.includes('DISCOVERY_TIMEOUT')), 15_000);
    const begun = performance.now();
    await bench.source?.stop();
    assert.ok(performance.now() - begun < 2500, 'stop() took more than 2.5 s');
    await rig.calm?.();
  },
};

function needsFixed({ fixed, strategy }: StrategyRig, what: string): void {
  assert.equal(fixed, true, `the rig of '${strategy.name}' has no '${what}': give it one, or set 'fixed' if its source can neither change nor fail`);
}

/** What keeps this process alive, by kind, less what comes and goes by itself. */
function resources(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) {
    if (['UDPWrap', 'TCPSocketWrap', 'TCPServerWrap', 'ProcessWrap', 'PipeWrap', 'QueryReqWrap', 'GetAddrInfoReqWrap', 'HTTPINCOMINGMESSAGE', 'HTTPCLIENTREQUEST', 'ChannelWrap'].includes(kind)) counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}

async function poll(check: () => void | Promise<void>, limitMs: number = 10_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() >= deadline) throw error;
    }
    await sleep(10);
  }
}
