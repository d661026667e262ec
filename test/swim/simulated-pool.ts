import { Prng } from '../../src/base/prng.ts';
import { TimerHeap } from '../../src/base/timer-heap.ts';
import { Serf } from '../../src/core/serf/serf.ts';
import type { SerfEvent } from '../../src/core/serf/types.ts';
import { swimTimings } from '../../src/core/swim/timing.ts';
import { Timers } from '../../src/core/swim/timers.ts';
import type { DialOutcome, SwimSink } from '../../src/core/swim/types.ts';
import { StreamAssembler } from '../../src/core/wire/stream-frames.ts';

interface Happening {
  readonly at: number;
  readonly sequence: number;
  heapIndex: number;
  readonly run: () => void;
}

export interface PoolOptions {
  readonly nodes: number;
  readonly seed: number;
  /** Probability that a packet is lost. Streams lose nothing. */
  readonly loss: number;
  readonly profile?: 'lan' | 'wan' | 'local';
  readonly userEventBytesMax?: number;
}

export interface SimulatedNode {
  readonly name: string;
  readonly serf: Serf;
  readonly timers: Timers;
  readonly events: { readonly at: number; readonly event: SerfEvent }[];
  up: boolean;
  /** While it is not up: its host is gone too, so that nothing refuses. */
  silent: boolean;
}

const noCipher = { seal: (): never => { throw new Error('no encryption here'); }, open: (): undefined => undefined };

/** The pure machines of many nodes on one virtual clock: packets take 0.2 to 1 ms or are lost. Nothing is awaited. */
export class SimulatedPool {
  readonly nodes: SimulatedNode[] = [];
  readonly random: Prng;
  now = 0;
  packets = 0;
  /** One way: true means that nothing passes. */
  blocked: (from: SimulatedNode, to: SimulatedNode) => boolean = () => false;
  readonly #options: PoolOptions;
  readonly #heap = new TimerHeap<Happening>();
  #sequence = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.random = new Prng(options.seed);
    for (let i = 0; i < options.nodes; i++) this.add(`n${i}`);
  }

  add(name: string): SimulatedNode {
    const timers = new Timers();
    timers.now = this.now;
    const index = this.nodes.length;
    const endpoint = { host: `10.0.${index >> 8}.${index & 255}`, port: 7946 };
    const events: SimulatedNode['events'] = [];
    const sink: SwimSink = {
      sendPacket: (to, message) => {
        this.packets++;
        const target = this.#at(to.host);
        if (target === undefined || this.random.chance(this.#options.loss)) return;
        const copy = message.slice();
        this.#after(0.2 + this.random.float() * 0.8, () => {
          if (!target.up || !node.up || this.blocked(node, target)) return;
          this.#input(target, () => target.serf.swim.handlePacket(copy, endpoint));
        });
      },
      dial: (id, to, message, timeoutMs) => this.#dial(node, id, to.host, message, timeoutMs),
      log: () => {},
    };
    const serf = new Serf({
      name, advertise: endpoint, tags: {}, timing: swimTimings[this.#options.profile ?? 'lan'], packetOverhead: () => 0, membersMax: 16_384, queueDepthMax: 4096,
      deadNodeReclaimMs: 0, reconnectTimeoutMs: 86_400_000, tombstoneTimeoutMs: 86_400_000, reconnectIntervalMs: 5000, ...(this.#options.userEventBytesMax === undefined ? {} : { userEventBytesMax: this.#options.userEventBytesMax }),
    }, { random: this.random.fork(), timers, sink, emit: (event) => void events.push({ at: this.now, event }) });
    const node: SimulatedNode = { name, serf, timers, events, up: true, silent: false };
    this.nodes.push(node);
    this.#input(node, () => serf.start());
    return node;
  }

  /** Everybody joins through the first node, one after another. */
  joinAll(): void {
    this.nodes.slice(1).forEach((node, i) => this.#after(i * 20, () => this.join(node, this.nodes[0] as SimulatedNode)));
  }

  join(node: SimulatedNode, through: SimulatedNode): void {
    this.act(node, () => node.serf.join(through.serf.local.address, (failure) => {
      if (failure === undefined) node.serf.broadcastJoin();
    }));
  }

  /** Does something as that node. */
  act(node: SimulatedNode, run: () => void): void {
    this.#input(node, run);
  }

  /** Lets time pass until the condition holds, or until the time is up; true when it held. It is asked on its beat, whether something happens then or not. */
  runUntil(until: number, condition: () => boolean = () => false, checkEveryMs = 10): boolean {
    let nextCheck = this.now;
    for (;;) {
      if (this.now >= nextCheck) {
        if (condition()) return true;
        nextCheck = this.now + checkEveryMs;
      }
      const nextAt = this.#heap.peek()?.at ?? Infinity;
      if (Math.min(nextAt, nextCheck) > until) {
        this.now = until;
        return condition();
      }
      if (nextAt > nextCheck) {
        this.now = nextCheck;
        continue;
      }
      const next = this.#heap.pop() as Happening;
      this.now = next.at;
      next.run();
    }
  }

  /** Every node that is up holds every other one for this. */
  agree(status: (name: string) => string): boolean {
    return this.nodes.every((node) => !node.up || this.nodes.every((other) => node.serf.member(other.name)?.status === status(other.name)));
  }

  failuresSeen(): string[] {
    return this.nodes.flatMap((node) => node.events.filter(({ event }) => event.type === 'member-failed').map(({ event }) => `${node.name}: ${'member' in event ? event.member.name : ''}`));
  }

  #at(host: string): SimulatedNode | undefined {
    const [, , high, low] = host.split('.').map(Number);
    return this.nodes[((high as number) << 8) | (low as number)];
  }

  #dial(from: SimulatedNode, id: number, host: string, message: Uint8Array, timeoutMs: number): void {
    const ended = (delay: number, outcome: DialOutcome): void => void this.#after(delay, () => {
      if (from.up) this.#input(from, () => from.serf.swim.dialEnded(id, outcome));
    });
    const to = this.#at(host);
    const copy = message.slice();
    if (to === undefined || this.blocked(from, to)) return ended(timeoutMs, { type: 'failed', code: 'TIMEOUT', message: 'no answer' });
    const silence: DialOutcome = { type: 'failed', code: 'TIMEOUT', message: 'no answer' };
    if (!to.up) return to.silent ? ended(timeoutMs, silence) : ended(1, { type: 'failed', code: 'REFUSED', message: 'nobody listens' });
    this.#after(1, () => {
      if (!to.up) return to.silent ? ended(timeoutMs, silence) : ended(1, { type: 'failed', code: 'REFUSED', message: 'nobody listens' });
      this.#input(to, () => {
        const request = new StreamAssembler({ cipher: noCipher, keys: [] }).push(copy);
        if (request === undefined) throw new Error('half a message');
        const reply = to.serf.swim.handleStream(request, from.serf.local.address);
        const answer = reply && new StreamAssembler({ cipher: noCipher, keys: [] }).push(reply);
        ended(1, answer ? { type: 'reply', message: answer } : { type: 'failed', code: 'CLOSED', message: 'no answer' });
      });
    });
  }

  #input(node: SimulatedNode, run: () => void): void {
    node.timers.now = this.now;
    run();
    this.#arm(node);
  }

  readonly #armed = new Map<SimulatedNode, Happening>();

  #arm(node: SimulatedNode): void {
    const next = node.timers.nextAt();
    const armed = this.#armed.get(node);
    if (next === Infinity || (armed !== undefined && armed.heapIndex >= 0 && armed.at <= next)) return;
    if (armed !== undefined) this.#heap.remove(armed);
    this.#armed.set(node, this.#after(Math.max(0, next - this.now), () => {
      if (!node.up) return;
      node.timers.run(this.now);
      this.#arm(node);
    }));
  }

  #after(delayMs: number, run: () => void): Happening {
    const happening = { at: this.now + delayMs, sequence: this.#sequence++, heapIndex: -1, run };
    this.#heap.push(happening);
    return happening;
  }
}
