import { describe, test } from 'vitest';
import { strategyConformance } from '../../src/testing/strategy-conformance.ts';
import { rigs } from './support/rigs.ts';

/** What every strategy owes, whatever its source: the suite that `troupe/testing` offers for strategies of users, too. */
describe.each(rigs)('discovery by %s', (_name, make) => {
  for (const { name, run } of strategyConformance(make)) test(name, { timeout: 120_000 }, run);
});
