import { parseCounter, parsedCounter } from '../../core/store/counter-text.ts';

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
  let at = start;
  while (at < end && isBlank(bytes[at] as number)) at++;
  const sign = at < end ? (bytes[at] as number) : 0;
  if (sign === 0x2b || sign === 0x2d) at++;
  const firstDigit = at;
  let value = 0;
  while (at < end) {
    const digit = (bytes[at] as number) - 0x30;
    if (digit < 0 || digit > 9) break;
    value = value * 10 + digit;
    at++;
  }
  if (at === firstDigit || (at < end && !isBlank(bytes[at] as number))) return false;
  if (value > Number.MAX_SAFE_INTEGER) return parseLarge(bytes, firstDigit, at, sign === 0x2d);
  parsed.value = (sign === 0x2d ? -value : value) | 0;
  return true;
}

function parseLarge(bytes: Uint8Array, start: number, end: number, negative: boolean): boolean {
  let at = start;
  while (at < end - 1 && bytes[at] === 0x30) at++;
  if (end - at > 19) return false;
  let text = negative ? '-' : '';
  for (; at < end; at++) text += String.fromCharCode(bytes[at] as number);
  const value = BigInt(text);
  if (BigInt.asIntN(64, value) !== value) return false;
  parsed.value = Number(BigInt.asIntN(32, value));
  return true;
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}
