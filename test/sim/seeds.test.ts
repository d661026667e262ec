import { describe, expect, it } from 'vitest';
import { runSeed } from '../../src/sim/run-seed.ts';

describe('the simulator', () => {
  it.each([1, 2, 5, 8])('plays seed %i twice alike, down to the last line', async (seed) => {
    const first = await runSeed({ seed, safetySeconds: 4 });
    const second = await runSeed({ seed, safetySeconds: 4 });
    expect(second.digest).toBe(first.digest);
    expect(second.tail).toEqual(first.tail);
    const other = await runSeed({ seed: seed + 1000, safetySeconds: 4 });
    expect(other.digest).not.toBe(first.digest);
  });

  it.each(Array.from({ length: 24 }, (_, index) => 2001 + index))('finds nothing wrong with seed %i', async (seed) => {
    const result = await runSeed({ seed, safetySeconds: 8 });
    expect(result.findings).toEqual([]);
    expect(result.operations).toBeGreaterThan(20);
    expect(result.undecidedKeys).toBe(0);
  });
});

describe('a planted error', () => {
  it('is caught: a primary that answers before its copies have acknowledged', async () => {
    const caught = new Set<string>();
    for (let seed = 1; seed <= 25 && !caught.has('linearizability'); seed++) {
      const result = await runSeed({
        seed, nodes: 3, severity: 'mild', acks: 'all', safetySeconds: 15, apps: false, extras: false, only: ['kill', 'kill-long', 'crash', 'one-way', 'pair'],
        adjust: (options) => ({ ...options, keyspaces: { default: { ...options.keyspaces['default'], acks: 'one' } as typeof options.keyspaces[string] } }),
      });
      for (const { checker } of result.findings) caught.add(checker);
    }
    expect([...caught]).toContain('linearizability');
  });
});
