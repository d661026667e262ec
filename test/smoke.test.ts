import { expect, test } from 'vitest';
import { Prng } from '../src/base/prng.ts';

test('Prng gives the same sequence for the same seed', () => {
  const a = new Prng(7);
  const b = new Prng(7);
  expect(Array.from({ length: 10 }, () => a.uint32())).toEqual(Array.from({ length: 10 }, () => b.uint32()));
});
