import { hashKey } from '../core/store/hash.ts';
import type { Op, Status, StoreReply, StoreRequest } from '../core/store/request.ts';
import { Status as StatusCode } from '../core/store/request.ts';
import { badFrame } from '../core/wire/frame-reader.ts';
import type { FrameReader } from '../core/wire/frame-reader.ts';
import type { FrameWriter } from '../core/wire/frame-writer.ts';
import { PeerFrame } from './peer-frames.ts';

/** In place of a status: the node asked is not the primary any more, or not yet. */
export const movedStatus = 255;

/** Where a forwarded request goes, and which one it is. */
export interface RequestHead {
  keyspace: number;
  partition: number;
  epoch: number;
  /** The session of the node that forwards; with the id it names the request in the whole cluster, for ever. */
  origin: number;
  id: number;
  /** Which try of the request this is; the answer repeats it. */
  attempt: number;
  ageMs: number;
}

export function writeRequest(writer: FrameWriter, head: RequestHead, request: StoreRequest): void {
  writer.begin(PeerFrame.request);
  writer.u16(head.keyspace);
  writer.u16(head.partition);
  writer.u32(head.epoch);
  writer.u32(head.origin);
  writer.f64(head.id);
  writer.u16(head.attempt);
  writer.u32(Math.min(head.ageMs, 0xffff_ffff));
  writer.u8(request.op);
  writer.u32(request.flags);
  writer.f64(request.expiresAt);
  writer.f64(request.cas);
  writer.u64(request.delta);
  writer.u8(request.keyEnd - request.keyStart);
  writer.raw(request.key, request.keyStart, request.keyEnd);
  writer.raw(request.value, request.valueStart, request.valueEnd);
  writer.end();
}

/** The request then points into the frame. @throws TroupeError BAD_FRAME */
export function readRequest(reader: FrameReader, head: RequestHead, request: StoreRequest): void {
  head.keyspace = reader.u16();
  head.partition = reader.u16();
  head.epoch = reader.u32();
  head.origin = reader.u32();
  head.id = reader.count();
  head.attempt = reader.u16();
  head.ageMs = reader.u32();
  const op = reader.u8();
  if (op < 1 || op > 13) throw badFrame(`its operation ${op} is unknown`);
  request.op = op as Op;
  request.flags = reader.u32();
  request.expiresAt = reader.f64();
  request.cas = reader.f64();
  request.delta = reader.u64();
  const keyLength = reader.u8();
  if (keyLength > 250) throw badFrame(`its key has ${keyLength} bytes; at most 250 are accepted`);
  request.key = reader.bytes;
  request.keyStart = reader.raw(keyLength);
  request.keyEnd = request.keyStart + keyLength;
  request.hash = hashKey(request.key, request.keyStart, request.keyEnd);
  request.value = reader.bytes;
  request.valueStart = reader.at;
  request.valueEnd = reader.end;
  request.noreply = false;
}

export function writeReply(writer: FrameWriter, id: number, attempt: number, reply: StoreReply): void {
  writer.begin(PeerFrame.response);
  writer.f64(id);
  writer.u16(attempt);
  writer.u8(reply.status);
  switch (reply.status) {
    case StatusCode.hit:
      writer.u32(reply.flags);
      writer.f64(reply.cas);
      writer.raw(reply.value, reply.valueStart, reply.valueEnd);
      break;
    case StatusCode.number:
      writer.f64(reply.cas);
      writer.u64(reply.counter);
      break;
    case StatusCode.stored:
      writer.f64(reply.cas);
      break;
    default:
      if (reply.message !== undefined) writer.text(reply.message);
  }
  writer.end();
}

export function writeMoved(writer: FrameWriter, id: number, attempt: number): void {
  writer.begin(PeerFrame.response);
  writer.f64(id);
  writer.u16(attempt);
  writer.u8(movedStatus);
  writer.end();
}

/** Reads what follows id, attempt and status. */
export function readReply(reader: FrameReader, status: number, reply: StoreReply): void {
  reply.status = status as Status;
  reply.message = undefined;
  reply.flags = 0;
  reply.cas = 0;
  reply.valueStart = 0;
  reply.valueEnd = 0;
  switch (status) {
    case StatusCode.hit:
      reply.flags = reader.u32();
      reply.cas = reader.f64();
      reply.value = reader.bytes;
      reply.valueStart = reader.at;
      reply.valueEnd = reader.end;
      return;
    case StatusCode.number:
      reply.cas = reader.f64();
      reply.counter = reader.u64();
      fillDigits(reply);
      return;
    case StatusCode.stored:
      reply.cas = reader.f64();
      return;
    default:
      if (reader.remaining > 0) reply.message = reader.text();
  }
}

const digits = new Uint8Array(20);

/** A counter's reply carries its digits too. */
export function fillDigits(reply: StoreReply): void {
  const text = String(reply.counter);
  for (let i = 0; i < text.length; i++) digits[i] = text.charCodeAt(i);
  reply.value = digits;
  reply.valueStart = 0;
  reply.valueEnd = text.length;
}
