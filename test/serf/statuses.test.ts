import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { Intents } from '../../src/core/serf/intents.ts';
import { LamportClock } from '../../src/core/serf/lamport-clock.ts';
import { RecentRing } from '../../src/core/serf/recent-ring.ts';
import { Serf } from '../../src/core/serf/serf.ts';
import { compileTagExpression } from '../../src/core/serf/tag-match.ts';
import { swimTimings } from '../../src/core/swim/timing.ts';
import { Timers } from '../../src/core/swim/timers.ts';
import { userMessage } from '../../src/core/swim/swim.ts';
import { encodeCompound } from '../../src/core/wire/compound.ts';
import { aliveCodec, deadCodec, encodeMessage, indirectPingCodec, messageType, pingCodec, suspectCodec } from '../../src/core/wire/gossip-messages.ts';
import {
  encodeSerfMessage, serfJoinCodec, serfLeaveCodec, serfPushPullCodec, serfQueryCodec, serfType, serfUserEventCodec,
} from '../../src/core/wire/serf-messages.ts';
import type { SerfQuery } from '../../src/core/wire/serf-messages.ts';
import { WireError } from '../../src/core/wire/wire-error.ts';

const from = { host: '10.0.0.2', port: 7946 };
const none = new Uint8Array(0);

function bench(): { serf: Serf; timers: Timers; seen: string[]; sent: { to: string; message: Uint8Array }[]; alive: (name: string, incarnation?: number) => void; dead: (name: string, by?: string) => void; join: (name: string, time: number) => void; leave: (name: string, time: number, prune?: boolean) => void; status: (name: string) => string | undefined; meet: (times?: { events: number; queries: number }) => void } {
  const timers = new Timers();
  const seen: string[] = [];
  const sent: { to: string; message: Uint8Array }[] = [];
  const serf = new Serf({
    name: 'me', advertise: { host: '10.0.0.1', port: 7946 }, tags: { role: 'web' }, timing: swimTimings.lan, packetOverhead: () => 0, membersMax: 100, queueDepthMax: 100,
    deadNodeReclaimMs: 0, reconnectTimeoutMs: 100_000, tombstoneTimeoutMs: 50_000, reconnectIntervalMs: 5000,
  }, {
    random: new Prng(1), timers,
    sink: { sendPacket: (to, message) => void sent.push({ to: to.host, message: message.slice() }), dial: () => {}, log: () => {} },
    emit: (event) => void seen.push('member' in event ? `${event.type} ${event.member.name} ${event.member.status}` : `${event.type} ${event.name}`),
  });
  const user = (message: Uint8Array): void => serf.userMessage(message, from);
  return {
    serf, timers, seen, sent,
    alive: (name, incarnation = 1) => serf.swim.handlePacket(encodeMessage(messageType.alive, aliveCodec, { Incarnation: incarnation, Node: name, Addr: Uint8Array.of(10, 0, 0, 2), Port: 7946, Meta: none, Vsn: Uint8Array.of(1, 5, 2, 2, 5, 5) }), from),
    dead: (name, by = 'x') => serf.swim.handlePacket(encodeMessage(messageType.dead, deadCodec, { Incarnation: 9, Node: name, From: by }), from),
    join: (name, time) => user(encodeSerfMessage(serfType.join, serfJoinCodec, { LTime: time, Node: name })),
    leave: (name, time, prune = false) => user(encodeSerfMessage(serfType.leave, serfLeaveCodec, { LTime: time, Node: name, Prune: prune })),
    status: (name) => serf.member(name)?.status,
    meet: (times = { events: 1, queries: 1 }) => serf.mergeState(encodeSerfMessage(serfType.pushPull, serfPushPullCodec, { LTime: 1, StatusLTimes: new Map(), LeftMembers: [], EventLTime: times.events, Events: [], QueryLTime: times.queries }), false),
  };
}

describe("statuses (serf.go's handleNodeLeave and its intents)", () => {
  test('a leave intent, then dead: left', () => {
    const b = bench();
    b.alive('b');
    b.leave('b', 5);
    expect(b.status('b')).toBe('leaving');
    b.dead('b', 'b');
    expect(b.seen).toEqual(['member-join b alive', 'member-leave b left']);
  });
  test('dead without a newer intent: failed, even when the node says so itself', () => {
    const b = bench();
    b.alive('b');
    b.dead('b', 'b');
    expect(b.seen).toEqual(['member-join b alive', 'member-failed b failed']);
  });
  test('an intent that came before its member counts, an old one does not', () => {
    const b = bench();
    b.leave('b', 5);
    b.alive('b');
    expect(b.status('b')).toBe('leaving');
    b.leave('c', 5);
    b.join('c', 6);
    b.alive('c');
    expect(b.status('c')).toBe('alive');
    b.leave('c', 6);
    expect(b.status('c')).toBe('alive');
  });
  test('who hears of a leave first by its time, in an exchange of state, still takes its message for one', () => {
    const state = (times: [string, number][]): Uint8Array => encodeSerfMessage(serfType.pushPull, serfPushPullCodec, { LTime: 6, StatusLTimes: new Map(times), LeftMembers: [], EventLTime: 1, Events: [], QueryLTime: 1 });
    const b = bench();
    b.alive('b');
    b.serf.mergeState(state([['b', 5], ['c', 5]]), false);
    b.leave('b', 5);
    expect(b.status('b')).toBe('leaving');
    b.join('b', 5);
    b.serf.mergeState(state([['b', 5]]), false);
    expect(b.status('b')).toBe('leaving');
    b.dead('b', 'b');
    expect(b.seen).toEqual(['member-join b alive', 'member-leave b left']);
    // What is not known to have been heard so is a join, and an older leave does not undo it.
    b.alive('d');
    b.join('d', 5);
    b.leave('d', 5);
    expect(b.status('d')).toBe('alive');
    // The same of members that are not known yet.
    b.leave('c', 5);
    b.alive('c');
    expect(b.status('c')).toBe('leaving');
    // And when it has gone before.
    b.alive('e');
    b.serf.mergeState(state([['e', 9]]), false);
    b.dead('e', 'e');
    b.leave('e', 9);
    expect(b.status('e')).toBe('left');
  });
  test('who exchanges state does not give the time of a leave before all have heard so', () => {
    const b = bench();
    b.alive('b');
    b.leave('b', 5);
    const told = (): number | undefined => serfPushPullCodec.decode(b.serf.localState().subarray(1), { valuesMax: 1000, depthMax: 9 }).StatusLTimes.get('b');
    expect(told()).toBe(4);
    b.dead('b', 'b');
    expect(told()).toBe(5);
  });
  test('a member that comes while an older intent says that it leaves is asked at once, and objects by a newer join', () => {
    const b = bench();
    b.alive('c');
    expect(b.sent).toEqual([]);
    b.leave('b', 5);
    b.alive('b');
    expect(b.sent.map(({ to, message }) => [to, [...message]])).toEqual([['10.0.0.2', [...userMessage(encodeSerfMessage(serfType.leave, serfLeaveCodec, { LTime: 6, Node: 'b', Prune: false }))]]]);
    b.join('b', 7);
    expect(b.status('b')).toBe('alive');
  });
  test('a newer join takes a leave back; a member that comes back is alive', () => {
    const b = bench();
    b.alive('b');
    b.leave('b', 5);
    b.join('b', 5);
    expect(b.status('b')).toBe('leaving');
    b.join('b', 6);
    expect(b.status('b')).toBe('alive');
    b.dead('b');
    b.alive('b', 10);
    expect([b.status('b'), b.seen.at(-1)]).toEqual(['alive', 'member-join b alive']);
  });
  test('a leave intent about a failed member makes it left; with prune it is forgotten', () => {
    const b = bench();
    b.alive('b');
    b.dead('b');
    b.leave('b', 5);
    expect(b.seen.at(-1)).toBe('member-leave b left');
    b.leave('b', 6, true);
    expect([b.status('b'), b.seen.at(-1)]).toEqual([undefined, 'member-reap b left']);
  });
  test('prune of a live member blocks nothing and hides nobody: it is forgotten only if it really goes (D5)', () => {
    const b = bench();
    b.alive('b');
    b.leave('b', 5, true);
    expect(b.status('b')).toBe('leaving');
    b.join('b', 6);
    expect(b.status('b')).toBe('alive');
    b.leave('b', 7, true);
    b.dead('b', 'b');
    expect([b.status('b'), b.seen.slice(-2)]).toEqual([undefined, ['member-leave b left', 'member-reap b left']]);
  });
  test('a leave intent about ourselves is refuted by a newer join', () => {
    const b = bench();
    b.alive('b');
    b.leave('me', 40);
    expect(b.status('me')).toBe('alive');
    const message = encodeSerfMessage(serfType.join, serfJoinCodec, { LTime: 41, Node: 'me' });
    expect(b.serf.broadcasts(3, 1000)).toContainEqual(message);
  });
  test('after our own leave nobody can make this node forget itself', () => {
    const b = bench();
    b.serf.leave(() => {});
    b.timers.run(10_000);
    b.timers.run(20_000);
    expect(b.status('me')).toBe('left');
    b.leave('me', 99, true);
    expect(b.serf.local.status).toBe('left');
  });
  test('failed and left members are forgotten in time, an update of a member is told once (D2)', () => {
    const b = bench();
    b.serf.start();
    b.alive('b');
    b.dead('b');
    b.timers.run(90_000);
    expect(b.status('b')).toBe('failed');
    for (let now = 90_000; now < 140_000; now += 5000) b.timers.run(now);
    expect([b.status('b'), b.seen.at(-1)]).toEqual([undefined, 'member-reap b failed']);
    b.alive('c');
    b.serf.setTags({ role: 'db' });
    b.alive('d');
    expect(b.seen.filter((line) => line.startsWith('member-update'))).toEqual(['member-update me alive']);
  });
  test('a push/pull tells who left', () => {
    const b = bench();
    b.alive('b');
    b.dead('b');
    const state = { LTime: 20, StatusLTimes: new Map([['b', 4], ['me', 3]]), LeftMembers: ['b'], EventLTime: 1, Events: [], QueryLTime: 1 };
    b.serf.mergeState(encodeSerfMessage(serfType.pushPull, serfPushPullCodec, state), false);
    expect([b.status('b'), b.serf.clock.time]).toEqual(['left', 20]);
    const own = serfPushPullCodec.decode(b.serf.localState().subarray(1));
    expect([own.LeftMembers, own.StatusLTimes.get('b'), own.Events.length]).toEqual([['b'], 5, 512]);
  });
});

describe('user events', () => {
  const event = (LTime: number, Name: string, payload = ''): Uint8Array => encodeSerfMessage(serfType.userEvent, serfUserEventCodec, { LTime, Name, Payload: Buffer.from(payload), CC: true });
  test('each is delivered once and passed on once, the clock moves past it, and too old ones are not news', () => {
    const b = bench();
    b.meet();
    b.alive('b');
    for (const message of [event(5, 'x'), event(5, 'x'), event(5, 'y'), event(5, 'x', 'other'), event(700, 'late'), event(100, 'old')]) b.serf.userMessage(message, from);
    expect(b.seen.slice(1)).toEqual(['user x', 'user y', 'user x', 'user late']);
    expect([b.serf.events.clock.time, b.serf.queueSizes.events]).toEqual([701, 4]);
  });
  test('the first contact of a fresh process brings no history (D4), later exchanges bring what was missed', () => {
    const b = bench();
    const state = (Name: string, LTime: number): Uint8Array => encodeSerfMessage(serfType.pushPull, serfPushPullCodec, { LTime: 1, StatusLTimes: new Map(), LeftMembers: [], EventLTime: LTime + 1, Events: [undefined, { LTime, Events: [{ Name, Payload: none }] }], QueryLTime: 1 });
    b.serf.mergeState(state('history', 5), false);
    b.serf.mergeState(state('history', 5), false);
    b.serf.mergeState(state('missed', 8), false);
    expect(b.seen).toEqual(['user missed']);
  });
});

describe('queries', () => {
  const query = (more: Partial<SerfQuery>): Uint8Array => encodeSerfMessage(serfType.query, serfQueryCodec, {
    LTime: 3, ID: 1, Addr: Uint8Array.of(10, 0, 0, 2), Port: 7946, SourceNode: 'b', Filters: [], Flags: 0, RelayFactor: 0, Timeout: 1e9, Name: 'q', Payload: none, ...more,
  });
  test('one that is not for us is passed on all the same; one that must not be passed on is not', () => {
    const b = bench();
    b.meet();
    b.alive('b');
    b.serf.userMessage(query({ Filters: [encodeSerfMessage(0, { zero: 0, write: (w) => { w.arrayHeader(1); w.text('b'); }, read: () => 0 }, 0)] }), from);
    expect([b.seen, b.serf.queueSizes.queries]).toEqual([['member-join b alive'], 1]);
    b.serf.userMessage(query({ ID: 2, Flags: 2 }), from);
    expect([b.seen.at(-1), b.serf.queueSizes.queries]).toEqual(['query q', 1]);
  });
  test('_serf_ping is acknowledged and nothing else; a conflict query is answered unless it is about us', () => {
    const b = bench();
    b.meet();
    b.alive('b');
    b.serf.userMessage(query({ Name: '_serf_ping', Flags: 1 }), from);
    expect(b.sent.map(({ to, message }) => [to, message[0], message[1]])).toEqual([['10.0.0.2', messageType.user, serfType.queryResponse]]);
    b.serf.userMessage(query({ ID: 2, Name: '_serf_conflict', Payload: Buffer.from('me') }), from);
    b.serf.userMessage(query({ ID: 3, Name: '_serf_conflict', Payload: Buffer.from('b') }), from);
    expect(b.sent).toHaveLength(2);
    expect(b.seen).toEqual(['member-join b alive']);
  });
  test('those from before the first contact are not carried out, whether they come before or after it (D1)', () => {
    const b = bench();
    b.alive('b');
    const event = (LTime: number): Uint8Array => encodeSerfMessage(serfType.userEvent, serfUserEventCodec, { LTime, Name: `e${LTime}`, Payload: none, CC: false });
    const say = (LTime: number): void => {
      b.serf.userMessage(query({ LTime, ID: LTime, Name: `q${LTime}`, Flags: 1 }), from);
      b.serf.userMessage(event(LTime), from);
    };
    say(3);
    b.meet({ events: 5, queries: 5 });
    say(3);
    say(4);
    expect([b.seen, b.sent]).toEqual([['member-join b alive'], []]);
    say(5);
    expect(b.seen.slice(1)).toEqual(['query q5', 'user e5']);
    b.meet({ events: 50, queries: 50 });
    say(6);
    expect(b.seen.slice(3)).toEqual(['query q6', 'user e6']);
  });
  test('a lone node keeps no query for who comes later (D1)', () => {
    const b = bench();
    b.serf.queries.ask('q', none, {}, () => {});
    expect(b.serf.queueSizes.queries).toBe(1);
    b.timers.run(5);
    expect(b.serf.queueSizes.queries).toBe(0);
  });
  test('relays go to members only', () => {
    const b = bench();
    b.alive('b');
    const relay = (last: number): Uint8Array => Buffer.from(`0982a8446573744164647283a24950a40a0000${last.toString(16).padStart(2, '0')}a4506f7274cd1f0aa45a6f6e65a0a8446573744e616d65a1620585a5466c61677301a446726f6da27731a24944ce4d1a8a16a54c54696d6501a75061796c6f6164c0`, 'hex');
    b.serf.userMessage(relay(2), from);
    expect(b.sent.map(({ to }) => to)).toEqual(['10.0.0.2']);
    expect(() => b.serf.userMessage(relay(7), from)).toThrow('relay');
  });
});

describe('bytes from outside', () => {
  const query: SerfQuery = { LTime: 3, ID: 1, Addr: Uint8Array.of(10, 0, 0, 2), Port: 7946, SourceNode: 'b', Filters: [], Flags: 1, RelayFactor: 3, Timeout: 1e9, Name: 'q', Payload: none };
  const alive = { Incarnation: 3, Node: 'b', Addr: Uint8Array.of(10, 0, 0, 2), Port: 7946, Meta: Uint8Array.of(0xff, 0x80), Vsn: Uint8Array.of(1, 5, 2, 2, 5, 5) };
  const source = { SourceAddr: Uint8Array.of(10, 0, 0, 2), SourcePort: 7946, SourceNode: 'b' };
  const good: Uint8Array[] = [
    encodeMessage(messageType.alive, aliveCodec, alive),
    encodeMessage(messageType.dead, deadCodec, { Incarnation: 3, Node: 'b', From: 'b' }),
    encodeMessage(messageType.suspect, suspectCodec, { Incarnation: 3, Node: 'b', From: 'c' }),
    encodeMessage(messageType.ping, pingCodec, { SeqNo: 1, Node: 'me', ...source }),
    encodeMessage(messageType.indirectPing, indirectPingCodec, { SeqNo: 1, Target: Uint8Array.of(10, 0, 0, 2), Port: 1, Node: 'b', Nack: true, ...source }),
    ...[
      encodeSerfMessage(serfType.query, serfQueryCodec, query),
      encodeSerfMessage(serfType.userEvent, serfUserEventCodec, { LTime: 3, Name: 'x', Payload: none, CC: true }),
      encodeSerfMessage(serfType.leave, serfLeaveCodec, { LTime: 3, Node: 'b', Prune: true }),
      encodeSerfMessage(serfType.join, serfJoinCodec, { LTime: 4, Node: 'b' }),
    ].map(userMessage),
  ];

  test('good messages with any bytes changed, in any order, raise nothing but WireError and leave the machine running', () => {
    const mutation = fc.record({ message: fc.nat(good.length - 1), changes: fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 4 }), cut: fc.option(fc.nat(60)), wait: fc.nat(3000) });
    fc.assert(fc.property(fc.array(mutation, { maxLength: 40 }), (mutations) => {
      const b = bench();
      b.serf.start();
      let now = 0;
      for (const { message, changes, cut, wait } of mutations) {
        const bytes = (good[message] as Uint8Array).slice(0, cut ?? undefined);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        try {
          b.serf.swim.handlePacket(bytes, from);
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
        }
        now += wait;
        for (let next = b.timers.nextAt(); next <= now; next = b.timers.nextAt()) b.timers.run(next);
        b.timers.now = now;
      }
      expect(b.status('me')).toBe('alive');
      expect(b.serf.size).toBeLessThanOrEqual(41);
      b.serf.localState();
    }), { numRuns: 300 });
  });

  test('one message that cannot be read does not cost the others of its packet', () => {
    const b = bench();
    expect(() => b.serf.swim.handlePacket(encodeCompound([Uint8Array.of(99), userMessage(Uint8Array.of(99)), good[0] as Uint8Array]), from)).toThrow(WireError);
    expect(b.status('b')).toBe('alive');
  });

  test('any state in a push/pull', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (state) => {
      const b = bench();
      try {
        b.serf.mergeState(Uint8Array.of(serfType.pushPull, ...state), true);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
      }
    }), { numRuns: 500 });
  });
});

describe('kernels', () => {
  test('LamportClock witnesses what is ahead of it', () => {
    const clock = new LamportClock();
    expect([clock.tick(), clock.time]).toEqual([1, 2]);
    clock.witness(1);
    expect(clock.time).toBe(2);
    clock.witness(7);
    expect(clock.time).toBe(8);
    clock.witness(Number.MAX_SAFE_INTEGER);
    expect(clock.time).toBe(8);
  });
  test('RecentRing bounds what one time can hold', () => {
    const ring = new RecentRing<number>((x, y) => x === y);
    expect(Array.from({ length: 1000 }, (_, i) => ring.add(1, i, 2)).filter(Boolean)).toHaveLength(256);
    expect([ring.add(513, 1, 514), ring.add(1, 5, 514)]).toEqual([true, false]);
  });
  test('Intents are bounded and grow old', () => {
    const intents = new Intents();
    for (let i = 0; i < 5000; i++) intents.add(`n${i}`, { type: 'join', lamportTime: 1, at: i });
    expect([intents.take('n0'), intents.take('n4999')?.at]).toEqual([undefined, 4999]);
    intents.expire(10 * 60_000);
    expect(intents.take('n4998')).toBeUndefined();
  });
  test.each([['w.b', 'web', true], ['^w', 'ow', false], ['', '', true], ['(?i)WEB', 'web', true], ['[', 'x', undefined], ['(a+)+$', 'a', undefined], ['(a|a)*', 'a', undefined], ['(?=x)', 'x', undefined], ['x'.repeat(300), 'x', undefined], ['^(a|b)$', 'a', true]])(
    'the tag expression %s on %s: %s', (expression, value, expected) => expect(compileTagExpression(expression)?.test(value)).toBe(expected));
});
