import { TroupeError } from '../../base/errors.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

/** Grows as needed. Numbers are little-endian base 128, up to 2^53 − 1. */
export class Writer {
  #bytes = new Uint8Array(128);
  #length = 0;

  #room(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
  }

  byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  number(value: number): void {
    this.#room(8);
    let rest = value;
    while (rest >= 0x80) {
      this.#bytes[this.#length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.#bytes[this.#length++] = rest;
  }

  bytes(value: Uint8Array): void {
    this.number(value.length);
    this.#room(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  text(value: string): void {
    // Most texts are short names in ASCII: their length is known without encoding them apart.
    const start = this.#length;
    this.number(value.length);
    this.#room(value.length * 3);
    const { written } = encoder.encodeInto(value, this.#bytes.subarray(this.#length));
    if (written === value.length) this.#length += written;
    else {
      this.#length = start;
      this.bytes(encoder.encode(value));
    }
  }

  optionalText(value: string | undefined): void {
    this.byte(value === undefined ? 0 : 1);
    if (value !== undefined) this.text(value);
  }

  list<T>(values: readonly T[], write: (value: T) => void): void {
    this.number(values.length);
    for (const value of values) write(value);
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }
}

/** Reads what {@link Writer} wrote. Every length is checked against what is left before anything is allocated. */
export class Reader {
  readonly #bytes: Uint8Array;
  readonly #what: string;
  #offset = 0;

  /** @param what names the thing in the message of the BAD_MESSAGE error that every method may throw */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#what = what;
  }

  fail(why: string): never {
    throw new TroupeError('BAD_MESSAGE', `cannot read ${this.#what}: ${why} at byte ${this.#offset} of ${this.#bytes.length}`, {
      offset: this.#offset, length: this.#bytes.length,
    });
  }

  byte(): number {
    const value = this.#bytes[this.#offset];
    if (value === undefined) this.fail('it ends early');
    this.#offset++;
    return value;
  }

  number(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) {
        if (!Number.isSafeInteger(value)) this.fail('a number is over 2^53 − 1');
        if (byte === 0 && i > 0) this.fail('a number is not in its shortest form');
        return value;
      }
      scale *= 0x80;
    }
    return this.fail('a number is too long');
  }

  boolean(): boolean {
    const value = this.byte();
    if (value > 1) this.fail(`${value} is not a yes or no`);
    return value === 1;
  }

  /** A copy: the input may be a buffer that is used again. */
  bytes(): Uint8Array {
    return this.#take().slice();
  }

  #take(): Uint8Array {
    const length = this.number();
    if (length > this.#bytes.length - this.#offset) this.fail(`${length} bytes announced, ${this.#bytes.length - this.#offset} left`);
    const start = this.#offset;
    this.#offset += length;
    return this.#bytes.subarray(start, this.#offset);
  }

  text(): string {
    const bytes = this.#take();
    try {
      return decoder.decode(bytes);
    } catch {
      return this.fail('a text is not UTF-8');
    }
  }

  optionalText(): string | undefined {
    return this.boolean() ? this.text() : undefined;
  }

  /** @param leastBytes the smallest encoded size of one element (at least 1): bounds the count before any is read */
  list<T>(leastBytes: number, read: () => T): T[] {
    const count = this.number();
    if (count * leastBytes > this.#bytes.length - this.#offset) this.fail(`${count} elements announced, ${this.#bytes.length - this.#offset} bytes left`);
    const result: T[] = [];
    for (let i = 0; i < count; i++) result.push(read());
    return result;
  }

  end(): void {
    if (this.#offset !== this.#bytes.length) this.fail('bytes are left over');
  }
}
