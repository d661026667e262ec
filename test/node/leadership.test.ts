import { expect, test } from 'vitest';
import type { LeadershipSurroundings } from '../../src/node/leadership.ts';
import { Leadership } from '../../src/node/leadership.ts';
import { HandClock } from '../live-nodes/support.ts';

/** A node that knows no leader. */
function leadershipOf(clusterId: string, clock: HandClock): Leadership {
  const around = { options: { self: 'a' }, clock, calls: {}, consensus: { map: { clusterId, nodes: {} }, leaderName: undefined } };
  return new Leadership(around as unknown as LeadershipSurroundings);
}

test('a plain member leaves without waiting for a leader that there is not; a node of a cluster waits a while', async () => {
  await leadershipOf('', new HandClock()).sayLeft('instance');
  const clock = new HandClock();
  let said = false;
  void leadershipOf('some', clock).sayLeft('instance').then(() => (said = true));
  await clock.advance(900);
  expect(said).toBe(false);
  await clock.advance(200);
  await clock.turn();
  expect(said).toBe(true);
});
