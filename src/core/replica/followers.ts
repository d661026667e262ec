/**
 * The other copies of a partition as its primary sees them: brings each of them up to date, notices who does not answer,
 * and says who may be taken into the in-sync set. Rules: DESIGN.md in this room.
 */
import type { Copy } from './copy.ts';
import type { FrameWriter } from '../wire/frame-writer.ts';
import { Follower } from './follower.ts';
import { beginFrame, ReplicaFrame } from './messages.ts';
import type { Position } from './messages.ts';
import { beginSnapshot, sendChunks, sendCommit, sendEntries } from './sending.ts';

/** How often `tick` is to be called. */
export const tickEveryMs = 50;
export const probeEveryMs = 50;
/** Acknowledgements may be lost with the connection that carried them: a copy that owes one for this long is asked where it is. */
const askAfterMs = 150;
/** A copy that is this little behind counts towards every acknowledgement from then on, so that a steady load cannot keep it out for ever. */
const nearBytes = 64 << 10;

export interface FollowerSpec {
  readonly name: string;
  readonly session: number;
  readonly inSync: boolean;
  /** It was the primary before a transfer that is not settled yet. */
  readonly former: boolean;
}

export class Followers {
  readonly #copy: Copy;
  readonly #byName = new Map<string, Follower>();
  /** All of them; a list, since every write goes through it. */
  list: readonly Follower[] = [];
  #tickedAt = Infinity;

  constructor(copy: Copy) {
    this.#copy = copy;
  }

  get(name: string): Follower | undefined {
    return this.#byName.get(name);
  }

  clear(): void {
    for (const follower of this.list) this.endSnapshot(follower);
    this.#byName.clear();
    this.list = [];
  }

  /**
   * The map's word on who holds copies.
   * @param serving whoever is new is asked at once where it is
   */
  update(now: number, specs: readonly FollowerSpec[], serving: boolean): void {
    const named = new Set(specs.map((spec) => spec.name));
    for (const follower of this.list) {
      if (named.has(follower.name)) continue;
      this.endSnapshot(follower);
      this.#byName.delete(follower.name);
    }
    for (const spec of specs) {
      let follower = this.#byName.get(spec.name);
      if (follower !== undefined && follower.session !== spec.session) {
        this.endSnapshot(follower);
        follower = undefined;
      }
      if (follower === undefined) {
        follower = new Follower(spec.name, spec.session, now);
        this.#byName.set(spec.name, follower);
        follower.required = spec.inSync;
        if (serving) this.probe(now, follower);
      }
      // A copy that was promised to the leader as caught up stays required until the map is of another epoch.
      if (spec.inSync) follower.required = true;
      follower.inSync = spec.inSync;
      follower.former = spec.former;
    }
    this.list = [...this.#byName.values()];
  }

  probe(now: number, follower: Follower): void {
    this.endSnapshot(follower);
    follower.mode = 'probing';
    follower.lastProbeAt = now;
    const writer = this.#copy.sink.writer(follower.name);
    if (writer === undefined) return;
    beginFrame(writer, ReplicaFrame.probe, this.#copy.address, this.#copy.epoch);
    writer.end();
  }

  /** Finds the point up to which the copy's log is this one's, and goes on from there; failing that, sends everything. */
  align(now: number, follower: Follower, position: Position, serving: boolean): void {
    const { log } = this.#copy;
    let matched = -1;
    if (position.complete) {
      if (log.epochAt(position.lastSeq) === position.lastEpoch) matched = position.lastSeq;
      else if (log.epochAt(position.appliedSeq) === position.appliedEpoch) matched = position.appliedSeq;
    }
    if (matched >= log.baseSeq) {
      this.endSnapshot(follower);
      follower.mode = 'streaming';
      follower.nextSeq = matched + 1;
      follower.hasTail = position.lastSeq > matched;
      follower.ackSeq = Math.max(follower.ackSeq, matched);
      follower.sentCommit = -1;
    } else {
      // An in-sync copy can be behind the log's beginning only where writes do not wait for all copies.
      // Nothing is sent to it until it has left: filling begins by emptying it.
      if (follower.inSync || follower.required) this.#copy.sink.requestRemove(this.#copy, follower.name);
      follower.mode = 'waiting';
    }
    follower.lastProgressAt = now;
    this.caughtUp(now, follower, serving);
    this.#copy.sink.dirty(this.#copy);
  }

  /** A copy that holds everything is required from now on, and only then named to the leader: so it never misses a write that is acknowledged. */
  caughtUp(now: number, follower: Follower, serving: boolean): void {
    // With a tail of an overruled epoch it must not count: as a primary, should no write have come in between, it would bring it back.
    if (follower.inSync || !serving || follower.mode !== 'streaming' || follower.hasTail) return;
    if (!follower.required) {
      if (follower.ackSeq < this.#copy.log.lastSeq && this.#copy.log.bytesAfter(follower.ackSeq) > nearBytes) return;
      follower.required = true;
    }
    if (follower.ackSeq < this.#copy.commitSeq || now - follower.addRequestedAt < probeEveryMs) return;
    follower.addRequestedAt = now;
    this.#copy.sink.requestAdd(this.#copy, follower.name, follower.session);
  }

  endSnapshot(follower: Follower): void {
    if (follower.mode !== 'snapshot') return;
    follower.mode = 'probing';
    this.#copy.sink.snapshotDone();
  }

  /** Sends what this turn has gathered. */
  flush(now: number, serving: boolean): void {
    for (const follower of this.list) {
      if (follower.mode === 'probing') continue;
      const writer = this.#copy.sink.writer(follower.name);
      if (writer === undefined) continue;
      if (follower.mode === 'waiting' && serving && !follower.required && this.#copy.sink.snapshotSlot()) beginSnapshot(now, this.#copy, follower, writer);
      if (follower.mode !== 'waiting' && !sendEntries(now, this.#copy, follower, writer)) this.probe(now, follower);
      if (follower.hasTail && follower.mode === 'streaming') this.#cutTail(now, follower, writer);
      if (follower.mode === 'snapshot' && sendChunks(this.#copy, follower, writer)) {
        this.endSnapshot(follower);
        follower.mode = 'streaming';
        follower.lastProgressAt = now;
      }
    }
    this.trim(now);
  }

  /** Says where this log ends, and asks again. */
  #cutTail(now: number, follower: Follower, writer: FrameWriter): void {
    if (follower.nextSeq <= this.#copy.log.lastSeq || now - follower.lastCutAt < probeEveryMs) return;
    follower.lastCutAt = now;
    sendCommit(this.#copy, follower, writer);
    this.probe(now, follower);
  }

  trim(now: number): void {
    let keepAfter = Math.min(this.#copy.commitSeq, this.#copy.appliedSeq);
    const { log, options } = this.#copy;
    for (const follower of this.list) {
      if (follower.required) keepAfter = Math.min(keepAfter, follower.ackSeq);
      // Within reason the log waits for copies that are catching up, so that they need not start over.
      else if ((follower.mode === 'streaming' || follower.mode === 'snapshot') && log.bytes < 8 * options.logBytes) keepAfter = Math.min(keepAfter, follower.nextSeq - 1);
    }
    log.trim(options.logBytes, keepAfter, now - options.logKeepMs);
  }

  /** Called about every `tickEveryMs`: repeats what may have been lost, and reports copies that do not keep up. */
  tick(now: number, serving: boolean): void {
    const { sink, log } = this.#copy;
    this.#forgiveOwnPause(now);
    for (const follower of this.list) {
      if (follower.mode === 'probing' && now - follower.lastProbeAt >= probeEveryMs) this.probe(now, follower);
      if (follower.mode === 'waiting' || follower.mode === 'snapshot' || follower.hasTail) sink.dirty(this.#copy);
      this.caughtUp(now, follower, serving);
      if (follower.mode === 'probing' || follower.ackSeq < log.lastSeq) this.#remind(now, follower);
      if (follower.mode === 'streaming' && follower.sentCommit < this.#copy.commitSeq && follower.nextSeq > log.lastSeq) {
        const writer = sink.writer(follower.name);
        if (writer !== undefined) sendCommit(this.#copy, follower, writer);
      }
    }
  }

  /** If this process itself stood still, answers may be waiting in its sockets: the time that it slept must not count against the others. */
  #forgiveOwnPause(now: number): void {
    const pause = now - this.#tickedAt - tickEveryMs;
    this.#tickedAt = now;
    if (pause <= tickEveryMs / 2) return;
    for (const follower of this.list) follower.lastProgressAt = Math.min(now, follower.lastProgressAt + pause);
  }

  /** It owes an answer: asks again, and gives it up when that has gone on for too long. */
  #remind(now: number, follower: Follower): void {
    const { sink, options } = this.#copy;
    const silentMs = now - follower.lastProgressAt;
    const stuckMs = !follower.required ? options.replicaTimeoutMs * 10 : follower.former && follower.position === undefined ? Math.max(options.leaseMs, options.replicaTimeoutMs) : options.replicaTimeoutMs;
    if (follower.mode === 'streaming' && silentMs > askAfterMs && now - follower.lastProbeAt > askAfterMs) this.probe(now, follower);
    if (silentMs <= stuckMs) return;
    if (follower.required) sink.requestRemove(this.#copy, follower.name);
    else {
      follower.lastProgressAt = now;
      this.probe(now, follower);
    }
  }
}
