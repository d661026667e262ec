import { copyBytes } from '../../base/copy-bytes.ts';
import { TroupeError } from '../../base/errors.ts';
import { Effect, EffectKind } from './effect.ts';
import { applyEffect } from './evaluate.ts';
import { hashKey } from './hash.ts';
import { keyBytesMax, valueBytesMax, type Table } from './table.ts';

/**
 * Effects as bytes, little endian:
 *
 *     kind u8 (bit 7: flushFirst) · cas u64 · …
 *     put     expiresAt u32 · flags u32 · key length u8 · value length u32 · key · value
 *     delete  key length u8 · key
 *     expiry  expiresAt u32 · key length u8 · key
 *     flush   expiresAt u32
 *
 * The hash is not sent: a receiver that computes it itself cannot be made to file an entry where nobody finds it.
 */
const flushFirstBit = 0x80;
const commonBytes = 9;

/** How many bytes {@link encodeEffect} will write. */
export function encodedLength(effect: Effect): number {
  const keyLength = effect.keyEnd - effect.keyStart;
  switch (effect.kind) {
    case EffectKind.none:
      return commonBytes;
    case EffectKind.put:
      return commonBytes + 13 + keyLength + effect.valueEnd - effect.valueStart;
    case EffectKind.delete:
      return commonBytes + 1 + keyLength;
    case EffectKind.expiry:
      return commonBytes + 5 + keyLength;
    case EffectKind.flush:
      return commonBytes + 4;
  }
}

/** Writes the effect at `at`; the target must have room for {@link encodedLength} bytes. Returns where it ends. */
export function encodeEffect(effect: Effect, target: Uint8Array, at: number): number {
  target[at] = effect.kind | (effect.flushFirst ? flushFirstBit : 0);
  let to = writeUint32(target, at + 1, effect.cas);
  to = writeUint32(target, to, effect.cas / 0x1_0000_0000);
  if (effect.kind === EffectKind.none) return to;
  if (effect.kind !== EffectKind.delete) to = writeUint32(target, to, effect.expiresAt);
  if (effect.kind === EffectKind.flush) return to;
  if (effect.kind === EffectKind.put) to = writeUint32(target, to, effect.flags);
  const keyLength = effect.keyEnd - effect.keyStart;
  target[to++] = keyLength;
  if (effect.kind === EffectKind.put) to = writeUint32(target, to, effect.valueEnd - effect.valueStart);
  copyBytes(effect.key, effect.keyStart, effect.keyEnd, target, to);
  to += keyLength;
  if (effect.kind !== EffectKind.put) return to;
  copyBytes(effect.value, effect.valueStart, effect.valueEnd, target, to);
  return to + effect.valueEnd - effect.valueStart;
}

/**
 * Reads the effect that starts at `start` into `into`, which then points into `bytes`. Returns where it ends.
 * @throws TroupeError BAD_EFFECT when bytes[start, end) does not begin with a whole, well-formed effect
 */
export function decodeEffect(bytes: Uint8Array, start: number, end: number, into: Effect): number {
  const next = parseEffect(bytes, start, end, into);
  if (into.kind !== EffectKind.none && into.kind !== EffectKind.flush) into.hash = hashKey(bytes, into.keyStart, into.keyEnd);
  return next;
}

/** {@link decodeEffect} without the key's hash: for looking at what is not carried out yet. */
export function parseEffect(bytes: Uint8Array, start: number, end: number, into: Effect): number {
  if (end - start < commonBytes || end > bytes.length || start < 0) throw badEffect('it is cut short', start, end);
  const kind = (bytes[start] as number) & ~flushFirstBit;
  const casHigh = readUint32(bytes, start + 5);
  if (casHigh > 0x1f_ffff) throw badEffect('its version is above 2^53 - 1', start, end);
  into.flushFirst = ((bytes[start] as number) & flushFirstBit) !== 0;
  into.cas = casHigh * 0x1_0000_0000 + readUint32(bytes, start + 1);
  into.expiresAt = 0;
  const at = start + commonBytes;
  switch (kind) {
    case EffectKind.none:
      into.kind = EffectKind.none;
      return at;
    case EffectKind.put: {
      need(13, at, start, end);
      into.kind = EffectKind.put;
      into.expiresAt = readUint32(bytes, at);
      into.flags = readUint32(bytes, at + 4);
      const valueLength = readUint32(bytes, at + 9);
      if (valueLength > valueBytesMax) throw badEffect(`its value has ${valueLength} bytes, above ${valueBytesMax}`, start, end);
      const keyEnd = readKey(bytes, at + 13, bytes[at + 8] as number, start, end, into);
      need(valueLength, keyEnd, start, end);
      into.value = bytes;
      into.valueStart = keyEnd;
      into.valueEnd = keyEnd + valueLength;
      return into.valueEnd;
    }
    case EffectKind.delete:
      need(1, at, start, end);
      into.kind = EffectKind.delete;
      return readKey(bytes, at + 1, bytes[at] as number, start, end, into);
    case EffectKind.expiry:
      need(5, at, start, end);
      into.kind = EffectKind.expiry;
      into.expiresAt = readUint32(bytes, at);
      return readKey(bytes, at + 5, bytes[at + 4] as number, start, end, into);
    case EffectKind.flush:
      need(4, at, start, end);
      into.kind = EffectKind.flush;
      into.expiresAt = readUint32(bytes, at);
      return at + 4;
    default:
      throw badEffect(`its kind ${kind} is unknown`, start, end);
  }
}

const decoded = new Effect();

/**
 * Decodes the effect at `start` and applies it, straight from the buffer and without allocating. Returns where it ends.
 * @throws TroupeError BAD_EFFECT (nothing was applied) or OUT_OF_MEMORY
 */
export function applyEncoded(table: Table, bytes: Uint8Array, start: number, end: number, nowSeconds = 0): number {
  const next = decodeEffect(bytes, start, end, decoded);
  applyEffect(table, decoded, nowSeconds);
  return next;
}

function readKey(bytes: Uint8Array, at: number, length: number, start: number, end: number, into: Effect): number {
  if (length === 0 || length > keyBytesMax) throw badEffect(`its key has ${length} bytes, not 1 to ${keyBytesMax}`, start, end);
  need(length, at, start, end);
  into.key = bytes;
  into.keyStart = at;
  into.keyEnd = at + length;
  return at + length;
}

function need(count: number, at: number, start: number, end: number): void {
  if (end - at < count) throw badEffect('it is cut short', start, end);
}

function badEffect(why: string, start: number, end: number): TroupeError {
  return new TroupeError('BAD_EFFECT', `cannot read a replicated effect: ${why}; the sender runs another version or the bytes were damaged`, { start, end });
}

function writeUint32(target: Uint8Array, at: number, value: number): number {
  target[at] = value;
  target[at + 1] = value >>> 8;
  target[at + 2] = value >>> 16;
  target[at + 3] = value >>> 24;
  return at + 4;
}

function readUint32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24)) >>> 0;
}
