import type { TimedTask } from '../../base/timer-heap.ts';
import { aliveCodec, deadCodec, encodeMessage, messageType, suspectCodec } from '../wire/gossip-messages.ts';
import type { Alive, Dead, Suspect } from '../wire/gossip-messages.ts';
import { ipFromBytes, ipToBytes } from '../wire/ip-address.ts';
import type { Endpoint } from '../wire/ip-address.ts';
import type { Awareness } from './awareness.ts';
import type { BroadcastOptions } from './broadcast-queue.ts';
import { ProbeOrder } from './probe-order.ts';
import { Suspicion } from './suspicion.ts';
import { suspicionTimeoutMs } from './timing.ts';
import type { Timers } from './timers.ts';
import { metaBytesMax, nameBytesMax, ownVersions } from './types.ts';
import type { NodeState, RandomSource, SwimDelegate, SwimNode, SwimOptions, SwimSink } from './types.ts';

export interface TableContext {
  readonly options: SwimOptions;
  readonly random: RandomSource;
  readonly timers: Timers;
  readonly awareness: Awareness;
  readonly delegate: SwimDelegate;
  readonly sink: SwimSink;
  broadcast(message: Uint8Array, options: BroadcastOptions): void;
  /** To each member directly, if they are few: what all should know sooner than by the next round of gossip. */
  tellFew(message: Uint8Array): void;
}

interface Accused {
  readonly suspicion: Suspicion;
  timer: TimedTask;
}

const incarnationMax = 0xffff_ffff;
/** Nobody can refute the highest incarnation, so nobody may claim it. */
const incarnationClaimMax = incarnationMax - 1;

/**
 * Who is there, and the rules by which claims about members are believed (memberlist's state.go).
 * Only a node itself raises its incarnation; a claim of a lower one is old news.
 */
export class MemberTable {
  readonly self: SwimNode;
  leaving = false;
  readonly #context: TableContext;
  readonly #byName = new Map<string, SwimNode>();
  /** The same, to be drawn from. */
  #known: SwimNode[] = [];
  /** Those that live, without ourselves. */
  readonly #probeOrder: ProbeOrder;
  readonly #accused = new Map<string, Accused>();
  #fullWarned = false;
  #live = 1;

  constructor(context: TableContext) {
    this.#context = context;
    const { name, advertise, meta, versions = ownVersions } = context.options;
    this.self = { name, endpoint: advertise, ip: ipToBytes(advertise.host) ?? new Uint8Array(4), meta, versions, incarnation: 1, state: 'alive', stateSince: context.timers.now, probedAt: 0 };
    this.#byName.set(name, this.self);
    this.#known.push(this.self);
    this.#probeOrder = new ProbeOrder(context.random);
  }

  get size(): number {
    return this.#byName.size;
  }

  /** Members that are neither dead nor gone, ourselves among them. */
  get live(): number {
    return this.#live;
  }

  get probeOrder(): Pick<ProbeOrder, 'heard' | 'next'> {
    return this.#probeOrder;
  }

  get(name: string): SwimNode | undefined {
    return this.#byName.get(name);
  }

  nodes(): IterableIterator<SwimNode> {
    return this.#byName.values();
  }

  aliveClaim(node: SwimNode): Alive {
    return { Incarnation: node.incarnation, Node: node.name, Addr: node.ip, Port: node.endpoint.port, Meta: node.meta, Vsn: node.versions };
  }

  /** Forgets those that have been dead or gone for long. */
  forgetGone(): void {
    const { timers, options } = this.#context;
    this.#known = this.#known.filter((node) => {
      const keep = !isGone(node) || node === this.self || timers.now - node.stateSince <= options.timing.gossipToTheDeadMs;
      if (!keep) this.#byName.delete(node.name);
      return keep;
    });
  }

  /** Up to `count` different members that fit, at random. */
  pick(count: number, fits: (node: SwimNode) => boolean): SwimNode[] {
    const { random } = this.#context;
    const picked: SwimNode[] = [];
    const known = this.#known;
    if (known.length <= 64) {
      const candidates = known.filter(fits);
      while (picked.length < count && candidates.length > 0) {
        const i = random.below(candidates.length);
        picked.push(candidates[i] as SwimNode);
        candidates[i] = candidates.at(-1) as SwimNode;
        candidates.pop();
      }
      return picked;
    }
    // In a large pool a few draws find enough; 3n as in memberlist is more than ever needed.
    for (let draws = 0; draws < known.length && picked.length < count; draws++) {
      const node = known[random.below(known.length)] as SwimNode;
      if (!picked.includes(node) && fits(node)) picked.push(node);
    }
    return picked;
  }

  /** Whether a claim that another node is alive says nothing new. */
  knowsAlive({ Name, Incarnation, Port, Addr }: { readonly Name: string; readonly Incarnation: number; readonly Port: number; readonly Addr: Uint8Array }): boolean {
    const known = this.#byName.get(Name);
    return known !== undefined && known !== this.self && Incarnation <= known.incarnation && Port === known.endpoint.port && sameBytes(Addr, known.ip);
  }

  /** Somebody says that a node is alive. */
  alive(claim: Alive): void {
    const { options, delegate, timers } = this.#context;
    const isSelf = claim.Node === options.name;
    if (isSelf && this.leaving) return;
    const existing = this.#byName.get(claim.Node);
    const sameAddress = existing !== undefined && claim.Port === existing.endpoint.port && sameBytes(claim.Addr, existing.ip);
    if (sameAddress && !isSelf && claim.Incarnation <= existing.incarnation) return; // nearly all: heard before
    const endpoint = this.#acceptable(claim);
    if (endpoint === undefined) return;
    const node = existing ?? this.#create(claim, endpoint);
    if (node === undefined) return;

    let moved = false;
    if (existing !== undefined && (node.endpoint.host !== endpoint.host || node.endpoint.port !== endpoint.port)) {
      const reclaimable = node.state === 'left' || (node.state === 'dead' && timers.now - node.stateSince >= options.deadNodeReclaimMs);
      if (!reclaimable || isSelf) {
        delegate.nameConflict(node, endpoint);
        return;
      }
      moved = true;
    }
    if (!isSelf && !moved && existing !== undefined && claim.Incarnation <= node.incarnation) return;
    if (isSelf) {
      if (claim.Incarnation < node.incarnation) return;
      if (claim.Incarnation === node.incarnation && sameBytes(claim.Meta, node.meta) && sameBytes(claim.Vsn, node.versions)) return;
      this.#refute(claim.Incarnation);
      return;
    }
    this.#accept(node, claim, endpoint);
  }

  /** Somebody says that a node does not answer. */
  suspect(claim: Suspect): void {
    const node = this.#byName.get(claim.Node);
    if (node === undefined || claim.Incarnation < node.incarnation || claim.Incarnation > incarnationClaimMax) return;
    const accused = this.#accused.get(claim.Node);
    if (accused !== undefined) {
      if (accused.suspicion.confirm(claim.From)) {
        this.#broadcastAbout(messageType.suspect, claim);
        this.#arm(node, accused);
      }
      return;
    }
    if (node.state !== 'alive') return;
    if (node === this.self) {
      if (!this.leaving) this.#refute(claim.Incarnation);
      return;
    }
    this.#broadcastAbout(messageType.suspect, claim);
    node.incarnation = claim.Incarnation;
    this.#enter(node, 'suspect');
    this.#accuse(node, claim.From);
  }

  /** Somebody says that a node is dead; the node itself says so when it leaves. */
  dead(claim: Dead, finished?: () => void): void {
    const node = this.#byName.get(claim.Node);
    if (node === undefined || claim.Incarnation < node.incarnation || claim.Incarnation > incarnationClaimMax) return;
    if (isGone(node)) return;
    if (node === this.self && !this.leaving) {
      this.#refute(claim.Incarnation);
      return;
    }
    this.#acquit(node);
    this.#broadcastAbout(messageType.dead, claim, finished);
    node.incarnation = claim.Incarnation;
    this.#enter(node, claim.Node === claim.From ? 'left' : 'dead');
    this.#context.delegate.nodeLeft(node);
  }

  /** This node itself has found that the member is dead: the first to know tells all. */
  foundDead(node: SwimNode): void {
    if (isGone(node)) return;
    const claim: Dead = { Incarnation: node.incarnation, Node: node.name, From: this.#context.options.name };
    this.dead(claim);
    this.#context.tellFew(encodeMessage(messageType.dead, deadCodec, claim));
  }

  /** Says about ourselves what has changed. */
  announceSelf(meta: Uint8Array): void {
    this.self.meta = meta;
    this.#raiseIncarnation(0);
    this.#broadcastSelf();
    this.#context.delegate.nodeUpdated(this.self);
  }

  /** Checks the form of a claim; undefined: not believed. */
  #acceptable(claim: Alive): Endpoint | undefined {
    const { sink } = this.#context;
    const [min = 0, max = 0] = claim.Vsn;
    const refuse = (reason: string): undefined => {
      sink.log('warn', `ignored an alive message: ${reason}`, { node: claim.Node.slice(0, nameBytesMax) });
      return undefined;
    };
    if (claim.Vsn.length >= 3 && (min === 0 || max === 0 || min > max)) return refuse('its protocol versions make no sense');
    if (claim.Node === '' || claim.Node.length > nameBytesMax) return refuse(`the name must have 1 to ${nameBytesMax} bytes`);
    if (claim.Meta.length > metaBytesMax) return refuse(`its tags take ${claim.Meta.length} bytes; at most ${metaBytesMax} are taken`);
    if (claim.Incarnation > incarnationClaimMax) return refuse('its incarnation is the highest there is');
    if ((claim.Addr.length !== 4 && claim.Addr.length !== 16) || claim.Port === 0) return refuse('it has no address');
    return { host: ipFromBytes(claim.Addr), port: claim.Port };
  }

  #create(claim: Alive, endpoint: Endpoint): SwimNode | undefined {
    const { options, sink, timers } = this.#context;
    if (this.#byName.size >= options.membersMax) {
      if (!this.#fullWarned) sink.log('warn', `ignored a new member: ${options.membersMax} members are known, which is the limit`, { node: claim.Node });
      this.#fullWarned = true;
      return undefined;
    }
    const node: SwimNode = { name: claim.Node, endpoint, ip: claim.Addr.slice(), meta: claim.Meta.slice(), versions: claim.Vsn.slice(0, 6), incarnation: 0, state: 'dead', stateSince: timers.now, probedAt: 0 };
    this.#byName.set(node.name, node);
    this.#known.push(node);
    return node;
  }

  #accept(node: SwimNode, claim: Alive, endpoint: Endpoint): void {
    const { delegate } = this.#context;
    this.#acquit(node);
    this.#context.broadcast(encodeMessage(messageType.alive, aliveCodec, claim), { name: node.name });
    const wasGone = isGone(node);
    const changed = !sameBytes(claim.Meta, node.meta) || !sameBytes(claim.Vsn.subarray(0, 6), node.versions);
    node.incarnation = claim.Incarnation;
    node.meta = claim.Meta.slice(); // the claim is a view into a packet
    if (claim.Vsn.length >= 6) node.versions = claim.Vsn.slice(0, 6);
    if (!sameBytes(node.ip, claim.Addr) || node.endpoint.port !== endpoint.port) {
      node.endpoint = endpoint;
      node.ip = claim.Addr.slice();
    }
    if (node.state !== 'alive') this.#enter(node, 'alive');
    if (wasGone) delegate.nodeJoined(node);
    else if (changed) delegate.nodeUpdated(node);
  }

  #accuse(node: SwimNode, from: string): void {
    const { timing } = this.#context.options;
    const n = this.#byName.size;
    let wanted = timing.suspicionMult - 2;
    // Only who lives can confirm; memberlist counts the dead too and then waits for them in vain.
    if (this.#live - 2 < wanted) wanted = 0;
    const minMs = suspicionTimeoutMs(timing.suspicionMult, n, timing.probeIntervalMs);
    const suspicion = new Suspicion({ from, confirmationsWanted: wanted, minMs, maxMs: minMs * timing.suspicionMaxTimeoutMult, startedAt: this.#context.timers.now });
    const accused = { suspicion, timer: undefined as unknown as TimedTask };
    this.#accused.set(node.name, accused);
    this.#arm(node, accused);
  }

  #arm(node: SwimNode, accused: Accused): void {
    const { timers } = this.#context;
    timers.cancel(accused.timer);
    this.#armAt(node, accused, accused.suspicion.deadline);
  }

  #armAt(node: SwimNode, accused: Accused, deadline: number): void {
    const { timers, sink, options } = this.#context;
    accused.timer = timers.at(deadline, () => {
      // We slept: the suspect may have spoken up into our unread socket.
      if (timers.now - deadline >= options.timing.probeIntervalMs) return this.#armAt(node, accused, timers.now + options.timing.probeIntervalMs);
      sink.log('info', `member '${node.name}' did not speak up in time: it counts as failed`, { node: node.name, confirmations: accused.suspicion.confirmations });
      this.foundDead(node);
    });
  }

  #acquit(node: SwimNode): void {
    this.#context.timers.cancel(this.#accused.get(node.name)?.timer);
    this.#accused.delete(node.name);
  }

  #enter(node: SwimNode, state: NodeState): void {
    const wasGone = isGone(node);
    node.state = state;
    node.stateSince = this.#context.timers.now;
    if (isGone(node) === wasGone) return;
    this.#live += wasGone ? 1 : -1;
    if (node === this.self) return;
    if (wasGone) this.#probeOrder.add(node);
    else this.#probeOrder.remove(node);
  }

  /** Answers an accusation by being newer than it. Being accused at all is a sign that we are slow. */
  #refute(accusedIncarnation: number): void {
    this.#context.sink.log('warn', 'others took this node for gone or for another; it says that it is alive', { incarnation: accusedIncarnation });
    this.#raiseIncarnation(accusedIncarnation);
    this.#context.awareness.apply(1);
    this.#broadcastSelf();
  }

  #raiseIncarnation(above: number): void {
    this.self.incarnation = Math.min(incarnationClaimMax, Math.max(this.self.incarnation, above) + 1);
  }

  #broadcastSelf(): void {
    this.#context.broadcast(encodeMessage(messageType.alive, aliveCodec, this.aliveClaim(this.self)), { name: this.self.name });
  }

  #broadcastAbout(type: number, claim: Suspect, finished?: () => void): void {
    this.#context.broadcast(encodeMessage(type, type === messageType.dead ? deadCodec : suspectCodec, claim), { name: claim.Node, ...(finished && { finished }) });
  }
}

export function isGone(node: SwimNode): boolean {
  return node.state === 'dead' || node.state === 'left';
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
