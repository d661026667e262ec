/**
 * Decimal counters as memcached reads and writes them: unsigned 64-bit, as text.
 * Numbers up to 2^53 - 1 stay JavaScript numbers; only those above cost a bigint.
 */
import { scanDigits, scanned, scannedBigint } from './digits.ts';

const wrap = 1n << 64n;

/** Written by {@link parseCounter}: one result at a time, so that the common case allocates nothing. */
export const parsedCounter: { value: number | bigint } = { value: 0 };

/** Reads bytes[start, end) as memcached reads a counter ({@link scanDigits}). False if that is not a number below 2^64. */
export function parseCounter(bytes: Uint8Array, start: number, end: number): boolean {
  if (!scanDigits(bytes, start, end)) return false;
  if (scanned.value <= Number.MAX_SAFE_INTEGER && !scanned.negative) {
    parsedCounter.value = scanned.value;
    return true;
  }
  return parseLarge(bytes);
}

function parseLarge(bytes: Uint8Array): boolean {
  let value = scannedBigint(bytes, 20);
  if (value === undefined || value >= wrap) return false;
  if (scanned.negative && value !== 0n) {
    // strtoull negates modulo 2^64; memcached refuses what then looks negative.
    value = wrap - value;
    if (value >= wrap / 2n) return false;
  }
  parsedCounter.value = narrow(value);
  return true;
}

/** Adds modulo 2^64. */
export function addCounter(value: number | bigint, delta: number | bigint): number | bigint {
  if (typeof value === 'number' && typeof delta === 'number') {
    const sum = value + delta;
    if (sum <= Number.MAX_SAFE_INTEGER) return sum;
  }
  return narrow((BigInt(value) + BigInt(delta)) % wrap);
}

/** Subtracts, but never below 0. */
export function subtractCounter(value: number | bigint, delta: number | bigint): number | bigint {
  if (delta >= value) return 0;
  if (typeof value === 'number' && typeof delta === 'number') return value - delta;
  return narrow(BigInt(value) - BigInt(delta));
}

/** The digits of the counter; at most 20. Returns where they end. */
export function writeCounter(value: number | bigint, target: Uint8Array, at: number): number {
  if (typeof value === 'number') return writeDecimal(value, target, at);
  const text = value.toString();
  for (let i = 0; i < text.length; i++) target[at + i] = text.charCodeAt(i);
  return at + text.length;
}

/** The digits of a whole number from 0 to 2^53 - 1. Returns where they end. */
export function writeDecimal(value: number, target: Uint8Array, at: number): number {
  let end = at + 1;
  for (let bound = 10; value >= bound; bound *= 10) end++;
  let rest = value;
  let to = end - 1;
  // Whole-number arithmetic is far cheaper below 2^31.
  while (rest > 0x7fff_ffff) {
    const next = Math.floor(rest / 10);
    target[to--] = 0x30 + (rest - next * 10);
    rest = next;
  }
  let small = rest | 0;
  for (; to >= at; to--) {
    const next = (small / 10) | 0;
    target[to] = 0x30 + (small - next * 10);
    small = next;
  }
  return end;
}

function narrow(value: bigint): number | bigint {
  return value <= 0x1f_ffff_ffff_ffffn ? Number(value) : value;
}
