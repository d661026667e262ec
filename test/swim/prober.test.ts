import { beforeEach, describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { Swim } from '../../src/core/swim/swim.ts';
import { swimTimings } from '../../src/core/swim/timing.ts';
import { Timers } from '../../src/core/swim/timers.ts';
import type { SwimDelegate, SwimSink } from '../../src/core/swim/types.ts';
import type { Endpoint } from '../../src/core/wire/ip-address.ts';
import { ackCodec, aliveCodec, deadCodec, encodeMessage, indirectPingCodec, messageType, nackCodec, pingCodec, suspectCodec } from '../../src/core/wire/gossip-messages.ts';
import type { Alive, IndirectPing, Ping } from '../../src/core/wire/gossip-messages.ts';
import type { FieldCodec } from '../../src/core/wire/msgpack-struct.ts';
import { unwrapPacket } from '../../src/core/wire/packet.ts';

/** One machine; the test plays all the others. */
class Bench {
  readonly timers = new Timers();
  readonly sent: { readonly to: string; readonly type: number; readonly body: Uint8Array }[] = [];
  readonly dials: { readonly id: number; readonly to: string; readonly message: Uint8Array; readonly timeoutMs: number }[] = [];
  readonly events: string[] = [];
  readonly swim: Swim;

  constructor() {
    const sink: SwimSink = {
      sendPacket: (to, message) => unwrapPacket(message, (part) => this.sent.push({ to: to.host, type: part[0] as number, body: part.slice(1) })),
      dial: (id, to, message, timeoutMs) => void this.dials.push({ id, to: to.host, message, timeoutMs }),
      log: () => {},
    };
    const delegate: SwimDelegate = {
      nodeJoined: (node) => void this.events.push(`join ${node.name}`), nodeLeft: (node) => void this.events.push(`${node.state} ${node.name}`), nodeUpdated: (node) => void this.events.push(`update ${node.name}`),
      nameConflict: (known, claimed) => void this.events.push(`conflict ${known.name} ${claimed.host}`),
      userMessage: () => {}, broadcasts: () => [], largeBroadcasts: () => [], nobodyListens: () => {}, localState: () => new Uint8Array(0), mergeState: () => {}, ackPayload: () => Uint8Array.of(9), strangerPinged: (from) => void this.events.push(`stranger ${from.host}`), pingAnswered: (node, roundTripMs) => void this.events.push(`rtt ${node.name} ${roundTripMs}`),
    };
    this.swim = new Swim(
      { name: 'me', advertise: { host: '10.0.0.1', port: 7946 }, meta: new Uint8Array(0), timing: swimTimings.lan, packetOverhead: () => 0, membersMax: 100, deadNodeReclaimMs: 0 },
      { random: new Prng(1), timers: this.timers, delegate, sink },
    );
    this.swim.start();
  }

  at(last: number): Endpoint {
    return { host: `10.0.0.${last}`, port: 7946 };
  }

  alive(name: string, last: number, more: Partial<Alive> = {}): void {
    const claim = { Incarnation: 1, Node: name, Addr: Uint8Array.of(10, 0, 0, last), Port: 7946, Meta: new Uint8Array(0), Vsn: Uint8Array.of(1, 5, 2, 2, 5, 5), ...more };
    this.swim.handlePacket(encodeMessage(messageType.alive, aliveCodec, claim), this.at(last));
  }

  receive<T>(type: number, codec: FieldCodec<T>, value: T, from = this.at(9)): void {
    this.swim.handlePacket(encodeMessage(type, codec, value), from);
  }

  advance(to: number): void {
    for (let next = this.timers.nextAt(); next <= to; next = this.timers.nextAt()) this.timers.run(next);
    this.timers.now = to;
  }

  /** Until a packet of the type is sent; returns its body. */
  until(type: number): { readonly to: string; readonly body: Uint8Array } {
    for (let i = 0; i < 200; i++) {
      const found = this.sent.find((packet) => packet.type === type);
      if (found !== undefined) return found;
      this.timers.run(this.timers.nextAt());
    }
    throw new Error(`no packet of type ${type}`);
  }

  count(type: number): number {
    return this.sent.filter((packet) => packet.type === type).length;
  }
}

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

describe('a probe round (memberlist state.go, probeNode)', () => {
  test('an answer in time ends it, and gives the round trip', () => {
    bench.alive('b', 2);
    const ping: Ping = pingCodec.decode(bench.until(messageType.ping).body);
    expect(ping).toMatchObject({ Node: 'b', SourceNode: 'me', SourcePort: 7946 });
    const sentAt = bench.timers.now;
    bench.timers.now += 3;
    bench.receive(messageType.ack, ackCodec, { SeqNo: ping.SeqNo, Payload: new Uint8Array(0) });
    expect(bench.events).toEqual(['join b', 'rtt b 3']);
    bench.advance(sentAt + 999);
    expect([bench.dials.length, bench.count(messageType.indirectPing)]).toEqual([0, 0]);
  });

  test('without one, others are asked under the same number and a stream is tried; then the member is accused', () => {
    bench.alive('b', 2);
    for (const last of [3, 4, 5, 6]) bench.alive(`h${last}`, last);
    const { to, body } = bench.until(messageType.ping);
    const ping = pingCodec.decode(body);
    const sentAt = bench.timers.now;
    bench.advance(sentAt + 501);
    const requests = bench.sent.filter((packet) => packet.type === messageType.indirectPing).map((packet) => ({ to: packet.to, request: indirectPingCodec.decode(packet.body) as IndirectPing }));
    expect(requests).toHaveLength(3);
    for (const { to: helper, request } of requests) {
      expect(helper).not.toBe(to);
      expect(request).toMatchObject({ SeqNo: ping.SeqNo, Node: ping.Node, Nack: true });
    }
    expect(bench.dials).toMatchObject([{ to, timeoutMs: 500 }]);
    bench.receive(messageType.nack, nackCodec, { SeqNo: ping.SeqNo });
    bench.advance(sentAt + 1001);
    expect(bench.swim.table.get(ping.Node)?.state).toBe('suspect');
    expect(bench.swim.awareness.score).toBe(2); // three were asked, one said "no answer"
  });

  test('an answer through a helper counts', () => {
    bench.alive('b', 2);
    const ping = pingCodec.decode(bench.until(messageType.ping).body);
    const sentAt = bench.timers.now;
    bench.advance(sentAt + 800);
    bench.receive(messageType.ack, ackCodec, { SeqNo: ping.SeqNo, Payload: new Uint8Array(0) });
    bench.advance(sentAt + 1500);
    expect(bench.swim.table.get('b')?.state).toBe('alive');
  });

  test('an answer over the stream counts; one with another number does not', () => {
    bench.alive('b', 2);
    const ping = pingCodec.decode(bench.until(messageType.ping).body);
    const sentAt = bench.timers.now;
    bench.advance(sentAt + 600);
    const [dial] = bench.dials;
    bench.swim.dialEnded(dial!.id, { type: 'reply', message: { type: 'ack', ack: { SeqNo: ping.SeqNo, Payload: new Uint8Array(0) } } });
    bench.advance(sentAt + 1100);
    expect(bench.swim.table.get('b')?.state).toBe('alive');
    bench.sent.length = 0;
    const second = pingCodec.decode(bench.until(messageType.ping).body);
    bench.advance(bench.timers.now + 600);
    bench.swim.dialEnded(bench.dials[1]!.id, { type: 'reply', message: { type: 'ack', ack: { SeqNo: second.SeqNo + 1, Payload: new Uint8Array(0) } } });
    bench.advance(bench.timers.now + 600);
    expect(bench.swim.table.get('b')?.state).toBe('suspect');
  });

  test('no answer over UDP and a refused connection: dead without suspicion; other failures of the stream prove nothing', () => {
    bench.alive('b', 2);
    bench.until(messageType.ping);
    bench.advance(bench.timers.now + 501);
    bench.swim.dialEnded(bench.dials[0]!.id, { type: 'failed', code: 'TIMEOUT', message: '' });
    expect(bench.swim.table.get('b')?.state).toBe('alive');
    bench.advance(bench.timers.now + 500);
    bench.alive('b', 2, { Incarnation: 2 });
    bench.sent.length = 0;
    bench.until(messageType.ping);
    bench.advance(bench.timers.now + 501);
    bench.swim.dialEnded(bench.dials.at(-1)!.id, { type: 'failed', code: 'REFUSED', message: '' });
    expect(bench.events.at(-1)).toBe('dead b');
  });

  test('who slept through a round accuses nobody: the answer may wait in its own socket', () => {
    bench.alive('b', 2);
    bench.until(messageType.ping);
    bench.timers.run(bench.timers.now + 30_000); // all at once, as after SIGCONT
    expect([bench.swim.table.get('b')?.state, bench.swim.awareness.score, bench.dials.filter((dial) => dial.message[0] === messageType.ping)]).toEqual(['alive', 1, []]);
  });

  test('who slept while a suspect had time gives it some more', () => {
    bench.alive('b', 2);
    bench.until(messageType.ping);
    bench.receive(messageType.suspect, suspectCodec, { Incarnation: 1, Node: 'b', From: 'x' });
    bench.timers.run(bench.timers.now + 30_000);
    expect(bench.swim.table.get('b')?.state).toBe('suspect');
    bench.advance(bench.timers.now + 1001);
    expect(bench.swim.table.get('b')?.state).toBe('dead');
  });

  test('a suspect is told of the accusation by its prober', () => {
    bench.alive('b', 2);
    bench.receive(messageType.suspect, suspectCodec, { Incarnation: 1, Node: 'b', From: 'x' });
    bench.sent.length = 0;
    const at = bench.until(messageType.ping).to;
    const accusations = bench.sent.filter((packet) => packet.type === messageType.suspect && packet.to === at).map((packet) => suspectCodec.decode(packet.body));
    expect(accusations).toContainEqual({ Incarnation: 1, Node: 'b', From: 'me' });
  });
});

describe('who is probed', () => {
  const members = ['b', 'c', 'd', 'e'];
  /** Whom the next thing that is due pings; each answers at once. */
  const probedNow = (): string[] => {
    bench.timers.run(bench.timers.nextAt());
    return bench.sent.splice(0).filter(({ type }) => type === messageType.ping).map(({ body }) => {
      const { Node, SeqNo } = pingCodec.decode(body) as Ping;
      bench.receive(messageType.ack, ackCodec, { SeqNo, Payload: new Uint8Array(0) });
      return Node;
    });
  };
  /** Ten minutes of probes, each answered; before each, the talkative ping us. */
  const probed = (talkative: readonly string[]): string[] => {
    members.forEach((name, i) => bench.alive(name, i + 2));
    const targets: string[] = [];
    while (bench.timers.now < 600_000) {
      for (const target of probedNow()) {
        targets.push(target);
        for (const name of talkative) {
          const last = members.indexOf(name) + 2;
          bench.receive(messageType.ping, pingCodec, { SeqNo: 1, Node: 'me', SourceAddr: Uint8Array.of(10, 0, 0, last), SourcePort: 7946, SourceNode: name }, bench.at(last));
        }
      }
      bench.sent.length = 0;
    }
    return targets;
  };
  const longestWithout = (targets: readonly string[], name: string): number => Math.max(...targets.join('').split(name).map((between) => between.length));

  test('each in turn, while nothing tells them apart', () => {
    const targets = probed([]);
    for (const name of members) expect(longestWithout(targets, name)).toBe(3);
  });

  test('rather who was silent; but who only talks is probed too, at least as often as in memberlist', () => {
    const targets = probed(['b']);
    const count = (name: string): number => targets.filter((each) => each === name).length;
    expect(count('b')).toBeLessThan(count('c'));
    expect(longestWithout(targets, 'b')).toBeLessThanOrEqual(2 * members.length - 2);
  });

  test('a ping from another address than the member\'s proves nothing', () => {
    const second = (from: number): string => {
      bench = new Bench();
      members.forEach((name, i) => bench.alive(name, i + 2));
      const targets: string[] = [];
      while (targets.length < 8) {
        for (const target of probedNow()) {
          targets.push(target);
          // Whose turn comes next pings us: from its own address it goes to the end, from another it does not.
          if (targets.length !== 4) continue;
          const next = targets[0] as string;
          const last = members.indexOf(next) + 2;
          const ping = { SeqNo: 1, Node: 'me', SourceAddr: Uint8Array.of(10, 0, 0, last), SourcePort: 7946, SourceNode: next };
          bench.receive(messageType.ping, pingCodec, ping, bench.at(from === 0 ? last : from));
        }
      }
      expect(targets.slice(0, 4).sort()).toEqual(members);
      return targets.map((name) => targets.indexOf(name)).slice(4).join(' ');
    };
    expect(second(7)).toBe('0 1 2 3');
    expect(second(0)).toBe('1 2 3 0');
  });
});

describe('for others', () => {
  test('a ping is answered at the address it names, with the payload', () => {
    bench.receive(messageType.ping, pingCodec, { SeqNo: 7, Node: 'me', SourceAddr: Uint8Array.of(10, 0, 0, 77), SourcePort: 1, SourceNode: 'x' });
    expect(bench.sent[0]).toMatchObject({ to: '10.0.0.77', type: messageType.ack });
    expect(ackCodec.decode(bench.sent[0]!.body)).toEqual({ SeqNo: 7, Payload: Uint8Array.of(9) });
    bench.receive(messageType.ping, pingCodec, { SeqNo: 8, Node: 'somebody else', SourceAddr: new Uint8Array(0), SourcePort: 0, SourceNode: '' });
    expect(bench.sent).toHaveLength(1);
    expect(bench.events).toEqual(['stranger 10.0.0.77']);
    bench.alive('x', 77);
    bench.receive(messageType.ping, pingCodec, { SeqNo: 9, Node: 'me', SourceAddr: Uint8Array.of(10, 0, 0, 77), SourcePort: 1, SourceNode: 'x' });
    expect(bench.events).toEqual(['stranger 10.0.0.77', 'join x']);
  });

  const request = { SeqNo: 5, Target: Uint8Array.of(10, 0, 0, 8), Port: 7946, Node: 't', Nack: true, SourceAddr: new Uint8Array(0), SourcePort: 0, SourceNode: '' };
  test('an indirect ping is done under an own number; its answer goes back', () => {
    bench.receive(messageType.indirectPing, indirectPingCodec, request);
    const own = pingCodec.decode(bench.sent[0]!.body);
    expect([bench.sent[0]!.to, own.Node, own.SeqNo === 5]).toEqual(['10.0.0.8', 't', false]);
    bench.receive(messageType.ack, ackCodec, { SeqNo: own.SeqNo, Payload: Uint8Array.of(1) });
    expect(bench.sent[1]).toMatchObject({ to: '10.0.0.9', type: messageType.ack });
    expect(ackCodec.decode(bench.sent[1]!.body)).toEqual({ SeqNo: 5, Payload: new Uint8Array(0) });
    bench.advance(600);
    expect(bench.count(messageType.nack)).toBe(0);
  });
  test('without an answer a nack goes back, before the asker concludes; an answer that comes then counts all the same', () => {
    bench.receive(messageType.indirectPing, indirectPingCodec, request);
    bench.advance(401);
    expect(bench.count(messageType.nack)).toBe(1);
    const own = pingCodec.decode(bench.sent[0]!.body);
    bench.receive(messageType.ack, ackCodec, { SeqNo: own.SeqNo, Payload: new Uint8Array(0) });
    expect(bench.count(messageType.ack)).toBe(1);
    bench.receive(messageType.indirectPing, indirectPingCodec, { ...request, SeqNo: 6 });
    bench.advance(1000);
    expect([bench.count(messageType.nack), bench.count(messageType.ack)]).toEqual([2, 1]);
  });
  test('requests are bounded', () => {
    for (let i = 0; i < 3000; i++) bench.receive(messageType.indirectPing, indirectPingCodec, { ...request, SeqNo: i });
    expect(bench.count(messageType.ping)).toBe(1024);
  });
});

describe('what is believed (memberlist state.go, aliveNode, suspectNode, deadNode)', () => {
  const suspect = (Incarnation: number, Node: string, From = 'x'): void => bench.receive(messageType.suspect, suspectCodec, { Incarnation, Node, From });
  const dead = (Incarnation: number, Node: string, From = 'x'): void => bench.receive(messageType.dead, deadCodec, { Incarnation, Node, From });
  const state = (name: string): string => `${bench.swim.table.get(name)?.state} ${bench.swim.table.get(name)?.incarnation}`;

  test('old claims change nothing', () => {
    bench.alive('b', 2, { Incarnation: 5 });
    suspect(4, 'b');
    dead(4, 'b');
    bench.alive('b', 2, { Incarnation: 4, Meta: Uint8Array.of(1) });
    suspect(1, 'unknown');
    expect([state('b'), bench.events]).toEqual(['alive 5', ['join b']]);
  });
  test('a suspect that speaks up under a higher incarnation is acquitted', () => {
    bench.alive('b', 2);
    suspect(1, 'b');
    expect(state('b')).toBe('suspect 1');
    bench.alive('b', 2);
    expect(state('b')).toBe('suspect 1');
    bench.alive('b', 2, { Incarnation: 2 });
    bench.advance(4100); // an accusation of our own comes a second later at the earliest, and takes its four seconds anew
    expect(bench.events).toEqual(['join b']);
  });
  test('two known members: a suspect has the least time', () => {
    bench.alive('b', 2);
    suspect(1, 'b');
    bench.advance(3999);
    expect(state('b')).toBe('suspect 1');
    bench.advance(4001);
    expect([state('b'), bench.events]).toEqual(['dead 1', ['join b', 'dead b']]);
  });
  test('dead said by the member itself is a leave', () => {
    bench.alive('b', 2);
    dead(1, 'b', 'b');
    expect(bench.events).toEqual(['join b', 'left b']);
  });
  test('an accusation of ourselves is refuted under an incarnation above it', () => {
    bench.alive('b', 2);
    suspect(7, 'me');
    expect(state('me')).toBe('alive 8');
    dead(8, 'me');
    expect(state('me')).toBe('alive 9');
    expect(bench.swim.awareness.score).toBe(2);
    dead(0xffff_ffff, 'me'); // nobody could refute that
    expect(state('me')).toBe('alive 9');
    bench.sent.length = 0;
    expect(aliveCodec.decode(bench.until(messageType.alive).body)).toMatchObject({ Node: 'me', Incarnation: 9 });
  });
  test('an old life of ours under the same name is refuted, our own echo is not', () => {
    bench.alive('me', 1, { Incarnation: 1, Addr: Uint8Array.of(10, 0, 0, 1) });
    expect(state('me')).toBe('alive 1');
    bench.alive('me', 1, { Incarnation: 4, Addr: Uint8Array.of(10, 0, 0, 1), Meta: Uint8Array.of(1) });
    expect(state('me')).toBe('alive 5');
  });
  test('another address: a conflict while the member lives, a move when it is dead or gone', () => {
    bench.alive('b', 2);
    bench.alive('b', 3, { Incarnation: 9 });
    expect([state('b'), bench.events.at(-1)]).toEqual(['alive 1', 'conflict b 10.0.0.3']);
    dead(1, 'b');
    bench.alive('b', 3);
    expect([state('b'), bench.swim.table.get('b')?.endpoint.host, bench.events.at(-1)]).toEqual(['alive 1', '10.0.0.3', 'join b']);
  });
  test('claims of nonsense are not believed', () => {
    bench.alive('v', 2, { Vsn: Uint8Array.of(0, 5, 2, 2, 5, 5) });
    bench.alive('w', 2, { Vsn: Uint8Array.of(5, 1, 2, 2, 5, 5) });
    bench.alive('p', 2, { Port: 0 });
    bench.alive('a', 2, { Addr: new Uint8Array(3) });
    bench.alive('m', 2, { Meta: new Uint8Array(513) });
    bench.alive('', 2);
    bench.alive('x'.repeat(600), 2);
    expect(bench.swim.table.size).toBe(1);
  });
  test('members are bounded', () => {
    for (let i = 0; i < 200; i++) bench.alive(`n${i}`, i + 2);
    expect(bench.swim.table.size).toBe(100);
  });
  test('second-hand deaths in a push/pull are only suspicions; leaves are leaves', () => {
    const node = (Name: string, State: number, last: number): object => ({ Name, Addr: Uint8Array.of(10, 0, 0, last), Port: 7946, Meta: new Uint8Array(0), Incarnation: 1, State, Vsn: Uint8Array.of(1, 5, 2, 2, 5, 5) });
    for (const [name, last] of [['b', 2], ['c', 3], ['d', 4]] as const) bench.alive(name, last);
    const nodes = [node('b', 2, 2), node('c', 3, 3), node('d', 1, 4), node('e', 0, 5)] as never[];
    const reply = bench.swim.handleStream({ type: 'push-pull', state: { join: false, nodes, userState: new Uint8Array(0) } }, bench.at(2));
    expect(reply?.[0]).toBe(messageType.pushPull);
    expect(['b', 'c', 'd', 'e'].map(state)).toEqual(['suspect 1', 'left 1', 'suspect 1', 'alive 1']);
  });
  test('a pool that speaks what we do not understand is not merged with', () => {
    const nodes = [{ Name: 'z', Addr: Uint8Array.of(10, 0, 0, 5), Port: 7946, Meta: new Uint8Array(0), Incarnation: 1, State: 0, Vsn: Uint8Array.of(3, 5, 3, 2, 5, 5) }];
    bench.swim.handleStream({ type: 'push-pull', state: { join: true, nodes, userState: new Uint8Array(0) } }, bench.at(2));
    expect(bench.swim.table.get('z')).toBeUndefined();
  });
});
