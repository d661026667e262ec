import { Op, Status, type ReplySink, type StoreReply } from '../../core/store/request.ts';
import { countOutcome, failureOf, outcomeOf, writeHit, writeOutcome } from './answers.ts';
import { Output } from './output.ts';
import type { Answering } from './answering.ts';

/** The keys of one retrieval share the fate of its last line: one key that could not be read must not look like a miss. */
export interface Retrieval {
  failure: Uint8Array | undefined;
}

/**
 * Where one request's answer goes. If it comes while the request is being executed, straight into the connection's
 * output; else the slot keeps its place in the order of answers until it and all before it are there.
 */
export class Slot implements ReplySink {
  readonly #connection: Answering;
  /** The answer has come. */
  done = false;
  /** This slot has its place in the queue; the answer comes later than the call. */
  #queued = false;
  #op: Op = Op.get;
  #withCas = false;
  #noreply = false;
  #key: Uint8Array | undefined = undefined;
  #retrieval: Retrieval | undefined = undefined;
  #answer: Output | undefined = undefined;
  /** The answer, where it is one of the fixed ones. */
  #outcome: Uint8Array | undefined = undefined;
  /** What follows the answer and was known at once. */
  #after: Output | undefined = undefined;
  /** The retrieval whose last line follows. */
  #ends: Retrieval | undefined = undefined;

  constructor(connection: Answering) {
    this.#connection = connection;
  }

  /** Takes its place in the queue: keeps what it needs to know of a request that is about to be overwritten. */
  enqueue(op: Op, key: Uint8Array | undefined, withCas: boolean, noreply: boolean, retrieval: Retrieval | undefined): void {
    this.#queued = true;
    this.#op = op;
    this.#withCas = withCas;
    this.#noreply = noreply;
    this.#key = key;
    this.#retrieval = retrieval;
  }

  /** For what follows this answer and needs no waiting of its own. */
  literal(): Output {
    this.#after ??= new Output(64);
    return this.#after;
  }

  /** Lets the last line of the retrieval follow; there can be only one per slot. */
  endRetrieval(retrieval: Retrieval): void {
    this.#ends = retrieval;
  }

  get answerBytes(): number {
    return this.#answer?.end ?? 0;
  }

  get literalBytes(): number {
    return this.#after?.end ?? 0;
  }

  reply(reply: StoreReply): void {
    if (this.done) return;
    this.done = true;
    if (!this.#queued) {
      this.#connection.answerNow(reply);
      return;
    }
    countOutcome(this.#connection.counters, this.#op, reply.status);
    if (this.#op === Op.get || this.#op === Op.gat) {
      if (reply.status === Status.hit && this.#key !== undefined) {
        this.#answer = new Output(64 + this.#key.length + reply.valueEnd - reply.valueStart);
        writeHit(this.#answer, this.#key, 0, this.#key.length, reply, this.#withCas);
      } else if (reply.status !== Status.miss && this.#retrieval !== undefined) this.#retrieval.failure ??= failureOf(reply);
    } else if (!this.#noreply) {
      this.#outcome = outcomeOf(reply);
      if (this.#outcome === undefined) {
        this.#answer = new Output(64);
        writeOutcome(this.#answer, reply);
      }
    }
    this.#connection.slotDone(this);
  }

  /** Appends all that this slot stands for. */
  writeTo(out: Output, endLine: Uint8Array): void {
    if (this.#outcome !== undefined) out.write(this.#outcome);
    if (this.#answer !== undefined) out.writePart(this.#answer.bytes, 0, this.#answer.end);
    if (this.#ends !== undefined) out.write(this.#ends.failure ?? endLine);
    if (this.#after !== undefined) out.writePart(this.#after.bytes, 0, this.#after.end);
  }
}
