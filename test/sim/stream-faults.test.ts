import { expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import type { Stream } from '../../src/ports/streams.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';
import { HalfOpenRecorder, Recorder } from '../ports/worlds.ts';

/** Writes of random sizes; what was written is told apart by its place. */
class Writer {
  written = 0;
  readonly #random: Prng;

  constructor(random: Prng) {
    this.#random = random;
  }

  write(stream: Stream): void {
    const length = this.#random.below(this.#random.chance(0.1) ? 200_000 : 2000);
    const bytes = new Uint8Array(length);
    for (let i = 0; i < length; i++) bytes[i] = patternAt(this.written + i);
    this.written += length;
    stream.write(bytes);
  }
}

const patternAt = (place: number): number => (place * 31 + (place >> 8)) & 255;

function expectPrefix(received: Buffer, written: number, context: string): void {
  expect(received.length, context).toBeLessThanOrEqual(written);
  const wrong = received.findIndex((byte, place) => byte !== patternAt(place));
  expect(wrong, context).toBe(-1);
}

it.each([true, false])('streams under random faults deliver a prefix of what was written, and all of it once healed (give up early: %s)', async (impatient) => {
  const closes = new Map<string, number>();
  for (let seed = 1; seed <= 40; seed++) {
    const random = new Prng(seed);
    const world = new SimWorld({ seed, network: { link: { loss: 0.02, bytesPerMs: random.chance(0.5) ? 2000 : Infinity }, giveUpMs: impatient ? 800 : 600_000, fragment: 0.3 } });
    const [a, b] = ['a', 'b'].map((name) => world.addHost(name).start(name));
    if (a === undefined || b === undefined) throw new Error('no hosts');
    const [client, server] = [new Recorder(), new HalfOpenRecorder()];
    let accepted: Stream | undefined;
    await b.streams.listen({ host: '0.0.0.0', port: 1 }, (stream) => (accepted = stream).setHandler(server));
    const out = a.streams.connect({ host: 'b', port: 1 }, { timeoutMs: 60_000 });
    out.setHandler(client);
    const [there, back] = [new Writer(random), new Writer(random)];
    for (let step = 0; step < 60; step++) {
      there.write(out);
      if (accepted !== undefined) back.write(accepted);
      const fault = random.below(12);
      if (fault === 0) world.network.partition(['a'], ['b']);
      else if (fault === 1) world.network.block(['a'], ['b'], true);
      else if (fault === 2) world.network.block(['b'], ['a'], true);
      else if (fault === 3) b.pause();
      else if (fault === 4) accepted?.pause();
      else if (fault <= 7) {
        world.network.heal();
        b.resume();
        accepted?.resume();
      }
      await world.scheduler.runFor(random.below(100));
    }
    world.network.heal();
    b.resume();
    accepted?.resume();
    out.end();
    await world.scheduler.runFor(20_000);
    accepted?.end();
    await world.scheduler.runFor(60_000);
    const context = `seed ${seed}`;
    expectPrefix(server.bytes, there.written, context);
    expectPrefix(client.bytes, back.written, context);
    expect([client.closeCount, server.closeCount], context).toEqual([1, 1]);
    for (const recorder of [client, server]) expect(recorder.events.at(-1), context).toMatch(/^close/);
    const key = `${client.closed} ${server.closed}`;
    closes.set(key, (closes.get(key) ?? 0) + 1);
    if (client.closed === 'local' && server.closed === 'end') {
      expect([server.bytes.length, client.bytes.length], context).toEqual([there.written, back.written]);
    }
  }
  // Patience: nothing is ever lost. Impatience: some give up, and not all.
  if (impatient) expect([...closes.keys()].some((key) => key.includes('timeout'))).toBe(true);
  else expect([...closes]).toEqual([['local end', 40]]);
});

it.each([[false, ['reset', 'reset']], [true, ['reset', undefined]]])('a reset ends both ends, or one until the other sends; what was under way is lost (one side: %s)', async (oneSide, expected) => {
  const world = new SimWorld({ seed: 1 });
  const [a, b] = ['a', 'b'].map((name) => world.addHost(name).start(name));
  if (a === undefined || b === undefined) throw new Error('no hosts');
  const [client, server] = [new Recorder(), new HalfOpenRecorder()];
  let accepted: Stream | undefined;
  const listener = await b.streams.listen({ host: '0.0.0.0', port: 1 }, (stream) => {
    accepted = stream;
    stream.setHandler(server);
  });
  const stream = a.streams.connect({ host: 'b', port: 1 });
  stream.setHandler(client);
  await world.scheduler.runFor(100);
  world.network.reset(['b'], ['a'], oneSide);
  await world.scheduler.runFor(100);
  expect([server.closed, client.closed]).toEqual(expected);
  stream.write(new Uint8Array(10));
  accepted?.write(new Uint8Array(10));
  await world.scheduler.runFor(100);
  expect([server.closed, client.closed]).toEqual(['reset', 'reset']);
  expect(server.bytes.length).toBe(0);
  await listener.close();
});
