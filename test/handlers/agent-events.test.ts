import { describe, expect, test } from 'vitest';
import type { AgentEvent } from '../../src/core/serf/agent-event.ts';
import type { Member, SerfEvent } from '../../src/core/serf/types.ts';
import { AgentEvents } from '../../src/node/agent-events.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';
import { member, queryEvent, userEvent } from './events.ts';

/** A pool that says what the test lets it say, on a simulated clock. */
function setUp(members: readonly Member[]): { emit: (event: SerfEvent) => void; told: string[]; pass: (ms: number) => Promise<void>; events: AgentEvents } {
  const world = new SimWorld({ seed: 1 });
  const { clock } = world.addHost('one').start('test');
  let listener: (event: SerfEvent) => void = () => {};
  const events = new AgentEvents({
    members: () => [...members],
    onEvent: (given) => {
      listener = given;
      return () => (listener = () => {});
    },
  }, clock);
  const told: string[] = [];
  events.onEvent((event: AgentEvent) => void told.push('members' in event ? `${event.type} ${event.members.map((each) => each.name).join(',')}` : `${event.type} ${event.name}`));
  return { emit: (event) => listener(event), told, pass: (ms) => world.scheduler.runFor(ms), events };
}

describe('AgentEvents', () => {
  test('whoever is there at the start has joined; queries and single user events are told at once', async () => {
    const { emit, told, pass } = setUp([member('a'), { ...member('gone'), status: 'failed' }, member('b')]);
    emit(userEvent('now'));
    emit(userEvent('later', '', 3, true));
    emit(userEvent('later', '', 4, true));
    emit(queryEvent('ask'));
    expect(told).toEqual(['user now', 'query ask']);
    await pass(999);
    expect(told).toHaveLength(2);
    await pass(2);
    expect(told).toEqual(['user now', 'query ask', 'member-join a,b', 'user later']);
  });

  test('what keeps coming is told after three seconds all the same', async () => {
    const { emit, told, pass } = setUp([]);
    for (let i = 0; i < 10; i++) {
      emit({ type: 'member-join', member: member(`m${i}`) });
      await pass(400);
    }
    expect(told).toEqual(['member-join m0,m1,m2,m3,m4,m5,m6,m7']);
    await pass(1000);
    expect(told[1]).toBe('member-join m8,m9');
  });

  test('a deadline that comes nearer is kept: user events behind members, and the other way round', async () => {
    const { emit, told, pass } = setUp([]);
    emit(userEvent('u', '', 1, true));
    await pass(600);
    emit({ type: 'member-failed', member: member('m') });
    await pass(500);
    expect(told).toEqual(['user u']);
    await pass(600);
    expect(told).toEqual(['user u', 'member-failed m']);
  });

  test('close() tells what is held back, and nothing more', async () => {
    const { emit, told, pass, events } = setUp([]);
    emit({ type: 'member-leave', member: member('me') });
    events.close();
    events.close();
    emit({ type: 'member-leave', member: member('other') });
    await pass(5000);
    expect(told).toEqual(['member-leave me']);
  });
});
