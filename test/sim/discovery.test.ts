import { describe, expect, test } from 'vitest';
import { runDiscovery } from '../../src/sim/discovery-run.ts';

describe('clusters that form through discovery alone, while its source fails and lies', () => {
  test.each([1, 2, 3])('seed %i is played twice alike', async (seed) => {
    const [first, second, other] = [await runDiscovery({ seed, safetySeconds: 10 }), await runDiscovery({ seed, safetySeconds: 10 }), await runDiscovery({ seed: seed + 1000, safetySeconds: 10 })];
    expect(second).toEqual(first);
    expect(other.digest).not.toBe(first.digest);
  });

  test.each((['registry', 'gossip', 'both'] as const).flatMap((way) => Array.from({ length: 6 }, (_, index) => [way, 101 + index] as const)))('by %s: nothing is wrong with seed %i', async (way, seed) => {
    const { findings } = await runDiscovery({ seed, way });
    expect(findings).toEqual([]);
  });
});

describe('planted errors are found', () => {
  async function findings(spoil: NonNullable<Parameters<typeof runDiscovery>[0]['spoil']>): Promise<string> {
    const found: string[] = [];
    for (let seed = 1; seed <= 8 && found.length === 0; seed++) found.push(...(await runDiscovery({ seed, way: 'registry', safetySeconds: 60, spoil })).findings);
    return found.join('\n');
  }

  test('a node that joins nobody whom its source names', async () => {
    expect(await findings((hooks) => ({ ...hooks, connect: async () => ({ ok: false, reason: 'planted' }) }))).toMatch(/not everybody knows everybody/);
  });

  test('a host that is let go of although no answer has left it out', async () => {
    // As if nothing had been left out: every call of the hook counts.
    expect(await findings((hooks, registry) => {
      const { leftOut } = registry;
      leftOut.add = () => leftOut;
      return hooks;
    })).toMatch(/let go of n\d, which no answer has left out/);
  });
});
