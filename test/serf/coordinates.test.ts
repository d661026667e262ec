import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { Coordinates, distanceSeconds } from '../../src/core/serf/coordinates.ts';
import { encodeSerfMessage, serfCoordinateCodec } from '../../src/core/wire/serf-messages.ts';

describe('Coordinates', () => {
  test('settle so that distances estimate round trips', () => {
    const random = new Prng(4);
    // Three nodes near each other, three on the other side of an ocean.
    const nodes = Array.from({ length: 6 }, () => new Coordinates(random));
    const roundTrip = (i: number, j: number): number => (i < 3 === j < 3 ? 0.005 : 0.08) * (0.95 + random.float() * 0.1);
    for (let step = 0; step < 3000; step++) {
      const i = random.below(6);
      const j = (i + 1 + random.below(5)) % 6;
      (nodes[i] as Coordinates).observe(`n${j}`, (nodes[j] as Coordinates).own, roundTrip(i, j));
    }
    const estimate = (i: number, j: number): number => distanceSeconds((nodes[i] as Coordinates).own, (nodes[j] as Coordinates).own);
    for (const [i, j] of [[0, 1], [1, 2], [3, 4]] as const) expect(estimate(i, j)).toBeLessThan(0.02);
    for (const [i, j] of [[0, 3], [1, 4], [2, 5]] as const) {
      expect(estimate(i, j)).toBeGreaterThan(0.06);
      expect(estimate(i, j)).toBeLessThan(0.1);
    }
  });
  test('ignore what makes no sense', () => {
    const coordinates = new Coordinates(new Prng(1));
    const before = coordinates.own;
    for (const [other, seconds] of [[{ ...before, Vec: [1] }, 0.1], [{ ...before, Error: Number.NaN }, 0.1], [{ ...before, Height: Infinity }, 0.1], [before, -1], [before, 11], [before, Number.NaN]] as const) coordinates.observe('x', other, seconds);
    expect(coordinates.own).toBe(before);
    expect(coordinates.get('x')).toBeUndefined();
  });
  test('a fresh one has the bytes of Serf', () => {
    expect(Buffer.from(encodeSerfMessage(1, serfCoordinateCodec, new Coordinates(new Prng(1)).own)).toString('hex')).toBe(
      `0184aa41646a7573746d656e74cb0000000000000000a54572726f72cb3ff8000000000000a6486569676874cb3ee4f8b588e368f1a356656398${'cb0000000000000000'.repeat(8)}`);
  });
});
