import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import type { CipherGCM, CipherGCMTypes, DecipherGCM } from 'node:crypto';
import type { Cipher } from '../ports/cipher.ts';

const nonceBytes = 12;
const tagBytes = 16;

function algorithm(key: Uint8Array): CipherGCMTypes {
  return `aes-${key.length * 8}-gcm` as CipherGCMTypes;
}

/** The same bytes without Buffer's ways: its `slice` is a view, which pure code does not expect. */
function plain(buffer: Buffer): Uint8Array {
  return new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.byteLength);
}

/** AES-128/192/256-GCM from node:crypto, by the length of the key. */
export const aesGcmCipher: Cipher = {
  seal(key, plaintext, associated) {
    const nonce = randomBytes(nonceBytes);
    const cipher: CipherGCM = createCipheriv(algorithm(key), key, nonce);
    cipher.setAAD(associated);
    return plain(Buffer.concat([nonce, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]));
  },
  open(key, sealed, associated) {
    if (sealed.length < nonceBytes + tagBytes) return undefined;
    const decipher: DecipherGCM = createDecipheriv(algorithm(key), key, sealed.subarray(0, nonceBytes));
    decipher.setAAD(associated);
    decipher.setAuthTag(sealed.subarray(sealed.length - tagBytes));
    const plaintext = decipher.update(sealed.subarray(nonceBytes, sealed.length - tagBytes));
    try {
      return plain(Buffer.concat([plaintext, decipher.final()]));
    } catch {
      return undefined; // The tag does not fit: a wrong key or a changed byte. Which one cannot be told.
    }
  },
};
