/** How an entry lies in the arena's memory, and reading it there. */
import { copyBytes } from '../../base/copy-bytes.ts';
import type { Arena } from './arena.ts';

export const headerBytes = 32;
const casHighMask = 0x1f_ffff;

/**
 * An entry in words of 32 bits: 0 hash · 1 next in the chain · 2 value length (24 bits) and key length (8) · 3 flags ·
 * 4 expiresAt · 5 cas, low · 6 cas, high (21 bits), and the table's number in the arena (11 bits) · 7 last access in
 * seconds · then the key, then the value.
 *
 * A reference is valid until the next change of any table of the arena.
 */
export class Entries {
  /** The arena's pages, as bytes and as words. */
  protected readonly pages: Uint8Array[];
  protected readonly words: Uint32Array[];

  constructor(arena: Arena) {
    this.pages = arena.bytes;
    this.words = arena.words;
  }

  hashOf(ref: number): number {
    return (this.words[ref >>> 17] as Uint32Array)[(ref & 0x1ffff) << 1] as number;
  }

  keyLengthOf(ref: number): number {
    return ((this.words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 2] as number) >>> 24;
  }

  valueLengthOf(ref: number): number {
    return ((this.words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 2] as number) & 0xff_ffff;
  }

  flagsOf(ref: number): number {
    return (this.words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 3] as number;
  }

  /** Unix seconds; 0 never. */
  expiresAtOf(ref: number): number {
    return (this.words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 4] as number;
  }

  /** The entry's version. */
  casOf(ref: number): number {
    const words = this.words[ref >>> 17] as Uint32Array;
    const word = (ref & 0x1ffff) << 1;
    return ((words[word + 6] as number) & casHighMask) * 0x1_0000_0000 + (words[word + 5] as number);
  }

  /** When it was last read or written, in the seconds given to touchLru. */
  lastAccessOf(ref: number): number {
    return (this.words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 7] as number;
  }

  /** The memory that key and value of the entry lie in, together with keyStartOf and valueStartOf. Read only. */
  memoryOf(ref: number): Uint8Array {
    return this.pages[ref >>> 17] as Uint8Array;
  }

  keyStartOf(ref: number): number {
    return ((ref & 0x1ffff) << 3) + headerBytes;
  }

  valueStartOf(ref: number): number {
    return ((ref & 0x1ffff) << 3) + headerBytes + this.keyLengthOf(ref);
  }

  copyValue(ref: number, target: Uint8Array, at: number): void {
    const start = this.valueStartOf(ref);
    copyBytes(this.memoryOf(ref), start, start + this.valueLengthOf(ref), target, at);
  }

  copyKey(ref: number, target: Uint8Array, at: number): void {
    const start = this.keyStartOf(ref);
    copyBytes(this.memoryOf(ref), start, start + this.keyLengthOf(ref), target, at);
  }

  /** A view, not a copy; allocates it, so not for hot paths. */
  keyView(ref: number): Uint8Array {
    const start = this.keyStartOf(ref);
    return this.memoryOf(ref).subarray(start, start + this.keyLengthOf(ref));
  }

  /** A view, not a copy; allocates it, so not for hot paths. */
  valueView(ref: number): Uint8Array {
    const start = this.valueStartOf(ref);
    return this.memoryOf(ref).subarray(start, start + this.valueLengthOf(ref));
  }

  /** Marks the entry as used now, for eviction. */
  touchLru(ref: number, nowSeconds: number): void {
    (this.words[ref >>> 17] as Uint32Array)[((ref & 0x1ffff) << 1) + 7] = nowSeconds;
  }
}
