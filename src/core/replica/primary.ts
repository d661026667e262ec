/**
 * One tenure of a primary: it settles the log with the other in-sync copies (settling.ts), orders writes, waits for
 * acknowledgements and brings further copies up to date (followers.ts). Rules, dangers and why they are met: DESIGN.md
 * in this room.
 */
import { applyEffect, bytesNeeded, bytesNeededAtMost, evaluate, evictionsFor } from '../store/evaluate.ts';
import { Effect, EffectKind } from '../store/effect.ts';
import { Op, Status, StoreReply } from '../store/request.ts';
import type { StoreRequest } from '../store/request.ts';
import type { FrameReader } from '../wire/frame-reader.ts';
import type { Copy } from './copy.ts';
import { Followers } from './followers.ts';
import type { FollowerSpec } from './followers.ts';
import type { Offer, Position } from './messages.ts';
import { everyKey, PendingReplies } from './pending-replies.ts';
import { findOutcome, neverDone, notKnown } from './retries.ts';
import { Settling } from './settling.ts';
import type { ExecuteSink } from './sinks.ts';

/** The entry that more than half of them have reached. */
function majorityOf(held: number[]): number {
  held.sort((a, b) => b - a);
  return held[held.length >> 1] as number;
}

/** Nobody asked for what the primary does by itself. */
const nobody: ExecuteSink = { reply: () => {}, moved: () => {} };
const removed = new StoreReply();
removed.status = Status.deleted;

export class Primary {
  readonly #copy: Copy;
  readonly followers: Followers;
  readonly #settling: Settling;
  /** False while it settles. */
  serving = false;
  /** Someone has seen a higher epoch: wait for the map to say so too. */
  fenced = false;
  readonly #pending = new PendingReplies();
  readonly #effect = new Effect();
  readonly #reply = new StoreReply();

  constructor(copy: Copy) {
    this.#copy = copy;
    this.followers = new Followers(copy);
    this.#settling = new Settling(copy, this.followers);
  }

  get pendingCount(): number {
    return this.#pending.count;
  }

  // ---- membership -------------------------------------------------------------------------------------------------

  /** A new epoch of the same tenure, or its first: everything is settled anew. @param offers positions that came before, under this epoch */
  begin(now: number, specs: readonly FollowerSpec[], offers: ReadonlyMap<string, Offer>): void {
    this.serving = false;
    this.fenced = false;
    this.#settling.begin();
    this.followers.clear();
    this.update(now, specs);
    for (const follower of this.followers.list) {
      const offer = offers.get(follower.name);
      if (offer?.session === follower.session) this.position(now, follower.name, offer.position);
      else this.followers.probe(now, follower);
    }
    this.#settle(now);
  }

  /** A copy says where it is before it has heard the question. */
  offered(now: number, from: string, offer: Offer): void {
    const follower = this.followers.get(from);
    if (follower?.session === offer.session && follower.position === undefined) this.position(now, from, offer.position);
  }

  /** The map's word on who holds copies, under the same epoch. */
  update(now: number, specs: readonly FollowerSpec[]): void {
    this.followers.update(now, specs, this.serving);
    if (this.serving) this.#advance();
    else this.#settle(now);
  }

  connected(now: number, name: string): void {
    const follower = this.followers.get(name);
    if (follower !== undefined) this.followers.probe(now, follower);
  }

  disconnected(now: number, name: string): void {
    const follower = this.followers.get(name);
    if (follower === undefined) return;
    this.followers.endSnapshot(follower);
    // Until now it owed nothing: its time to answer begins here.
    if (follower.mode === 'streaming' && follower.ackSeq >= this.#copy.log.lastSeq) follower.lastProgressAt = now;
    follower.mode = 'probing';
  }

  /** Gives up: nobody's outcome is known here any more. */
  end(): void {
    this.followers.clear();
    this.serving = false;
    this.#pending.handBack();
  }

  /** Once the log is settled it serves. */
  #settle(now: number): void {
    if (this.serving || !this.#settling.step(now)) return;
    this.serving = true;
    this.#settling.report();
    this.#pending.completeUpTo(this.#copy.commitSeq);
    for (const follower of this.followers.list) if (follower.position === undefined) this.followers.probe(now, follower);
    this.#copy.sink.servingChanged(this.#copy);
    this.#copy.sink.dirty(this.#copy);
  }

  // ---- what the other copies say ----------------------------------------------------------------------------------

  fetched(now: number, from: string, reader: FrameReader): void {
    if (!this.serving && this.#settling.fetched(now, from, reader)) this.#settle(now);
  }

  position(now: number, from: string, position: Position): void {
    const follower = this.followers.get(from);
    // What comes while everything is being sent answers a question from before; a copy that gives up meanwhile is asked again later.
    if (follower === undefined || follower.mode === 'snapshot') return;
    if (!position.complete && (follower.inSync || follower.required)) {
      // It counts, by the map or because it was promised to the leader, but it lost its data (it ran out of memory,
      // say): it has to leave first. The new epoch that this brings also voids a promise that is still on its way.
      this.#copy.sink.requestRemove(this.#copy, from);
      return;
    }
    follower.position = position;
    follower.lastProgressAt = now;
    if (this.serving || this.#settling.isDecided) this.followers.align(now, follower, position, this.serving);
    if (!this.serving) this.#settle(now);
    else this.#advance();
  }

  ack(now: number, from: string, seq: number): void {
    const follower = this.followers.get(from);
    if (follower === undefined || seq > this.#copy.log.lastSeq) return;
    if (seq > follower.ackSeq) {
      follower.ackSeq = seq;
      follower.lastProgressAt = now;
    }
    if (this.serving) {
      this.#advance();
      this.followers.caughtUp(now, follower, true);
    } else this.#settle(now);
    if (follower.nextSeq <= this.#copy.log.lastSeq) this.#copy.sink.dirty(this.#copy);
  }

  chunkAck(now: number, from: string): void {
    const follower = this.followers.get(from);
    if (follower === undefined || follower.mode !== 'snapshot') return;
    follower.chunksOut = Math.max(0, follower.chunksOut - 1);
    follower.lastProgressAt = now;
    this.#copy.sink.dirty(this.#copy);
  }

  /** Sends what this turn has gathered. */
  flush(now: number): void {
    this.followers.flush(now, this.serving);
  }

  // ---- requests ---------------------------------------------------------------------------------------------------

  /**
   * The caller has made sure that this node's lease holds now.
   * @param ageMs 0 for a first try; for a retry, how long ago the request was first sent
   */
  execute(now: number, nowSeconds: number, request: StoreRequest, origin: number, id: number, ageMs: number, sink: ExecuteSink): void {
    const copy = this.#copy;
    const { table, log, evaluation: out } = copy;
    if (request.op === Op.get) {
      evaluate(table, request, nowSeconds, 0, out);
      this.#answer(request.hash, out.reply, sink);
      return;
    }
    if (ageMs > 0 && this.#answerRetry(now, request, origin, id, ageMs, sink)) return;
    const refusal = this.#refusal();
    if (refusal !== undefined) {
      this.#refuse(refusal, sink);
      return;
    }
    if (!this.#makeRoom(now, request)) {
      this.#refuse(Status.outOfMemory, sink);
      return;
    }
    const seq = log.lastSeq + 1;
    evaluate(table, request, nowSeconds, seq, out);
    const { effect, reply } = out;
    if (effect.kind === EffectKind.none) {
      this.#answer(request.hash, reply, sink);
      return;
    }
    try {
      applyEffect(table, effect, nowSeconds);
    } catch {
      this.#refuse(Status.outOfMemory, sink);
      return;
    }
    log.append(now, copy.epoch, origin, id, reply.status, effect);
    this.#written(now, seq);
    if (copy.commitSeq >= seq) {
      sink.reply(reply);
      return;
    }
    this.#pending.park(seq, request.op === Op.flush ? everyKey : request.hash, true, reply, sink);
  }

  /** Replies at once, or, if the outcome rests on a write that is still on its way, when that is committed. */
  #answer(hash: number, reply: StoreReply, sink: ExecuteSink): void {
    if (this.#pending.concerns(hash)) this.#pending.park(this.#copy.log.lastSeq, hash, false, reply, sink);
    else sink.reply(reply);
  }

  /** Too much waits for its copies already. */
  #isOverloaded(): boolean {
    const { log, commitSeq, options } = this.#copy;
    return log.lastSeq > commitSeq && log.bytesAfter(commitSeq) > options.pendingBytesMax;
  }

  #refusal(): Status | undefined {
    if (this.#isOverloaded()) return Status.busy;
    if (this.#copy.options.minInSync > 1) {
      let inSync = 1;
      for (const follower of this.followers.list) if (follower.inSync) inSync++;
      if (inSync < this.#copy.options.minInSync) return Status.unavailable;
    }
    return undefined;
  }

  #refuse(status: Status, sink: ExecuteSink): void {
    const reply = this.#reply;
    reply.status = status;
    reply.message = undefined;
    if (status === Status.busy) reply.message = 'too many writes are waiting for their copies';
    if (status === Status.unavailable) reply.message = `fewer copies are in sync than minInSync asks for (${this.#copy.options.minInSync})`;
    sink.reply(reply);
  }

  /** True if the request needs no further work: it took effect before, or that cannot be known any more. */
  #answerRetry(now: number, request: StoreRequest, origin: number, id: number, ageMs: number, sink: ExecuteSink): boolean {
    const { log, table, commitSeq } = this.#copy;
    const seq = findOutcome(log, table, now, request, origin, id, ageMs, this.#reply);
    if (seq === neverDone) return false;
    if (seq === notKnown || seq <= commitSeq) sink.reply(this.#reply);
    else this.#pending.park(log.lastSeq, request.hash, false, this.#reply, sink);
    return true;
  }

  #makeRoom(now: number, request: StoreRequest): boolean {
    const { table, log, options } = this.#copy;
    // Nearly always there is plenty: no need to look the key up for an exact answer.
    if (table.bytes + bytesNeededAtMost(request) <= table.budgetBytes) return true;
    const needed = bytesNeeded(table, request);
    if (needed === 0 || table.bytes + needed <= table.budgetBytes) return true;
    if (options.eviction === 'none' || needed > table.budgetBytes) return false;
    return evictionsFor(table, needed, (ref) => {
      const hash = table.hashOf(ref);
      this.#logDelete(now, ref);
      this.#written(now, log.lastSeq);
      this.#copy.evictions++;
      // Until every copy has let go of it, a miss must wait: the next primary may still have the entry.
      if (this.#copy.commitSeq < log.lastSeq) this.#pending.park(log.lastSeq, hash, true, removed, nobody);
    });
  }

  /** What the primary removes by itself, every copy deletes at the same place in the log: the copies stay alike. */
  #logDelete(now: number, ref: number): void {
    const { table, log, epoch } = this.#copy;
    const effect = this.#effect;
    effect.kind = EffectKind.delete;
    effect.flushFirst = false;
    effect.key = table.memoryOf(ref);
    effect.keyStart = table.keyStartOf(ref);
    effect.keyEnd = effect.keyStart + table.keyLengthOf(ref);
    effect.cas = log.lastSeq + 1;
    log.append(now, epoch, 0, 0, Status.deleted, effect);
  }

  /**
   * Removes a bounded number of entries that have expired, here and, through the log, on every copy. The caller has made
   * sure that this node's lease holds now.
   */
  expireSome(now: number, nowSeconds: number, limit: number): void {
    const { table, log } = this.#copy;
    if (!this.serving || this.fenced || this.#isOverloaded()) return;
    if (table.expireSome(nowSeconds, limit, (ref) => this.#logDelete(now, ref)) > 0) this.#written(now, log.lastSeq);
  }

  #written(now: number, seq: number): void {
    this.#copy.appliedSeq = seq;
    this.#advance();
    if (this.followers.list.length > 0) this.#copy.sink.dirty(this.#copy);
    else this.followers.trim(now);
  }

  // ---- committing -------------------------------------------------------------------------------------------------

  #advance(): void {
    const copy = this.#copy;
    const lastSeq = copy.log.lastSeq;
    let commit = lastSeq;
    if (copy.options.acks === 'all') {
      for (const follower of this.followers.list) if (follower.required && follower.ackSeq < commit) commit = follower.ackSeq;
    } else if (copy.options.acks === 'majority') commit = this.#majority(lastSeq);
    if (commit <= copy.commitSeq) return;
    copy.commitTo(commit);
    this.#pending.completeUpTo(commit);
  }

  /** On a majority of the copies that are in sync by the map, and on one of those that will be once the promised ones are. */
  #majority(lastSeq: number): number {
    const inSync = [lastSeq];
    const required = [lastSeq];
    for (const follower of this.followers.list) {
      if (follower.inSync) inSync.push(follower.ackSeq);
      if (follower.required) required.push(follower.ackSeq);
    }
    return Math.min(majorityOf(inSync), majorityOf(required));
  }

  /** Called about every `tickEveryMs`: repeats what may have been lost, and reports copies that do not keep up. */
  tick(now: number): void {
    if (!this.serving) this.#settle(now);
    else this.#settling.report();
    this.followers.tick(now, this.serving);
  }
}
