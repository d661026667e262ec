import { badFrame } from './frame-reader.ts';

/** Largest frame that is accepted: a consensus snapshot or a value of the largest size fits many times. */
export const frameBytesMax: number = 64 << 20;

/**
 * Cuts a byte stream into frames. Frames that lie whole in the received chunk are handed out in place; only a frame
 * that spans chunks is copied. Holds at most one frame, and grows with what has come, not with what was announced.
 */
export class FrameSplitter {
  /** Of the frames that begin from now on. */
  limit: number;
  #held: Uint8Array = new Uint8Array(0);
  #heldLength = 0;

  constructor(limit: number = frameBytesMax) {
    this.limit = limit;
  }

  /**
   * @param onFrame type, and the body as bytes[start, end): valid only during the call
   * @throws TroupeError BAD_FRAME when a frame is announced longer than the limit or empty; the stream is then of no use
   */
  push(chunk: Uint8Array, onFrame: (type: number, bytes: Uint8Array, start: number, end: number) => void): void {
    let bytes = chunk;
    let at = 0;
    if (this.#heldLength > 0) {
      this.#append(chunk);
      bytes = this.#held;
      const end = this.#heldLength;
      at = this.#cut(bytes, 0, end, onFrame);
      this.#keep(bytes, at, end);
      return;
    }
    at = this.#cut(bytes, 0, bytes.length, onFrame);
    this.#keep(bytes, at, bytes.length);
  }

  #cut(bytes: Uint8Array, start: number, end: number, onFrame: (type: number, bytes: Uint8Array, start: number, end: number) => void): number {
    let at = start;
    while (end - at >= 5) {
      const length = (((bytes[at] as number) << 24) | ((bytes[at + 1] as number) << 16) | ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)) >>> 0;
      if (length < 1 || length > this.limit) throw badFrame(`it is announced with ${length} bytes; 1 to ${this.limit} are accepted`);
      const frameEnd = at + 4 + length;
      if (frameEnd > end) break;
      onFrame(bytes[at + 4] as number, bytes, at + 5, frameEnd);
      at = frameEnd;
    }
    return at;
  }

  #append(chunk: Uint8Array): void {
    const needed = this.#heldLength + chunk.length;
    if (needed > this.#held.length) {
      const grown = new Uint8Array(Math.max(needed, this.#held.length * 2, 4096));
      grown.set(this.#held.subarray(0, this.#heldLength));
      this.#held = grown;
    }
    this.#held.set(chunk, this.#heldLength);
    this.#heldLength = needed;
  }

  #keep(bytes: Uint8Array, at: number, end: number): void {
    const rest = end - at;
    if (rest === 0) {
      this.#heldLength = 0;
      if (this.#held.length > 1 << 20) this.#held = new Uint8Array(0);
      return;
    }
    if (bytes === this.#held) {
      this.#held.copyWithin(0, at, end);
      this.#heldLength = rest;
      return;
    }
    this.#heldLength = 0;
    this.#append(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end));
  }
}
