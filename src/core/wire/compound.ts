import { copyBytes } from '../../base/copy-bytes.ts';
import { messageType } from './gossip-messages.ts';
import { WireError } from './wire-error.ts';

/** Parts that one compound can hold: its count is one byte. */
export const compoundPartsMax = 255;
/** Bytes a compound costs: its type and count, and a length for each part. */
export const compoundOverhead = 2;
export const compoundPartOverhead = 2;

/** Several messages, each with its own type byte, in one packet. */
export function encodeCompound(parts: readonly Uint8Array[]): Uint8Array {
  if (parts.length > compoundPartsMax) throw new RangeError(`a compound of ${parts.length} parts; at most ${compoundPartsMax} fit`);
  const out = new Uint8Array(parts.reduce((sum, part) => sum + compoundPartOverhead + part.length, compoundOverhead));
  out[0] = messageType.compound;
  out[1] = parts.length;
  let offset = compoundOverhead + compoundPartOverhead * parts.length;
  let lengthAt = compoundOverhead;
  for (const part of parts) {
    out[lengthAt++] = part.length >> 8;
    out[lengthAt++] = part.length & 0xff;
    copyBytes(part, 0, part.length, out, offset);
    offset += part.length;
  }
  return out;
}

export interface Compound {
  /** Views into the input. An announced length of zero gives an empty part, which is nobody's message. */
  readonly parts: readonly Uint8Array[];
  /** How many announced parts the input was too short for. */
  readonly truncated: number;
}

/** `bytes` starts with the type byte. @throws WireError when not even the lengths are there */
export function decodeCompound(bytes: Uint8Array): Compound {
  const count = bytes[1];
  if (count === undefined) throw new WireError('a compound without a count');
  let offset = compoundOverhead + compoundPartOverhead * count;
  if (bytes.length < offset) throw new WireError(`a compound of ${count} parts is too short for their lengths`);
  const parts: Uint8Array[] = [];
  for (let i = 0; i < count; i++) {
    const at = compoundOverhead + compoundPartOverhead * i;
    const length = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
    if (offset + length > bytes.length) return { parts, truncated: count - i };
    parts.push(bytes.subarray(offset, offset + length));
    offset += length;
  }
  return { parts, truncated: 0 };
}
