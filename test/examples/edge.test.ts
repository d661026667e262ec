import { afterAll, beforeAll, expect, test } from 'vitest';
import { ExampleRun } from './readme.ts';

let run: ExampleRun;
beforeAll(() => {
  run = new ExampleRun('edge', '127.0.5.');
});
afterAll(() => run.cleanUp());

test('every command of the README of examples/edge shows what it says', { timeout: 400_000 }, async () => {
  expect(run.claims.length).toBeGreaterThan(20);
  for (const claim of run.claims) await run.check(claim);
  // What growing did not touch: the files of the first two name nobody else.
  expect(run.read('machine-a.yaml')).not.toMatch(/join|discovery/);
  expect(run.read('machine-b.yaml')).not.toMatch(/join|discovery/);
});
