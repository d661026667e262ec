/**
 * One partition's copy on one node: its table, its log, and its part in the replication protocol (DESIGN.md in this
 * room). Pure: driven by the map (`configure`), by frames from other copies (`receive`), by requests (`execute`, while
 * it is a serving primary) and by the time (`tick`); answers go to the sinks.
 */
import { TroupeError } from '../../base/errors.ts';
import { applyEncoded, parseEffect } from '../store/effect-codec.ts';
import { Effect } from '../store/effect.ts';
import type { Evaluation } from '../store/evaluate.ts';
import type { StoreRequest } from '../store/request.ts';
import type { Table } from '../store/table.ts';
import { badFrame } from '../wire/frame-reader.ts';
import type { FrameReader } from '../wire/frame-reader.ts';
import { effectStart, entryHeaderBytes, newLocation, readU32, ReplicaLog } from './log.ts';
import { beginFrame, readPosition, ReplicaFrame, writePosition } from './messages.ts';
import type { CopyAddress, Offer, Position } from './messages.ts';
import { Primary } from './primary.ts';
import type { FollowerSpec } from './followers.ts';
import type { CopyOptions, CopySink, ExecuteSink } from './sinks.ts';

/** What the map says about this partition, as far as it concerns this node. */
export interface CopyRole {
  readonly epoch: number;
  readonly isPrimary: boolean;
  readonly primary: string | undefined;
  /** This node's own. */
  readonly session: number;
  /** This node is in the in-sync set, in its present session. */
  readonly inSync: boolean;
  /** It has been in that set without a break since the partition began empty. */
  readonly founding: boolean;
  /** The epoch at which the partition last began empty. */
  readonly emptySince: number;
  /** For the primary: the live nodes that hold or fill the other copies. */
  readonly followers: readonly FollowerSpec[];
}

/** More nodes than hold copies of one partition. */
const offersMax = 16;

export class Copy {
  readonly address: CopyAddress;
  readonly options: CopyOptions;
  readonly sink: CopySink;
  readonly table: Table;
  readonly evaluation: Evaluation;
  readonly log: ReplicaLog = new ReplicaLog();
  /** The highest epoch that this copy has heard of: it answers nobody of a lower one. */
  epoch = 0;
  /** The epoch at which this node's present tenure as primary began; requests addressed to any epoch since are meant for it. */
  tenureSince = 0;
  commitSeq = 0;
  /** The table shows every entry up to here. */
  appliedSeq = 0;
  /** The table holds everything up to appliedSeq. False for a copy that has never been filled, or is being filled. */
  complete = false;
  evictions = 0;
  /** For the surroundings: it waits for `flush` already. */
  isDirty = false;
  primary: Primary | undefined;
  /** While it is filled: the sender, and the entry from which on entries are applied as they come. */
  #filling: { from: string; liveFrom: number } | undefined;
  /** Never filled since the partition began. */
  #fresh = true;
  #generation = 0;
  /** The epoch of the primary whose snapshot this copy took last. */
  #filledUnder = 0;
  /** Who is owed an acknowledgement at the end of this turn, and how far its entries are known to be in this log. */
  #ackTo: string | undefined;
  #verifiedSeq = 0;
  #appendedCount = 0;
  /** Positions sent unasked, under an epoch that this node's map has not reached yet. */
  readonly #offers = new Map<string, Offer>();
  readonly #location = newLocation();
  readonly #effect = new Effect();

  constructor(address: CopyAddress, table: Table, evaluation: Evaluation, options: CopyOptions, sink: CopySink) {
    this.address = address;
    this.table = table;
    this.evaluation = evaluation;
    this.options = options;
    this.sink = sink;
  }

  get serving(): boolean {
    return this.primary !== undefined && this.primary.serving && !this.primary.fenced;
  }

  get filling(): boolean {
    return this.#filling !== undefined;
  }

  // ---- the map ----------------------------------------------------------------------------------------------------

  /** Follows the map. The caller has made sure that the map knows this very process (its session is live there). */
  configure(now: number, role: CopyRole): void {
    // A message of a newer epoch may be ahead of this node's map.
    if (role.epoch < this.epoch) return;
    if (role.emptySince > this.#generation) {
      // What is held from before is worthless: the partition is new here, or began anew after an accepted loss. But a primary
      // of the new beginning may have filled this copy already, and counted on it, before this node's map came so far.
      this.#generation = role.emptySince;
      if (this.#filledUnder < role.emptySince) {
        this.#abandon();
        this.#fresh = true;
      }
    }
    // Only a copy that is there from the partition's beginning may start empty. One that is merely in sync and was never
    // filled has lost what it held (it was dropped and made anew while its node's map was behind).
    if (role.founding && !this.complete && this.#fresh) this.#startEmpty(now, role.emptySince);
    if (role.epoch > this.epoch) this.#ackTo = undefined;
    if (!role.isPrimary) {
      const isNews = role.epoch > this.epoch;
      this.epoch = role.epoch;
      this.retire();
      this.#offers.clear();
      if (isNews && role.inSync && role.primary !== undefined) this.#offer(role.primary, role.session);
      return;
    }
    if (this.primary !== undefined && role.epoch === this.epoch) {
      this.primary.update(now, role.followers);
      return;
    }
    this.epoch = role.epoch;
    if (this.primary === undefined) {
      this.tenureSince = role.epoch;
      this.#filling = undefined;
      this.primary = new Primary(this);
    }
    const offers = new Map([...this.#offers].filter(([, offer]) => offer.epoch === role.epoch));
    this.#offers.clear();
    this.primary.begin(now, role.followers, offers);
  }

  #startEmpty(now: number, since: number): void {
    this.table.clear();
    // After a loss versions must not repeat those of the lost data, and nobody knows any more which requests took effect.
    const isAfterLoss = since > 1;
    const base = isAfterLoss ? since * 0x1_0000_0000 : 0;
    this.log.reset(base, isAfterLoss ? since : 0, isAfterLoss ? now : Number.NEGATIVE_INFINITY);
    this.commitSeq = base;
    this.appliedSeq = base;
    this.complete = true;
    this.#fresh = false;
  }

  /** No longer primary, or no longer sure of it. Requests under way are handed back. */
  retire(): void {
    const { primary } = this;
    if (primary === undefined) return;
    this.primary = undefined;
    primary.end();
    this.sink.servingChanged(this);
  }

  /** The node gives this copy up for good; it must not be used afterwards. */
  drop(): void {
    this.retire();
    this.table.dispose();
    this.#abandon();
    this.#generation = 0;
    this.#filledUnder = 0;
    this.log.reset(0, 0, Number.NEGATIVE_INFINITY);
    this.commitSeq = 0;
    this.appliedSeq = 0;
  }

  // ---- requests ---------------------------------------------------------------------------------------------------

  /** False if this copy does not serve. See Primary.execute. */
  execute(now: number, nowSeconds: number, request: StoreRequest, origin: number, id: number, ageMs: number, sink: ExecuteSink): boolean {
    if (!this.serving) return false;
    (this.primary as Primary).execute(now, nowSeconds, request, origin, id, ageMs, sink);
    return true;
  }

  /** This node cannot hold the copy: what it has is incomplete from now on. */
  cannotHold(error: TroupeError): void {
    this.sink.warn(this, `cannot hold a copy: ${error.message}`, error.fields);
    this.#abandon();
  }

  /** @throws TroupeError OUT_OF_MEMORY */
  commitTo(seq: number): void {
    const limit = Math.min(seq, this.log.lastSeq);
    if (limit > this.commitSeq) this.commitSeq = limit;
    this.#applyCommitted();
  }

  /** Entries are carried out once they are committed; a primary has done so when it wrote them. */
  #applyCommitted(): void {
    if (!this.complete) return;
    while (this.appliedSeq < this.commitSeq) {
      this.log.locate(this.appliedSeq + 1, this.#location);
      applyEncoded(this.table, this.#location.bytes, effectStart(this.#location.start), this.#location.end);
      this.appliedSeq++;
    }
  }

  // ---- frames -----------------------------------------------------------------------------------------------------

  /**
   * A frame from another copy; the reader stands behind the partition's number.
   * @throws TroupeError BAD_FRAME, BAD_EFFECT on malformed bytes: the connection is of no use then
   */
  receive(now: number, from: string, type: number, reader: FrameReader): void {
    const epoch = reader.u32();
    if (type === ReplicaFrame.offer) {
      this.#onOffer(now, from, { epoch, session: reader.count(), position: readPosition(reader) });
      return;
    }
    if (type >= ReplicaFrame.position) {
      this.#receiveAsPrimary(now, from, type, epoch, reader);
      return;
    }
    if (epoch < this.epoch) {
      this.#reject(from);
      return;
    }
    if (epoch > this.epoch || this.primary !== undefined) {
      // Only a map that names another primary can have given it this epoch.
      this.epoch = epoch;
      this.#ackTo = undefined;
      this.#verifiedSeq = 0;
      this.retire();
    }
    try {
      this.#receiveAsReplica(now, from, type, reader);
    } catch (error) {
      if (!(error instanceof TroupeError) || error.code !== 'OUT_OF_MEMORY') throw error;
      // It says so and starts afresh when asked again.
      this.cannotHold(error);
      this.#sendPosition(from);
    }
  }

  #receiveAsPrimary(now: number, from: string, type: number, epoch: number, reader: FrameReader): void {
    const { primary } = this;
    if (primary === undefined) return;
    if (type === ReplicaFrame.reject) {
      if (epoch > this.epoch && !primary.fenced) {
        primary.fenced = true;
        this.sink.servingChanged(this);
      }
      return;
    }
    if (epoch !== this.epoch) return;
    switch (type) {
      case ReplicaFrame.position: primary.position(now, from, readPosition(reader)); return;
      case ReplicaFrame.ack: primary.ack(now, from, reader.count()); return;
      case ReplicaFrame.fetched: primary.fetched(now, from, reader); return;
      case ReplicaFrame.chunkAck: primary.chunkAck(now, from); return;
      default: return;
    }
  }

  #onOffer(now: number, from: string, offer: Offer): void {
    if (offer.epoch === this.epoch) this.primary?.offered(now, from, offer);
    else if (offer.epoch > this.epoch && (this.#offers.get(from)?.epoch ?? 0) <= offer.epoch && (this.#offers.size < offersMax || this.#offers.has(from))) this.#offers.set(from, offer);
  }

  #receiveAsReplica(now: number, from: string, type: number, reader: FrameReader): void {
    switch (type) {
      case ReplicaFrame.probe: this.#sendPosition(from); return;
      case ReplicaFrame.append: this.#onAppend(now, from, reader); return;
      case ReplicaFrame.fetch: this.#onFetch(from, reader.count()); return;
      case ReplicaFrame.snapshotBegin: this.#onSnapshotBegin(now, from, reader); return;
      case ReplicaFrame.snapshotChunk: this.#onSnapshotChunk(from, reader); return;
      case ReplicaFrame.snapshotEnd: this.#onSnapshotEnd(from); return;
      default: return;
    }
  }

  #onAppend(now: number, from: string, reader: FrameReader): void {
    if (!this.complete && this.#filling?.from !== from) {
      this.#sendPosition(from);
      return;
    }
    if (!this.appendReceived(now, reader) || !this.#cutTail()) {
      this.#sendPosition(from);
      return;
    }
    this.#ackTo = from;
    this.sink.dirty(this);
  }

  /**
   * Takes entries over from another copy's log. False if they do not join on to this log.
   * Entries that are here already are skipped; uncommitted ones that differ are replaced.
   */
  appendReceived(now: number, reader: FrameReader): boolean {
    const first = reader.count();
    const previousEpoch = reader.u32();
    const commit = reader.count();
    const count = reader.u32();
    const { log } = this;
    if (first > log.lastSeq + 1) return false;
    const ours = log.epochAt(first - 1);
    if (ours !== undefined && ours !== previousEpoch) return this.#cutBack(first - 1);
    for (let i = 0; i < count; i++) {
      const seq = first + i;
      const length = reader.u32();
      const start = reader.at - 4;
      reader.raw(length);
      // Looked at before it is kept: what cannot be carried out must not wait in the log for its commit.
      if (length < entryHeaderBytes - 4 || parseEffect(reader.bytes, effectStart(start), reader.at, this.#effect) !== reader.at) throw badFrame('an entry in it is longer than its effect');
      const epoch = readU32(reader.bytes, start + 4);
      if (seq <= log.lastSeq) {
        const held = log.epochAt(seq);
        if (held === undefined || held === epoch) continue;
        if (!this.#cutBack(seq)) return false;
      }
      log.appendPacked(now, reader.bytes, start, reader.at);
      if (this.#filling !== undefined && seq > this.#filling.liveFrom) applyEncoded(this.table, reader.bytes, effectStart(start), reader.at);
    }
    // Entries of an overruled epoch may follow in this log: only what the sender named is acknowledged.
    this.#verifiedSeq = first + count - 1;
    this.#appendedCount = count;
    const committed = Math.min(commit, this.#verifiedSeq);
    if (this.complete && this.primary === undefined) this.commitTo(committed);
    // While it is filled the table is ahead already; the log need not keep what is committed.
    else if (this.#filling !== undefined && committed > this.commitSeq) this.commitSeq = committed;
    if (this.primary === undefined) log.trim(this.options.logBytes, Math.min(this.commitSeq, this.#filling === undefined ? this.appliedSeq : log.lastSeq), now - this.options.logKeepMs);
    return true;
  }

  /** An append without entries says where the primary's log ends: what follows here was written under an overruled epoch. */
  #cutTail(): boolean {
    if (this.#appendedCount > 0) return true;
    const first = this.#verifiedSeq + 1;
    const epoch = this.log.epochAt(first);
    return epoch === undefined || epoch >= this.epoch || this.#cutBack(first);
  }

  /** Removes `seq` and what follows, which another epoch overruled. What the table already shows cannot be taken back: the copy starts afresh. */
  #cutBack(seq: number): boolean {
    if (this.#filling !== undefined || seq <= this.appliedSeq || seq <= this.log.baseSeq) {
      this.#abandon();
      return false;
    }
    this.log.truncate(seq - 1);
    return true;
  }

  #abandon(): void {
    this.complete = false;
    this.#filling = undefined;
    this.#fresh = false;
    this.#ackTo = undefined;
  }

  #onFetch(from: string, first: number): void {
    const writer = this.sink.writer(from);
    if (writer === undefined) return;
    if (first <= this.log.baseSeq) {
      // No longer here: an answer without a place says so.
      beginFrame(writer, ReplicaFrame.fetched, this.address, this.epoch);
      writer.f64(0);
      writer.u32(0);
      writer.f64(0);
      writer.u32(0);
      writer.end();
      return;
    }
    if (!this.log.has(first)) {
      this.#sendPosition(from);
      return;
    }
    for (let seq = first; seq <= this.log.lastSeq; ) {
      const count = this.log.run(seq, 1 << 18, this.#location);
      beginFrame(writer, ReplicaFrame.fetched, this.address, this.epoch);
      writer.f64(seq);
      writer.u32(this.log.epochAt(seq - 1) as number);
      writer.f64(this.commitSeq);
      writer.u32(count);
      writer.raw(this.#location.bytes, this.#location.start, this.#location.end);
      writer.end();
      seq += count;
    }
  }

  #onSnapshotBegin(now: number, from: string, reader: FrameReader): void {
    const base = reader.count();
    const baseEpoch = reader.u32();
    const liveFrom = reader.count();
    const coveredMs = reader.f64();
    const flushAt = reader.f64();
    this.table.clear();
    this.table.flushAt = flushAt;
    this.log.reset(base, baseEpoch, Number.isFinite(coveredMs) ? now - coveredMs : now);
    this.commitSeq = base;
    this.appliedSeq = base;
    this.#abandon();
    this.#filling = { from, liveFrom };
    this.#filledUnder = this.epoch;
  }

  #onSnapshotChunk(from: string, reader: FrameReader): void {
    if (this.#filling?.from !== from) {
      this.#sendPosition(from);
      return;
    }
    for (let at = reader.at; at < reader.end; ) at = applyEncoded(this.table, reader.bytes, at, reader.end);
    const writer = this.sink.writer(from);
    if (writer === undefined) return;
    beginFrame(writer, ReplicaFrame.chunkAck, this.address, this.epoch);
    writer.end();
  }

  #onSnapshotEnd(from: string): void {
    if (this.#filling?.from !== from) {
      this.#sendPosition(from);
      return;
    }
    this.#filling = undefined;
    this.complete = true;
    this.appliedSeq = this.log.lastSeq;
    // The table shows entries that may not be committed yet; the primary's log decides about them.
    this.commitSeq = Math.min(this.commitSeq, this.log.lastSeq);
    this.#verifiedSeq = this.log.lastSeq;
    this.#ackTo = from;
    this.sink.dirty(this);
  }

  // ---- answers ----------------------------------------------------------------------------------------------------

  position(): Position {
    return {
      complete: this.complete,
      lastSeq: this.log.lastSeq,
      lastEpoch: this.log.lastEpoch,
      appliedSeq: this.appliedSeq,
      appliedEpoch: this.log.epochAt(this.appliedSeq) ?? 0,
    };
  }

  #offer(to: string, session: number): void {
    const writer = this.sink.writer(to);
    if (writer === undefined) return;
    beginFrame(writer, ReplicaFrame.offer, this.address, this.epoch);
    writer.f64(session);
    writePosition(writer, this.position());
    writer.end();
  }

  #sendPosition(to: string): void {
    const writer = this.sink.writer(to);
    if (writer === undefined) return;
    beginFrame(writer, ReplicaFrame.position, this.address, this.epoch);
    writePosition(writer, this.position());
    writer.end();
  }

  #reject(to: string): void {
    const writer = this.sink.writer(to);
    if (writer === undefined) return;
    beginFrame(writer, ReplicaFrame.reject, this.address, this.epoch);
    writer.end();
  }

  /** Sends what this turn has gathered. */
  flush(now: number): void {
    this.primary?.flush(now);
    const to = this.#ackTo;
    if (to === undefined) return;
    this.#ackTo = undefined;
    const writer = this.sink.writer(to);
    if (writer === undefined || !this.complete) return;
    beginFrame(writer, ReplicaFrame.ack, this.address, this.epoch);
    writer.f64(this.#verifiedSeq);
    writer.end();
  }

  tick(now: number): void {
    this.primary?.tick(now);
  }
}
