import type { TimedTask } from '../../base/timer-heap.ts';
import { encodeCompound } from '../wire/compound.ts';
import { ackCodec, encodeMessage, indirectPingCodec, messageType, nackCodec, pingCodec, suspectCodec } from '../wire/gossip-messages.ts';
import type { Ack, IndirectPing, Nack, Ping } from '../wire/gossip-messages.ts';
import { ipFromBytes } from '../wire/ip-address.ts';
import type { Endpoint } from '../wire/ip-address.ts';
import type { MemberTable, TableContext } from './member-table.ts';
import { isGone } from './member-table.ts';
import type { DialOutcome, SwimNode } from './types.ts';

export interface ProberContext extends TableContext {
  /** Sends with as much gossip as fits. */
  sendWithGossip(to: Endpoint, message: Uint8Array): void;
  dial(to: Endpoint, message: Uint8Array, timeoutMs: number, done: (outcome: DialOutcome) => void): void;
}

/** One probe of one member. */
interface Round {
  readonly node: SwimNode;
  readonly sequence: number;
  readonly sentAt: number;
  /** When the member is accused unless something was heard of it. */
  readonly concludeAt: number;
  timer: TimedTask | undefined;
  indirect: boolean;
  nacksExpected: number;
  nacks: number;
  answeredStream: boolean;
}

/** A ping that we send for somebody else. */
interface Relay {
  readonly forward: () => void;
  readonly timer: TimedTask;
}

/** Others can make us ping this many members for them at one time; further requests are dropped. */
const relaysMax = 1024;
/** Protocol versions from which on a member understands ping over a stream, and nack. */
const streamPingVersion = 3;
const nackVersion = 4;

/**
 * SWIM's failure detector with Lifeguard's additions: each round pings one member; if that is not answered in time,
 * others are asked to, and a stream is tried; if nothing was heard by the end of the round, the member is accused.
 */
export class Prober {
  readonly #context: ProberContext;
  readonly #table: MemberTable;
  readonly #relays = new Map<number, Relay>();
  #round: Round | undefined;
  #sinceForgot = 0;
  #overdue = false;
  #sequence: number;

  constructor(context: ProberContext, table: MemberTable) {
    this.#context = context;
    this.#table = table;
    this.#sequence = context.random.uint32();
  }

  /** Every probe interval. A round that runs longer makes the next one late, never doubled. */
  tick(): void {
    if (this.#round === undefined) this.#begin();
    else this.#overdue = true;
  }

  /** Asks the kernel at an address whether a process listens there: `refused` is proof that none does. */
  checkProcess(name: string, at: Endpoint, done: (refused: boolean) => void): void {
    this.#context.dial(at, this.#ping(this.#nextSequence(), name), this.#context.options.timing.probeTimeoutMs, (outcome) => {
      done(isRefusal(outcome));
    });
  }

  handlePing(ping: Ping, from: Endpoint): void {
    const { options, delegate, sink } = this.#context;
    if (ping.Node !== '' && ping.Node !== options.name) {
      sink.log('debug', `a ping for '${ping.Node}' came here`, { from: from.host });
      return;
    }
    const ack = encodeMessage(messageType.ack, ackCodec, { SeqNo: ping.SeqNo, Payload: delegate.ackPayload() });
    const to = replyAddress(ping, from);
    this.#context.sendWithGossip(to, ack);
    if (ping.SourceNode === '') return;
    const source = this.#table.get(ping.SourceNode);
    if (source === undefined) delegate.strangerPinged(to);
    else if (source.endpoint.host === from.host && source.endpoint.port === from.port) this.#table.probeOrder.heard(source);
  }

  handleAck(ack: Ack): void {
    const round = this.#round;
    if (round !== undefined && round.sequence === ack.SeqNo) {
      const direct = !round.indirect;
      this.#finish(round, -1); // first: what the payload holds must not undo that it was answered
      if (direct) this.#context.delegate.pingAnswered(round.node, this.#context.timers.now - round.sentAt, ack.Payload);
      return;
    }
    const relay = this.#relays.get(ack.SeqNo);
    if (relay === undefined) return;
    this.#context.timers.cancel(relay.timer);
    this.#relays.delete(ack.SeqNo);
    relay.forward();
  }

  handleNack(nack: Nack): void {
    if (this.#round?.sequence === nack.SeqNo) this.#round.nacks++;
  }

  /** Somebody cannot reach a member and asks us to try. */
  handleIndirectPing(request: IndirectPing, from: Endpoint): void {
    const { timers, options } = this.#context;
    if (this.#relays.size >= relaysMax || request.Port === 0 || (request.Target.length !== 4 && request.Target.length !== 16)) return;
    const asker = replyAddress(request, from);
    const sequence = this.#nextSequence();
    const { probeTimeoutMs, probeIntervalMs } = options.timing;
    // The asker began one time-out ago and concludes an interval after that. A nack on the stroke of it, as memberlist sends
    // it, comes too late, and the asker takes itself for unwell; Lifeguard sends it after four fifths of the time.
    const nackAfterMs = 0.8 * Math.min(probeTimeoutMs, probeIntervalMs - probeTimeoutMs);
    const expire = (): void => void this.#relays.delete(sequence);
    const timer = timers.after(nackAfterMs, () => {
      const relay = this.#relays.get(sequence);
      if (request.Nack) this.#context.sendWithGossip(asker, encodeMessage(messageType.nack, nackCodec, { SeqNo: request.SeqNo }));
      // An answer that still comes is passed on all the same.
      if (relay !== undefined) this.#relays.set(sequence, { ...relay, timer: timers.after(probeTimeoutMs - nackAfterMs, expire) });
    });
    const forward = (): void => this.#context.sendWithGossip(asker, encodeMessage(messageType.ack, ackCodec, { SeqNo: request.SeqNo, Payload: new Uint8Array(0) }));
    this.#relays.set(sequence, { forward, timer });
    this.#context.sendWithGossip({ host: ipFromBytes(request.Target), port: request.Port }, this.#ping(sequence, request.Node));
  }

  #begin(): void {
    if (++this.#sinceForgot > this.#table.size) {
      this.#table.forgetGone();
      this.#sinceForgot = 1;
    }
    const node = this.#table.probeOrder.next();
    if (node === undefined) return;
    const { timers, awareness, options } = this.#context;
    const sequence = this.#nextSequence();
    const round: Round = {
      node, sequence, sentAt: timers.now, concludeAt: timers.now + awareness.scale(options.timing.probeIntervalMs),
      timer: undefined, indirect: false, nacksExpected: 0, nacks: 0, answeredStream: false,
    };
    this.#round = round;
    round.timer = timers.after(options.timing.probeTimeoutMs, () => this.#askOthers(round));
    const ping = this.#ping(sequence, node.name);
    if (node.state === 'alive') {
      this.#context.sendWithGossip(node.endpoint, ping);
      return;
    }
    // Lifeguard's buddy: a suspect hears of the accusation from its own prober, so that it can refute at once.
    const accusation = encodeMessage(messageType.suspect, suspectCodec, { Incarnation: node.incarnation, Node: node.name, From: options.name });
    this.#context.sink.sendPacket(node.endpoint, encodeCompound([ping, accusation]), (node.versions[1] ?? 0) >= 5);
  }

  #askOthers(round: Round): void {
    const { options, timers } = this.#context;
    if (timers.now >= round.concludeAt) {
      // We slept (a stopped process, a suspended host): the answer may lie unread in our own socket. Nobody is to blame.
      this.#finish(round, 1);
      return;
    }
    round.indirect = true;
    const { node } = round;
    const helpers = this.#table.pick(options.timing.indirectChecks, (peer) => peer !== this.#table.self && peer !== node && peer.state === 'alive');
    for (const helper of helpers) {
      const nack = (helper.versions[1] ?? 0) >= nackVersion;
      if (nack) round.nacksExpected++;
      const request = encodeMessage(messageType.indirectPing, indirectPingCodec, {
        SeqNo: round.sequence, Target: node.ip, Port: node.endpoint.port, Node: node.name, Nack: nack, ...this.#source(),
      });
      this.#context.sendWithGossip(helper.endpoint, request);
    }
    if ((node.versions[1] ?? 0) >= streamPingVersion) {
      this.#context.dial(node.endpoint, this.#ping(round.sequence, node.name), Math.max(1, round.concludeAt - timers.now), (outcome) => {
        round.answeredStream = outcome.type === 'reply' && outcome.message.type === 'ack' && outcome.message.ack.SeqNo === round.sequence;
        if (isRefusal(outcome)) this.#foundDead(round);
      });
    }
    round.timer = timers.at(round.concludeAt, () => this.#conclude(round));
  }

  /** No answer over UDP, and the kernel there says that nobody listens: the process is gone, and no suspicion is needed. */
  #foundDead(round: Round): void {
    const { sink } = this.#context;
    const { node } = round;
    if (this.#round !== round) return;
    if (!isGone(node)) {
      sink.log('info', `member '${node.name}' does not answer and its address refuses connections: its process is gone`, { node: node.name });
      this.#table.foundDead(node);
    }
    this.#finish(round, 0);
  }

  #conclude(round: Round): void {
    const { sink, options, timers } = this.#context;
    const { node } = round;
    if (timers.now - round.concludeAt >= options.timing.probeIntervalMs) {
      this.#finish(round, 1); // as above
      return;
    }
    if (round.answeredStream) {
      sink.log('warn', `member '${node.name}' answers over TCP but not over UDP: let UDP port ${node.endpoint.port} through`, { node: node.name });
      this.#finish(round, -1);
      return;
    }
    // A helper that does not even say "no answer" is a sign that we are the slow one.
    const unwell = round.nacksExpected > 0 ? Math.max(0, round.nacksExpected - round.nacks) : 1;
    // It may have died, left or been acquitted by newer news meanwhile.
    if (!isGone(node)) {
      sink.log('info', `member '${node.name}' does not answer: it is under suspicion`, { node: node.name });
      this.#table.suspect({ Incarnation: node.incarnation, Node: node.name, From: options.name });
    }
    this.#finish(round, unwell);
  }

  #finish(round: Round, awarenessDelta: number): void {
    this.#context.timers.cancel(round.timer);
    this.#context.awareness.apply(awarenessDelta);
    this.#round = undefined;
    if (!this.#overdue) return;
    this.#overdue = false;
    this.#begin();
  }

  #ping(sequence: number, node: string): Uint8Array {
    return encodeMessage(messageType.ping, pingCodec, { SeqNo: sequence, Node: node, ...this.#source() });
  }

  #source(): { readonly SourceAddr: Uint8Array; readonly SourcePort: number; readonly SourceNode: string } {
    const { advertise, name } = this.#context.options;
    return { SourceAddr: this.#table.self.ip, SourcePort: advertise.port, SourceNode: name };
  }

  #nextSequence(): number {
    this.#sequence = (this.#sequence + 1) >>> 0;
    return this.#sequence;
  }
}

function isRefusal(outcome: DialOutcome): boolean {
  return outcome.type === 'failed' && outcome.code === 'REFUSED';
}

/** Where the asker wants its answer: what it says, or else where the packet came from. */
function replyAddress(asked: { readonly SourceAddr: Uint8Array; readonly SourcePort: number }, from: Endpoint): Endpoint {
  const said = (asked.SourceAddr.length === 4 || asked.SourceAddr.length === 16) && asked.SourcePort > 0;
  return said ? { host: ipFromBytes(asked.SourceAddr), port: asked.SourcePort } : from;
}
