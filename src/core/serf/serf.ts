import { coordinateVersion, serfCoordinateCodec, serfJoinCodec, serfLeaveCodec, serfPushPullCodec, serfType, encodeSerfMessage } from '../wire/serf-messages.ts';
import type { SerfJoin, SerfLeave } from '../wire/serf-messages.ts';
import { encodeTags } from '../wire/serf-tags.ts';
import type { Endpoint } from '../wire/ip-address.ts';
import { WireError } from '../wire/wire-error.ts';
import { BroadcastQueue } from '../swim/broadcast-queue.ts';
import type { BroadcastOptions } from '../swim/broadcast-queue.ts';
import { Swim, userMessage } from '../swim/swim.ts';
import type { PushPullFailure } from '../swim/swim.ts';
import type { Timers } from '../swim/timers.ts';
import type { SwimTiming } from '../swim/timing.ts';
import { ownVersions } from '../swim/types.ts';
import type { LogLevel, RandomSource, SwimDelegate, SwimNode, SwimSink } from '../swim/types.ts';
import { Coordinates } from './coordinates.ts';
import type { Coordinate } from './coordinates.ts';
import { LamportClock } from './lamport-clock.ts';
import { MemberList } from './member-list.ts';
import type { MemberState } from './member-state.ts';
import { NameDisputes } from './name-disputes.ts';
import { Queries } from './queries.ts';
import { userEventBytesDefault, UserEvents } from './user-events.ts';
import type { Member, SerfEvent } from './types.ts';

export interface SerfOptions {
  readonly name: string;
  readonly advertise: Endpoint;
  readonly tags: Readonly<Record<string, string>>;
  readonly timing: SwimTiming;
  readonly packetOverhead: () => number;
  readonly membersMax: number;
  readonly queueDepthMax: number;
  readonly deadNodeReclaimMs: number;
  readonly reconnectTimeoutMs: number;
  readonly tombstoneTimeoutMs: number;
  readonly reconnectIntervalMs: number;
  /** How long each step of a leave may take in a pool too large to tell everybody directly (ms); default 5000. */
  readonly broadcastTimeoutMs?: number;
  /** Name and payload, and the encoded form, of a user event that this node fires (bytes); default 512, at most 9216. */
  readonly userEventBytesMax?: number;
  /** Tell others where we lie in the space of round-trip times, and learn where they do; default true. */
  readonly coordinates?: boolean;
  /** Ask the others whose a name is that two nodes claim; default true. */
  readonly nameResolution?: boolean;
  /** Serf's protocol, 3 to 5: what this node says that it speaks; default 5. */
  readonly protocol?: number;
  /** The Lamport times that an earlier process of this node had seen. */
  readonly resume?: { readonly memberTime: number; readonly eventTime: number; readonly queryTime: number };
}

export interface SerfPorts {
  readonly random: RandomSource;
  readonly timers: Timers;
  readonly sink: SwimSink;
  emit(event: SerfEvent): void;
}

/** How long a restarted node waits for somebody to tell what it missed, before it tells what it hears (ms). */
const catchUpMs = 5000;
const broadcastTimeoutMs = 5000;
/** With more members than this, events and queries go by gossip alone: a burst of them must not become a flood. */
const directEventsMembersMax = 16;
const strangerQuietMs = 5000;
const none = new Uint8Array(0);
/** A message at most; a push/pull has limits of its own. */
const messageLimits = { valuesMax: 8192, depthMax: 8 } as const;
const stateLimits = { valuesMax: 500_000, depthMax: 8 } as const;

/**
 * Serf on top of memberlist: tells a member that left from one that failed, carries tags, user events and queries.
 * Statuses follow serf.go; intents are ordered by Lamport time, so that old ones change nothing.
 */
export class Serf implements SwimDelegate {
  readonly swim: Swim;
  readonly clock: LamportClock = new LamportClock();
  readonly events: UserEvents;
  readonly queries: Queries;
  readonly coordinates: Coordinates;
  readonly #options: SerfOptions;
  readonly #ports: SerfPorts;
  readonly #members: MemberList;
  readonly #intentQueue: BroadcastQueue;
  readonly #eventQueue: BroadcastQueue;
  readonly #queryQueue: BroadcastQueue;
  readonly #disputes: NameDisputes;
  #joins = 0;
  #replays = 0;
  #askedStrangerAt = -Infinity;
  #phase: 'running' | 'leaving' | 'left' = 'running';

  constructor(options: SerfOptions, ports: SerfPorts) {
    this.#options = options;
    this.#ports = ports;
    const queue = (): BroadcastQueue => new BroadcastQueue(() => this.swim.transmitLimit(), options.queueDepthMax);
    this.coordinates = new Coordinates(ports.random);
    this.#intentQueue = queue();
    this.#eventQueue = queue();
    this.#queryQueue = queue();
    this.swim = new Swim({ ...options, meta: encodeTags(options.tags), versions: ownVersions.with(5, options.protocol ?? 5) }, { ...ports, delegate: this });
    this.events = new UserEvents({
      bytesMax: options.userEventBytesMax ?? userEventBytesDefault,
      emit: (event) => ports.emit(event),
      broadcast: (message) => this.#tellAll(this.#eventQueue, message),
    });
    this.queries = new Queries({
      name: options.name,
      advertise: options.advertise,
      random: ports.random,
      timers: ports.timers,
      gossipIntervalMs: options.timing.gossipIntervalMs,
      emit: (event) => ports.emit(event),
      log: (level, message, fields) => this.#log(level, message, fields),
      broadcast: (message) => this.#tellAll(this.#queryQueue, message),
      sendTo: (to, message) => this.swim.sendDirect(to, userMessage(message)),
      member: (name) => this.member(name),
      members: () => this.members(),
    });
    this.#members = new MemberList({
      self: this.swim.table.self,
      clock: this.clock,
      timers: ports.timers,
      reconnectTimeoutMs: options.reconnectTimeoutMs,
      tombstoneTimeoutMs: options.tombstoneTimeoutMs,
      emit: (event) => ports.emit(event),
      log: (level, message, fields) => this.#log(level, message, fields),
      stays: () => this.#phase === 'running',
      objectToLeave: () => this.broadcastJoin(),
      askWhetherLeaving: (member) => this.#askWhetherLeaving(member),
      forgotten: (name) => this.coordinates.forget(name),
    });
    this.#disputes = new NameDisputes({
      swim: this.swim,
      queries: this.queries,
      random: ports.random,
      timers: ports.timers,
      gossipIntervalMs: options.timing.gossipIntervalMs,
      emit: (event) => ports.emit(event),
      log: (level, message, fields) => this.#log(level, message, fields),
      running: () => this.#phase === 'running',
      noteDead: (name, reason) => this.noteDead(name, reason),
      exchange: (peer) => this.#rejoin(peer),
    });
    const { resume } = options;
    if (resume === undefined) return;
    this.clock.witness(resume.memberTime);
    this.events.resumeAfter(resume.eventTime);
    this.queries.resumeAfter(resume.queryTime);
  }

  start(): void {
    const { timers, random } = this.#ports;
    this.swim.start();
    this.#members.start();
    timers.after(random.float() * this.#options.reconnectIntervalMs, () => this.#reconnect());
    if (this.#options.resume !== undefined) timers.after(catchUpMs, () => this.events.endCatchingUp());
  }

  get local(): Member {
    return this.#members.self.picture();
  }

  get size(): number {
    return this.#members.size;
  }

  get queueSizes(): { readonly intents: number; readonly events: number; readonly queries: number } {
    return { intents: this.#intentQueue.size, events: this.#eventQueue.size, queries: this.#queryQueue.size };
  }

  members(): Member[] {
    return [...this.#members.all()].map((member) => member.picture()).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  member(name: string): Member | undefined {
    return this.#members.get(name)?.picture();
  }

  /** Where a member lies; undefined while it has not been heard of by ping. */
  coordinate(name: string): Coordinate | undefined {
    return name === this.#options.name ? this.coordinates.own : this.coordinates.get(name);
  }

  /** `meta` is the encoded form of the tags, within its limit. */
  setTags(tags: Readonly<Record<string, string>>): void {
    this.swim.setMeta(encodeTags(tags));
  }

  /** Joins through one address. User events from before are history then, unless `replay` asks for them; not so after `reconnect` below, where they were missed. */
  join(to: Endpoint, done: (failure?: PushPullFailure) => void, replay = false): void {
    this.#joins++;
    if (replay) this.#replays++;
    this.swim.pushPull(to, true, (failure) => {
      this.#joins--;
      if (replay) this.#replays--;
      done(failure);
    });
  }

  /** Goes back to a member that an earlier process of this node knew: what happened meanwhile was missed, and is told. */
  rejoin(to: Endpoint, done: (failure?: PushPullFailure) => void): void {
    this.swim.pushPull(to, true, done);
  }

  /** After a join: tells those who remember an older leave of ours that we are back. */
  broadcastJoin(): void {
    const message: SerfJoin = { LTime: this.clock.time, Node: this.#options.name };
    this.clock.witness(message.LTime);
    this.#members.joinIntent(message);
    this.#broadcast(this.#intentQueue, encodeSerfMessage(serfType.join, serfJoinCodec, message), { name: this.#options.name });
  }

  /**
   * Serf's order: say that we mean to go, wait until that went out, then go. Who heard the first takes the second
   * for a leave, not for a failure. Each wait is bounded; then a little longer, so that probes of those who have not
   * heard yet are still answered.
   */
  leave(done: () => void): void {
    if (this.#phase !== 'running') return done();
    this.#phase = 'leaving';
    const message: SerfLeave = { LTime: this.clock.tick(), Node: this.#options.name, Prune: false };
    this.#members.leaveIntent(message);
    const goodbye = (): void => this.#withTimeout(this.#stepTimeoutMs(), (next) => this.swim.leave(next), () => {
      this.#phase = 'left';
      if (!this.swim.hasPeers()) return done();
      this.#ports.timers.after(2 * this.#options.timing.gossipIntervalMs, done);
    });
    if (!this.swim.hasPeers()) return goodbye();
    const encoded = encodeSerfMessage(serfType.leave, serfLeaveCodec, message);
    this.#withTimeout(this.#stepTimeoutMs(), (next) => this.#broadcast(this.#intentQueue, encoded, { name: message.Node, finished: next }), goodbye);
    this.swim.sendToAll(userMessage(encoded));
  }

  /** Says on behalf of a failed member that it left. */
  forceLeave(name: string, prune: boolean): void {
    const message: SerfLeave = { LTime: this.clock.tick(), Node: name, Prune: prune };
    this.#members.leaveIntent(message);
    if (this.swim.hasPeers()) this.#broadcast(this.#intentQueue, encodeSerfMessage(serfType.leave, serfLeaveCodec, message), { name });
  }

  /** Somebody knows for certain that the member's process is dead. */
  noteDead(name: string, reason: string): void {
    const node = this.swim.table.get(name);
    if (node === undefined || node === this.swim.table.self) return;
    this.#log('info', `member '${name}' is known to be dead: ${reason}`, { node: name, reason });
    this.swim.noteDead(node);
  }

  // ── What the machine below calls ──

  nodeJoined(node: SwimNode): void {
    this.#members.joined(node);
  }

  nodeLeft(node: SwimNode): void {
    this.#members.left(node);
    this.#disputes.nameIsFree(node);
  }

  nodeUpdated(node: SwimNode): void {
    this.#members.updated(node);
  }

  nameConflict(known: SwimNode, claimed: Endpoint): void {
    if (this.#options.nameResolution !== false) this.#disputes.conflict(known, claimed);
  }

  userMessage(message: Uint8Array, from: Endpoint): void {
    const body = message.subarray(1);
    switch (message[0]) {
      case serfType.leave:
        if (this.#members.leaveIntent(serfLeaveCodec.decode(body, messageLimits))) this.#rebroadcast(this.#intentQueue, message);
        return;
      case serfType.join:
        if (this.#members.joinIntent(serfJoinCodec.decode(body, messageLimits))) this.#rebroadcast(this.#intentQueue, message);
        return;
      case serfType.userEvent:
        if (this.events.handle(body)) this.#rebroadcast(this.#eventQueue, message);
        return;
      case serfType.query:
        if (this.queries.handleQuery(body)) this.#rebroadcast(this.#queryQueue, message);
        return;
      case serfType.queryResponse:
        return this.queries.handleResponse(body);
      case serfType.relay:
        return this.queries.handleRelay(body);
      default:
        throw new WireError(`Serf message type ${message[0]} from ${from.host} is not known`);
    }
  }

  broadcasts(overhead: number, budget: number): Uint8Array[] {
    const messages: Uint8Array[] = [];
    let free = budget;
    for (const queue of [this.#intentQueue, this.#queryQueue, this.#eventQueue]) {
      for (const message of queue.take(overhead, free)) {
        messages.push(message);
        free -= message.length + overhead;
      }
    }
    return messages;
  }

  /** Queries have a limit that always fits; events may be allowed more. */
  largeBroadcasts(overhead: number, budget: number, bytesMin: number): Uint8Array[] {
    return this.#eventQueue.largest < bytesMin ? [] : this.#eventQueue.take(overhead, budget, bytesMin);
  }

  /** A query that waits for a first peer would be executed long after it ended; events travel in the push/pull anyway. */
  nobodyListens(): void {
    this.#intentQueue.clear();
    this.#queryQueue.clear();
    this.#eventQueue.clear();
  }

  localState(): Uint8Array {
    const statusTimes = new Map<string, number>();
    const left: string[] = [];
    for (const member of this.#members.all()) {
      // A leave must not become known by its time before it does by its message: Serf takes the time for that of a join.
      statusTimes.set(member.name, member.status === 'leaving' ? Math.max(0, member.statusTime - 1) : member.statusTime);
      if (member.status === 'left') left.push(member.name);
    }
    return encodeSerfMessage(serfType.pushPull, serfPushPullCodec, {
      LTime: this.clock.time,
      StatusLTimes: statusTimes,
      LeftMembers: left,
      EventLTime: this.events.clock.time,
      Events: this.events.recent(),
      QueryLTime: this.queries.clock.time,
    });
  }

  mergeState(state: Uint8Array, join: boolean): void {
    if (state[0] !== serfType.pushPull) throw new WireError(`user state of the unknown type ${state[0]}`);
    const remote = serfPushPullCodec.decode(state.subarray(1), stateLimits);
    // Their clocks are one past the last message.
    if (remote.LTime > 0) this.clock.witness(remote.LTime - 1);
    if (remote.EventLTime > 0) this.events.clock.witness(remote.EventLTime - 1);
    this.queries.joinedAt(remote.QueryLTime);
    // The time of a leave is not in the state, but it came after the join.
    for (const Node of remote.LeftMembers) this.#members.leaveIntent({ LTime: (remote.StatusLTimes.get(Node) ?? 0) + 1, Node, Prune: false });
    const left = new Set(remote.LeftMembers);
    for (const [Node, LTime] of remote.StatusLTimes) {
      // In a large pool nearly all of them are known.
      const member = this.#members.get(Node);
      if (member !== undefined && LTime <= member.statusTime && LTime < this.clock.time) continue;
      if (!left.has(Node)) this.#members.intentTime(Node, LTime);
    }
    this.events.merge(remote.Events, remote.EventLTime, join && this.#replays > 0 ? 'told' : join && this.#joins > 0 ? 'history' : 'missed');
  }

  ackPayload(): Uint8Array {
    if (this.#options.coordinates === false) return none;
    return encodeSerfMessage(coordinateVersion, serfCoordinateCodec, this.coordinates.own);
  }

  pingAnswered(node: SwimNode, roundTripMs: number, payload: Uint8Array): void {
    if (payload[0] !== coordinateVersion || this.#options.coordinates === false) return;
    this.coordinates.observe(node.name, serfCoordinateCodec.decode(payload.subarray(1), { valuesMax: 64, depthMax: 3 }), roundTripMs / 1000);
  }

  /**
   * Who lost its memory in a restart, quicker than its failure was noticed, is still probed by the others while it
   * knows nobody: it asks the first of them who else is there.
   */
  strangerPinged(from: Endpoint): void {
    const { now } = this.#ports.timers;
    if (this.#phase !== 'running' || this.swim.hasPeers() || now - this.#askedStrangerAt < strangerQuietMs) return;
    this.#askedStrangerAt = now;
    this.#rejoin(from);
  }

  #rejoin(through: Endpoint): void {
    this.swim.pushPull(through, true, (failure) => {
      if (failure === undefined) this.broadcastJoin();
    });
  }

  /**
   * It is there (else it would count as left by now), although a leave takes seconds: it may never have heard that somebody
   * said so of it, and so cannot object. Told directly it does, unless it goes.
   */
  #askWhetherLeaving(member: MemberState): void {
    if (member.node === this.swim.table.self) return;
    const message: SerfLeave = { LTime: this.clock.tick(), Node: member.name, Prune: member.pruneWhenGone };
    this.swim.sendDirect(member.node.endpoint, userMessage(encodeSerfMessage(serfType.leave, serfLeaveCodec, message)));
  }

  /** Now and then one failed member is tried again; the more are alive, the less often each of them tries. */
  #reconnect(): void {
    const { timers, random } = this.#ports;
    timers.after(this.#options.reconnectIntervalMs, () => this.#reconnect());
    if (this.#phase !== 'running') return;
    const failed: MemberState[] = [];
    let alive = 0;
    for (const member of this.#members.all()) {
      if (member.status === 'failed') failed.push(member);
      else if (member.status === 'alive' && member.node !== this.swim.table.self) alive++;
    }
    if (failed.length === 0 || random.float() > failed.length / Math.max(1, alive)) return;
    const member = failed[random.below(failed.length)] as MemberState;
    this.swim.pushPull(member.node.endpoint, true, (failure) => {
      if (failure !== undefined) this.#log('debug', `failed member '${member.name}' is still not to be reached: ${failure.message}`, { node: member.name, code: failure.code });
      else this.broadcastJoin();
    });
  }

  // ── Gossip ──

  #broadcast(queue: BroadcastQueue, message: Uint8Array, options: BroadcastOptions = {}): void {
    queue.add(message, options);
    this.swim.gossipSoon();
  }

  /** In a small pool each is told of our own events and queries directly as well: gossip alone waits for its next round. */
  #tellAll(queue: BroadcastQueue, message: Uint8Array): void {
    this.#broadcast(queue, message);
    this.swim.sendToAll(userMessage(message), directEventsMembersMax);
  }

  /** Passes on what came in a packet, whose bytes are not ours to keep. */
  #rebroadcast(queue: BroadcastQueue, message: Uint8Array): void {
    this.#broadcast(queue, message.slice());
  }

  /** Where each member is told directly, one gossip round more is enough; else the message must have gone round. */
  #stepTimeoutMs(): number {
    return this.swim.fewMembers ? this.#options.timing.gossipIntervalMs : (this.#options.broadcastTimeoutMs ?? broadcastTimeoutMs);
  }

  /** Goes on when the step is done or the time is up, whichever is first. */
  #withTimeout(timeoutMs: number, step: (next: () => void) => void, then: () => void): void {
    let over = false;
    const next = (): void => {
      if (over) return;
      over = true;
      this.#ports.timers.cancel(timer);
      then();
    };
    const timer = this.#ports.timers.after(timeoutMs, next);
    step(next);
  }

  #log(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>> = {}): void {
    this.#ports.sink.log(level, message, fields);
  }
}
