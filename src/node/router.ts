/**
 * Takes requests for a keyspace on any node and brings each to the primary of its partition: here, or by forwarding.
 * Rides out failovers: a request whose primary died, hangs or moved is sent again to the next one, marked with its age,
 * so that it takes effect once. The caller sees a pause, not an error.
 */
import type { KeyspaceEntry } from '../core/control/map.ts';
import { NumberMap } from '../base/number-map.ts';
import { partitionOf } from '../core/store/hash.ts';
import { Op, Status, StoreReply } from '../core/store/request.ts';
import type { ReplySink, StoreRequest } from '../core/store/request.ts';
import { FrameReader } from '../core/wire/frame-reader.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Peers } from './peers.ts';
import { PendingRequest } from './pending-request.ts';
import type { RequestKeeper } from './pending-request.ts';
import { movedStatus, readReply, writeRequest } from './request-frames.ts';
import type { RequestHead } from './request-frames.ts';
import type { StoreHost } from './store-host.ts';

const pendingMax = 100_000;
const pendingBytesMax = 256 << 20;
/** Requests that no node has are looked at this often. */
const sweepMs = 10;
/** What is overdue is looked for this often. */
const expireEveryMs = 100;
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
export class Requests implements RequestKeeper {
  readonly #store: StoreHost;
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #around: RouterSurroundings;
  readonly #timeoutMs: number;
  readonly #pending = new NumberMap<PendingRequest>();
  /** The ends of the list of all of them, by age. */
  #oldest: PendingRequest | undefined;
  #newest: PendingRequest | undefined;
  /** Those of them that no node has at the moment. */
  readonly #homeless = new Set<PendingRequest>();
  #pendingBytes = 0;
  /** As when it was last looked at; not for each request. */
  #sleptMs = 0;
  #expireAt = 0;
  #nextId: number;
  #timer: Timer | undefined;
  #timerAt = 0;
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
    const now = this.#clock.now();
    pending.begin(this.#nextId++, this.#around.origin(), keyspace, entry.id, index, now, sink);
    pending.sleptMs = this.#sleptMs;
    if (this.#tryLocal(pending, request, now)) {
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
    this.#keep(pending);
    if (pending.target === undefined) this.#dispatch(pending);
  }

  #refuse(status: Status, message: string, sink: ReplySink): void {
    const reply = this.#reply;
    reply.status = status;
    reply.message = message;
    sink.reply(reply);
  }

  /** How long ago it was first sent; the machine may have slept since. */
  #ageOf(pending: PendingRequest, now: number): number {
    this.#sleptMs = this.#clock.sleptMs(now);
    return now - pending.startedAt + this.#sleptMs - pending.sleptMs;
  }

  /** True if this node's own copy took the request. */
  #tryLocal(pending: PendingRequest, request: StoreRequest, now: number): boolean {
    const copy = this.#store.keyspaces.get(pending.keyspaceId)?.copies[pending.partition];
    if (copy === undefined || !copy.serving || !this.#around.hasRights(now)) return false;
    pending.target = this.#around.self;
    const ageMs = pending.tries === 0 ? 0 : Math.max(1, this.#ageOf(pending, now));
    pending.tries++;
    copy.execute(now, this.#store.nowSeconds(), request, pending.origin, pending.id, ageMs, pending);
    return true;
  }

  #keep(pending: PendingRequest): void {
    this.#pending.set(pending.id, pending);
    this.#pendingBytes += pending.bytes;
    pending.isKept = true;
    pending.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = pending;
    else this.#newest.newer = pending;
    this.#newest = pending;
    // Nobody looks after requests while there are none: an idle node sleeps.
    if (this.#timer === undefined) this.#arm();
  }

  /** Soon if a request has no home, else when one may be overdue. */
  #arm(): void {
    this.#timerAt = this.#clock.now() + (this.#homeless.size > 0 ? sweepMs : expireEveryMs);
    this.#timer = this.#clock.at(this.#timerAt, () => this.#sweep());
  }

  #dispatch(pending: PendingRequest): void {
    const entry = this.#store.partition(pending.keyspace, pending.partition);
    pending.target = undefined;
    const request = pending.request as StoreRequest;
    if (entry?.primary === this.#around.self) {
      this.#tryLocal(pending, request, this.#clock.now());
      if (pending.target === undefined && !pending.done) this.#addHomeless(pending);
      else this.#removeHomeless(pending);
      return;
    }
    const writer = entry?.primary === undefined ? undefined : this.#peers.writer(entry.primary);
    if (entry?.primary === undefined || writer === undefined) {
      this.#addHomeless(pending);
      return;
    }
    this.#removeHomeless(pending);
    pending.target = entry.primary;
    const now = this.#clock.now();
    const head = this.#head;
    head.keyspace = pending.keyspaceId;
    head.partition = pending.partition;
    head.epoch = entry.epoch;
    head.origin = pending.origin;
    head.id = pending.id;
    head.ageMs = pending.tries === 0 ? 0 : Math.max(1, Math.ceil(this.#ageOf(pending, now)));
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

  settled(pending: PendingRequest): void {
    this.#removeHomeless(pending);
    if (!pending.isKept) return;
    this.#pending.delete(pending.id);
    this.#pendingBytes -= pending.bytes;
    pending.isKept = false;
    const { older, newer } = pending;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    // What is settled must not keep others alive, nor be kept alive by them.
    pending.older = undefined;
    pending.newer = undefined;
  }

  homeless(pending: PendingRequest): void {
    pending.target = undefined;
    pending.notBefore = this.#clock.now() + askAgainMs;
    this.#addHomeless(pending);
  }

  // The set is touched only where it must be: nearly every request goes straight to where it belongs.

  #addHomeless(pending: PendingRequest): void {
    if (pending.isHomeless) return;
    pending.isHomeless = true;
    this.#homeless.add(pending);
    if (this.#timer === undefined || this.#timerAt <= this.#clock.now() + sweepMs) return;
    this.#timer.cancel();
    this.#arm();
  }

  #removeHomeless(pending: PendingRequest): void {
    if (!pending.isHomeless) return;
    pending.isHomeless = false;
    this.#homeless.delete(pending);
  }

  /** All of them, the oldest first; in a list of its own, because what is done with one may end others. */
  #all(): PendingRequest[] {
    const all: PendingRequest[] = [];
    for (let pending = this.#oldest; pending !== undefined; pending = pending.newer) all.push(pending);
    return all;
  }

  /** The map changed, or a copy here began to serve, or a connection was made: whoever waits for that goes on. */
  lookAgain(): void {
    for (const pending of this.#all()) {
      if (pending.done) continue;
      const primary = this.#store.partition(pending.keyspace, pending.partition)?.primary;
      if (primary !== undefined && primary !== pending.target) this.#dispatch(pending);
    }
  }

  /** The node has made a new connection to this one: answers may have been lost with the old one. */
  reconnectedFrom(name: string): void {
    for (const pending of this.#all()) if (!pending.done && pending.target === name) this.#dispatch(pending);
  }

  disconnected(name: string): void {
    for (let pending = this.#oldest; pending !== undefined; pending = pending.newer) {
      if (pending.target !== name) continue;
      pending.target = undefined;
      this.#addHomeless(pending);
    }
  }

  #sweep(): void {
    this.#timer = undefined;
    if (this.#closed) return;
    const now = this.#clock.now();
    this.#sleptMs = this.#clock.sleptMs(now);
    for (const pending of this.#homeless) if (now >= pending.notBefore) this.#dispatch(pending);
    if (now >= this.#expireAt) {
      this.#expireAt = now + expireEveryMs;
      this.#expireAndResend(now);
    }
    if (this.#oldest !== undefined && this.#timer === undefined) this.#arm();
  }

  #expireAndResend(now: number): void {
    for (let oldest = this.#oldest; oldest !== undefined && now - oldest.startedAt >= this.#timeoutMs; oldest = this.#oldest) this.#expire(oldest);
    const late: PendingRequest[] = [];
    for (let pending = this.#oldest; pending !== undefined && now - pending.startedAt >= resendAfterMs; pending = pending.newer) late.push(pending);
    for (const pending of late) {
      if (!pending.done && pending.target !== undefined && pending.target !== this.#around.self && now - pending.sentAt >= resendAfterMs * pending.tries) this.#dispatch(pending);
    }
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
    for (const pending of this.#all()) this.#expire(pending);
  }
}
