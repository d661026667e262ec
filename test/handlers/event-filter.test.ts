import { describe, expect, test } from 'vitest';
import { matchesEvent, parseEventFilters } from '../../src/core/serf/event-filter.ts';
import { parseHandler } from '../../src/node/event-handlers.ts';
import { placeScript } from '../../src/node/config.ts';
import { member, queryEvent, userEvent } from './events.ts';

const joined = { type: 'member-join', members: [member('a')] } as const;

describe('parseEventFilters()', () => {
  test('reads lists, names and nothing', () => {
    expect(parseEventFilters('')).toEqual([{ event: '*', name: '' }]);
    expect(parseEventFilters('member-join,user:deploy,query:load:x')).toEqual([{ event: 'member-join', name: '' }, { event: 'user', name: 'deploy' }, { event: 'query', name: 'load:x' }]);
    for (const wrong of ['join', 'member-join,', 'user,nope', 'member-join:a', ' user']) expect(parseEventFilters(wrong), wrong).toBeUndefined();
  });

  test('a filter fits its events and no others', () => {
    const fits = (text: string): boolean[] => [joined, userEvent('deploy'), userEvent('other'), queryEvent('deploy')].map((event) => (parseEventFilters(text) ?? []).some((filter) => matchesEvent(filter, event)));
    expect(fits('*')).toEqual([true, true, true, true]);
    expect(fits('member-join')).toEqual([true, false, false, false]);
    expect(fits('user')).toEqual([false, true, true, false]);
    expect(fits('user:deploy')).toEqual([false, true, false, false]);
    expect(fits('query:deploy,member-join')).toEqual([true, false, false, true]);
    expect(fits('member-leave')).toEqual([false, false, false, false]);
  });
});

describe('parseHandler()', () => {
  test('reads what Serf reads, and `leader:`', () => {
    expect(parseHandler('x.sh')).toEqual({ filters: [{ event: '*', name: '' }], script: 'x.sh', leaderOnly: false });
    expect(parseHandler('user:deploy=x.sh --a=b')).toEqual({ filters: [{ event: 'user', name: 'deploy' }], script: 'x.sh --a=b', leaderOnly: false });
    expect(parseHandler('=x.sh')).toEqual({ filters: [{ event: '*', name: '' }], script: 'x.sh', leaderOnly: false });
    expect(parseHandler('leader:member-failed,member-leave=x.sh')).toMatchObject({ filters: [{ event: 'member-failed' }, { event: 'member-leave' }], leaderOnly: true });
    expect(parseHandler('leader:x.sh')).toMatchObject({ filters: [{ event: '*' }], script: 'x.sh', leaderOnly: true });
  });

  test('refuses what it cannot read', () => {
    expect(() => parseHandler('x.sh --a=b')).toThrow(expect.objectContaining({ code: 'BAD_HANDLER' }));
    expect(() => parseHandler('member-join=')).toThrow(expect.objectContaining({ code: 'BAD_HANDLER' }));
  });
});

describe('placeScript()', () => {
  test('counts relative scripts from the file, and leaves all else alone', () => {
    const place = (text: string, base = '/etc'): string => placeScript(text, (path) => `${base}/${path.replace(/^\.\//, '')}`);
    expect(place('member-join=./on-join.sh a b')).toBe('member-join=/etc/on-join.sh a b');
    expect(place('./x.sh')).toBe('/etc/x.sh');
    expect(place('leader:user:deploy=./x.sh')).toBe('leader:user:deploy=/etc/x.sh');
    expect(place('leader:./x.sh; ./y.sh')).toBe('leader:/etc/x.sh; ./y.sh');
    expect(place('user:d=echo ./x')).toBe('user:d=echo ./x');
    expect(place('user:d=/bin/x')).toBe('user:d=/bin/x');
    expect(place('./x.sh', "/it's here")).toBe("'/it'\\''s here/x.sh'");
  });
});
