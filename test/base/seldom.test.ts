import { expect, test } from 'vitest';
import { Seldom } from '../../src/base/seldom.ts';

test('Seldom tells the first few of each period, and how many it did not tell', () => {
  const seldom = new Seldom(1000, 3);
  expect([0, 1, 2, 3, 999].map((now) => seldom.happened(now))).toEqual([0, 0, 0, undefined, undefined]);
  expect([1000, 1001].map((now) => seldom.happened(now))).toEqual([2, 0]);
  expect([5000, 5000, 5000, 5000].map((now) => seldom.fields(now))).toEqual([{}, {}, {}, undefined]);
  expect(seldom.fields(6000)).toEqual({ untold: 1 });
});
