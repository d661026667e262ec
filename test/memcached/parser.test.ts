import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { Status, StoreReply, type ReplySink, type StoreRouter } from '../../src/core/store/request.ts';
import { bytesOf, LateRouter, startRig, type FakeStream, type Rig } from './support.ts';
import { scripts, withoutCas } from './scripts.ts';

/** Feeds the bytes in pieces that are overwritten afterwards, as a socket's read buffer is. */
function feed(stream: FakeStream, bytes: Uint8Array, cuts: readonly number[]): void {
  let at = 0;
  for (const cut of [...cuts, bytes.length]) {
    if (cut <= at) continue;
    const chunk = bytes.slice(at, cut);
    stream.handler?.onData(chunk);
    chunk.fill(0x2a);
    at = cut;
  }
}

function randomCuts(random: Prng, length: number): number[] {
  const cuts: number[] = [];
  const step = 1 + random.below(random.chance(0.3) ? 4 : 200);
  for (let at = 1 + random.below(step); at < length && cuts.length < 3000; at += 1 + random.below(step * 2)) cuts.push(at);
  return cuts;
}

async function answersOf(script: Uint8Array, cuts: readonly number[]): Promise<string> {
  const rig = await startRig();
  const stream = rig.connect();
  feed(stream, script, cuts);
  return withoutStats(stream.output) + (stream.ended ? '<ended>' : '');
}

const word = fc.constantFrom('get', 'gets', 'gat', 'gats', 'set', 'add', 'replace', 'append', 'prepend', 'cas', 'incr', 'decr', 'delete', 'touch', 'flush_all', 'verbosity', 'version', 'stats', 'foo', 'noreply', 'a', 'b', 'ccc', '0', '1', '5', '-1', '17', '99999999999999999999', 'k'.repeat(250), 'k'.repeat(251), '\x00', '\t');
const line = fc.array(word, { maxLength: 7 }).map((words) => words.join(' '));
const storage = fc
  .record({ op: fc.constantFrom('set', 'add', 'replace', 'append', 'prepend'), key: fc.constantFrom('a', 'b', 'ccc'), value: fc.string({ maxLength: 30 }), lie: fc.constantFrom(0, 0, 0, 0, -1, 1, 3), noreply: fc.boolean() })
  .map(({ op, key, value, lie, noreply }) => `${op} ${key} 3 0 ${Math.max(0, Buffer.byteLength(value, 'latin1') + lie)}${noreply ? ' noreply' : ''}\r\n${value}`);
const script = fc.array(fc.tuple(fc.oneof(line, storage), fc.constantFrom('\r\n', '\r\n', '\r\n', '\n', '\r\r\n')), { maxLength: 30 }).map((lines) => bytesOf(lines.map((each) => each.join('')).join('')));

describe('memcached parser', () => {
  it('answers the same for any cutting of the input', async () => {
    const random = new Prng(7);
    for (const each of scripts) {
      const bytes = bytesOf(each);
      const whole = await answersOf(bytes, []);
      for (let i = 0; i < (bytes.length < 100_000 ? 6 : 2); i++) expect(await answersOf(bytes, randomCuts(random, bytes.length)), JSON.stringify(each.slice(0, 200))).toBe(whole);
      if (bytes.length < 10_000) expect(await answersOf(bytes, Array.from(bytes.keys())), JSON.stringify(each.slice(0, 200))).toBe(whole);
    }
  });

  it('answers the same for any cutting of any mixture of commands', async () => {
    await fc.assert(
      fc.asyncProperty(script, fc.integer(), async (bytes, seed) => {
        const whole = await answersOf(bytes, []);
        expect(await answersOf(bytes, randomCuts(new Prng(seed), bytes.length))).toBe(whole);
        expect(await answersOf(bytes, Array.from(bytes.keys()))).toBe(whole);
      }),
      { numRuns: 150 },
    );
  });

  it('answers in the order of the requests, whenever the answers come', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(script, fc.constantFrom(...scripts.filter((each) => each.length < 5000)).map(bytesOf)), fc.integer(), async (bytes, seed) => {
        const random = new Prng(seed);
        const whole = (await startAndFeed(undefined, bytes, [])).output;
        const late: LateRouter[] = [];
        const rig = await startRig(
          (router) => {
            const wrapped = new LateRouter(router, random);
            late.push(wrapped);
            return wrapped;
          },
          { pendingMax: 1 + random.below(20), pendingBytesMax: random.below(300) },
        );
        const stream = rig.connect();
        feed(stream, bytes, randomCuts(random, bytes.length));
        for (let round = 0; round < 10_000 && ((late[0] as LateRouter).open > 0 || stream.paused); round++) {
          (late[0] as LateRouter).answerSome();
          rig.clock.finishTurn();
        }
        rig.clock.finishTurn();
        expect(stream.paused).toBe(false);
        // What counts commands may differ while they are on their way.
        expect(withoutStats(withoutCas(stream.output))).toBe(withoutStats(withoutCas(whole)));
      }),
      { numRuns: 200 },
    );
  });

  it('survives arbitrary bytes in arbitrary pieces', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 12 }), async (chunks) => {
        const rig = await startRig();
        const stream = rig.connect();
        for (const chunk of chunks) stream.handler?.onData(chunk);
        stream.handler?.onClose('end');
        expect(rig.server.connections).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  it('ends a connection whose line never ends, and keeps no more of it than the limit', async () => {
    for (const [head, limit] of [['x', 2048], ['set ', 2048], ['get ', 1024 * 1024], ['gats 0 ', 1024 * 1024]] as const) {
      const rig = await startRig();
      const stream = rig.connect();
      stream.handler?.onData(bytesOf(head));
      let sent = head.length;
      while (!stream.ended && sent < 4 * 1024 * 1024) {
        stream.handler?.onData(bytesOf('a '.repeat(500)));
        sent += 1000;
      }
      expect(stream.output).toBe('CLIENT_ERROR line too long\r\n');
      expect(sent).toBeGreaterThan(limit);
      expect(sent).toBeLessThan(limit + 1100);
    }
  });

  it('an announced data block costs memory only as it comes', async () => {
    const rig = await startRig();
    const before = process.memoryUsage().arrayBuffers;
    const streams = Array.from({ length: 1000 }, () => {
      const stream = rig.connect();
      stream.handler?.onData(bytesOf('set a 0 0 1000000\r\nx'));
      return stream;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(40_000_000);
    expect(streams.length).toBe(1000);
  });

  it('stops reading while too many requests wait, and goes on when they are answered', async () => {
    const sinks: ReplySink[] = [];
    const silent: StoreRouter = { execute: (_request, sink) => void sinks.push(sink), flushAll: (_at, sink) => void sinks.push(sink), stats: () => [], maxValueBytes: 1000 };
    const rig = await startRig(() => silent, { pendingMax: 10 });
    const stream = rig.connect();
    stream.handler?.onData(bytesOf('delete a\r\n'.repeat(25)));
    expect(stream.paused).toBe(true);
    expect(sinks.length).toBe(10);
    const reply = new StoreReply();
    reply.status = Status.deleted;
    for (let answered = 0; answered < 25; answered++) {
      (sinks[answered] as ReplySink).reply(reply);
      rig.clock.finishTurn();
    }
    expect(stream.output).toBe('DELETED\r\n'.repeat(25));
    expect(stream.paused).toBe(false);
    // A second answer to the same request is nobody's.
    (sinks[0] as ReplySink).reply(reply);
    rig.clock.finishTurn();
    expect(stream.output).toBe('DELETED\r\n'.repeat(25));
  });

  it('writes no faster than the client reads, even within one line of many large values', async () => {
    const rig = await startRig();
    const stream = rig.connect();
    stream.handler?.onData(bytesOf(`set big 0 0 500000\r\n${'x'.repeat(500_000)}\r\n`));
    stream.output = '';
    stream.full = true;
    stream.bufferedBytes = 0;
    stream.handler?.onData(bytesOf(`get${' big'.repeat(30)}\r\nset big 0 0 1\r\ny\r\nget big\r\n`));
    let rounds = 0;
    while (stream.paused && rounds < 100) {
      expect(stream.bufferedBytes).toBeLessThan(1_200_000);
      stream.drain();
      rounds++;
    }
    expect(rounds).toBeGreaterThan(10);
    expect(stream.output).toBe(`${`VALUE big 0 500000\r\n${'x'.repeat(500_000)}\r\n`.repeat(30)}END\r\nSTORED\r\nVALUE big 0 1\r\ny\r\nEND\r\n`);
  });

  it('a key that could not be read is an error, not a miss', async () => {
    let turn = 0;
    const router = (rig: { inner: StoreRouter }, late: ReplySink[]): StoreRouter => ({
      execute(request, sink) {
        if (turn++ % 3 === 1) late.push(sink);
        else rig.inner.execute(request, sink);
      },
      flushAll: (at, sink) => rig.inner.flushAll(at, sink),
      stats: () => [],
      maxValueBytes: 1000,
    });
    const late: ReplySink[] = [];
    const rig = await startRig((inner) => router({ inner }, late));
    const stream = rig.connect();
    stream.handler?.onData(bytesOf('set a 0 0 1\r\nA\r\n'));
    turn = 0;
    stream.handler?.onData(bytesOf('get a b a\r\nversion\r\n'));
    const reply = new StoreReply();
    reply.status = Status.unavailable;
    reply.message = 'no primary\r\nfor partition 3';
    (late[0] as ReplySink).reply(reply);
    rig.clock.finishTurn();
    expect(stream.output).toBe('STORED\r\nVALUE a 0 1\r\nA\r\nVALUE a 0 1\r\nA\r\nSERVER_ERROR no primary for partition 3\r\nVERSION V\r\n');
  });

  it('closes on the binary protocol and refuses connections beyond the limit', async () => {
    const rig = await startRig(undefined, { connectionsMax: 1 });
    const first = rig.connect();
    const second = rig.connect();
    expect(second.output).toBe('ERROR Too many open connections\r\n');
    expect(second.ended).toBe(true);
    first.handler?.onData(Uint8Array.of(0x80, 0, 0, 0));
    expect(first.ended).toBe(true);
    expect(first.output).toBe('');
  });

  it('answers what was asked before the client ended its side', async () => {
    const sinks: ReplySink[] = [];
    const silent: StoreRouter = { execute: (_request, sink) => void sinks.push(sink), flushAll: (_at, sink) => void sinks.push(sink), stats: () => [], maxValueBytes: 1000 };
    const rig = await startRig(() => silent, { pendingMax: 2 });
    const stream = rig.connect();
    stream.handler?.onData(bytesOf('delete a\r\n'.repeat(4)));
    stream.handler?.onEnd?.();
    expect(stream.ended).toBe(false);
    const reply = new StoreReply();
    reply.status = Status.notFound;
    for (let i = 0; i < 4; i++) {
      (sinks[i] as ReplySink).reply(reply);
      rig.clock.finishTurn();
    }
    expect(stream.output).toBe('NOT_FOUND\r\n'.repeat(4));
    expect(stream.ended).toBe(true);
  });

  it('close() lets requests under way finish', async () => {
    const sinks: ReplySink[] = [];
    const silent: StoreRouter = { execute: (_request, sink) => void sinks.push(sink), flushAll: (_at, sink) => void sinks.push(sink), stats: () => [], maxValueBytes: 1000 };
    const rig = await startRig(() => silent);
    const stream = rig.connect();
    stream.handler?.onData(bytesOf('delete a\r\n'));
    let closed = false;
    const closing = rig.server.close().then(() => (closed = true));
    await Promise.resolve();
    expect(stream.ended).toBe(false);
    const reply = new StoreReply();
    reply.status = Status.deleted;
    (sinks[0] as ReplySink).reply(reply);
    await Promise.resolve();
    rig.clock.finishTurn();
    await new Promise((resolve) => setImmediate(resolve));
    expect(stream.output).toBe('DELETED\r\n');
    expect(stream.ended).toBe(true);
    expect(closed).toBe(false);
    stream.handler?.onClose('local');
    await closing;
    expect(rig.server.connections).toBe(0);
  });
});

function withoutStats(text: string): string {
  return text.replace(/^STAT .*\r\n/gm, '');
}

async function startAndFeed(wrap: Parameters<typeof startRig>[0], bytes: Uint8Array, cuts: readonly number[]): Promise<FakeStream> {
  const rig: Rig = await startRig(wrap);
  const stream = rig.connect();
  feed(stream, bytes, cuts);
  return stream;
}
