/**
 * How a primary settles: before it serves, it adopts the longest log of the in-sync copies and brings all of them to it.
 * Rules, and why they are met: DESIGN.md in this room.
 */
import { TroupeError } from '../../base/errors.ts';
import type { FrameReader } from '../wire/frame-reader.ts';
import type { Copy } from './copy.ts';
import type { Follower } from './follower.ts';
import { probeEveryMs } from './followers.ts';
import type { Followers } from './followers.ts';
import { beginFrame, ReplicaFrame } from './messages.ts';

export class Settling {
  readonly #copy: Copy;
  readonly #followers: Followers;
  #settleSeq = -1;
  #fetching: string | undefined;
  #lastFetchAt = Number.NEGATIVE_INFINITY;
  #resignedAt = Number.NEGATIVE_INFINITY;

  constructor(copy: Copy, followers: Followers) {
    this.#copy = copy;
    this.#followers = followers;
  }

  /** Begins anew. */
  begin(): void {
    this.#settleSeq = -1;
    this.#fetching = undefined;
  }

  /** The log to which all are brought is known. */
  get isDecided(): boolean {
    return this.#settleSeq >= 0;
  }

  /** Does what can be done now. True once all in-sync copies hold the same log and it is committed. */
  step(now: number): boolean {
    const { log } = this.#copy;
    if (!this.#copy.complete) {
      // It ran out of memory while it was in sync, say. A partial copy must never pass for the partition.
      this.resign(now);
      return false;
    }
    let longest: Follower | undefined;
    let lastSeq = log.lastSeq;
    let lastEpoch = log.lastEpoch;
    for (const follower of this.#followers.list) {
      if (!follower.required) continue;
      const { position } = follower;
      if (position === undefined) return false;
      if (position.lastEpoch > lastEpoch || (position.lastEpoch === lastEpoch && position.lastSeq > lastSeq)) {
        longest = follower;
        lastSeq = position.lastSeq;
        lastEpoch = position.lastEpoch;
      }
    }
    if (longest !== undefined) {
      this.#fetch(now, longest);
      return false;
    }
    this.#fetching = undefined;
    if (this.#settleSeq < 0) {
      this.#settleSeq = log.lastSeq;
      for (const follower of this.#followers.list) if (follower.position !== undefined) this.#followers.align(now, follower, follower.position, false);
    }
    for (const follower of this.#followers.list) if (follower.required && follower.ackSeq < this.#settleSeq) return false;
    return this.#commit(now);
  }

  #commit(now: number): boolean {
    try {
      this.#copy.commitTo(this.#settleSeq);
      return true;
    } catch (error) {
      if (!(error instanceof TroupeError) || error.code !== 'OUT_OF_MEMORY') throw error;
      this.#copy.cannotHold(error);
      this.resign(now);
      return false;
    }
  }

  /** Another is to take over. */
  resign(now: number, inFavourOf?: string): void {
    if (now - this.#resignedAt < probeEveryMs) return;
    this.#resignedAt = now;
    this.#copy.sink.requestResign(this.#copy, inFavourOf);
  }

  /** Tells the leader that the primary before has given up, as long as the map does not say so. */
  report(): void {
    for (const follower of this.#followers.list) {
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

  /** The longest log's entries have come. False if they were not asked for or are of no use. */
  fetched(now: number, from: string, reader: FrameReader): boolean {
    const follower = this.#followers.get(from);
    if (follower?.position === undefined) return false;
    const at = reader.at;
    if (reader.count() === 0) {
      // The longest log does not reach back to where this one ends: here writes do not wait for all copies, and this
      // one missed too many. The other, as primary, can serve at once.
      this.resign(now, from);
      return false;
    }
    reader.at = at;
    this.#copy.appendReceived(now, reader);
    if (this.#copy.log.lastSeq < follower.position.lastSeq) this.#lastFetchAt = Number.NEGATIVE_INFINITY;
    return true;
  }
}
