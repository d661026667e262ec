import { describe, expect, test } from 'vitest';
import { MemberCoalescer, UserCoalescer } from '../../src/core/serf/coalesce.ts';
import { member, userEvent } from './events.ts';

const timing = { quantumMs: 3000, quiescentMs: 1000 };
const told = (coalescer: MemberCoalescer): string[] => coalescer.flush().map(({ type, members }) => `${type} ${members.map((each) => each.name).join(',')}`);

describe('MemberCoalescer', () => {
  test('waits until it has been quiet for a second, three seconds at most', () => {
    const coalescer = new MemberCoalescer(timing);
    expect(coalescer.deadline).toBe(Infinity);
    coalescer.add({ type: 'member-join', member: member('a') }, 100);
    expect(coalescer.deadline).toBe(1100);
    for (const at of [1000, 1900, 2800]) coalescer.add({ type: 'member-join', member: member(`b${at}`) }, at);
    expect(coalescer.deadline).toBe(3100);
    expect(told(coalescer)).toEqual(['member-join a,b1000,b1900,b2800']);
    expect(coalescer.deadline).toBe(Infinity);
  });

  test('tells what it ended with, and nothing that was told before', () => {
    const coalescer = new MemberCoalescer(timing);
    for (const type of ['member-join', 'member-failed', 'member-join', 'member-leave'] as const) coalescer.add({ type, member: member('a') }, 0);
    coalescer.add({ type: 'member-join', member: member('b') }, 0);
    expect(told(coalescer)).toEqual(['member-leave a', 'member-join b']);
    // It flaps: nothing to tell.
    coalescer.add({ type: 'member-failed', member: member('b') }, 5000);
    coalescer.add({ type: 'member-join', member: member('b') }, 5000);
    expect(told(coalescer)).toEqual([]);
    coalescer.add({ type: 'member-reap', member: member('a') }, 9000);
    expect(told(coalescer)).toEqual(['member-reap a']);
    coalescer.add({ type: 'member-join', member: member('a') }, 9900);
    expect(told(coalescer)).toEqual(['member-join a']);
  });

  // serf-wire D2: Serf fires an update again with every later member event.
  test('an update is told once', () => {
    const coalescer = new MemberCoalescer(timing);
    coalescer.add({ type: 'member-update', member: member('a') }, 0);
    expect(told(coalescer)).toEqual(['member-update a']);
    for (const name of ['b', 'c']) {
      coalescer.add({ type: 'member-join', member: member(name) }, 5000);
      expect(told(coalescer)).toEqual([`member-join ${name}`]);
    }
    coalescer.add({ type: 'member-update', member: member('a') }, 9000);
    expect(told(coalescer)).toEqual(['member-update a']);
  });

  test('a join that is followed by an update is still a join, with the new tags', () => {
    const coalescer = new MemberCoalescer(timing);
    coalescer.add({ type: 'member-join', member: member('a') }, 0);
    coalescer.add({ type: 'member-update', member: member('a', { role: 'web' }) }, 500);
    expect(coalescer.flush()).toMatchObject([{ type: 'member-join', members: [{ name: 'a', tags: { role: 'web' } }] }]);
    // It came back unnoticed, with other tags: that is an update.
    coalescer.add({ type: 'member-failed', member: member('a') }, 5000);
    coalescer.add({ type: 'member-join', member: member('a') }, 5000);
    coalescer.add({ type: 'member-update', member: member('a', { role: 'db' }) }, 5000);
    expect(told(coalescer)).toEqual(['member-update a']);
  });

  test('too many names are told at once', () => {
    const coalescer = new MemberCoalescer(timing);
    for (let i = 0; i < 16_384; i++) coalescer.add({ type: 'member-join', member: member(`m${i}`) }, 7);
    expect(coalescer.deadline).toBe(7);
  });
});

describe('UserCoalescer', () => {
  test('the newest of a name is told; several of one time all are', () => {
    const coalescer = new UserCoalescer(timing);
    coalescer.add(userEvent('deploy', 'old', 4, true), 0);
    coalescer.add(userEvent('deploy', 'new', 6, true), 10);
    coalescer.add(userEvent('deploy', 'late', 5, true), 20);
    coalescer.add(userEvent('deploy', 'newest too', 6, true), 30);
    coalescer.add(userEvent('other', 'x', 1, true), 40);
    expect(coalescer.deadline).toBe(1040);
    expect(coalescer.flush().map((event) => (event.type === 'user' ? Buffer.from(event.payload).toString() : ''))).toEqual(['new', 'newest too', 'x']);
    expect(coalescer.deadline).toBe(Infinity);
  });
});
