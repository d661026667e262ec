import { Prng } from '../base/prng.ts';
import { TimerHeap } from '../base/timer-heap.ts';
import { Serf } from '../core/serf/serf.ts';
import type { SerfEvent } from '../core/serf/types.ts';
import { swimTimings } from '../core/swim/timing.ts';
import type { SwimProfile } from '../core/swim/timing.ts';
import { Timers } from '../core/swim/timers.ts';
import type { DialOutcome, SwimSink } from '../core/swim/types.ts';
import { StreamAssembler } from '../core/wire/stream-frames.ts';

export interface GossipWorldOptions {
  readonly seed: number;
  readonly nodes: number;
  readonly profile?: SwimProfile;
  /** Probability that a packet is lost. Streams lose nothing: they are repeated. */
  readonly loss?: number;
  /** Share of the nodes that get too little processor time: they stop for `slowStopMs`, then run for `slowRunMs`, and so on. Default 0. */
  readonly slow?: number;
  /** Default 500 to 2500. */
  readonly slowStopMs?: { readonly min: number; readonly max: number };
  /** Default 200 to 800. */
  readonly slowRunMs?: { readonly min: number; readonly max: number };
  readonly reconnectTimeoutMs?: number;
  readonly tombstoneTimeoutMs?: number;
}

export interface GossipWorldNode {
  readonly index: number;
  readonly name: string;
  readonly slow: boolean;
  readonly serf: Serf;
  /** `gone`: the process is dead, and its kernel says so; `silent`: the host is. */
  state: 'up' | 'gone' | 'silent';
  packets: number;
  bytes: number;
  streams: number;
  streamBytes: number;
  received: number;
}

interface Happening {
  readonly at: number;
  readonly sequence: number;
  heapIndex: number;
  readonly run: () => void;
}

interface Place extends GossipWorldNode {
  readonly timers: Timers;
  wake: Happening | undefined;
  stoppedUntil: number;
  waiting: (() => void)[];
}

/** IP and UDP headers of a packet (bytes). */
export const packetHeaderBytes = 28;
/** What a stopped process's socket holds; more is lost. */
const waitingMax = 4096;
const noCipher = { seal: (): never => { throw new Error('no encryption here'); }, open: (): undefined => undefined };

/**
 * The pure machines of many nodes on one virtual clock, for pools of thousands: nothing is awaited, compressed or
 * encrypted. Packets take 0.2 to 1 ms, a stream 2 ms.
 */
export class GossipWorld {
  readonly nodes: readonly GossipWorldNode[];
  readonly random: Prng;
  /** Nodes between which nothing passes: of different groups. Default: all in one. */
  group: (index: number) => number = () => 0;
  /** Called for every event of every node. */
  onEvent: (node: GossipWorldNode, event: SerfEvent) => void = () => {};
  readonly #options: GossipWorldOptions;
  readonly #places: Place[] = [];
  readonly #heap = new TimerHeap<Happening>();
  #now = 0;
  #sequence = 0;
  #count = 0;

  constructor(options: GossipWorldOptions) {
    this.#options = options;
    this.random = new Prng(options.seed);
    const slowCount = Math.round(options.nodes * (options.slow ?? 0));
    // The first one stays quick: all join through it.
    for (let i = 0; i < options.nodes; i++) this.#add(i, i > 0 && i <= slowCount);
    this.nodes = this.#places;
  }

  get now(): number {
    return this.#now;
  }

  /** Things that have happened. */
  get count(): number {
    return this.#count;
  }

  #add(index: number, slow: boolean): void {
    const timers = new Timers();
    const endpoint = { host: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`, port: 7946 };
    const { loss = 0 } = this.#options;
    const sink: SwimSink = {
      sendPacket: (to, message, checksum) => {
        place.packets++;
        place.bytes += message.length + packetHeaderBytes + (checksum ? 5 : 0);
        const target = this.#at(to.host);
        if (target === undefined || (loss > 0 && this.random.chance(loss)) || !this.#connected(place, target)) return;
        // Machines never change a message that they have sent, and copy what they keep.
        this.#after(0.2 + this.random.float() * 0.8, () => this.#deliver(target, () => {
          target.received++;
          target.serf.swim.handlePacket(message, endpoint);
        }));
      },
      dial: (id, to, message, timeoutMs) => this.#dial(place, id, to.host, message, timeoutMs),
      log: () => {},
    };
    const serf = new Serf({
      name: `n${index}`, advertise: endpoint, tags: {}, timing: swimTimings[this.#options.profile ?? 'lan'], packetOverhead: () => 0, membersMax: 16_384, queueDepthMax: 4096,
      deadNodeReclaimMs: 0, reconnectTimeoutMs: this.#options.reconnectTimeoutMs ?? 86_400_000, tombstoneTimeoutMs: this.#options.tombstoneTimeoutMs ?? 86_400_000, reconnectIntervalMs: 5000,
    }, { random: this.random.fork(), timers, sink, emit: (event) => this.onEvent(place, event) });
    const place: Place = {
      index, name: `n${index}`, slow, serf, timers, state: 'up', packets: 0, bytes: 0, streams: 0, streamBytes: 0, received: 0, wake: undefined, stoppedUntil: 0, waiting: [],
    };
    this.#places.push(place);
    this.act(place, () => serf.start());
    if (slow) this.#after(this.random.float() * 1000, () => this.#stop(place));
  }

  /** Does something as that node. */
  act(node: GossipWorldNode, run: () => void): void {
    const place = node as Place;
    place.timers.now = this.#now;
    run();
    this.#arm(place);
  }

  /** Everybody joins through the first node, one each `everyMs`. */
  joinAll(everyMs: number = 20): void {
    for (const node of this.#places.slice(1)) this.#after(node.index * everyMs, () => this.join(node, this.#places[0] as Place));
  }

  /** All know each other from the beginning, as a pool does that has been there for long. */
  introduceAll(): void {
    const claims = this.#places.map(({ serf }) => serf.swim.table.aliveClaim(serf.swim.table.self));
    for (const place of this.#places) {
      this.act(place, () => {
        for (const claim of claims) place.serf.swim.table.alive(claim);
        place.serf.swim.dropBroadcasts();
      });
    }
  }

  join(node: GossipWorldNode, through: GossipWorldNode): void {
    this.act(node, () => node.serf.join(through.serf.local.address, (failure) => {
      if (failure === undefined) node.serf.broadcastJoin();
    }));
  }

  runFor(ms: number): void {
    const until = this.#now + ms;
    for (let next = this.#heap.peek(); next !== undefined && next.at <= until; next = this.#heap.peek()) this.#step(next);
    this.#now = until;
  }

  /** Lets time pass until the condition holds (true), at most so long (false). It is asked every `everyMs`. */
  runUntil(condition: () => boolean, limitMs: number, everyMs: number = 10): boolean {
    for (const end = this.#now + limitMs; this.#now < end; this.runFor(everyMs)) if (condition()) return true;
    return condition();
  }

  #step(next: Happening): void {
    this.#heap.pop();
    this.#now = next.at;
    this.#count++;
    next.run();
  }

  // ── Processor time ──

  #deliver(place: Place, run: () => void): void {
    if (place.state !== 'up') return;
    if (this.#now >= place.stoppedUntil) this.act(place, run);
    else if (place.waiting.length < waitingMax) place.waiting.push(run);
  }

  /** The kernel goes on, the process does not. */
  #stop(place: Place): void {
    const { slowStopMs = { min: 500, max: 2500 }, slowRunMs = { min: 200, max: 800 } } = this.#options;
    const between = ({ min, max }: { readonly min: number; readonly max: number }): number => min + this.random.float() * (max - min);
    place.stoppedUntil = this.#now + between(slowStopMs);
    this.#after(place.stoppedUntil - this.#now, () => {
      if (place.state !== 'up') return;
      place.timers.now = this.#now;
      // Timers first, as an event loop does it; then the sockets.
      place.timers.run(this.#now);
      for (const run of place.waiting.splice(0)) this.act(place, run);
      this.#arm(place);
      this.#after(between(slowRunMs), () => this.#stop(place));
    });
  }

  #arm(place: Place): void {
    const next = place.timers.nextAt();
    const { wake } = place;
    if (next === Infinity || (wake !== undefined && wake.heapIndex >= 0 && wake.at <= next)) return;
    if (wake !== undefined) this.#heap.remove(wake);
    place.wake = this.#after(Math.max(0, next - this.#now), () => {
      if (place.state !== 'up' || this.#now < place.stoppedUntil) return;
      place.timers.now = this.#now;
      place.timers.run(this.#now);
      this.#arm(place);
    });
  }

  #after(delayMs: number, run: () => void): Happening {
    const happening = { at: this.#now + delayMs, sequence: this.#sequence++, heapIndex: -1, run };
    this.#heap.push(happening);
    return happening;
  }

  // ── Wires ──

  #at(host: string): Place | undefined {
    const [, high, middle, low] = host.split('.');
    return this.#places[(Number(high) << 16) | (Number(middle) << 8) | Number(low)];
  }

  #connected(a: Place, b: Place): boolean {
    return this.group(a.index) === this.group(b.index);
  }

  #dial(from: Place, id: number, host: string, message: Uint8Array, timeoutMs: number): void {
    const to = this.#at(host);
    const began = this.#now;
    from.streams++;
    from.streamBytes += message.length;
    const ended = (delayMs: number, outcome: DialOutcome): void => void this.#after(delayMs, () => this.#deliver(from, () => from.serf.swim.dialEnded(id, outcome)));
    const silence = (): void => ended(Math.max(0, began + timeoutMs - this.#now), { type: 'failed', code: 'TIMEOUT', message: 'no answer' });
    if (to === undefined || !this.#connected(from, to) || to.state === 'silent') return silence();
    if (to.state === 'gone') return ended(1, { type: 'failed', code: 'REFUSED', message: 'nobody listens' });
    this.#after(1, () => this.#deliver(to, () => {
      if (this.#now - began > timeoutMs) return silence();
      const request = new StreamAssembler({ cipher: noCipher, keys: [] }).push(message);
      if (request === undefined) throw new Error('half a message');
      const reply = to.serf.swim.handleStream(request, from.serf.local.address);
      if (reply === undefined) return ended(1, { type: 'failed', code: 'CLOSED', message: 'no answer' });
      to.streamBytes += reply.length;
      const answer = new StreamAssembler({ cipher: noCipher, keys: [] }).push(reply);
      ended(1, answer === undefined ? { type: 'failed', code: 'CLOSED', message: 'half an answer' } : { type: 'reply', message: answer });
    }));
  }
}
