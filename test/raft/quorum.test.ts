import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ballotOutcome, majorityOf, majorityReached } from '../../src/core/raft/quorum.ts';

const groups = fc.array(fc.nat(20), { minLength: 1, maxLength: 9 }).map((values) => new Map(values.map((value, i) => [`m${i}`, value])));

it('majorityReached() is the greatest value that more than half have reached', () => {
  fc.assert(fc.property(groups, (values) => {
    // The dumb twin: try every value from above.
    let expected = 20;
    while ([...values.values()].filter((value) => value >= expected).length * 2 <= values.size) expected--;
    expect(majorityReached([...values.keys()], (id) => values.get(id) as number)).toBe(expected);
  }));
});

it('ballotOutcome() is decided exactly when no answer that is still out can change it', () => {
  const votes = fc.array(fc.constantFrom(true, false, undefined), { minLength: 1, maxLength: 7 });
  fc.assert(fc.property(votes, (answers) => {
    const ids = answers.map((_, i) => `m${i}`);
    const open = answers.filter((answer) => answer === undefined).length;
    // The dumb twin: play all ways in which the open votes can fall.
    const ends = new Set<boolean>();
    for (let extra = 0; extra <= open; extra++) ends.add((answers.filter((answer) => answer === true).length + extra) * 2 > answers.length);
    const expected = ends.size === 2 ? 'open' : ends.has(true) ? 'won' : 'lost';
    expect(ballotOutcome(ids, (id) => answers[ids.indexOf(id)])).toBe(expected);
  }));
});

it('two majorities of configurations that differ by one member overlap (thesis 4.1)', () => {
  for (let count = 1; count < 20; count++) expect(majorityOf(count) + majorityOf(count + 1)).toBeGreaterThan(count + 1);
});

it('nobody wins a ballot of no voters', () => {
  expect(ballotOutcome([], () => true)).toBe('lost');
  expect(majorityReached([], () => 5)).toBe(0);
});
