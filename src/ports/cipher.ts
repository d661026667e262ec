/** Authenticated encryption (AES-GCM) with a 16, 24 or 32 byte key. Synchronous: packets are small. */
export interface Cipher {
  /** Returns nonce (12 bytes, fresh for each call), ciphertext, tag (16 bytes), in this order. */
  seal(key: Uint8Array, plaintext: Uint8Array, associated: Uint8Array): Uint8Array;
  /** The inverse of `seal`; undefined when the key does not fit or a byte was changed. Never throws for what came from outside. */
  open(key: Uint8Array, sealed: Uint8Array, associated: Uint8Array): Uint8Array | undefined;
}
