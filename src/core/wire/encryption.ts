import { WireError } from './wire-error.ts';

/** The part of the cipher port that this room needs. */
export interface PayloadCipher {
  seal(key: Uint8Array, plaintext: Uint8Array, associated: Uint8Array): Uint8Array;
  open(key: Uint8Array, sealed: Uint8Array, associated: Uint8Array): Uint8Array | undefined;
}

/** version 1 + nonce 12 + tag 16 */
export const encryptionOverhead = 29;

/** The payload of an encrypted packet: a version byte (1: no padding), then what the cipher makes. */
export function sealPayload(cipher: PayloadCipher, key: Uint8Array, plaintext: Uint8Array, associated: Uint8Array): Uint8Array {
  const sealed = cipher.seal(key, plaintext, associated);
  const out = new Uint8Array(1 + sealed.length);
  out[0] = 1;
  out.set(sealed, 1);
  return out;
}

/**
 * Tries each key in turn; undefined when none fits.
 * @throws WireError when the bytes cannot be an encrypted payload at all
 */
export function openPayload(cipher: PayloadCipher, keys: readonly Uint8Array[], payload: Uint8Array, associated: Uint8Array): Uint8Array | undefined {
  const version = payload[0];
  if (version === undefined || version > 1) throw new WireError('not an encrypted payload: its version is not 0 or 1');
  if (payload.length < encryptionOverhead) throw new WireError(`an encrypted payload of ${payload.length} bytes; the least is ${encryptionOverhead}`);
  for (const key of keys) {
    const plaintext = cipher.open(key, payload.subarray(1), associated);
    if (plaintext !== undefined) return version === 0 ? removePadding(plaintext) : plaintext;
  }
  return undefined;
}

/** PKCS#7, which version 0 uses. */
function removePadding(bytes: Uint8Array): Uint8Array {
  const count = bytes[bytes.length - 1] ?? 0;
  if (count === 0 || count > 16 || count > bytes.length) throw new WireError('the padding of an encrypted payload is broken');
  return bytes.subarray(0, bytes.length - count);
}
