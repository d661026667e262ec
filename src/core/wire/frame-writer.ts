import { copyBytes } from '../../base/copy-bytes.ts';
import { utf8Length, writeUtf8 } from '../../base/utf8.ts';

/**
 * What `take` hands out is cut from chunks: a buffer of its own for each turn would cost more than what is in it. Each is four
 * times as large as the one before, up to this size: a writer of little keeps little.
 */
const chunkBytesMax = 1 << 17;
/** A chunk with less room than this is not begun again. */
const roomMin = 4096;

/**
 * Builds frames one after the other in one growing buffer: u32 length of what follows, u8 type, body. Numbers are
 * big-endian. Whoever sends takes the whole buffer at the end of the turn, so that a turn's frames leave in one write.
 */
export class FrameWriter {
  bytes: Uint8Array;
  #view: DataView;
  /** Where the next byte goes, in `bytes`. */
  length = 0;
  /** Where the frames that have not been taken begin. */
  #start = 0;
  #frameStart = 0;

  constructor(initialBytes = 4096) {
    this.bytes = new Uint8Array(initialBytes);
    this.#view = new DataView(this.bytes.buffer);
  }

  begin(type: number): void {
    this.#frameStart = this.length;
    this.#need(5);
    this.bytes[this.length + 4] = type;
    this.length += 5;
  }

  /** Closes the frame that `begin` opened. */
  end(): void {
    this.#view.setUint32(this.#frameStart, this.length - this.#frameStart - 4);
  }

  /** Drops the frame that `begin` opened. */
  cancel(): void {
    this.length = this.#frameStart;
  }

  /** Bytes of all frames that have not been taken. */
  get size(): number {
    return this.length - this.#start;
  }

  /** Forgets what has not been taken. */
  clear(): void {
    this.length = this.#start;
  }

  /** Bytes of the open frame so far. */
  get frameLength(): number {
    return this.length - this.#frameStart;
  }

  u8(value: number): void {
    this.#need(1);
    this.bytes[this.length++] = value;
  }

  u16(value: number): void {
    this.#need(2);
    this.#view.setUint16(this.length, value);
    this.length += 2;
  }

  u32(value: number): void {
    this.#need(4);
    this.#view.setUint32(this.length, value);
    this.length += 4;
  }

  /** Overwrites a u32 written earlier in the open frame. */
  patchU32(at: number, value: number): void {
    this.#view.setUint32(at, value);
  }

  f64(value: number): void {
    this.#need(8);
    this.#view.setFloat64(this.length, value);
    this.length += 8;
  }

  u64(value: number | bigint): void {
    this.#need(8);
    if (typeof value === 'bigint') this.#view.setBigUint64(this.length, value);
    else {
      this.#view.setUint32(this.length, Math.floor(value / 0x1_0000_0000));
      this.#view.setUint32(this.length + 4, value >>> 0);
    }
    this.length += 8;
  }

  raw(source: Uint8Array, start: number, end: number): void {
    this.#need(end - start);
    copyBytes(source, start, end, this.bytes, this.length);
    this.length += end - start;
  }

  /** u32 length, then the bytes. */
  blob(source: Uint8Array, start = 0, end: number = source.length): void {
    this.u32(end - start);
    this.raw(source, start, end);
  }

  /** u16 length, then UTF-8. */
  text(value: string): void {
    const length = utf8Length(value);
    this.u16(length);
    this.#need(length);
    writeUtf8(value, this.bytes, this.length);
    this.length += length;
  }

  /** Room for `count` bytes at the end, to be filled through `bytes`; moves `length` past them and returns their start. */
  reserve(count: number): number {
    this.#need(count);
    const at = this.length;
    this.length += count;
    return at;
  }

  /** Hands out exactly the frames written so far; their bytes are not touched again before {@link rewind}. */
  take(): Uint8Array {
    const taken = this.bytes.subarray(this.#start, this.length);
    this.#start = this.length;
    if (this.bytes.length - this.length < roomMin) this.#renew(0);
    return taken;
  }

  /** Everything that was handed out is done with: begins anew in the same memory, which the processor still has at hand. Only while there is nothing to take. */
  rewind(): void {
    this.#start = 0;
    this.length = 0;
  }

  #need(count: number): void {
    if (this.length + count > this.bytes.length) this.#renew(2 * (this.size + count));
  }

  /** Goes on in a new chunk of at least `bytesMin`, with what has not been taken. */
  #renew(bytesMin: number): void {
    const grown = new Uint8Array(Math.max(bytesMin, Math.min(4 * this.bytes.length, chunkBytesMax)));
    grown.set(this.bytes.subarray(this.#start, this.length));
    this.#frameStart -= this.#start;
    this.length -= this.#start;
    this.#start = 0;
    this.bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
