import type { TimedTask } from '../../base/timer-heap.ts';
import { compoundOverhead, compoundPartOverhead, compoundPartsMax, encodeCompound } from '../wire/compound.ts';
import {
  ackCodec, aliveCodec, deadCodec, encodeMessage, indirectPingCodec, messageType, nackCodec, nodeStateCode, pingCodec, suspectCodec,
} from '../wire/gossip-messages.ts';
import type { PushNodeState } from '../wire/gossip-messages.ts';
import { ipToBytes } from '../wire/ip-address.ts';
import type { Endpoint } from '../wire/ip-address.ts';
import { unwrapPacket } from '../wire/packet.ts';
import { encodePushPull } from '../wire/stream-frames.ts';
import type { PushPullState, StreamMessage } from '../wire/stream-frames.ts';
import { WireError } from '../wire/wire-error.ts';
import { Awareness } from './awareness.ts';
import { BroadcastQueue } from './broadcast-queue.ts';
import { isGone, MemberTable } from './member-table.ts';
import { Prober } from './prober.ts';
import type { ProberContext } from './prober.ts';
import { protocolMismatch } from './protocol-check.ts';
import { pushPullIntervalMs, retransmitLimit } from './timing.ts';
import type { Timers } from './timers.ts';
import type { DialOutcome, RandomSource, SwimDelegate, SwimNode, SwimOptions, SwimSink } from './types.ts';

/** What gossip is gathered up to (bytes): fits one Ethernet frame. */
const packetBudget = 1400;
/** What fits into no such packet goes alone or with its like, in fragments of IP: the largest event that may be allowed, and its wrapping. */
const largeBudget = 10 * 1024;
/** Parsing bounds of one message in a packet: a query may name many nodes, nothing holds more. */
const messageLimits = { valuesMax: 8192, depthMax: 8 } as const;
/** With this many members or fewer, news that matter (a leave) also go to each of them directly. */
const directMembersMax = 64;
/** A death goes to each directly with this many or fewer: half a pool that dies at once must not make a flood of the news. */
const newsMembersMax = 16;
/** What is queued within this time travels together (ms). */
const gatherMs = 1;

export interface PushPullFailure {
  readonly code: string;
  readonly message: string;
}

/**
 * memberlist's protocol as a machine: packets, stream messages and time come in; packets, dials and calls of the
 * delegate come out. Every input carries the time it came (`now`, ms on a monotonic clock). Its agenda is `timers`,
 * which the layer above shares.
 */
export class Swim {
  readonly awareness: Awareness;
  readonly table: MemberTable;
  readonly #options: SwimOptions;
  readonly #random: RandomSource;
  readonly #timers: Timers;
  readonly #delegate: SwimDelegate;
  readonly #sink: SwimSink;
  readonly #queue: BroadcastQueue;
  readonly #prober: Prober;
  readonly #dials = new Map<number, (outcome: DialOutcome) => void>();
  #nextDial = 0;
  #gossipTimer: TimedTask | undefined;
  #lastGossip = -Infinity;

  constructor(options: SwimOptions, ports: { readonly random: RandomSource; readonly timers: Timers; readonly delegate: SwimDelegate; readonly sink: SwimSink }) {
    this.#options = options;
    this.#random = ports.random;
    this.#timers = ports.timers;
    this.#delegate = ports.delegate;
    this.#sink = ports.sink;
    this.awareness = new Awareness(options.timing.awarenessMaxMultiplier);
    this.#queue = new BroadcastQueue(() => this.transmitLimit(), options.membersMax);
    const context: ProberContext = {
      ...ports, options, awareness: this.awareness,
      broadcast: (message, broadcast) => {
        this.#queue.add(message, broadcast);
        this.gossipSoon();
      },
      tellFew: (message) => this.sendToAll(message, newsMembersMax),
      sendWithGossip: (to, message) => this.#sendWithGossip(to, message),
      dial: (to, message, timeoutMs, done) => this.#dial(to, message, timeoutMs, done),
    };
    this.table = new MemberTable(context);
    this.#prober = new Prober(context, this.table);
  }

  /** Begins to probe and to exchange state. Each ticker starts at a random time, so that nodes started together do not act together. */
  start(): void {
    const { probeIntervalMs } = this.#options.timing;
    const probe = (): void => {
      this.#timers.after(probeIntervalMs, probe);
      this.#prober.tick();
    };
    this.#timers.after(this.#random.float() * probeIntervalMs, probe);
    this.#timers.after(this.#random.float() * this.#options.timing.pushPullIntervalMs, () => this.#pushPullTick());
  }

  /** How often each message is sent, as of now. */
  transmitLimit(): number {
    return retransmitLimit(this.#options.timing.retransmitMult, this.table.size);
  }

  /** Forgets what waits to be gossiped, here and in the layer above. */
  dropBroadcasts(): void {
    this.#queue.clear();
    this.#delegate.nobodyListens();
  }

  get queued(): number {
    return this.#queue.size;
  }

  /** A packet, decrypted. @throws WireError when part of it cannot be read; the other parts took effect */
  handlePacket(packet: Uint8Array, from: Endpoint): void {
    let unreadable: WireError | undefined;
    unwrapPacket(packet, (message) => {
      try {
        this.#handleMessage(message, from);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        unreadable ??= error; // one message of a newer version must not cost the rest of the packet
      }
    });
    if (unreadable !== undefined) throw unreadable;
  }

  /** What somebody sent over a stream that it opened. Returns the answer to send, if any. @throws WireError */
  handleStream(message: StreamMessage, from: Endpoint): Uint8Array | undefined {
    switch (message.type) {
      case 'ping': {
        if (message.ping.Node !== '' && message.ping.Node !== this.#options.name) throw new WireError(`a ping for '${message.ping.Node}' came here`);
        return encodeMessage(messageType.ack, ackCodec, { SeqNo: message.ping.SeqNo, Payload: new Uint8Array(0) });
      }
      case 'user':
        this.#delegate.userMessage(message.message, from);
        return undefined;
      case 'push-pull': {
        // Our side is put down before theirs is merged: they have their own already.
        const reply = this.#ownState(message.state.join);
        const mismatch = this.#merge(message.state);
        if (mismatch === undefined) return reply;
        this.#sink.log('warn', `refused to merge with another pool: ${mismatch}`, { from: from.host });
        return reply;
      }
      case 'ack':
      case 'error':
        throw new WireError(`a stream began with ${message.type}`);
    }
  }

  dialEnded(id: number, outcome: DialOutcome): void {
    const done = this.#dials.get(id);
    this.#dials.delete(id);
    done?.(outcome);
  }

  /** Exchanges the whole state with whoever is at the address; `done` gets what went wrong, or nothing. */
  pushPull(to: Endpoint, join: boolean, done: (failure?: PushPullFailure) => void): void {
    this.#dial(to, this.#ownState(join), this.#options.timing.streamTimeoutMs, (outcome) => {
      if (outcome.type === 'failed') return done(outcome);
      const { message } = outcome;
      if (message.type === 'error') return done({ code: 'REMOTE_ERROR', message: `the remote refused: ${message.text}` });
      if (message.type !== 'push-pull') return done({ code: 'BAD_STATE', message: `the remote answered with ${message.type} where its state was due` });
      let mismatch: string | undefined;
      try {
        mismatch = this.#merge({ ...message.state, join });
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        return done({ code: 'BAD_STATE', message: `cannot read the remote's state: ${error.message}` });
      }
      done(mismatch === undefined ? undefined : { code: 'INCOMPATIBLE', message: mismatch });
    });
  }

  setMeta(meta: Uint8Array): void {
    this.table.announceSelf(meta);
  }

  /** Says that this node goes; `done` once that went out often enough, or at once when nobody is there. */
  leave(done: () => void): void {
    if (this.table.leaving) return done();
    this.table.leaving = true;
    const { self } = this.table;
    const claim = { Incarnation: self.incarnation, Node: self.name, From: self.name };
    if (!this.hasPeers()) {
      this.table.dead(claim);
      return done();
    }
    this.table.dead(claim, done);
    this.sendToAll(encodeMessage(messageType.dead, deadCodec, claim));
  }

  /** Certain knowledge from elsewhere that the process of this member is gone. */
  noteDead(node: SwimNode): void {
    this.table.foundDead(node);
  }

  /** Whether the kernel at the address refuses connections: proof that no process of that name is there. */
  checkProcess(name: string, at: Endpoint, done: (refused: boolean) => void): void {
    this.#prober.checkProcess(name, at, done);
  }

  /** True when somebody else is there to talk to. */
  hasPeers(): boolean {
    for (const node of this.table.nodes()) if (node !== this.table.self && !isGone(node)) return true;
    return false;
  }

  /** Few enough that each can be told directly. */
  get fewMembers(): boolean {
    return this.table.size <= directMembersMax;
  }

  /** Sends one message to each member directly, besides gossip, if they are few. */
  sendToAll(message: Uint8Array, membersMax: number = directMembersMax): void {
    if (this.table.size > membersMax) return;
    for (const node of this.table.nodes()) if (node !== this.table.self && !isGone(node)) this.sendDirect(node.endpoint, message);
  }

  sendDirect(to: Endpoint, message: Uint8Array): void {
    this.#sink.sendPacket(to, message, false);
  }

  /** There is something to gossip: a round follows soon, but not sooner than one interval after the last. */
  gossipSoon(): void {
    if (this.#gossipTimer !== undefined) return;
    const at = Math.max(this.#timers.now + gatherMs, this.#lastGossip + this.#options.timing.gossipIntervalMs);
    this.#gossipTimer = this.#timers.at(at, () => this.#gossip());
  }

  #gossip(): void {
    const { timing } = this.#options;
    const now = this.#timers.now;
    this.#gossipTimer = undefined;
    this.#lastGossip = now;
    const targets = this.table.pick(timing.gossipNodes, (node) => {
      if (node === this.table.self || node.state === 'left') return false;
      return node.state !== 'dead' || now - node.stateSince <= timing.gossipToTheDeadMs;
    });
    if (targets.length === 0) {
      // Whoever comes gets the state by push/pull; old messages would only be acted upon too late.
      this.dropBroadcasts();
      return;
    }
    const budget = packetBudget - compoundOverhead - this.#options.packetOverhead();
    let sent = false;
    for (const target of targets) {
      for (const messages of [this.#gather(budget), this.#gatherLarge(budget)]) {
        if (messages.length === 0) continue;
        sent = true;
        const message = messages.length === 1 ? messages[0] as Uint8Array : encodeCompound(messages);
        this.#sink.sendPacket(target.endpoint, message, (target.versions[1] ?? 0) >= 5);
      }
    }
    if (sent) this.gossipSoon();
  }

  /** Gossip that fits: about members first, then the layer above. */
  #gather(budget: number): Uint8Array[] {
    const messages = this.#queue.take(compoundPartOverhead, budget);
    const used = messages.reduce((sum, message) => sum + message.length + compoundPartOverhead, 0);
    const userOverhead = compoundPartOverhead + 1;
    if (budget - used > userOverhead) {
      for (const user of this.#delegate.broadcasts(userOverhead, budget - used)) messages.push(userMessage(user));
    }
    // More than a compound can count cannot be, at 8 bytes each in 1400; the bound holds whatever the budget.
    return messages.slice(0, compoundPartsMax - 1);
  }

  /** In memberlist such a message is in every queue and never leaves it. */
  #gatherLarge(budget: number): Uint8Array[] {
    const overhead = compoundPartOverhead + 1;
    return this.#delegate.largeBroadcasts(overhead, largeBudget, budget - overhead + 1).map((message) => userMessage(message));
  }

  #sendWithGossip(to: Endpoint, message: Uint8Array): void {
    const budget = packetBudget - compoundOverhead - compoundPartOverhead - message.length - this.#options.packetOverhead();
    const extra = this.#gather(budget);
    this.#sink.sendPacket(to, extra.length === 0 ? message : encodeCompound([message, ...extra]), false);
  }

  #handleMessage(message: Uint8Array, from: Endpoint): void {
    const body = message.subarray(1);
    switch (message[0]) {
      case messageType.ping: return this.#prober.handlePing(pingCodec.decode(body, messageLimits), from);
      case messageType.indirectPing: return this.#prober.handleIndirectPing(indirectPingCodec.decode(body, messageLimits), from);
      case messageType.ack: return this.#prober.handleAck(ackCodec.decode(body, messageLimits));
      case messageType.nack: return this.#prober.handleNack(nackCodec.decode(body, messageLimits));
      case messageType.suspect: return this.table.suspect(suspectCodec.decode(body, messageLimits));
      case messageType.alive: return this.table.alive(aliveCodec.decode(body, messageLimits));
      case messageType.dead: return this.table.dead(deadCodec.decode(body, messageLimits));
      case messageType.user: return this.#delegate.userMessage(body, from);
      default: throw new WireError(`message type ${message[0]} is not known`);
    }
  }

  #pushPullTick(): void {
    const { timing } = this.#options;
    this.#timers.after(pushPullIntervalMs(timing.pushPullIntervalMs, this.table.size), () => this.#pushPullTick());
    if (this.table.leaving) return;
    const [peer] = this.table.pick(1, (node) => node !== this.table.self && node.state === 'alive');
    if (peer === undefined) return;
    this.pushPull(peer.endpoint, false, (failure) => {
      if (failure !== undefined) this.#sink.log('warn', `exchanging state with '${peer.name}' failed: ${failure.message}`, { node: peer.name, code: failure.code });
    });
  }

  #ownState(join: boolean): Uint8Array {
    const nodes: PushNodeState[] = [];
    for (const node of this.table.nodes()) {
      const claim = this.table.aliveClaim(node);
      nodes.push({ Name: node.name, Addr: claim.Addr, Port: claim.Port, Meta: node.meta, Incarnation: node.incarnation, State: nodeStateCode[node.state], Vsn: node.versions });
    }
    return encodePushPull({ join, nodes, userState: this.#delegate.localState(join) });
  }

  /** Returns why the states cannot be merged, or undefined. @throws WireError */
  #merge(state: PushPullState): string | undefined {
    const mismatch = protocolMismatch(state.nodes, this.table.nodes());
    if (mismatch !== undefined) return mismatch;
    for (const remote of state.nodes) this.#mergeNode(remote);
    if (state.userState.length > 0) this.#delegate.mergeState(state.userState, state.join);
    return undefined;
  }

  #mergeNode(remote: PushNodeState): void {
    const { Incarnation, Name: Node } = remote;
    switch (remote.State) {
      case nodeStateCode.alive:
        // In a large pool nearly all of a state is known: that must cost nothing.
        if (this.table.knowsAlive(remote)) return;
        this.table.alive({ Incarnation, Node, Addr: remote.Addr, Port: remote.Port, Meta: remote.Meta, Vsn: remote.Vsn });
        return;
      case nodeStateCode.left:
        this.table.dead({ Incarnation, Node, From: Node });
        return;
      // Second-hand news of a death may be old: the member gets its chance to speak up.
      case nodeStateCode.dead:
      case nodeStateCode.suspect:
        this.table.suspect({ Incarnation, Node, From: this.#options.name });
        return;
      default:
        this.#sink.log('debug', `a member in the unknown state ${remote.State} was left out`, { node: remote.Name });
    }
  }

  #dial(to: Endpoint, message: Uint8Array, timeoutMs: number, done: (outcome: DialOutcome) => void): void {
    const id = this.#nextDial++;
    this.#dials.set(id, done);
    this.#sink.dial(id, to, message, timeoutMs);
  }
}

/** memberlist's envelope of a message of the layer above. */
export function userMessage(message: Uint8Array): Uint8Array {
  const out = new Uint8Array(message.length + 1);
  out[0] = messageType.user;
  out.set(message, 1);
  return out;
}

/** Whether the text is an address that can be advertised. */
export function canAdvertise(host: string): boolean {
  const bytes = ipToBytes(host);
  return bytes !== undefined && bytes.some((byte) => byte !== 0);
}
