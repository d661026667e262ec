import { TroupeError, messageOf } from '../base/errors.ts';
import type { Coordinate } from '../core/serf/coordinates.ts';
import { Serf } from '../core/serf/serf.ts';
import type { Member, QueryOptions, QueryRecord, SerfEvent } from '../core/serf/types.ts';
import { swimTimings } from '../core/swim/timing.ts';
import { Timers } from '../core/swim/timers.ts';
import type { SwimSink } from '../core/swim/types.ts';
import { wrapPacket } from '../core/wire/packet.ts';
import { encodeTags, tagsBytesMax } from '../core/wire/serf-tags.ts';
import { WireError } from '../core/wire/wire-error.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Timer } from '../ports/clock.ts';
import type { DatagramSocket } from '../ports/datagrams.ts';
import type { Listener, Stream } from '../ports/streams.ts';
import { answerKeyQuery, refuseKeyQuery } from './gossip-keys.ts';
import type { GossipSecurity } from './gossip-security.ts';
import { GossipStreams } from './gossip-streams.ts';
import type { Gossip, GossipLimits, GossipOptions, GossipPorts, GossipStats, JoinFailure, JoinOptions, JoinResult, LamportTimes } from './gossip-types.ts';

export interface GossipSockets {
  readonly listener: Listener;
  readonly socket: DatagramSocket;
  readonly security: GossipSecurity;
  readonly advertise: Address;
}

const defaultLimits: GossipLimits = { membersMax: 16_384, streamsMax: 128, streamBytesMax: 64 * 1024 * 1024, queueDepthMax: 4096 };
const dayMs = 24 * 3_600_000;
/** Addresses that one join tries at the same time. */
const joinsAtOnce = 16;
/** Packets that cannot be read are logged at most this often for each reason (ms). */
const refusalLogMs = 10_000;

/**
 * The shell around the pure machines: sockets, one timer, and promises for those who wait. Every input goes through
 * `#input`, which gives the machine the time, then tells the listeners what happened, then sets the timer.
 */
export class GossipNode implements Gossip {
  readonly address: Address;
  readonly #ports: GossipPorts;
  readonly #options: GossipOptions;
  readonly #sockets: GossipSockets;
  readonly #timers = new Timers();
  readonly #serf: Serf;
  readonly #streams: GossipStreams;
  readonly #listeners = new Set<(event: SerfEvent) => void>();
  readonly #waiting = new Set<() => void>();
  #events: SerfEvent[] = [];
  #depth = 0;
  #telling = false;
  #timer: Timer | undefined;
  #armedFor = Infinity;
  #leaving: Promise<void> | undefined;
  #closing: Promise<void> | undefined;
  readonly #counters = { packetsSent: 0, packetsReceived: 0, bytesSent: 0, bytesReceived: 0 };
  readonly #refused = new Map<string, { count: number; loggedAt: number }>();

  constructor(options: GossipOptions, ports: GossipPorts, sockets: GossipSockets) {
    const limits = { ...defaultLimits, ...options.limits };
    const timing = swimTimings[options.profile];
    this.#options = options;
    this.#ports = ports;
    this.#sockets = sockets;
    this.address = sockets.listener.address;
    this.#timers.now = ports.clock.now();
    this.#streams = new GossipStreams({
      streams: ports.streams, clock: ports.clock, log: ports.log, security: sockets.security, compression: options.compression ?? true,
      timeoutMs: timing.streamTimeoutMs, streamsMax: limits.streamsMax, streamBytesMax: limits.streamBytesMax,
      onMessage: (message, from) => this.#input(() => this.#serf.swim.handleStream(message, from)),
    });
    this.#serf = new Serf({
      name: options.name, advertise: sockets.advertise, tags: options.tags, timing,
      packetOverhead: () => sockets.security.packetOverhead,
      membersMax: limits.membersMax, queueDepthMax: limits.queueDepthMax,
      deadNodeReclaimMs: options.deadNodeReclaimMs ?? 0,
      reconnectTimeoutMs: options.reconnectTimeoutMs ?? dayMs,
      tombstoneTimeoutMs: options.tombstoneTimeoutMs ?? dayMs,
      ...given(options, 'broadcastTimeoutMs', 'userEventBytesMax', 'coordinates', 'nameResolution', 'protocol', 'resume'),
      reconnectIntervalMs: options.reconnectIntervalMs ?? (options.profile === 'wan' ? 15_000 : 5000),
    }, { random: ports.random, timers: this.#timers, sink: this.#sink(), emit: (event) => void this.#events.push(event) });
    this.#serf.queries.internalHandler = (name, payload, answer) => this.#answerKeyQuery(name, payload, answer);
  }

  /** Who asked for a change of keys hears that it is done when it is kept: else it would be undone by a restart. */
  #answerKeyQuery(name: string, payload: Uint8Array, reply: (answer: Uint8Array) => void): void {
    const { security } = this.#sockets;
    const before = security.keys;
    const answer = answerKeyQuery(name, payload, security);
    if (answer === undefined) return;
    const later = (text: Uint8Array): void => {
      if (this.#closing === undefined) this.#input(() => reply(text));
    };
    let kept: void | Promise<void> = undefined;
    if (security.keys !== before) {
      this.#ports.log.info('the keyring was changed by a query of the pool', { query: name, keys: security.keys.length });
      kept = this.#options.onKeysChanged?.(security.keys);
    }
    if (kept === undefined) reply(answer);
    else kept.then(() => later(answer), (error: unknown) => later(refuseKeyQuery(`the change holds until this node stops, and was not kept: ${messageOf(error)}`)));
  }

  start(): void {
    this.#input(() => this.#serf.start());
  }

  get local(): Member {
    return this.#serf.local;
  }

  members(): Member[] {
    return this.#serf.members();
  }

  member(name: string): Member | undefined {
    return this.#serf.member(name);
  }

  async join(addresses: readonly Address[], signal?: AbortSignal, options: JoinOptions = {}): Promise<JoinResult> {
    const left = [...new Map(addresses.map((address) => [formatAddress(address), address])).values()];
    const errors: JoinFailure[] = [];
    let joined = 0;
    const worker = async (): Promise<void> => {
      for (let address = left.shift(); address !== undefined; address = left.shift()) {
        const failure = await this.#joinOne(address, options, signal);
        if (failure === undefined) joined++;
        else errors.push({ address, ...failure });
      }
    };
    await Promise.all(Array.from({ length: Math.min(joinsAtOnce, left.length) }, worker));
    if (joined > 0 && this.#closing === undefined) this.#input(() => this.#serf.broadcastJoin());
    return { joined, errors };
  }

  setTags(tags: Readonly<Record<string, string>>): void {
    checkTags(tags);
    this.#input(() => this.#serf.setTags(tags));
  }

  leave(): Promise<void> {
    this.#leaving ??= new Promise((resolve) => {
      if (this.#closing !== undefined) return resolve();
      this.#waiting.add(resolve);
      this.#input(() => this.#serf.leave(() => {
        this.#waiting.delete(resolve);
        resolve();
      }));
    });
    return this.#leaving;
  }

  forceLeave(name: string, prune = false): void {
    this.#input(() => this.#serf.forceLeave(name, prune));
  }

  noteDead(name: string, reason: string): void {
    this.#input(() => this.#serf.noteDead(name, reason));
  }

  onEvent(listener: (event: SerfEvent) => void): () => void {
    const own = (event: SerfEvent): void => listener(event);
    this.#listeners.add(own);
    return () => void this.#listeners.delete(own);
  }

  userEvent(name: string, payload: Uint8Array, coalesce = false): void {
    this.#input(() => this.#serf.events.fire(name, payload, coalesce));
  }

  query(name: string, payload: Uint8Array, options: QueryOptions, onRecord: (record: QueryRecord) => void): void {
    this.#input(() => this.#serf.queries.ask(name, payload, options, onRecord));
  }

  coordinate(name: string): Coordinate | undefined {
    return this.#serf.coordinate(name);
  }

  keys(): readonly Uint8Array[] {
    return this.#sockets.security.keys;
  }

  setKeys(keys: readonly Uint8Array[]): void {
    this.#sockets.security.keys = keys;
    // Who keeps them says so itself, should that fail: nobody waits for the answer here.
    this.#options.onKeysChanged?.(this.#sockets.security.keys)?.catch(() => {});
  }

  times(): LamportTimes {
    const { clock, events, queries } = this.#serf;
    // A clock shows the time of the next message.
    return { memberTime: clock.time - 1, eventTime: events.toldTime, queryTime: queries.clock.time - 1 };
  }

  stats(): GossipStats {
    const members = this.#serf.members();
    const count = (status: string): number => members.filter((member) => member.status === status).length;
    const queues = this.#serf.queueSizes;
    return {
      members: members.length, alive: count('alive'), failed: count('failed'), left: count('left'),
      healthScore: this.#serf.swim.awareness.score,
      memberTime: this.#serf.clock.time, eventTime: this.#serf.events.clock.time, queryTime: this.#serf.queries.clock.time,
      intentQueue: queues.intents, eventQueue: queues.events, queryQueue: queues.queries,
      encrypted: this.#sockets.security.encrypted,
      coordinateResets: this.#serf.coordinates.resets,
      ...this.#counters,
      packetsRefused: Object.fromEntries([...this.#refused].map(([reason, { count: times }]) => [reason, times])),
      streamsRefused: this.#streams.refused,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  // ── Inputs ──

  handlePacket(bytes: Uint8Array, from: Address): void {
    if (this.#closing !== undefined) return;
    this.#counters.packetsReceived++;
    this.#counters.bytesReceived += bytes.length;
    // Without Buffer's ways: its `slice` is a view, and pure code takes it for a copy.
    const opened = this.#sockets.security.open(new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength));
    if ('refused' in opened) {
      this.#refuse(opened.refused, from, opened.refused === 'plaintext'
        ? 'it is not encrypted and this pool is; give that node the key'
        : 'no installed key fits; both nodes need a key in common');
      return;
    }
    this.#input(() => {
      try {
        this.#serf.swim.handlePacket(opened.packet, from);
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        this.#refuse('unreadable', from, `${error.message}; if that node encrypts, give this one the key`);
      }
    });
  }

  handleStream(stream: Stream): void {
    if (this.#closing === undefined) this.#streams.accept(stream);
    else stream.destroy();
  }

  #input<T>(run: () => T): T {
    // A clock never goes back, but the machine must not be told a time before one it has seen.
    this.#timers.now = Math.max(this.#timers.now, this.#ports.clock.now());
    this.#depth++;
    try {
      return run();
    } finally {
      this.#depth--;
      if (this.#depth === 0) {
        this.#tell();
        this.#arm();
      }
    }
  }

  /** After the machine is done with an input: listeners may call this node again. */
  #tell(): void {
    if (this.#telling) return;
    this.#telling = true;
    try {
      for (let event = this.#events.shift(); event !== undefined; event = this.#events.shift()) {
        for (const listener of this.#listeners) listener(event);
      }
    } finally {
      this.#telling = false;
    }
  }

  #arm(): void {
    const next = this.#timers.nextAt();
    // Waking too early costs less than setting the timer anew for each packet.
    if (this.#closing !== undefined || next >= this.#armedFor) return;
    this.#timer?.cancel();
    this.#armedFor = next;
    this.#timer = this.#ports.clock.at(next, () => {
      this.#armedFor = Infinity;
      this.#input(() => this.#timers.run(this.#timers.now));
    });
  }

  // ── Effects ──

  #sink(): SwimSink {
    const { log } = this.#ports;
    const { security, socket } = this.#sockets;
    const compress = this.#options.compression ?? true;
    return {
      sendPacket: (to, message, checksum) => {
        if (this.#closing !== undefined) return;
        const packet = security.seal(wrapPacket(message, { compress, checksum }));
        this.#counters.packetsSent++;
        this.#counters.bytesSent += packet.length;
        socket.send(packet, to);
      },
      dial: (id, to, message, timeoutMs) => {
        this.#streams.exchange(to, message, timeoutMs, (outcome) => {
          if (this.#closing === undefined) this.#input(() => this.#serf.swim.dialEnded(id, outcome));
        });
      },
      log: (level, message, fields) => log[level](message, fields),
    };
  }

  #joinOne(address: Address, { replay = false, rejoin = false }: JoinOptions, signal: AbortSignal | undefined): Promise<Omit<JoinFailure, 'address'> | undefined> {
    if (this.#closing !== undefined) return Promise.resolve({ code: 'CLOSED', message: 'this node is closed' });
    if (address.port < 1 || address.port > 65_535) return Promise.resolve({ code: 'BAD_ADDRESS', message: `${formatAddress(address)} has no port to connect to` });
    return new Promise((resolve) => {
      const abort = (): void => finish({ code: 'ABORTED', message: `joining ${formatAddress(address)} was given up` });
      const closed = (): void => finish({ code: 'CLOSED', message: 'this node was closed' });
      const finish = (failure?: Omit<JoinFailure, 'address'>): void => {
        signal?.removeEventListener('abort', abort);
        this.#waiting.delete(closed);
        resolve(failure && { code: failure.code, message: failure.message });
      };
      if (signal?.aborted === true) return abort();
      signal?.addEventListener('abort', abort);
      this.#waiting.add(closed);
      const ended = (failure?: Omit<JoinFailure, 'address'>): void => {
        if (failure !== undefined) this.#ports.log.debug(`cannot join through ${formatAddress(address)}: ${failure.message}`, { code: failure.code });
        finish(failure);
      };
      this.#input(() => (rejoin ? this.#serf.rejoin(address, ended) : this.#serf.join(address, ended, replay)));
    });
  }

  #refuse(reason: string, from: Address, explanation: string): void {
    const now = this.#timers.now;
    const entry = this.#refused.get(reason) ?? { count: 0, loggedAt: -Infinity };
    this.#refused.set(reason, entry);
    entry.count++;
    if (now - entry.loggedAt < refusalLogMs) return;
    entry.loggedAt = now;
    this.#ports.log.warn(`dropped a packet from ${formatAddress(from)}: ${explanation}`, { from: formatAddress(from), reason, dropped: entry.count });
  }

  async #close(): Promise<void> {
    this.#timer?.cancel();
    this.#streams.close();
    for (const end of this.#waiting) end();
    await Promise.all([this.#sockets.listener.close(), this.#sockets.socket.close()]);
  }
}

function given<K extends keyof GossipOptions>(options: GossipOptions, ...keys: K[]): Pick<GossipOptions, K> {
  return Object.fromEntries(keys.flatMap((key) => (options[key] === undefined ? [] : [[key, options[key]]]))) as Pick<GossipOptions, K>;
}

/** @throws TroupeError TAGS_TOO_LARGE */
export function checkTags(tags: Readonly<Record<string, string>>): void {
  const size = encodeTags(tags).length;
  if (size > tagsBytesMax) {
    throw new TroupeError('TAGS_TOO_LARGE', `cannot set the tags: they take ${size} bytes encoded and at most ${tagsBytesMax} travel with each node; shorten or remove some`, { size, max: tagsBytesMax });
  }
}
