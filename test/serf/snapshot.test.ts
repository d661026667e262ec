import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readSnapshot, snapshotLine, snapshotMembersMax, snapshotProblemsMax, writeSnapshot } from '../../src/core/serf/snapshot.ts';

const alive = (text: string, rejoin = false): unknown => Object.fromEntries(readSnapshot(text, rejoin).alive);

describe('readSnapshot(), as snapshot.go reads', () => {
  test('members come and go; the newest times count', () => {
    const read = readSnapshot('alive: a 127.0.0.1:1\nalive: b c 127.0.0.1:2\nclock: 3\nevent-clock: 4\nquery-clock: 5\nnot-alive: a\nalive: d [::1]:7\nclock: 9\n', false);
    expect(Object.fromEntries(read.alive)).toEqual({ 'b c': '127.0.0.1:2', d: '[::1]:7' });
    expect(read).toMatchObject({ memberTime: 9, eventTime: 4, queryTime: 5, badLines: 0, torn: false, left: false });
  });

  test('a leave wipes what was before, unless the node is to rejoin', () => {
    const text = 'alive: a 127.0.0.1:1\nclock: 7\nevent-clock: 3\nleave\n';
    expect(readSnapshot(text, false)).toMatchObject({ memberTime: 0, eventTime: 0, left: true });
    expect(alive(text)).toEqual({});
    expect(readSnapshot(text, true)).toMatchObject({ memberTime: 7, eventTime: 3, left: false });
    expect(alive(text, true)).toEqual({ a: '127.0.0.1:1' });
    expect(alive(`${text}alive: b 127.0.0.1:2\n`)).toEqual({ b: '127.0.0.1:2' });
  });

  test('comments and coordinates are passed over; a line that was torn by a crash is no problem, garbage is one', () => {
    const read = readSnapshot('# hello\ncoordinate: {}\nalive: a 127.0.0.1:1\nrubbish\nclock: x\nalive: nowhere\nalive: a b\n\u0000\u0000\nclock: 12', false);
    expect(read).toMatchObject({ memberTime: 0, torn: true, badLines: 5 });
    expect(read.problems.map(({ line, what }) => [line, what])).toEqual([[4, 'not a line of a snapshot'], [5, 'not a time'], [6, 'a member needs a name and an address'], [7, 'the address has no port'], [8, 'not a line of a snapshot']]);
    expect(alive('alive: a 127.0.0.1:1\nalive: b 127.0.0.1:2')).toEqual({ a: '127.0.0.1:1' });
  });

  test('whatever a crash cuts off, what is left is what had been written', () => {
    const text = writeSnapshot({ alive: new Map([['a', '127.0.0.1:1'], ['b', '127.0.0.1:2']]), memberTime: 10, eventTime: 20, queryTime: 30 });
    for (let cut = 0; cut <= text.length; cut++) {
      const read = readSnapshot(text.slice(0, cut), false);
      expect(read.badLines).toBe(0);
      for (const [name, address] of read.alive) expect(text).toContain(`alive: ${name} ${address}\n`);
      expect([0, 10]).toContain(read.memberTime);
    }
  });

  test('what was written is read back', () => {
    const name = fc.string({ minLength: 1, maxLength: 40 }).filter((text) => !/[\r\n]/.test(text));
    fc.assert(fc.property(fc.dictionary(name, fc.nat({ max: 65_535 })), fc.nat(), fc.nat(), fc.nat(), (members, memberTime, eventTime, queryTime) => {
      const state = { alive: new Map(Object.entries(members).map(([member, port]) => [member, `10.0.0.1:${port}`])), memberTime, eventTime, queryTime };
      const read = readSnapshot(writeSnapshot(state), false);
      expect(read).toMatchObject({ memberTime, eventTime, queryTime, badLines: 0, torn: false });
      expect(new Map(read.alive)).toEqual(state.alive);
    }));
  });

  test('a name that cannot stand in a line is not written', () => {
    expect(snapshotLine.alive('a\nleave', '127.0.0.1:1')).toBeUndefined();
    expect(snapshotLine.notAlive('a\r')).toBeUndefined();
  });

  test('any bytes are read without error and within bounds', () => {
    const line = fc.oneof(fc.string({ maxLength: 60 }), fc.constantFrom('alive: ', 'alive: a 1:1', 'not-alive: a', 'clock: 99999999999999999999', 'clock: -1', 'leave', 'event-clock: 1e3', '#', 'alive: __proto__ 1:1'));
    fc.assert(fc.property(fc.array(line, { maxLength: 200 }), fc.boolean(), (lines, rejoin) => {
      const read = readSnapshot(lines.join('\n'), rejoin);
      expect(read.alive.size).toBeLessThanOrEqual(snapshotMembersMax);
      expect(read.problems.length).toBeLessThanOrEqual(snapshotProblemsMax);
      for (const time of [read.memberTime, read.eventTime, read.queryTime]) expect(Number.isSafeInteger(time) && time >= 0).toBe(true);
    }));
    const many = Array.from({ length: snapshotMembersMax + 10 }, (_, i) => `alive: n${i} 10.0.0.1:1\n`).join('');
    expect(readSnapshot(many, false)).toMatchObject({ badLines: 10 });
  });
});
