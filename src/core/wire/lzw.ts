import { WireError } from './wire-error.ts';

/**
 * LZW as in Go's compress/lzw with LSB order and 8-bit literals: codes begin with 9 bits and grow to 12,
 * 256 clears the table, 257 ends.
 */
const clearCode = 256;
const endCode = 257;
const widthMax = 12;
const codeMax = (1 << widthMax) - 1;

/** The same bytes as Go's writer (1.17 and later) makes. */
export function lzwCompress(input: Uint8Array): Uint8Array {
  const sink = new BitSink(input.length + 16);
  const table = new Map<number, number>(); // prefix code << 8 | next byte → code
  let width = 9;
  let high = endCode; // the highest code in use
  let overflow = 1 << 9;
  sink.put(clearCode, width);
  if (input.length === 0) {
    sink.put(endCode, width);
    return sink.finish();
  }
  let code = input[0] as number;
  for (let i = 1; i < input.length; i++) {
    const literal = input[i] as number;
    const key = (code << 8) | literal;
    const known = table.get(key);
    if (known !== undefined) {
      code = known;
      continue;
    }
    sink.put(code, width);
    code = literal;
    high++;
    if (high === overflow) {
      width++;
      overflow <<= 1;
    }
    if (high === codeMax) {
      sink.put(clearCode, width);
      table.clear();
      width = 9;
      high = endCode;
      overflow = 1 << 9;
    } else {
      table.set(key, high);
    }
  }
  sink.put(code, width);
  high++;
  if (high === overflow) width++;
  if (high === codeMax) { // Go's incHi runs once more before the end and may clear here.
    sink.put(clearCode, Math.min(width, widthMax));
    width = 9;
  }
  sink.put(endCode, width);
  return sink.finish();
}

/**
 * @param outputMax refuses to make more bytes than this: a stream can blow up several hundred times
 * @throws WireError
 */
export function lzwDecompress(input: Uint8Array, outputMax: number): Uint8Array {
  // As for each code above the literals: its last byte, and the code before it. Lengths make room for a walk backwards.
  const suffix = new Uint8Array(codeMax + 1);
  const prefix = new Uint16Array(codeMax + 1);
  const lengths = new Uint16Array(codeMax + 1);
  for (let i = 0; i < clearCode; i++) {
    suffix[i] = i;
    lengths[i] = 1;
  }
  let out = new Uint8Array(Math.min(outputMax, Math.max(64, input.length * 3)));
  let size = 0;
  let bits = 0;
  let bitCount = 0;
  let at = 0;
  let width = 9;
  let high = endCode;
  let overflow = 1 << 9;
  let last = -1; // the previous code; -1 right after a clear

  for (;;) {
    while (bitCount < width) {
      const byte = input[at++];
      if (byte === undefined) throw new WireError('compressed bytes end without an end mark');
      bits |= byte << bitCount;
      bitCount += 8;
    }
    const code = bits & ((1 << width) - 1);
    bits >>>= width;
    bitCount -= width;

    if (code === clearCode) {
      width = 9;
      high = endCode;
      overflow = 1 << 9;
      last = -1;
      continue;
    }
    if (code === endCode) return out.slice(0, size);
    if (code > high + 1 || (code > high && last < 0)) throw new WireError(`compressed bytes hold the code ${code}, which is not defined yet`);

    // A code that is just being defined stands for the last string and its own first byte again.
    const source = code > high ? last : code;
    const length = (lengths[source] as number) + (code > high ? 1 : 0);
    if (size + length > outputMax) throw new WireError(`compressed bytes unfold to more than ${outputMax}`);
    if (size + length > out.length) {
      const grown = new Uint8Array(Math.min(outputMax, Math.max(out.length * 2, size + length)));
      grown.set(out);
      out = grown;
    }
    let cursor = source;
    for (let i = size + (lengths[source] as number) - 1; i >= size; i--) {
      out[i] = suffix[cursor] as number;
      cursor = prefix[cursor] as number;
    }
    const first = out[size] as number;
    if (code > high) out[size + length - 1] = first;
    size += length;

    // Each code after the first one behind a clear defines one more; past 4095 the table stays as it is until a clear.
    if (last >= 0 && high < codeMax) {
      high++;
      suffix[high] = first;
      prefix[high] = last;
      lengths[high] = (lengths[last] as number) + 1;
    }
    last = code;
    if (high + 1 >= overflow && width < widthMax) {
      width++;
      overflow <<= 1;
    }
  }
}

/** Collects codes, low bits first. */
class BitSink {
  #bytes: Uint8Array;
  #size = 0;
  #bits = 0;
  #bitCount = 0;

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity);
  }

  put(code: number, width: number): void {
    this.#bits |= code << this.#bitCount;
    this.#bitCount += width;
    while (this.#bitCount >= 8) {
      this.#push(this.#bits & 0xff);
      this.#bits >>>= 8;
      this.#bitCount -= 8;
    }
  }

  finish(): Uint8Array {
    if (this.#bitCount > 0) this.#push(this.#bits & 0xff);
    return this.#bytes.slice(0, this.#size);
  }

  #push(byte: number): void {
    if (this.#size === this.#bytes.length) {
      const grown = new Uint8Array(this.#bytes.length * 2);
      grown.set(this.#bytes);
      this.#bytes = grown;
    }
    this.#bytes[this.#size++] = byte;
  }
}
