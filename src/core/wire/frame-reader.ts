import { TroupeError } from '../../base/errors.ts';
import { decodeUtf8 } from '../../base/utf8.ts';

/**
 * Reads what FrameWriter wrote. Reusable: `reset` points it at the next frame.
 * @throws TroupeError BAD_FRAME from every read that would pass the frame's end
 */
export class FrameReader {
  bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  at = 0;
  end = 0;

  /** The body: without length and type. */
  reset(bytes: Uint8Array, start: number, end: number): void {
    // A chunk holds many frames: the rest is looked at only with a new one, since it takes V8 longer than reading a frame's head.
    if (bytes !== this.bytes) {
      this.bytes = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    }
    this.at = start;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.at;
  }

  u8(): number {
    return this.bytes[this.#take(1)] as number;
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4));
  }

  f64(): number {
    return this.#view.getFloat64(this.#take(8));
  }

  /** A number if it is a safe integer, a bigint above that. */
  u64(): number | bigint {
    const at = this.#take(8);
    const high = this.#view.getUint32(at);
    return high < 0x20_0000 ? high * 0x1_0000_0000 + this.#view.getUint32(at + 4) : this.#view.getBigUint64(at);
  }

  /** A sequence number, count or time: a whole number of at most 2^53 - 1. */
  count(): number {
    const value = this.f64();
    if (!Number.isSafeInteger(value) || value < 0) throw badFrame('a number in it is no count');
    return value;
  }

  /** Start of `count` raw bytes; the reader moves past them. */
  raw(count: number): number {
    return this.#take(count);
  }

  /** A copy of a blob. */
  blob(): Uint8Array {
    const length = this.u32();
    const at = this.#take(length);
    return this.bytes.slice(at, at + length);
  }

  text(): string {
    const length = this.u16();
    const at = this.#take(length);
    return decodeUtf8(this.bytes.subarray(at, at + length));
  }

  #take(count: number): number {
    const at = this.at;
    if (count > this.end - at) throw badFrame('it is shorter than its contents');
    this.at = at + count;
    return at;
  }
}

export function badFrame(why: string): TroupeError {
  return new TroupeError('BAD_FRAME', `cannot read a frame from a peer: ${why}`);
}
