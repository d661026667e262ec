import { copyBytes } from '../../base/copy-bytes.ts';
import type { Stream } from '../../ports/streams.ts';

const slabBytes = 64 * 1024;

const encoder = new TextEncoder();
/** ASCII text as bytes, for answers that never change. */
export function ascii(text: string): Uint8Array {
  return encoder.encode(text);
}

/**
 * Where answers are put together. With a target stream it is a slab that is written out in views and replaced when it is
 * full, since what a stream was given may not change; without one it grows and is copied from later.
 */
export class Output {
  bytes: Uint8Array;
  /** Where the part that is not written yet begins; the rest before it belongs to streams. */
  start = 0;
  end = 0;
  #target: Stream | undefined = undefined;
  /** False once the target has refused more for now. */
  writable = true;
  /** Bytes handed to streams so far. */
  writtenBytes = 0;

  constructor(capacity: number = slabBytes) {
    this.bytes = new Uint8Array(capacity);
  }

  /** All that follows, up to {@link flush}, is for this stream. */
  begin(target: Stream): void {
    this.#target = target;
    this.writable = true;
  }

  /** Writes out what has gathered. False when the stream has enough for now. */
  flush(): boolean {
    const target = this.#target;
    if (target !== undefined && this.end > this.start) {
      this.writtenBytes += this.end - this.start;
      if (!target.write(this.bytes.subarray(this.start, this.end))) this.writable = false;
      this.start = this.end;
    }
    return this.writable;
  }

  /** Makes sure that `count` more bytes fit; write them at `end`. */
  reserve(count: number): void {
    if (this.bytes.length - this.end < count) this.#makeRoom(count);
  }

  write(bytes: Uint8Array): void {
    this.writePart(bytes, 0, bytes.length);
  }

  writePart(bytes: Uint8Array, start: number, end: number): void {
    this.reserve(end - start);
    copyBytes(bytes, start, end, this.bytes, this.end);
    this.end += end - start;
  }

  #makeRoom(count: number): void {
    if (this.#target !== undefined) {
      this.flush();
      this.bytes = new Uint8Array(Math.max(slabBytes, count));
      this.start = 0;
      this.end = 0;
      return;
    }
    const larger = new Uint8Array(Math.max(this.bytes.length * 2, this.end + count));
    larger.set(this.bytes.subarray(0, this.end));
    this.bytes = larger;
  }
}
