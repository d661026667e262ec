import { NumberMap } from '../../base/number-map.ts';
import { Status, StoreReply } from '../store/request.ts';
import type { ExecuteSink } from './sinks.ts';

/** Stands for every key: a flush. */
export const everyKey = -1;

interface Pending {
  readonly seq: number;
  readonly hash: number;
  readonly isWrite: boolean;
  readonly sink: ExecuteSink;
  readonly status: Status;
  readonly flags: number;
  readonly cas: number;
  readonly counter: number | bigint;
  readonly value: Uint8Array | undefined;
}

/** Replies that wait until their sequence numbers are committed, in order. */
export class PendingReplies {
  #queue: Pending[] = [];
  #head = 0;
  /** Hash of a key → its newest write under way. */
  readonly #keys = new NumberMap<number>();
  readonly #reply = new StoreReply();

  get count(): number {
    return this.#queue.length - this.#head;
  }

  /** A write of this key, or of all, is under way: what is read now rests on it. */
  concerns(hash: number): boolean {
    return this.count > 0 && (this.#keys.has(hash) || this.#keys.has(everyKey));
  }

  /** @param seq not below that of any reply parked before */
  park(seq: number, hash: number, isWrite: boolean, reply: StoreReply, sink: ExecuteSink): void {
    if (isWrite) this.#keys.set(hash, seq);
    this.#queue.push({
      seq, hash, isWrite, sink, status: reply.status, flags: reply.flags, cas: reply.cas, counter: reply.counter,
      value: reply.status === Status.hit ? reply.value.slice(reply.valueStart, reply.valueEnd) : undefined,
    });
  }

  /** A sink may park further replies while it takes its own. */
  completeUpTo(commit: number): void {
    const reply = this.#reply;
    while (this.#head < this.#queue.length) {
      const pending = this.#queue[this.#head] as Pending;
      if (pending.seq > commit) break;
      this.#head++;
      if (pending.isWrite && this.#keys.get(pending.hash) === pending.seq) this.#keys.delete(pending.hash);
      reply.status = pending.status;
      reply.flags = pending.flags;
      reply.cas = pending.cas;
      reply.counter = pending.counter;
      reply.message = undefined;
      if (pending.value !== undefined) {
        reply.value = pending.value;
        reply.valueStart = 0;
        reply.valueEnd = pending.value.length;
      }
      pending.sink.reply(reply);
    }
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0;
      this.#head = 0;
    } else if (this.#head > 1024) {
      this.#queue.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** Nobody's outcome is known here any more. */
  handBack(): void {
    const waiting = this.#queue.slice(this.#head);
    this.#queue = [];
    this.#head = 0;
    this.#keys.clear();
    for (const pending of waiting) pending.sink.moved();
  }
}
