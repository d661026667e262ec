/**
 * Takes requests for a keyspace on any node and brings each to the primary of its partition: here, or by forwarding.
 * Rides out failovers: a request whose primary died, hangs or moved is sent again to the next one, marked with its age,
 * so that it takes effect once. The caller sees a pause, not an error.
 */
import type { KeyspaceEntry } from '../core/control/map.ts';
import { copyBytes } from '../base/copy-bytes.ts';
import type { ExecuteSink } from '../core/replica/sinks.ts';
import { partitionOf } from '../core/store/hash.ts';
import { Op, Status, StoreReply, StoreRequest } from '../core/store/request.ts';
import type { ReplySink, StoreRouter } from '../core/store/request.ts';
import { FrameReader } from '../core/wire/frame-reader.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Peers } from './peers.ts';
import { fillDigits, movedStatus, readReply, writeRequest } from './request-frames.ts';
import type { RequestHead } from './request-frames.ts';
import type { StoreHost } from './store-host.ts';
import { maxValueBytes } from './store-host.ts';

const pendingMax = 100_000;
const pendingBytesMax = 256 << 20;
const sweepMs = 10;
const expireEverySweeps = 10;
/** An answer may be lost with the connection that carried it: what is not answered for this long is asked again, as a retry. */
const resendAfterMs = 1000;
/** A node that said it is not the primary, while the map says it is, is asked again after this long. */
const askAgainMs = 10;

export interface RouterSurroundings {
  readonly self: string;
  hasRights(now: number): boolean;
  /** The node's session number, or a random number while it never had one: the first half of a request's name. */
  origin(): number;
  /**
   * Where this process begins to number its requests: random, at most 2^52. A primary may answer a request of this node's
   * dead predecessor over the new process's connection; the number must not be one of ours.
   */
  readonly firstId: number;
}

/** All requests of this node that have no answer yet, whichever keyspace they are for. */
export class Requests {
  readonly #store: StoreHost;
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #around: RouterSurroundings;
  readonly #timeoutMs: number;
  readonly #pending = new Map<number, PendingRequest>();
  /** Those of them that no node has at the moment. */
  readonly #homeless = new Set<PendingRequest>();
  #pendingBytes = 0;
  #sweeps = 0;
  #nextId: number;
  #timer: Timer | undefined;
  #closed = false;
  readonly #reader = new FrameReader();
  readonly #reply = new StoreReply();
  #spare: PendingRequest | undefined;
  readonly #head: RequestHead = { keyspace: 0, partition: 0, epoch: 0, origin: 0, id: 0, attempt: 0, ageMs: 0 };
  /** Requests that had to be sent more than once. */
  retried = 0;

  constructor(store: StoreHost, peers: Peers, clock: Clock, around: RouterSurroundings, timeoutMs: number) {
    this.#store = store;
    this.#peers = peers;
    this.#clock = clock;
    this.#around = around;
    this.#timeoutMs = timeoutMs;
    this.#nextId = around.firstId;
  }

  get waiting(): number {
    return this.#pending.size;
  }

  /** @param partition given for requests that have no key */
  execute(keyspace: string, entry: KeyspaceEntry | undefined, request: StoreRequest, sink: ReplySink, partition: number = -1): void {
    if (entry === undefined || this.#closed) {
      this.#refuse(Status.unavailable, this.#closed ? 'this node is stopping' : `the keyspace '${keyspace}' does not exist (yet)`, sink);
      return;
    }
    const index = partition >= 0 ? partition : partitionOf(request.hash, entry.partitions.length);
    const pending = this.#spare ?? new PendingRequest(this);
    this.#spare = undefined;
    pending.begin(this.#nextId++, this.#around.origin(), keyspace, entry.id, index, this.#clock.now(), sink);
    if (this.#tryLocal(pending, request)) {
      if (pending.done) {
        this.#spare = pending;
        return;
      }
    } else if (this.#pending.size >= pendingMax || this.#pendingBytes >= pendingBytesMax) {
      pending.done = true;
      this.#refuse(Status.busy, `this node has ${this.#pending.size} requests under way already`, sink);
      return;
    }
    pending.keep(request);
    this.#pending.set(pending.id, pending);
    this.#pendingBytes += pending.bytes;
    if (this.#timer === undefined) this.#armSweep();
    if (pending.target === undefined) this.#dispatch(pending);
  }

  #refuse(status: Status, message: string, sink: ReplySink): void {
    const reply = this.#reply;
    reply.status = status;
    reply.message = message;
    sink.reply(reply);
  }

  /** True if this node's own copy took the request. */
  #tryLocal(pending: PendingRequest, request: StoreRequest): boolean {
    const now = this.#clock.now();
    const copy = this.#store.keyspaces.get(pending.keyspaceId)?.copies[pending.partition];
    if (copy === undefined || !copy.serving || !this.#around.hasRights(now)) return false;
    pending.target = this.#around.self;
    const ageMs = pending.tries === 0 ? 0 : Math.max(1, now - pending.startedAt);
    pending.tries++;
    copy.execute(now, this.#store.nowSeconds(), request, pending.origin, pending.id, ageMs, pending);
    return true;
  }

  #dispatch(pending: PendingRequest): void {
    const entry = this.#store.partition(pending.keyspace, pending.partition);
    pending.target = undefined;
    this.#homeless.add(pending);
    if (entry?.primary === undefined) return;
    const request = pending.request as StoreRequest;
    if (entry.primary === this.#around.self) {
      this.#tryLocal(pending, request);
      if (pending.target !== undefined || pending.done) this.#homeless.delete(pending);
      return;
    }
    const writer = this.#peers.writer(entry.primary);
    if (writer === undefined) return;
    this.#homeless.delete(pending);
    pending.target = entry.primary;
    const now = this.#clock.now();
    const head = this.#head;
    head.keyspace = pending.keyspaceId;
    head.partition = pending.partition;
    head.epoch = entry.epoch;
    head.origin = pending.origin;
    head.id = pending.id;
    head.ageMs = pending.tries === 0 ? 0 : Math.max(1, Math.ceil(now - pending.startedAt));
    if (pending.tries > 0) this.retried++;
    pending.tries++;
    head.attempt = pending.tries & 0xffff;
    pending.sentAt = now;
    writeRequest(writer, head, request);
  }

  onResponseFrame(from: string, bytes: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(bytes, start, end);
    const id = reader.count();
    const attempt = reader.u16();
    const status = reader.u8();
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    // Of several tries only the last one's answer ends a write. An earlier one that changed nothing is in no log: if its
    // answer (an incr of a missing key, say) ended the request, the later try, still on its way, could yet change something.
    if (attempt !== (pending.tries & 0xffff) && pending.request?.op !== Op.get) return;
    if (status === movedStatus) {
      if (pending.target === from) pending.moved();
      return;
    }
    readReply(reader, status, this.#reply);
    pending.reply(this.#reply);
  }

  /** Called by a pending request that has its answer. */
  settled(pending: PendingRequest): void {
    this.#homeless.delete(pending);
    if (this.#pending.delete(pending.id)) this.#pendingBytes -= pending.bytes;
  }

  /** Called by a pending request whose primary gave it back. */
  homeless(pending: PendingRequest): void {
    pending.target = undefined;
    pending.notBefore = this.#clock.now() + askAgainMs;
    this.#homeless.add(pending);
  }

  /** The map changed, or a copy here began to serve, or a connection was made: whoever waits for that goes on. */
  lookAgain(): void {
    if (this.#pending.size === 0) return;
    for (const pending of this.#pending.values()) {
      const primary = this.#store.partition(pending.keyspace, pending.partition)?.primary;
      if (pending.target === undefined ? primary !== undefined : primary !== undefined && primary !== pending.target) this.#dispatch(pending);
    }
  }

  /** The node has made a new connection to this one: answers may have been lost with the old one. */
  reconnectedFrom(name: string): void {
    for (const pending of this.#pending.values()) if (pending.target === name) this.#dispatch(pending);
  }

  disconnected(name: string): void {
    for (const pending of this.#pending.values()) {
      if (pending.target !== name) continue;
      pending.target = undefined;
      this.#homeless.add(pending);
    }
  }

  /** Only while requests wait: an idle node should sleep. */
  #armSweep(): void {
    this.#timer = this.#clock.at(this.#clock.now() + sweepMs, () => this.#sweep());
  }

  #sweep(): void {
    this.#timer = undefined;
    if (this.#closed) return;
    const now = this.#clock.now();
    for (const pending of this.#homeless) if (now >= pending.notBefore) this.#dispatch(pending);
    if (++this.#sweeps % expireEverySweeps === 0) {
      // The oldest come first.
      for (const pending of this.#pending.values()) {
        if (now - pending.startedAt >= this.#timeoutMs) this.#expire(pending);
        else if (now - pending.startedAt < resendAfterMs) break;
        else if (pending.target !== undefined && pending.target !== this.#around.self && now - pending.sentAt >= resendAfterMs * pending.tries) this.#dispatch(pending);
      }
    }
    if (this.#pending.size > 0 && this.#timer === undefined) this.#armSweep();
  }

  #expire(pending: PendingRequest): void {
    const reply = this.#reply;
    const isRead = pending.request?.op === Op.get;
    reply.status = pending.tries === 0 ? Status.unavailable : isRead ? Status.timeout : Status.unknownOutcome;
    reply.message = pending.tries === 0 ? `the partition has had no primary for ${this.#timeoutMs} ms` : `the primary has not answered within ${this.#timeoutMs} ms`;
    pending.reply(reply);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const pending of this.#pending.values()) this.#expire(pending);
  }
}

/** Kept keys and values lie one after the other in chunks: an array of its own for each would cost more than its bytes. A chunk lives as long as a request in it. */
const keptChunkBytes = 1 << 16;
let keptChunk: Uint8Array = new Uint8Array(0);
let keptUsed = 0;

/** Makes room for `length` bytes in `keptChunk`; returns where they begin. */
function reserveKept(length: number): number {
  if (keptChunk.length - keptUsed < length) {
    keptChunk = new Uint8Array(Math.max(keptChunkBytes, length));
    keptUsed = 0;
  }
  const start = keptUsed;
  keptUsed += length;
  return start;
}

/** One request until it is answered; answers come from this node's copy or from another node. */
class PendingRequest implements ExecuteSink {
  readonly #requests: Requests;
  id = 0;
  origin = 0;
  keyspace = '';
  keyspaceId = 0;
  partition = 0;
  startedAt = 0;
  tries = 0;
  /** The node that has it now. */
  target: string | undefined;
  notBefore = 0;
  sentAt = 0;
  done = false;
  bytes = 0;
  request: StoreRequest | undefined;
  #sink: ReplySink | undefined;

  constructor(requests: Requests) {
    this.#requests = requests;
  }

  begin(id: number, origin: number, keyspace: string, keyspaceId: number, partition: number, now: number, sink: ReplySink): void {
    this.id = id;
    this.origin = origin;
    this.keyspace = keyspace;
    this.keyspaceId = keyspaceId;
    this.partition = partition;
    this.startedAt = now;
    this.tries = 0;
    this.target = undefined;
    this.notBefore = 0;
    this.done = false;
    this.bytes = 0;
    this.request = undefined;
    this.#sink = sink;
  }

  /** The frontend's buffers are about to be reused: what a retry needs is copied. */
  keep(request: StoreRequest): void {
    const keyLength = request.keyEnd - request.keyStart;
    const valueLength = request.valueEnd - request.valueStart;
    const start = reserveKept(keyLength + valueLength);
    const bytes = keptChunk;
    copyBytes(request.key, request.keyStart, request.keyEnd, bytes, start);
    copyBytes(request.value, request.valueStart, request.valueEnd, bytes, start + keyLength);
    const kept = new StoreRequest();
    kept.op = request.op;
    kept.key = bytes;
    kept.keyStart = start;
    kept.keyEnd = start + keyLength;
    kept.hash = request.hash;
    kept.flags = request.flags;
    kept.expiresAt = request.expiresAt;
    kept.value = bytes;
    kept.valueStart = kept.keyEnd;
    kept.valueEnd = start + keyLength + valueLength;
    kept.cas = request.cas;
    kept.delta = request.delta;
    this.request = kept;
    this.bytes = keyLength + valueLength + 200;
  }

  reply(reply: StoreReply): void {
    if (this.done) return;
    this.done = true;
    this.#requests.settled(this);
    const sink = this.#sink as ReplySink;
    this.#sink = undefined;
    if (reply.status === Status.number) fillDigits(reply);
    sink.reply(reply);
  }

  moved(): void {
    if (!this.done) this.#requests.homeless(this);
  }
}

/** A keyspace as frontends see it. */
export class KeyspaceRouter implements StoreRouter {
  readonly maxValueBytes: number = maxValueBytes;
  readonly #requests: Requests;
  readonly #name: string;
  readonly #entry: () => KeyspaceEntry | undefined;
  readonly #stats: () => Iterable<readonly [string, string]>;

  constructor(requests: Requests, name: string, entry: () => KeyspaceEntry | undefined, stats: () => Iterable<readonly [string, string]>) {
    this.#requests = requests;
    this.#name = name;
    this.#entry = entry;
    this.#stats = stats;
  }

  execute(request: StoreRequest, sink: ReplySink): void {
    this.#requests.execute(this.#name, this.#entry(), request, sink);
  }

  flushAll(atSeconds: number, sink: ReplySink): void {
    const entry = this.#entry();
    let left = entry?.partitions.length ?? 0;
    const request = new StoreRequest();
    request.op = Op.flush;
    request.expiresAt = atSeconds;
    const worst = new StoreReply();
    if (left === 0) {
      this.#requests.execute(this.#name, entry, request, sink);
      return;
    }
    const part: ReplySink = {
      reply: (reply) => {
        if (reply.status !== Status.ok) {
          worst.status = reply.status;
          worst.message = reply.message;
        }
        if (--left === 0) sink.reply(worst);
      },
    };
    for (let partition = left - 1; partition >= 0; partition--) this.#requests.execute(this.#name, entry, request, part, partition);
  }

  stats(): Iterable<readonly [string, string]> {
    return this.#stats();
  }
}
