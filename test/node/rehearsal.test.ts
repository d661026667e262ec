import { expect, it } from 'vitest';
import { rehearse } from '../../src/node/rehearsal.ts';

it('rehearse() goes through an election, the end of the dead leader\'s session and what follows from it', () => {
  const rehearsal = rehearse();
  let step = rehearsal.next();
  for (let parts = 0; step.done !== true; parts++) {
    expect(parts).toBeLessThan(20);
    step = rehearsal.next();
  }
  const map = step.value;
  expect(map.nodes['a']).toMatchObject({ live: false, ended: 'refused' });
  const [...all] = map.keyspaces['k']?.partitions ?? [];
  expect(all).toHaveLength(16);
  expect(all.every((partition) => partition.primary !== 'a' && partition.inSync.length === 2)).toBe(true);
  expect(map.apps['app']).toMatchObject({ phase: 'starting', node: 'b', type: 'failover', epoch: 2 });
});
