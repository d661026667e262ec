import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NumberMap } from '../../src/base/number-map.ts';

describe('NumberMap', () => {
  it('behaves like a Map under any order of set, delete, get and clear', () => {
    // Few and colliding keys, so that gaps are closed across the end of the table; and the largest that there are.
    const key = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 40 }).map((n) => n * 2 ** 32), fc.maxSafeNat());
    const step = fc.oneof(
      { weight: 6, arbitrary: fc.tuple(fc.constant('set' as const), key) },
      { weight: 5, arbitrary: fc.tuple(fc.constant('delete' as const), key) },
      { weight: 1, arbitrary: fc.tuple(fc.constant('clear' as const), key) },
    );
    fc.assert(fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const ours = new NumberMap<number>();
      const model = new Map<number, number>();
      steps.forEach(([what, at], i) => {
        if (what === 'set') {
          ours.set(at, i);
          model.set(at, i);
        } else if (what === 'delete') expect(ours.delete(at)).toBe(model.delete(at));
        else {
          ours.clear();
          model.clear();
        }
        expect(ours.size).toBe(model.size);
      });
      for (const [at, value] of model) expect(ours.get(at)).toBe(value);
      for (let at = 0; at <= 40; at++) expect(ours.has(at)).toBe(model.has(at));
    }), { numRuns: 300 });
  });

  it('keeps a window of consecutive numbers, as requests come and go', () => {
    const map = new NumberMap<number>();
    const first = 2 ** 51 + 12_345;
    for (let i = 0; i < 10_000; i++) {
      map.set(first + i, i);
      if (i >= 100) expect(map.delete(first + i - 100)).toBe(true);
    }
    expect(map.size).toBe(100);
    for (let i = 9_900; i < 10_000; i++) expect(map.get(first + i)).toBe(i);
    expect(map.get(first + 9_899)).toBe(undefined);
  });
});
