import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { ProbeOrder } from '../../src/core/swim/probe-order.ts';
import { Swim } from '../../src/core/swim/swim.ts';
import { swimTimings } from '../../src/core/swim/timing.ts';
import { Timers } from '../../src/core/swim/timers.ts';
import type { RandomSource, SwimDelegate, SwimNode } from '../../src/core/swim/types.ts';
import { messageType, pingCodec } from '../../src/core/wire/gossip-messages.ts';
import { unwrapPacket } from '../../src/core/wire/packet.ts';

type Order = Pick<ProbeOrder, 'add' | 'remove' | 'heard' | 'next'>;
interface Peer extends SwimNode {
  readonly index: number;
}
const peer = (index: number): Peer => ({ index, name: `n${index}`, probedAt: 0 }) as unknown as Peer;

/** memberlist's order (state.go, resetNodes and aliveNode): shuffled once per round, a newcomer changes places with a random one. */
class ShuffledRing implements Order {
  readonly #random: RandomSource;
  readonly #ring: SwimNode[] = [];
  #at = Infinity;

  constructor(random: RandomSource) {
    this.#random = random;
  }

  add(node: SwimNode): void {
    this.#ring.push(node);
    this.#swap(this.#ring.length - 1, this.#random.below(this.#ring.length));
  }

  remove(node: SwimNode): void {
    this.#ring.splice(this.#ring.indexOf(node), 1);
  }

  heard(): void {}

  next(): SwimNode | undefined {
    if (this.#at >= this.#ring.length) {
      for (let i = this.#ring.length - 1; i > 0; i--) this.#swap(i, this.#random.below(i + 1));
      this.#at = 0;
    }
    return this.#ring[this.#at++];
  }

  #swap(i: number, j: number): void {
    const kept = this.#ring[i] as SwimNode;
    this.#ring[i] = this.#ring[j] as SwimNode;
    this.#ring[j] = kept;
  }
}

interface Prober {
  readonly order: Order;
  readonly peers: Map<number, Peer>;
  readonly phase: number;
  probes: number;
}

/** Many orders that probe each other, nothing else: each once per interval (the unit of time), at its own moment of it. */
class Probers {
  readonly random: Prng;
  readonly all: Prober[] = [];
  readonly #make: (random: RandomSource) => Order;
  #turns: number[] = [];
  #turn = 0;
  #interval = 0;
  /** Called for each probe. */
  onProbe: (from: number, target: number) => void = () => {};

  constructor(make: (random: RandomSource) => Order, seed: number, count: number) {
    this.random = new Prng(seed);
    this.#make = make;
    for (let i = 0; i < count; i++) this.#create();
    // In the order of the table, as when a whole state is merged.
    for (let i = 0; i < count; i++) for (let j = 0; j < count; j++) if (i !== j) this.#know(i, j);
  }

  get now(): number {
    const index = this.#turns[this.#turn];
    return this.#interval + (index === undefined ? 1 : (this.all[index] as Prober).phase);
  }

  /** All know it, and it knows all, from now on. */
  join(): void {
    const index = this.#create();
    for (let i = 0; i < index; i++) {
      this.#know(i, index);
      this.#know(index, i);
    }
  }

  /** All take it for gone, and it comes back at once. */
  comeBack(index: number): void {
    for (const { order, peers } of this.all) {
      const node = peers.get(index);
      if (node === undefined) continue;
      order.remove(node);
      order.add(node);
    }
  }

  runUntil(time: number): void {
    while (this.now < time) this.step(-1);
  }

  /** How long it takes until somebody probes the one that falls silent now. It is well again then. */
  silent(victim: number): number {
    const since = this.now;
    while (!this.step(victim));
    return this.now - since;
  }

  /** One probe; true when it met the silent one. */
  step(silent: number): boolean {
    if (this.#turn >= this.#turns.length) {
      this.#interval++;
      this.#turn = 0;
      this.#turns = this.all.map((_, i) => i).sort((a, b) => (this.all[a] as Prober).phase - (this.all[b] as Prober).phase);
    }
    const from = this.#turns[this.#turn++] as number;
    if (from === silent) return false;
    const prober = this.all[from] as Prober;
    const target = prober.order.next() as Peer | undefined;
    if (target === undefined) return false;
    prober.probes++;
    const other = this.all[target.index] as Prober;
    other.order.heard(other.peers.get(from) as Peer);
    this.onProbe(from, target.index);
    return target.index === silent;
  }

  #create(): number {
    this.all.push({ order: this.#make(this.random.fork()), peers: new Map(), phase: this.random.float(), probes: 0 });
    return this.all.length - 1;
  }

  #know(of: number, index: number): void {
    const node = peer(index);
    const { order, peers } = this.all[of] as Prober;
    peers.set(index, node);
    order.add(node);
  }
}

const troupe = (random: RandomSource): Order => new ProbeOrder(random);
const memberlist = (random: RandomSource): Order => new ShuffledRing(random);
const mean = (list: readonly number[]): number => list.reduce((sum, each) => sum + each, 0) / list.length;
const worst = (list: readonly number[]): number => Math.max(...list);
/** The mean of the worst in a hundred: of one in a thousand, chance decides. */
const tail = (list: readonly number[]): number => mean([...list].sort((a, b) => b - a).slice(0, Math.ceil(list.length / 100)));

interface Sample {
  readonly at: number;
  /** Of the table: 0 the first third, 2 the last. */
  readonly third: number;
  readonly took: number;
}

/** Victims over the whole table, the first, the middle and the last more often than others. */
function victimOf(random: Prng, count: number): number {
  return random.pick([0, count >> 1, count - 1, random.below(count), random.below(count), random.below(count)]) as number;
}

/** One falls silent after the other, from the first moment on. */
function samples(make: (random: RandomSource) => Order, seeds: number, start: number, until: number, grow: (probers: Probers) => void = () => {}): Sample[] {
  const found: Sample[] = [];
  for (let seed = 1; seed <= seeds; seed++) {
    const probers = new Probers(make, seed, start);
    while (probers.now < until) {
      grow(probers);
      const { now, all: { length } } = probers;
      const victim = victimOf(probers.random, length);
      found.push({ at: now, third: Math.floor((victim * 3) / length), took: probers.silent(victim) });
      probers.runUntil(probers.now + probers.random.float());
    }
  }
  return found;
}

const took = (list: readonly Sample[], which: (sample: Sample) => boolean = () => true): number[] => list.filter(which).map((sample) => sample.took);

describe('with any pings from the others, each member of a pool that stays as it is', () => {
  test('is probed at least as often as in memberlist; of few, each is probed or heard of within one round', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 16 }), fc.array(fc.array(fc.nat(15), { maxLength: 30 }), { minLength: 1, maxLength: 150 }), fc.nat(), (count, pings, seed) => {
      const order = new ProbeOrder(new Prng(seed));
      const peers = Array.from({ length: count }, (_, i) => peer(i));
      for (const each of peers) order.add(each);
      const probed = peers.map(() => 0);
      const met = peers.map(() => 0);
      pings.forEach((heard, i) => {
        const { index } = order.next() as Peer;
        for (let each = 0; each < count; each++) {
          if (count <= 8) expect(i + 1 - (met[each] as number)).toBeLessThanOrEqual(count);
          expect(i + 1 - (probed[each] as number)).toBeLessThanOrEqual(2 * count - 1);
        }
        probed[index] = i + 1;
        met[index] = i + 1;
        for (const each of heard) {
          if (each >= count) continue;
          order.heard(peers[each] as Peer);
          met[each] = i + 1;
        }
      });
    }), { numRuns: 300, seed: 1 });
  });

  test.each([8, 9])('of %d others, and who talks without end holds nobody else up', (count) => {
    const order = new ProbeOrder(new Prng(1));
    const peers = Array.from({ length: count }, (_, i) => peer(i));
    for (const each of peers) order.add(each);
    const probed = peers.map(() => 0);
    for (let i = 0; i < 100 * count; i++) {
      const { index } = order.next() as Peer;
      probed[index] = (probed[index] as number) + 1;
      order.heard(peers[3] as Peer);
    }
    for (const { index } of peers) {
      if (index !== 3) expect(probed[index]).toBeGreaterThanOrEqual(100);
      else if (count > 8) expect(probed[index]).toBe(100);
      else expect(probed[index]).toBeGreaterThanOrEqual(Math.floor((100 * count) / (2 * count - 1)));
    }
  });
});

test('of many, each is probed once per round, and each round has an order of its own', () => {
  const order = new ProbeOrder(new Prng(1));
  const peers = Array.from({ length: 9 }, (_, i) => peer(i));
  for (const each of peers) order.add(each);
  const rounds = Array.from({ length: 20 }, () => peers.map(() => (order.next() as Peer).index));
  for (const round of rounds) expect([...round].sort((a, b) => a - b)).toEqual(peers.map(({ index }) => index));
  expect(new Set(rounds.map((round) => round.join(' '))).size).toBe(20);
});

test('who is gone is not probed, nor comes in by a ping', () => {
  const order = new ProbeOrder(new Prng(1));
  const [a, b] = [peer(0), peer(1)];
  expect(order.next()).toBeUndefined();
  for (const each of [a, b]) order.add(each);
  order.remove(a);
  order.remove(a);
  order.heard(a);
  expect([order.next(), order.next()]).toEqual([b, b]);
  order.add(a);
  expect(new Set([order.next(), order.next()])).toEqual(new Set([a, b]));
});

describe('until somebody probes who fell silent (in intervals), beside memberlist\'s order', () => {
  test.each([{ nodes: 3, seeds: 200 }, { nodes: 5, seeds: 100 }, { nodes: 9, seeds: 100 }])('in a pool of $nodes that starts at once: sooner, at the worst too, wherever it stands in the table', ({ nodes, seeds }) => {
    const ours = samples(troupe, seeds, nodes, 6 * nodes);
    const theirs = samples(memberlist, seeds, nodes, 6 * nodes);
    for (const early of [true, false]) {
      const which = ({ at }: Sample): boolean => early === at < nodes / 2;
      expect(mean(took(ours, which))).toBeLessThan((early ? 1 : 0.85) * mean(took(theirs, which)));
    }
    expect(worst(took(ours))).toBeLessThan(worst(took(theirs)));
    for (const third of [0, 1, 2]) {
      const which = (sample: Sample): boolean => sample.third === third;
      expect(mean(took(ours, which)), `third ${third}`).toBeLessThan(0.9 * mean(took(theirs)));
      expect(tail(took(ours, which)), `third ${third}`).toBeLessThan(tail(took(theirs)));
    }
  });

  test.each([{ nodes: 20, seeds: 60 }, { nodes: 100, seeds: 12 }])('in a pool of $nodes that starts at once: as soon, wherever it stands in the table', ({ nodes, seeds }) => {
    const ours = samples(troupe, seeds, nodes, 3 * nodes);
    const theirs = samples(memberlist, seeds, nodes, 3 * nodes);
    expect(mean(took(ours))).toBeLessThan(1.05 * mean(took(theirs)));
    expect(tail(took(ours))).toBeLessThan(1.15 * tail(took(theirs)));
    for (const third of [0, 1, 2]) {
      expect(mean(took(ours, (sample) => sample.third === third)), `third ${third}`).toBeLessThan(1.1 * mean(took(theirs)));
      // The first moments are those in which places would differ: nobody has met anybody.
      expect(mean(took(ours, (sample) => sample.third === third && sample.at < nodes / 2)), `third ${third}, early`).toBeLessThan(1.25 * mean(took(theirs)));
      expect(tail(took(ours, (sample) => sample.third === third && sample.at < nodes / 2)), `third ${third}, early`).toBeLessThan(1.5 * tail(took(theirs)));
    }
  });

  test.each([
    { what: 'five per interval, to 100', perInterval: 5, nodes: 100, seeds: 16 },
    { what: 'one in three intervals, to 60', perInterval: 1 / 3, nodes: 60, seeds: 16 },
    { what: 'one in three intervals, to 9', perInterval: 1 / 3, nodes: 9, seeds: 150 },
    { what: 'one per interval, to 12: past the number up to which pings count', perInterval: 1, nodes: 12, seeds: 150 },
  ])('in a pool that grows, $what: as soon, whether it came early or late', ({ perInterval, nodes, seeds }) => {
    const grow = (probers: Probers): void => {
      while (probers.all.length < Math.min(nodes, 3 + probers.now * perInterval)) probers.join();
    };
    const until = nodes / perInterval + nodes;
    const ours = samples(troupe, seeds, 3, until, grow);
    const theirs = samples(memberlist, seeds, 3, until, grow);
    expect(mean(took(ours))).toBeLessThan(1.05 * mean(took(theirs)));
    expect(tail(took(ours))).toBeLessThan(1.1 * tail(took(theirs)));
    for (const third of [0, 1, 2]) expect(mean(took(ours, (sample) => sample.third === third)), `third ${third}`).toBeLessThan(1.1 * mean(took(theirs)));
    for (const third of [0, 1, 2]) expect(tail(took(ours, (sample) => sample.third === third)), `third ${third}`).toBeLessThan(1.2 * tail(took(theirs)));
  });

  test.each([{ nodes: 6, what: 'a newcomer' }, { nodes: 6, what: 'one that came back' }, { nodes: 20, what: 'a newcomer' }, { nodes: 20, what: 'one that came back' }])('in a pool of $nodes: $what, at once or up to two rounds later', ({ nodes, what }) => {
    const late = (make: (random: RandomSource) => Order, laterIntervals: number): number[] => Array.from({ length: 400 }, (_, seed) => {
      const probers = new Probers(make, seed, nodes);
      probers.runUntil(1.2 * nodes + probers.random.float());
      const index = what === 'a newcomer' ? nodes : victimOf(probers.random, nodes);
      if (what === 'a newcomer') probers.join();
      else probers.comeBack(index);
      probers.runUntil(probers.now + laterIntervals);
      return probers.silent(index);
    });
    // Sixths of a round, each for itself, so that no bad moment hides behind good ones.
    const moments = Array.from({ length: 13 }, (_, sixth) => (sixth * nodes) / 6);
    const [ours, theirs] = [troupe, memberlist].map((make) => moments.map((later) => late(make, later))) as [number[][], number[][]];
    const usual = mean(theirs.flat());
    ours.forEach((list, i) => expect(mean(list), `${moments[i]} intervals later`).toBeLessThan(1.2 * usual));
    expect(mean(ours.flat())).toBeLessThan(1.02 * usual);
    expect(tail(ours.flat())).toBeLessThan(1.1 * tail(theirs.flat()));
  }, 20_000);

  test.each([3, 9, 10, 40])('and in a pool of %d no member goes without a probe for longer than two rounds less one', (nodes) => {
    const probers = new Probers(troupe, 1, nodes);
    const last = Array.from({ length: nodes }, () => Array.from({ length: nodes }, () => 0));
    let longest = 0;
    probers.onProbe = (from, target) => {
      const { probes } = probers.all[from] as Prober;
      longest = Math.max(longest, probes - (last[from]?.[target] as number));
      (last[from] as number[])[target] = probes;
    };
    probers.runUntil(20 * nodes);
    for (const [from, times] of last.entries()) for (const [target, time] of times.entries()) if (from !== target) expect((probers.all[from] as Prober).probes - time).toBeLessThanOrEqual(2 * (nodes - 1) - 1);
    expect(longest).toBeLessThanOrEqual(2 * (nodes - 1) - 1);
  });
});

/** The whole machines; gossip is dropped, packets take no time. */
function machines(count: number, seed: number): { readonly swims: Swim[]; readonly step: (silent: number) => { readonly now: number; readonly found: boolean } } {
  const random = new Prng(seed);
  const delegate: SwimDelegate = {
    nodeJoined: () => {}, nodeLeft: () => {}, nodeUpdated: () => {}, nameConflict: () => {}, userMessage: () => {}, broadcasts: () => [], largeBroadcasts: () => [], nobodyListens: () => {},
    localState: () => new Uint8Array(0), mergeState: () => {}, ackPayload: () => new Uint8Array(0), strangerPinged: () => {}, pingAnswered: () => {},
  };
  const address = (index: number): { readonly host: string; readonly port: number } => ({ host: `10.0.0.${index + 1}`, port: 7946 });
  const waiting: { readonly to: number; readonly from: number; readonly packet: Uint8Array }[] = [];
  const timers = Array.from({ length: count }, () => new Timers());
  const swims = timers.map((own, i) => new Swim(
    { name: `n${i}`, advertise: address(i), meta: new Uint8Array(0), timing: { ...swimTimings.lan, pushPullIntervalMs: 1e12 }, packetOverhead: () => 0, membersMax: 1000, deadNodeReclaimMs: 0 },
    { random: random.fork(), timers: own, delegate, sink: { sendPacket: (to, packet) => void waiting.push({ to: Number(to.host.split('.')[3]) - 1, from: i, packet }), dial: () => {}, log: () => {} } },
  ));
  for (const swim of swims) {
    swim.start();
    for (const other of swims) swim.table.alive(other.table.aliveClaim(other.table.self));
    swim.dropBroadcasts();
  }
  const step = (silent: number): { readonly now: number; readonly found: boolean } => {
    const next = timers.reduce((best, own, i) => (i !== silent && own.nextAt() < (timers[best] as Timers).nextAt() ? i : best), silent === 0 ? 1 : 0);
    const now = (timers[next] as Timers).nextAt();
    (timers[next] as Timers).run(now);
    let found = false;
    for (let each = waiting.shift(); each !== undefined; each = waiting.shift()) {
      const { to, from, packet } = each;
      if (to === silent) unwrapPacket(packet, (message) => { found ||= message[0] === messageType.ping && pingCodec.decode(message.subarray(1)).Node === `n${to}`; });
      (timers[to] as Timers).now = now; // found, it is well again, and answers
      (swims[to] as Swim).handlePacket(packet, address(from));
    }
    return { now, found };
  };
  return { swims, step };
}

test('the machines of a pool that starts at once probe each place of the table as soon', () => {
  const nodes = 40;
  const times: number[][] = [[], [], []];
  for (let seed = 1; seed <= 20; seed++) {
    const { swims, step } = machines(nodes, seed);
    const random = new Prng(seed);
    // The first half of a round: nobody has met most others.
    for (let now = 0; now < nodes * 500;) {
      const victim = victimOf(random, nodes);
      const since = now;
      for (;;) {
        const done = step(victim);
        now = done.now;
        if (done.found) break;
      }
      times[Math.floor((victim * 3) / nodes)]?.push((now - since) / 1000);
    }
    expect(swims.every((swim) => swim.table.live === nodes && [...swim.table.nodes()].every((node) => node.state === 'alive'))).toBe(true);
  }
  for (const third of times) {
    expect(third.length).toBeGreaterThan(100);
    expect(mean(third)).toBeLessThan(1.25);
    expect(worst(third)).toBeLessThan(8);
  }
});
