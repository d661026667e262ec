import { LocalRouter } from '../../src/core/store/local-router.ts';
import { Status, StoreReply, StoreRequest, type ReplySink, type StoreRouter } from '../../src/core/store/request.ts';
import { startMemcached, type MemcachedServer } from '../../src/frontends/memcached/server.ts';
import type { MemcachedLimits } from '../../src/frontends/memcached/limits.ts';
import type { Clock, Timer } from '../../src/ports/clock.ts';
import { silentLog } from '../../src/ports/log.ts';
import type { Stream, StreamHandler, Streams } from '../../src/ports/streams.ts';
import type { Prng } from '../../src/base/prng.ts';

const latin1 = new TextDecoder('latin1');
export function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/** Time stands still unless a test moves it. */
export class StillClock implements Clock {
  wallMs = 1_800_000_000_000;
  readonly #runs: (() => void)[] = [];
  now(): number {
    return 0;
  }
  sleptMs(): number {
    return 0;
  }
  wallTime(): number {
    return this.wallMs;
  }
  at(): Timer {
    return { cancel() {} };
  }
  endOfTurn(run: () => void): void {
    this.#runs.push(run);
  }
  finishTurn(): void {
    for (const run of this.#runs.splice(0)) run();
  }
}

/** One connection without a network; counts what is kept waiting in it. */
export class FakeStream implements Stream {
  readonly remote = { host: '127.0.0.1', port: 1 };
  handler: StreamHandler | undefined;
  output = '';
  paused = false;
  ended = false;
  destroyed = false;
  /** Refuses (takes, but answers false to) every write while set. */
  full = false;
  bufferedBytes = 0;
  setHandler(handler: StreamHandler): void {
    this.handler = handler;
  }
  write(bytes: Uint8Array): boolean {
    if (this.ended) throw new Error('write after end');
    this.output += latin1.decode(bytes);
    this.bufferedBytes += bytes.length;
    return !this.full;
  }
  pause(): void {
    this.paused = true;
  }
  resume(): void {
    this.paused = false;
  }
  end(): void {
    this.ended = true;
  }
  destroy(): void {
    this.destroyed = true;
  }
  drain(): void {
    this.bufferedBytes = 0;
    this.handler?.onDrain?.();
  }
}

/** Executes at once but answers later, in any order: what a remote primary looks like to a frontend. */
export class LateRouter implements StoreRouter {
  readonly inner: LocalRouter;
  readonly maxValueBytes: number;
  readonly #random: Prng;
  #open: (() => void)[] = [];
  constructor(inner: LocalRouter, random: Prng) {
    this.inner = inner;
    this.#random = random;
    this.maxValueBytes = inner.maxValueBytes;
  }
  get open(): number {
    return this.#open.length;
  }
  execute(request: StoreRequest, sink: ReplySink): void {
    this.#later(sink, (now) => this.inner.execute(request, now));
    // What the frontend may do with its buffers once the call has returned.
    if (this.#random.chance(0.2)) this.answerSome();
  }
  flushAll(atSeconds: number, sink: ReplySink): void {
    this.#later(sink, (now) => this.inner.flushAll(atSeconds, now));
  }
  stats(): Iterable<readonly [string, string]> {
    return this.inner.stats();
  }
  answerSome(): void {
    const chosen = this.#open.filter(() => this.#random.chance(0.5));
    this.#open = this.#open.filter((answer) => !chosen.includes(answer));
    for (const answer of this.#random.shuffle(chosen)) answer();
  }
  #later(sink: ReplySink, run: (now: ReplySink) => void): void {
    const kept = new StoreReply();
    run({
      reply: (reply) => {
        Object.assign(kept, reply);
        kept.value = reply.status === Status.hit ? reply.value.slice(reply.valueStart, reply.valueEnd) : new Uint8Array(0);
        kept.valueStart = 0;
        kept.valueEnd = kept.value.length;
      },
    });
    if (this.#random.chance(0.3)) sink.reply(kept);
    else this.#open.push(() => sink.reply(kept));
  }
}

export interface Rig {
  readonly clock: StillClock;
  readonly router: LocalRouter;
  readonly server: MemcachedServer;
  connect(): FakeStream;
}

export function localRouter(clock: StillClock): LocalRouter {
  return new LocalRouter({ nowSeconds: () => Math.floor(clock.wallMs / 1000), partitions: 8, maxMemoryBytes: 64 * 1024 * 1024 });
}

export async function startRig(wrap: (router: LocalRouter) => StoreRouter = (router) => router, limits: Partial<MemcachedLimits> = {}): Promise<Rig> {
  const clock = new StillClock();
  const router = localRouter(clock);
  let accept: (stream: Stream) => void = () => {};
  const streams: Streams = {
    listen: (address, onStream) => {
      accept = onStream;
      return Promise.resolve({ address, close: () => Promise.resolve() });
    },
    connect: () => {
      throw new Error('a server does not connect');
    },
  };
  const server = await startMemcached({ streams, clock, log: silentLog, address: { host: '127.0.0.1', port: 11211 }, router: wrap(router), limits, version: 'V' });
  return {
    clock,
    router,
    server,
    connect() {
      const stream = new FakeStream();
      accept(stream);
      return stream;
    },
  };
}
