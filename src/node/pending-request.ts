/** A request that this node was given and that has no answer yet. */
import { copyBytes } from '../base/copy-bytes.ts';
import type { ExecuteSink } from '../core/replica/sinks.ts';
import { Status, StoreRequest } from '../core/store/request.ts';
import type { ReplySink, StoreReply } from '../core/store/request.ts';
import { fillDigits } from './request-frames.ts';

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

/** Who keeps the requests that are under way. */
export interface RequestKeeper {
  /** It has its answer. */
  settled(pending: PendingRequest): void;
  /** Its primary gave it back. */
  homeless(pending: PendingRequest): void;
}

/** One request until it is answered; answers come from this node's copy or from another node. */
export class PendingRequest implements ExecuteSink {
  readonly #keeper: RequestKeeper;
  id = 0;
  origin = 0;
  keyspace = '';
  keyspaceId = 0;
  partition = 0;
  startedAt = 0;
  /** How long the machine had slept by then, or a little less. */
  sleptMs = 0;
  tries = 0;
  /** The node that has it now. */
  target: string | undefined;
  notBefore = 0;
  sentAt = 0;
  done = false;
  bytes = 0;
  request: StoreRequest | undefined;
  /** Its neighbours in the order of age, while it is kept. */
  older: PendingRequest | undefined;
  newer: PendingRequest | undefined;
  isKept = false;
  isHomeless = false;
  #sink: ReplySink | undefined;

  constructor(keeper: RequestKeeper) {
    this.#keeper = keeper;
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
    this.#keeper.settled(this);
    const sink = this.#sink as ReplySink;
    this.#sink = undefined;
    if (reply.status === Status.number) fillDigits(reply);
    sink.reply(reply);
  }

  moved(): void {
    if (!this.done) this.#keeper.homeless(this);
  }
}
