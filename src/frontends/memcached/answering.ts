import { hashKey } from '../../core/store/hash.ts';
import { Op, Status, StoreRequest, type StoreReply, type StoreRouter } from '../../core/store/request.ts';
import type { ByteBudget } from '../../base/byte-budget.ts';
import type { Stream } from '../../ports/streams.ts';
import { answers, countOutcome, failureOf, writeHit, writeOutcome } from './answers.ts';
import type { Counters } from './counters.ts';
import type { MemcachedLimits } from './limits.ts';
import type { Output } from './output.ts';
import { Slot, type Retrieval } from './slot.ts';

/** What all connections of one server share. */
export interface ConnectionHost {
  readonly router: StoreRouter;
  readonly limits: MemcachedLimits;
  readonly counters: Counters;
  /** Memory for requests of which only a part has come, of all connections. */
  readonly halfSent: ByteBudget;
  /** The one output in which the connection that is being handled puts its answers together. */
  readonly output: Output;
  readonly version: Uint8Array;
  /** Unix seconds. */
  nowSeconds(): number;
  /** The answer to `stats` and what follows it, up to its last line; undefined for what there is not. */
  stats(about: string): Uint8Array | undefined;
  /** Calls flushLater's connection back at the end of the turn. */
  atEndOfTurn(connection: Answering): void;
  onBinary(connection: Answering): void;
  /** This side has ended; the peer may take its time. */
  onEnded(connection: Answering): void;
  onClosed(connection: Answering): void;
}

/**
 * The answering half of a connection: gives requests to the router and brings the answers into the order of the requests.
 * A request that is answered at once costs no allocation: its answer goes straight to the shared output.
 */
export abstract class Answering {
  readonly stream: Stream;
  readonly counters: Counters;
  protected readonly host: ConnectionHost;
  protected readonly request: StoreRequest = new StoreRequest();
  protected noreply = false;
  protected withCas = false;
  /** The stream takes more. */
  protected writable = true;
  protected ended = false;
  /** Of the retrieval in hand: what its keys that have to wait share, and what went wrong with those that did not. */
  protected retrieval: Retrieval | undefined = undefined;
  protected failure: Uint8Array | undefined = undefined;
  readonly #router: StoreRouter;
  readonly #out: Output;
  readonly #queue: Slot[] = [];
  #slot: Slot;
  /** Finished answers in the queue, without the literals of its last slot. */
  #waitingBytes = 0;
  #flushScheduled = false;

  constructor(host: ConnectionHost, stream: Stream) {
    this.host = host;
    this.#router = host.router;
    this.#out = host.output;
    this.counters = host.counters;
    this.stream = stream;
    this.#slot = new Slot(this);
  }

  /** Requests that wait for their answers. */
  get pending(): number {
    return this.#queue.length;
  }

  /** Takes no more requests; ends the stream once those under way are answered. */
  abstract finish(): void;

  /** Writes the answers that are there, and goes on reading if that made room. */
  abstract flushAnswers(): void;

  /** Called by a slot whose answer came later than the call. */
  slotDone(slot: Slot): void {
    this.#waitingBytes += slot.answerBytes;
    if (this.ended || this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.host.atEndOfTurn(this);
  }

  /** Writes the answer to the request that is being executed. */
  answerNow(reply: StoreReply): void {
    const request = this.request;
    countOutcome(this.counters, request.op, reply.status);
    if (request.op === Op.get || request.op === Op.gat) {
      if (reply.status === Status.hit) writeHit(this.output(), request.key, request.keyStart, request.keyEnd, reply, this.withCas);
      else if (reply.status !== Status.miss) this.failure ??= failureOf(reply);
      return;
    }
    if (!this.noreply) writeOutcome(this.output(), reply);
  }

  /** Writes the answers at the head of the queue that are there. */
  protected writeDone(): void {
    this.#flushScheduled = false;
    if (this.ended) return;
    const queue = this.#queue;
    let count = 0;
    this.#out.begin(this.stream);
    while (count < queue.length && (queue[count] as Slot).done) {
      (queue[count] as Slot).writeTo(this.#out, answers.end);
      count++;
    }
    if (count > 0) {
      // A client that waits for each answer has one at a time: that needs no list of what was taken.
      if (count === 1) queue.shift();
      else queue.splice(0, count);
      this.#waitingBytes = 0;
      for (let i = 0; i < queue.length; i++) this.#waitingBytes += (queue[i] as Slot).answerBytes + (i < queue.length - 1 ? (queue[i] as Slot).literalBytes : 0);
    }
    this.flushOut();
  }

  /** From here on the shared output is this connection's, until {@link flushOut}. */
  protected beginOut(): void {
    this.#out.begin(this.stream);
  }

  protected flushOut(): void {
    if (!this.#out.flush()) this.writable = false;
    // The output is shared: what this stream refused must not block another connection.
    this.#out.writable = true;
  }

  /** Too much waits: no further request is taken. */
  protected isBlocked(): boolean {
    if (!this.writable || !this.#out.writable) return true;
    const waiting = this.#queue.length;
    if (waiting === 0) return false;
    if (waiting >= this.host.limits.pendingMax) return true;
    return this.#waitingBytes + (this.#queue[waiting - 1] as Slot).literalBytes > this.host.limits.pendingBytesMax;
  }

  protected forgetAnswers(): void {
    this.#queue.length = 0;
  }

  /** The last line of a retrieval: after the answers of its keys. */
  protected endRetrieval(): void {
    const retrieval = this.retrieval;
    // Nothing left to wait for: a slot without a request would never be flushed.
    if (retrieval === undefined || this.#queue.length === 0) {
      this.output().write(retrieval?.failure ?? this.failure ?? answers.end);
      return;
    }
    retrieval.failure ??= this.failure;
    const slot = new Slot(this);
    slot.done = true;
    slot.endRetrieval(retrieval);
    this.#enqueue(slot);
  }

  protected keyed(bytes: Uint8Array, start: number, end: number): void {
    const request = this.request;
    request.key = bytes;
    request.keyStart = start;
    request.keyEnd = end;
    request.hash = hashKey(bytes, start, end);
  }

  protected execute(): void {
    const slot = this.#slot;
    this.request.noreply = this.noreply;
    this.#router.execute(this.request, slot);
    this.#settle(slot);
  }

  protected flushAll(atSeconds: number): void {
    this.request.op = Op.flush;
    const slot = this.#slot;
    this.#router.flushAll(atSeconds, slot);
    this.#settle(slot);
  }

  protected get maxValueBytes(): number {
    return this.#router.maxValueBytes;
  }

  /** After the router took the request: the slot is free again, or takes its place in the queue. */
  #settle(slot: Slot): void {
    if (slot.done) {
      slot.done = false;
      return;
    }
    const request = this.request;
    const retrieving = request.op === Op.get || request.op === Op.gat;
    if (retrieving) this.retrieval ??= { failure: undefined };
    slot.enqueue(request.op, retrieving ? request.key.slice(request.keyStart, request.keyEnd) : undefined, this.withCas, this.noreply, retrieving ? this.retrieval : undefined);
    this.#enqueue(slot);
    this.#slot = new Slot(this);
  }

  #enqueue(slot: Slot): void {
    const last = this.#queue.at(-1);
    if (last !== undefined) this.#waitingBytes += last.literalBytes;
    this.#queue.push(slot);
  }

  /** Where what is known now has to go: straight out, or behind the answers that are waited for. */
  protected output(): Output {
    return this.#queue.length === 0 ? this.#out : (this.#queue[this.#queue.length - 1] as Slot).literal();
  }

  protected say(answer: Uint8Array): void {
    if (!this.noreply) this.output().write(answer);
  }

  protected sayAndGoOn(answer: Uint8Array, at: number): number {
    this.say(answer);
    return at;
  }
}
