/** Written by {@link scanDigits}: one result at a time, so that the common case allocates nothing. */
export const scanned: { value: number; negative: boolean; firstDigit: number; end: number } = { value: 0, negative: false, firstDigit: 0, end: 0 };

/**
 * Reads bytes[start, end) as C's strtoll and strtoull do with base 10 and as memcached accepts it: blanks before, an
 * optional sign, digits, then the end or a blank (whatever follows that blank is ignored). False if that is no number.
 * `value` is without its sign, and exact up to 2^53 - 1: beyond that the digits are bytes[firstDigit, end).
 */
export function scanDigits(bytes: Uint8Array, start: number, end: number): boolean {
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
  scanned.value = value;
  scanned.negative = sign === 0x2d;
  scanned.firstDigit = firstDigit;
  scanned.end = at;
  return true;
}

/** The scanned digits as a whole number of any size, without the sign; undefined when there are more than `digitsMax` of them (leading zeros do not count). */
export function scannedBigint(bytes: Uint8Array, digitsMax: number): bigint | undefined {
  const { firstDigit, end } = scanned;
  let at = firstDigit;
  while (at < end - 1 && bytes[at] === 0x30) at++;
  if (end - at > digitsMax) return undefined;
  let text = '';
  for (; at < end; at++) text += String.fromCharCode(bytes[at] as number);
  return BigInt(text);
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || (byte >= 0x09 && byte <= 0x0d);
}
