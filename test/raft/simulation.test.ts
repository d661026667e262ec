import { expect, it } from 'vitest';
import { simulate } from './simulation.ts';

/** Seeds that once showed a bug, with what it was. */
const keptSeeds: readonly (readonly [seed: number, what: string])[] = [];

const seedCount = Number(process.env['RAFT_SEEDS'] ?? 1000);
const firstSeed = Number(process.env['RAFT_SEED'] ?? 1);

it('keeps its invariants under faults, and converges once healed', () => {
  const totals = { committed: 0, elections: 0, reads: 0, changes: 0 };
  for (const seed of [...keptSeeds.map(([kept]) => kept), ...Array.from({ length: seedCount }, (_, i) => firstSeed + i)]) {
    try {
      const result = simulate(seed);
      totals.committed += result.committed;
      totals.elections += result.elections;
      totals.reads += result.reads;
      totals.changes += result.changes;
    } catch (error) {
      throw new Error(`seed ${seed} (replay: RAFT_SEED=${seed} RAFT_SEEDS=1 npx vitest run test/raft/simulation.test.ts)`, { cause: error });
    }
  }
  // A simulation in which nothing happens proves nothing.
  expect(totals.committed).toBeGreaterThan(seedCount * 5);
  expect(totals.elections).toBeGreaterThan(seedCount * 2);
  expect(totals.reads).toBeGreaterThan(seedCount);
  expect(totals.changes).toBeGreaterThan(seedCount / 2);
  if (process.env['RAFT_SEEDS'] !== undefined) console.log(totals);
});

it('replays exactly from its seed', () => {
  expect(simulate(42, true).trace).toBe(simulate(42, true).trace);
});
