/** The extended workload: several keyspaces, expiry, eviction, flushes, zones, weaker acknowledgements; and that each of its checks can fail. */
import { describe, expect, it } from 'vitest';
import { Op } from '../../src/core/store/request.ts';
import type { Clock } from '../../src/ports/clock.ts';
import type { Extras, ExtraKeyspace } from '../../src/sim/extras.ts';
import type { FaultKind } from '../../src/sim/faults.ts';
import type { SimPlan } from '../../src/sim/plan.ts';
import { runSeed } from '../../src/sim/run-seed.ts';
import type { RunOptions, RunResult } from '../../src/sim/run-seed.ts';
import { SimCluster, simKeyspace } from '../../src/sim/sim-cluster.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';

const quiet: ExtraKeyspace = { options: { ...simKeyspace, partitions: 1 }, evicts: false, expires: false, flushes: false, keys: 6 };

/** A plan of three nodes that plays nothing but the one keyspace besides `default`. */
function only(second: Partial<ExtraKeyspace>, extras: Partial<Extras> = {}): (plan: SimPlan) => SimPlan {
  return (plan) => ({
    ...plan, apps: [], link: {}, drift: plan.drift.map(() => 0),
    extras: { keyspaces: { default: quiet, second: { ...quiet, ...second } }, zones: plan.drift.map(() => ''), bulkKeys: 0, bulkBytes: 0, wallJumpMs: 1000, faults: [], slowApps: false, roles: plan.drift.map(() => ({ voter: true, storage: true })), ...extras },
  });
}

const kills: readonly FaultKind[] = ['kill', 'kill-long', 'crash', 'pause'];

/** Plays seeds until one of them finds something. */
async function found(options: Omit<RunOptions, 'seed'>, count: number = 12): Promise<string[]> {
  for (let seed = 1; seed <= count; seed++) {
    const { findings } = await runSeed({ nodes: 3, severity: 'mild', acks: 'all', safetySeconds: 12, only: kills, ...options, seed });
    if (findings.length > 0) return findings.map(({ checker }) => checker);
  }
  return [];
}

describe('the extended workload', () => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('plays seed %i twice alike, and finds nothing wrong', async (seed) => {
    const first = await runSeed({ seed, safetySeconds: 6 });
    const second = await runSeed({ seed, safetySeconds: 6 });
    expect(first.findings).toEqual([]);
    expect(second.digest).toBe(first.digest);
    expect(first.undecidedKeys).toBe(0);
  });

  it('is something else than the plain one', async () => {
    expect((await runSeed({ seed: 1, safetySeconds: 4, extras: false })).digest).not.toBe((await runSeed({ seed: 1, safetySeconds: 4 })).digest);
  });

  const tried = async (adjustPlan: (plan: SimPlan) => SimPlan, options: Partial<RunOptions> = {}): Promise<RunResult> => {
    const result = await runSeed({ seed: 7, nodes: 3, severity: 'mild', acks: 'all', safetySeconds: 12, only: kills, adjustPlan, ...options });
    expect(result.findings).toEqual([]);
    return result;
  };

  it('forgives what goes by itself in its time', async () => {
    await tried(only({ expires: true }), { only: ['kill', 'wall-jump'] });
    await tried(only({ flushes: true }), { only: ['kill', 'wall-jump'] });
    await tried(only({ evicts: true, keys: 60, options: { ...quiet.options, maxMemoryBytes: 4000 } }));
  });

  it('forgives the loss of what only a dead primary held under acks one, and tells how often that may have been', async () => {
    const result = await tried(only({ options: { ...quiet.options, acks: 'one' } }));
    expect(result.tailsLost).toBeGreaterThan(0);
  });
});

describe('a planted error', () => {
  const clockAhead = (clock: Clock, byMs: number): Clock => ({
    now: () => clock.now(), sleptMs: () => clock.sleptMs(), wallTime: () => clock.wallTime() + byMs, at: (atMs, fire) => clock.at(atMs, fire), endOfTurn: (run) => clock.endOfTurn(run),
  });

  it('is caught: entries that vanish before their time', async () => {
    const early = { ...quiet, expires: true };
    expect(await found({ adjustPlan: only(early), adjustPorts: (ports) => ({ ...ports, clock: clockAhead(ports.clock, 4000) }) })).toContain('linearizability');
  });

  it('is caught: entries that outlive their time', async () => {
    expect(await found({ adjustPlan: only({ expires: true }), tamper: (request) => { if (request.expiresAt < 2_000_000_000) request.expiresAt = 0; } })).toContain('linearizability');
  });

  it('is caught: a flush that does nothing', async () => {
    expect(await found({ adjustPlan: only({ flushes: true }), tamper: (request) => { if (request.op === Op.flush) request.op = Op.get; } })).toContain('linearizability');
  });

  it('is caught: a flush that does not wait for its time', async () => {
    expect(await found({ adjustPlan: only({ flushes: true }), tamper: (request) => { if (request.op === Op.flush) request.expiresAt = 0; } })).toContain('linearizability');
  });

  it('is caught: a value that was never written, where entries may be evicted', async () => {
    const small = { evicts: true, keys: 60, options: { ...quiet.options, maxMemoryBytes: 4000 } };
    let puts = 0;
    expect(await found({ adjustPlan: only(small), tamper: (request) => { if (request.op === Op.set && ++puts % 7 === 0) request.value = new Uint8Array(request.value).fill(0x79); } })).toContain('linearizability');
    expect(await found({ adjustPlan: only(small), tamper: (request) => { if (request.op === Op.set && ++puts % 7 === 0) request.valueEnd = request.value.length - 1; } })).toContain('linearizability');
  });

  it('is caught: eviction where there should be none', async () => {
    expect(await found({
      adjustPlan: only({ keys: 60 }),
      adjust: (options) => ({ ...options, keyspaces: { ...options.keyspaces, second: { ...quiet.options, maxMemoryBytes: 4000 } } }),
    })).toContain('linearizability');
  });

  it('is caught: acks one where a majority is promised', async () => {
    expect(await found({
      adjustPlan: only({ options: { ...quiet.options, acks: 'majority' } }), only: ['kill', 'kill-long', 'crash', 'one-way', 'pair'],
      adjust: (options) => ({ ...options, keyspaces: { ...options.keyspaces, second: { ...quiet.options, acks: 'one' } } }),
    }, 30)).toContain('linearizability');
  });

  it('is caught: something made up after a tail was lost', async () => {
    let writes = 0;
    expect(await found({
      adjustPlan: only({ options: { ...quiet.options, acks: 'one' } }),
      tamper: (request) => { if (request.op === Op.set && ++writes % 5 === 0) request.value = new TextEncoder().encode(`v9${String(writes).padStart(request.value.length - 3, '9')}.`); },
    })).not.toEqual([]);
  });

  it('is caught: copies that do not lie in different zones', async () => {
    const zones = { zones: ['a', 'a', 'a', 'b'] };
    const options = { ...quiet.options, partitions: 3, replicas: 2 };
    const result = await runSeed({ seed: 1, nodes: 4, severity: 'mild', acks: 'all', safetySeconds: 3, only: [], adjustPlan: only({ options }, zones) });
    expect(result.findings).toEqual([]);
    const without = await runSeed({ seed: 1, nodes: 4, severity: 'mild', acks: 'all', safetySeconds: 3, only: [], adjustPlan: only({ options }, zones), adjust: (node) => ({ ...node, zone: node.name }) });
    expect(without.findings.map(({ checker }) => checker)).toEqual(['liveness (boot)']);
  });
});

describe('a consensus log that was damaged', () => {
  it('is refused, whatever part of it was hit', async () => {
    for (let seed = 1; seed <= 12; seed++) {
      const failures: string[] = [];
      const world = new SimWorld({ seed });
      const cluster = new SimCluster(world, { nodes: 1, onFailedStart: (_name, error) => void failures.push((error as { code: string }).code) });
      cluster.startAll();
      expect(await cluster.until(() => cluster.isHealthy(), 30_000)).toBe(true);
      cluster.crash('n1');
      expect(cluster.host('n1').disk.damage('node', 'raft')).toBe(true);
      cluster.restart('n1');
      expect(await cluster.until(() => failures.length > 0, 5000)).toBe(true);
      expect(failures).toEqual(['RAFT_LOG_CORRUPT']);
    }
  });
});
