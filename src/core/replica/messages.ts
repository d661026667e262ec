import type { FrameReader } from '../wire/frame-reader.ts';
import type { FrameWriter } from '../wire/frame-writer.ts';

/**
 * Frames between the copies of one partition. Each begins with keyspace u16, partition u16, epoch u32.
 * probe … snapshotEnd go from a primary, the others to it. Numbers are part of the peer protocol.
 */
export const ReplicaFrame = {
  /** Where are you? */
  probe: 0x20,
  /** first sequence f64, epoch of the entry before it u32, commit f64, count u32, packed entries */
  append: 0x21,
  /** from f64: send me your entries from there on (a new primary asks the longest log) */
  fetch: 0x23,
  /** base f64, base epoch u32, live from f64, age covered f64, flush at f64 */
  snapshotBegin: 0x24,
  /** effects, one after the other */
  snapshotChunk: 0x25,
  snapshotEnd: 0x26,
  /** complete u8, last f64, last epoch u32, applied f64, applied epoch u32 */
  position: 0x28,
  /** sequence f64: I hold everything up to it */
  ack: 0x29,
  /** like append: the answer to fetch; first 0: the entries that were asked for are not in the log any more */
  fetched: 0x2a,
  chunkAck: 0x2b,
  /** the epoch in the head is the higher one that I have seen */
  reject: 0x2c,
  /** the sender's session f64, then as position: unasked, to the primary that the sender's map names */
  offer: 0x2d,
} as const;

export interface CopyAddress {
  readonly keyspace: number;
  readonly partition: number;
}

export function beginFrame(writer: FrameWriter, type: number, address: CopyAddress, epoch: number): void {
  writer.begin(type);
  writer.u16(address.keyspace);
  writer.u16(address.partition);
  writer.u32(epoch);
}

/** What a copy holds. */
export interface Position {
  /** False: it is being filled, or has nothing to build upon. */
  readonly complete: boolean;
  readonly lastSeq: number;
  readonly lastEpoch: number;
  readonly appliedSeq: number;
  readonly appliedEpoch: number;
}

/** A position that nobody asked for. */
export interface Offer {
  readonly epoch: number;
  readonly session: number;
  readonly position: Position;
}

export function writePosition(writer: FrameWriter, position: Position): void {
  writer.u8(position.complete ? 1 : 0);
  writer.f64(position.lastSeq);
  writer.u32(position.lastEpoch);
  writer.f64(position.appliedSeq);
  writer.u32(position.appliedEpoch);
}

export function readPosition(reader: FrameReader): Position {
  return { complete: reader.u8() === 1, lastSeq: reader.count(), lastEpoch: reader.u32(), appliedSeq: reader.count(), appliedEpoch: reader.u32() };
}
