import { parseCounter, parsedCounter } from '../../core/store/counter-text.ts';
import { scanDigits, scanned, scannedBigint } from '../../core/store/digits.ts';

/** Written by the functions below: one result at a time, so that parsing allocates nothing. */
export const parsed: { value: number } = { value: 0 };

/** The token as memcached reads flags: an unsigned number, of which the low 32 bits count. */
export function parseFlags(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start === 1 && bytes[start] === 0x30) {
    parsed.value = 0;
    return true;
  }
  if (!parseCounter(bytes, start, end)) return false;
  const value = parsedCounter.value;
  parsed.value = typeof value === 'number' ? value >>> 0 : Number(BigInt.asUintN(32, value));
  return true;
}

/** The token as memcached reads a cas unique; above 2^53 - 1 it is -1, which no entry has. */
export function parseCas(bytes: Uint8Array, start: number, end: number): boolean {
  if (!parseCounter(bytes, start, end)) return false;
  parsed.value = typeof parsedCounter.value === 'number' ? parsedCounter.value : -1;
  return true;
}

/** The token as memcached reads times and lengths: a signed 64-bit number, of which the low 32 bits count (as a signed number). */
export function parseInt32(bytes: Uint8Array, start: number, end: number): boolean {
  if (!scanDigits(bytes, start, end)) return false;
  if (scanned.value > Number.MAX_SAFE_INTEGER) return parseLarge(bytes);
  parsed.value = (scanned.negative ? -scanned.value : scanned.value) | 0;
  return true;
}

function parseLarge(bytes: Uint8Array): boolean {
  const digits = scannedBigint(bytes, 19);
  if (digits === undefined) return false;
  const value = scanned.negative ? -digits : digits;
  if (BigInt.asIntN(64, value) !== value) return false;
  parsed.value = Number(BigInt.asIntN(32, value));
  return true;
}
