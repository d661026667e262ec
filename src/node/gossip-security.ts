import { encryptionOverhead, openPayload, sealPayload } from '../core/wire/encryption.ts';
import type { StreamSecurity } from '../core/wire/stream-frames.ts';
import { WireError } from '../core/wire/wire-error.ts';
import { TroupeError } from '../base/errors.ts';
import type { Cipher } from '../ports/cipher.ts';

const none = new Uint8Array(0);
const keyLengths = [16, 24, 32];

export type OpenedPacket = { readonly packet: Uint8Array } | { readonly refused: 'plaintext' | 'wrong key' };

/** The keyring: seals with the primary key, opens with any. Without keys everything passes as it is. */
export class GossipSecurity {
  readonly cipher: Cipher;
  #keys: readonly Uint8Array[];

  constructor(cipher: Cipher, keys: readonly Uint8Array[]) {
    this.cipher = cipher;
    this.#keys = checkKeys(keys);
  }

  get keys(): readonly Uint8Array[] {
    return this.#keys;
  }

  set keys(keys: readonly Uint8Array[]) {
    if (keys.length === 0 && this.#keys.length > 0) throw new TroupeError('BAD_KEY', 'cannot empty the keyring of an encrypted pool: its packets could not be read any more; restart without a key instead');
    this.#keys = checkKeys(keys);
  }

  get encrypted(): boolean {
    return this.#keys.length > 0;
  }

  /** Bytes that sealing adds to a packet. */
  get packetOverhead(): number {
    return this.encrypted ? encryptionOverhead : 0;
  }

  get forStreams(): StreamSecurity {
    return { cipher: this.cipher, keys: this.#keys };
  }

  seal(packet: Uint8Array): Uint8Array {
    const primary = this.#keys[0];
    return primary === undefined ? packet : sealPayload(this.cipher, primary, packet, none);
  }

  open(packet: Uint8Array): OpenedPacket {
    if (!this.encrypted) return { packet };
    try {
      const opened = openPayload(this.cipher, this.#keys, packet, none);
      return opened === undefined ? { refused: 'wrong key' } : { packet: opened };
    } catch (error) {
      if (error instanceof WireError) return { refused: 'plaintext' };
      throw error;
    }
  }
}

function checkKeys(keys: readonly Uint8Array[]): readonly Uint8Array[] {
  for (const [i, key] of keys.entries()) {
    if (!keyLengths.includes(key.length)) throw new TroupeError('BAD_KEY', `cannot use key ${i + 1} of the keyring: it has ${key.length} bytes and must have 16, 24 or 32; make one with 'troupe keygen'`, { index: i, size: key.length });
  }
  return keys.map((key) => key.slice());
}
