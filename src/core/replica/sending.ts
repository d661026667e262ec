/** The frames with which a primary brings another copy up to date: entries of the log, and everything in chunks. */
import { encodedLength, encodeEffect } from '../store/effect-codec.ts';
import { Effect, EffectKind } from '../store/effect.ts';
import type { Table } from '../store/table.ts';
import type { FrameWriter } from '../wire/frame-writer.ts';
import type { Copy } from './copy.ts';
import type { Follower } from './follower.ts';
import { newLocation } from './log.ts';
import { beginFrame, ReplicaFrame } from './messages.ts';

const chunkBytes = 48 << 10;
const chunksOutMax = 4;
/** How much one flush may gather for one copy that is only catching up. */
const catchUpBytesPerTurn = 256 << 10;
const inSyncBytesPerTurn = 8 << 20;

const location = newLocation();
const effect = new Effect();

/** Sends entries from `nextSeq` on. False if the log does not reach back that far any more: trimmed from under a slow copy. */
export function sendEntries(now: number, copy: Copy, follower: Follower, writer: FrameWriter): boolean {
  const { log, address, epoch } = copy;
  const room = follower.required ? inSyncBytesPerTurn : catchUpBytesPerTurn;
  const start = writer.size;
  const before = follower.nextSeq;
  while (follower.nextSeq <= log.lastSeq && writer.size - start < room) {
    const previousEpoch = log.epochAt(follower.nextSeq - 1);
    const count = previousEpoch === undefined ? 0 : log.run(follower.nextSeq, chunkBytes, location);
    if (previousEpoch === undefined || count === 0) return false;
    beginFrame(writer, ReplicaFrame.append, address, epoch);
    writer.f64(follower.nextSeq);
    writer.u32(previousEpoch);
    writer.f64(copy.commitSeq);
    writer.u32(count);
    writer.raw(location.bytes, location.start, location.end);
    writer.end();
    follower.nextSeq += count;
    follower.sentCommit = copy.commitSeq;
  }
  if (before <= follower.ackSeq + 1 && follower.nextSeq > before) follower.lastProgressAt = now;
  return true;
}

/** An append without entries, only when there are none to send: it says where this log ends, proves that the logs agree so far, and carries the commit. */
export function sendCommit(copy: Copy, follower: Follower, writer: FrameWriter): void {
  const { log, address, epoch, commitSeq } = copy;
  const previousEpoch = log.epochAt(follower.nextSeq - 1);
  if (previousEpoch === undefined) return;
  beginFrame(writer, ReplicaFrame.append, address, epoch);
  writer.f64(follower.nextSeq);
  writer.u32(previousEpoch);
  writer.f64(commitSeq);
  writer.u32(0);
  writer.end();
  follower.sentCommit = commitSeq;
}

/** From here on the copy gets the whole log that is held, and beside it the table in chunks. */
export function beginSnapshot(now: number, copy: Copy, follower: Follower, writer: FrameWriter): void {
  const { log, table, address, epoch } = copy;
  follower.mode = 'snapshot';
  follower.cursor = 0;
  follower.scanned = false;
  follower.chunksOut = 0;
  follower.nextSeq = log.baseSeq + 1;
  follower.lastProgressAt = now;
  beginFrame(writer, ReplicaFrame.snapshotBegin, address, epoch);
  writer.f64(log.baseSeq);
  writer.u32(log.epochAt(log.baseSeq) ?? 0);
  writer.f64(log.lastSeq);
  writer.f64(Math.min(now - log.droppedUntil, 1e15));
  writer.f64(table.flushAt);
  writer.end();
}

/** Sends as many chunks as may be under way. True once the last has been sent, and the end after it. */
export function sendChunks(copy: Copy, follower: Follower, writer: FrameWriter): boolean {
  const { table, address, epoch, log } = copy;
  // The log comes first: a chunk shows the state after all entries that were sent before it.
  if (follower.nextSeq <= log.lastSeq) return false;
  const step = Math.max(1, Math.min(64, Math.floor((chunkBytes * table.count) / (table.bytes + 1))));
  while (!follower.scanned && follower.chunksOut < chunksOutMax) {
    beginFrame(writer, ReplicaFrame.snapshotChunk, address, epoch);
    do follower.cursor = table.scan(follower.cursor, step, (ref) => writeEntry(table, ref, writer));
    while (follower.cursor !== 0 && writer.frameLength < chunkBytes);
    writer.end();
    follower.chunksOut++;
    if (follower.cursor === 0) follower.scanned = true;
  }
  if (!follower.scanned) return false;
  beginFrame(writer, ReplicaFrame.snapshotEnd, address, epoch);
  writer.end();
  return true;
}

function writeEntry(table: Table, ref: number, writer: FrameWriter): void {
  effect.kind = EffectKind.put;
  effect.flushFirst = false;
  effect.key = effect.value = table.memoryOf(ref);
  effect.keyStart = table.keyStartOf(ref);
  effect.keyEnd = effect.keyStart + table.keyLengthOf(ref);
  effect.valueStart = table.valueStartOf(ref);
  effect.valueEnd = effect.valueStart + table.valueLengthOf(ref);
  effect.flags = table.flagsOf(ref);
  effect.expiresAt = table.expiresAtOf(ref);
  effect.cas = table.casOf(ref);
  const at = writer.reserve(encodedLength(effect));
  encodeEffect(effect, writer.bytes, at);
}
