/**
 * One tenure of a primary: it settles the log with the other in-sync copies, orders writes, waits for acknowledgements
 * and brings further copies up to date. Rules, dangers and why they are met: DESIGN.md in this room.
 */
import { TroupeError } from '../../base/errors.ts';
import { applyEffect, bytesNeeded, evaluate, evictionsFor } from '../store/evaluate.ts';
import { decodeEffect } from '../store/effect-codec.ts';
import { Effect, EffectKind } from '../store/effect.ts';
import { Op, Status, StoreReply } from '../store/request.ts';
import type { StoreRequest } from '../store/request.ts';
import type { FrameReader } from '../wire/frame-reader.ts';
import type { Copy } from './copy.ts';
import { Follower } from './follower.ts';
import { effectStart, entryStatus, newLocation } from './log.ts';
import { beginFrame, ReplicaFrame } from './messages.ts';
import type { Offer, Position } from './messages.ts';
import { everyKey, PendingReplies } from './pending-replies.ts';
import { beginSnapshot, sendChunks, sendCommit, sendEntries } from './sending.ts';
import type { ExecuteSink } from './sinks.ts';

const probeEveryMs = 50;
/** Acknowledgements may be lost with the connection that carried them: a copy that owes one for this long is asked where it is. */
const askAfterMs = 150;
/** A copy that is this little behind counts towards every acknowledgement from then on, so that a steady load cannot keep it out for ever. */
const nearBytes = 64 << 10;
/**
 * A retry's age is told by its sender: what a message may take on its way must not make it look younger. A stalled
 * connection is given up after 3 to 4 s (node/peers.ts); until then what it holds may still arrive.
 */
const ageMarginMs = 5000;

export interface FollowerSpec {
  readonly name: string;
  readonly session: number;
  readonly inSync: boolean;
  /** It was the primary before a transfer that is not settled yet. */
  readonly former: boolean;
}

export class Primary {
  readonly #copy: Copy;
  readonly followers: Map<string, Follower> = new Map();
  /** False while it settles. */
  serving = false;
  /** Someone has seen a higher epoch: wait for the map to say so too. */
  fenced = false;
  #settleSeq = -1;
  #fetching: string | undefined;
  #lastFetchAt = Number.NEGATIVE_INFINITY;
  readonly #pending = new PendingReplies();
  #resignedAt = Number.NEGATIVE_INFINITY;
  readonly #location = newLocation();
  readonly #effect = new Effect();
  readonly #reply = new StoreReply();

  constructor(copy: Copy) {
    this.#copy = copy;
  }

  get pendingCount(): number {
    return this.#pending.count;
  }

  // ---- membership -------------------------------------------------------------------------------------------------

  /** A new epoch of the same tenure, or its first: everything is settled anew. @param offers positions that came before, under this epoch */
  begin(now: number, specs: readonly FollowerSpec[], offers: ReadonlyMap<string, Offer>): void {
    this.serving = false;
    this.fenced = false;
    this.#settleSeq = -1;
    this.#fetching = undefined;
    for (const follower of this.followers.values()) this.#endSnapshot(follower);
    this.followers.clear();
    this.update(now, specs);
    for (const follower of this.followers.values()) {
      const offer = offers.get(follower.name);
      if (offer?.session === follower.session) this.position(now, follower.name, offer.position);
      else this.#probe(now, follower);
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
    const named = new Set(specs.map((spec) => spec.name));
    for (const [name, follower] of this.followers) {
      if (named.has(name)) continue;
      this.#endSnapshot(follower);
      this.followers.delete(name);
    }
    for (const spec of specs) {
      let follower = this.followers.get(spec.name);
      if (follower !== undefined && follower.session !== spec.session) {
        this.#endSnapshot(follower);
        follower = undefined;
      }
      if (follower === undefined) {
        follower = new Follower(spec.name, spec.session, now);
        this.followers.set(spec.name, follower);
        follower.required = spec.inSync;
        if (this.serving) this.#probe(now, follower);
      }
      // A copy that was promised to the leader as caught up stays required until the map is of another epoch.
      if (spec.inSync) follower.required = true;
      follower.inSync = spec.inSync;
      follower.former = spec.former;
    }
    if (this.serving) this.#advance();
    else this.#settle(now);
  }

  connected(now: number, name: string): void {
    const follower = this.followers.get(name);
    if (follower !== undefined) this.#probe(now, follower);
  }

  disconnected(now: number, name: string): void {
    const follower = this.followers.get(name);
    if (follower === undefined) return;
    this.#endSnapshot(follower);
    // Until now it owed nothing: its time to answer begins here.
    if (follower.mode === 'streaming' && follower.ackSeq >= this.#copy.log.lastSeq) follower.lastProgressAt = now;
    follower.mode = 'probing';
  }

  /** Gives up: nobody's outcome is known here any more. */
  end(): void {
    for (const follower of this.followers.values()) this.#endSnapshot(follower);
    this.followers.clear();
    this.serving = false;
    this.#pending.handBack();
  }

  // ---- settling ---------------------------------------------------------------------------------------------------

  /** Adopt the longest log among the in-sync copies, bring all of them to it, then serve. */
  #settle(now: number): void {
    if (this.serving) return;
    const { log } = this.#copy;
    if (!this.#copy.complete) {
      // It ran out of memory while it was in sync, say. A partial copy must never pass for the partition.
      this.#resign(now);
      return;
    }
    let longest: Follower | undefined;
    let lastSeq = log.lastSeq;
    let lastEpoch = log.lastEpoch;
    for (const follower of this.followers.values()) {
      if (!follower.required) continue;
      const { position } = follower;
      if (position === undefined) return;
      if (position.lastEpoch > lastEpoch || (position.lastEpoch === lastEpoch && position.lastSeq > lastSeq)) {
        longest = follower;
        lastSeq = position.lastSeq;
        lastEpoch = position.lastEpoch;
      }
    }
    if (longest !== undefined) {
      this.#fetch(now, longest);
      return;
    }
    this.#fetching = undefined;
    if (this.#settleSeq < 0) {
      this.#settleSeq = log.lastSeq;
      for (const follower of this.followers.values()) if (follower.position !== undefined) this.#align(now, follower, follower.position);
    }
    for (const follower of this.followers.values()) if (follower.required && follower.ackSeq < this.#settleSeq) return;
    if (!this.#commitSettled(now)) return;
    this.serving = true;
    this.#reportSettled();
    this.#pending.completeUpTo(this.#copy.commitSeq);
    for (const follower of this.followers.values()) if (follower.position === undefined) this.#probe(now, follower);
    this.#copy.sink.servingChanged(this.#copy);
    this.#copy.sink.dirty(this.#copy);
  }

  #commitSettled(now: number): boolean {
    try {
      this.#copy.commitTo(this.#settleSeq);
      return true;
    } catch (error) {
      if (!(error instanceof TroupeError) || error.code !== 'OUT_OF_MEMORY') throw error;
      this.#copy.cannotHold(error);
      this.#resign(now);
      return false;
    }
  }

  #resign(now: number): void {
    if (now - this.#resignedAt < probeEveryMs) return;
    this.#resignedAt = now;
    this.#copy.sink.requestResign(this.#copy);
  }

  #reportSettled(): void {
    for (const follower of this.followers.values()) {
      if (!follower.former) continue;
      this.#copy.sink.requestSettled(this.#copy);
      return;
    }
  }

  #fetch(now: number, from: Follower): void {
    if (this.#fetching === from.name && now - this.#lastFetchAt < probeEveryMs) return;
    const writer = this.#copy.sink.writer(from.name);
    if (writer === undefined) return;
    this.#fetching = from.name;
    this.#lastFetchAt = now;
    beginFrame(writer, ReplicaFrame.fetch, this.#copy.address, this.#copy.epoch);
    writer.f64(this.#copy.log.lastSeq + 1);
    writer.end();
  }

  /** The longest log's entries have come. */
  fetched(now: number, from: string, reader: FrameReader): void {
    const follower = this.followers.get(from);
    if (this.serving || follower?.position === undefined) return;
    const at = reader.at;
    if (reader.count() === 0) {
      // The longest log does not reach back to where this one ends: here writes do not wait for all copies, and this
      // one missed too many. The other, as primary, can serve at once.
      this.#resign(now);
      return;
    }
    reader.at = at;
    this.#copy.appendReceived(now, reader);
    if (this.#copy.log.lastSeq < follower.position.lastSeq) this.#lastFetchAt = Number.NEGATIVE_INFINITY;
    this.#settle(now);
  }

  // ---- followers --------------------------------------------------------------------------------------------------

  #probe(now: number, follower: Follower): void {
    this.#endSnapshot(follower);
    follower.mode = 'probing';
    follower.lastProbeAt = now;
    const writer = this.#copy.sink.writer(follower.name);
    if (writer === undefined) return;
    beginFrame(writer, ReplicaFrame.probe, this.#copy.address, this.#copy.epoch);
    writer.end();
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
    if (this.serving || this.#settleSeq >= 0) this.#align(now, follower, position);
    if (!this.serving) this.#settle(now);
    else this.#advance();
  }

  /** Finds the point up to which the copy's log is this one's, and goes on from there; failing that, sends everything. */
  #align(now: number, follower: Follower, position: Position): void {
    const { log } = this.#copy;
    let matched = -1;
    if (position.complete) {
      if (log.epochAt(position.lastSeq) === position.lastEpoch) matched = position.lastSeq;
      else if (log.epochAt(position.appliedSeq) === position.appliedEpoch) matched = position.appliedSeq;
    }
    if (matched >= log.baseSeq) {
      this.#endSnapshot(follower);
      follower.mode = 'streaming';
      follower.nextSeq = matched + 1;
      follower.ackSeq = Math.max(follower.ackSeq, matched);
      follower.sentCommit = -1;
    } else {
      // An in-sync copy can be behind the log's beginning only where writes do not wait for all copies.
      // Nothing is sent to it until it has left: filling begins by emptying it.
      if (follower.inSync || follower.required) this.#copy.sink.requestRemove(this.#copy, follower.name);
      follower.mode = 'waiting';
    }
    follower.lastProgressAt = now;
    this.#caughtUp(now, follower);
    this.#copy.sink.dirty(this.#copy);
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
      this.#caughtUp(now, follower);
    } else this.#settle(now);
    if (follower.nextSeq <= this.#copy.log.lastSeq) this.#copy.sink.dirty(this.#copy);
  }

  /** A copy that holds everything is required from now on, and only then named to the leader: so it never misses a write that is acknowledged. */
  #caughtUp(now: number, follower: Follower): void {
    if (follower.inSync || !this.serving || follower.mode !== 'streaming') return;
    if (!follower.required) {
      if (follower.ackSeq < this.#copy.log.lastSeq && this.#copy.log.bytesAfter(follower.ackSeq) > nearBytes) return;
      follower.required = true;
    }
    if (follower.ackSeq < this.#copy.commitSeq || now - follower.addRequestedAt < probeEveryMs) return;
    follower.addRequestedAt = now;
    this.#copy.sink.requestAdd(this.#copy, follower.name, follower.session);
  }

  chunkAck(now: number, from: string): void {
    const follower = this.followers.get(from);
    if (follower === undefined || follower.mode !== 'snapshot') return;
    follower.chunksOut = Math.max(0, follower.chunksOut - 1);
    follower.lastProgressAt = now;
    this.#copy.sink.dirty(this.#copy);
  }

  #endSnapshot(follower: Follower): void {
    if (follower.mode !== 'snapshot') return;
    follower.mode = 'probing';
    this.#copy.sink.snapshotDone();
  }

  // ---- sending ----------------------------------------------------------------------------------------------------

  /** Sends what this turn has gathered. */
  flush(now: number): void {
    for (const follower of this.followers.values()) {
      if (follower.mode === 'probing') continue;
      const writer = this.#copy.sink.writer(follower.name);
      if (writer === undefined) continue;
      if (follower.mode === 'waiting' && this.serving && !follower.required && this.#copy.sink.snapshotSlot()) beginSnapshot(now, this.#copy, follower, writer);
      if (follower.mode !== 'waiting' && !sendEntries(now, this.#copy, follower, writer)) this.#probe(now, follower);
      if (follower.mode === 'snapshot' && sendChunks(this.#copy, follower, writer)) {
        this.#endSnapshot(follower);
        follower.mode = 'streaming';
        follower.lastProgressAt = now;
      }
    }
    this.#trim(now);
  }

  #trim(now: number): void {
    let keepAfter = Math.min(this.#copy.commitSeq, this.#copy.appliedSeq);
    const { log, options } = this.#copy;
    for (const follower of this.followers.values()) {
      if (follower.required) keepAfter = Math.min(keepAfter, follower.ackSeq);
      // Within reason the log waits for copies that are catching up, so that they need not start over.
      else if ((follower.mode === 'streaming' || follower.mode === 'snapshot') && log.bytes < 8 * options.logBytes) keepAfter = Math.min(keepAfter, follower.nextSeq - 1);
    }
    log.trim(options.logBytes, keepAfter, now - options.logKeepMs);
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
    if (ageMs > 0 && request.op !== Op.touch && request.op !== Op.gat && this.#answerRetry(now, request, origin, id, ageMs, sink)) return;
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

  #refusal(): Status | undefined {
    const { log, commitSeq } = this.#copy;
    if (log.lastSeq > commitSeq && log.bytesAfter(commitSeq) > this.#copy.options.pendingBytesMax) return Status.busy;
    if (this.#copy.options.minInSync > 1) {
      let inSync = 1;
      for (const follower of this.followers.values()) if (follower.inSync) inSync++;
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
    const { log } = this.#copy;
    const seq = log.find(origin, id);
    const reply = this.#reply;
    if (seq === 0) {
      if (log.droppedUntil < now - ageMs - ageMarginMs) return false;
      reply.status = Status.unknownOutcome;
      reply.message = 'the write was retried for so long that the log no longer shows whether it took effect';
      sink.reply(reply);
      return true;
    }
    log.locate(seq, this.#location);
    const { bytes, start, end } = this.#location;
    decodeEffect(bytes, effectStart(start), end, this.#effect);
    reply.status = entryStatus(bytes, start) as Status;
    reply.cas = this.#effect.cas;
    reply.message = undefined;
    if (request.op === Op.incr || request.op === Op.decr) reply.counter = readCounter(this.#effect);
    if (seq <= this.#copy.commitSeq) sink.reply(reply);
    else this.#pending.park(log.lastSeq, request.hash, false, reply, sink);
    return true;
  }

  #makeRoom(now: number, request: StoreRequest): boolean {
    const { table, log, options, epoch } = this.#copy;
    const needed = bytesNeeded(table, request);
    if (needed === 0 || table.bytes + needed <= table.budgetBytes) return true;
    if (options.eviction === 'none' || needed > table.budgetBytes) return false;
    // What the primary evicts, every copy deletes: the copies stay alike.
    const effect = this.#effect;
    return evictionsFor(table, needed, (ref) => {
      effect.kind = EffectKind.delete;
      effect.flushFirst = false;
      effect.key = table.memoryOf(ref);
      effect.keyStart = table.keyStartOf(ref);
      effect.keyEnd = effect.keyStart + table.keyLengthOf(ref);
      effect.cas = log.lastSeq + 1;
      log.append(now, epoch, 0, 0, Status.deleted, effect);
      this.#written(now, log.lastSeq);
      this.#copy.evictions++;
    });
  }

  #written(now: number, seq: number): void {
    this.#copy.appliedSeq = seq;
    this.#advance();
    if (this.followers.size > 0) this.#copy.sink.dirty(this.#copy);
    else this.#trim(now);
  }

  // ---- committing -------------------------------------------------------------------------------------------------

  #advance(): void {
    const copy = this.#copy;
    const lastSeq = copy.log.lastSeq;
    let commit = lastSeq;
    if (copy.options.acks === 'all') {
      for (const follower of this.followers.values()) if (follower.required && follower.ackSeq < commit) commit = follower.ackSeq;
    } else if (copy.options.acks === 'majority') commit = this.#majority(lastSeq);
    if (commit <= copy.commitSeq) return;
    copy.commitTo(commit);
    this.#pending.completeUpTo(commit);
  }

  #majority(lastSeq: number): number {
    const held = [lastSeq];
    for (const follower of this.followers.values()) if (follower.required) held.push(follower.ackSeq);
    held.sort((a, b) => b - a);
    return held[held.length >> 1] as number;
  }

  // ---- time -------------------------------------------------------------------------------------------------------

  /** Called about every 50 ms: repeats what may have been lost, and reports copies that do not keep up. */
  tick(now: number): void {
    const { sink, options, log } = this.#copy;
    if (!this.serving) this.#settle(now);
    else this.#reportSettled();
    for (const follower of this.followers.values()) {
      if (follower.mode === 'probing' && now - follower.lastProbeAt >= probeEveryMs) this.#probe(now, follower);
      if (follower.mode === 'waiting' || follower.mode === 'snapshot') sink.dirty(this.#copy);
      this.#caughtUp(now, follower);
      const behind = follower.mode === 'probing' || follower.ackSeq < log.lastSeq;
      const stuck = !follower.required ? options.replicaTimeoutMs * 10 : follower.former && follower.position === undefined ? Math.max(options.leaseMs, options.replicaTimeoutMs) : options.replicaTimeoutMs;
      if (behind && follower.mode === 'streaming' && now - follower.lastProgressAt > askAfterMs && now - follower.lastProbeAt > askAfterMs) this.#probe(now, follower);
      if (behind && now - follower.lastProgressAt > stuck) {
        if (follower.required) sink.requestRemove(this.#copy, follower.name);
        else {
          follower.lastProgressAt = now;
          this.#probe(now, follower);
        }
      }
      if (follower.mode === 'streaming' && follower.sentCommit < this.#copy.commitSeq && follower.nextSeq > log.lastSeq) {
        const writer = sink.writer(follower.name);
        if (writer !== undefined) sendCommit(this.#copy, follower, writer);
      }
    }
  }
}

/** The number that an incr or decr wrote; the value may be padded with blanks. */
function readCounter(effect: Effect): number | bigint {
  let counter = 0n;
  for (let i = effect.valueStart; i < effect.valueEnd; i++) {
    const digit = (effect.value[i] as number) - 0x30;
    if (digit < 0 || digit > 9) break;
    counter = counter * 10n + BigInt(digit);
  }
  // A bigint only where it must be, as at the first try.
  return counter <= Number.MAX_SAFE_INTEGER ? Number(counter) : counter;
}
