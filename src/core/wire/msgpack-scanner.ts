import { WireError } from './wire-error.ts';

export interface ScannerLimits {
  /** Bytes of one value, all that it holds included. */
  readonly bytesMax: number;
  /** Values of one value, each key and element counted. */
  readonly valuesMax: number;
}

/**
 * Finds where each MessagePack value of a stream ends. Each byte is looked at once, however small the pieces are that it
 * comes in; nothing is decoded, and no announced length is trusted.
 */
export class MsgpackScanner {
  readonly #limits: ScannerLimits;
  #bytes: Uint8Array = new Uint8Array(0);
  /** Where the value begins that is being scanned, where the scan stands, and where the bytes end. */
  #start = 0;
  #offset = 0;
  #end = 0;
  /** Values that are still to come before the outermost one is whole. */
  #open = 1;
  #seen = 0;

  constructor(limits: ScannerLimits) {
    this.#limits = limits;
  }

  /** Bytes that are held. */
  get heldBytes(): number {
    return this.#end - this.#start;
  }

  push(bytes: Uint8Array): void {
    const held = this.heldBytes;
    if (this.#end + bytes.length > this.#bytes.length) {
      const grown = held + bytes.length <= this.#bytes.length ? this.#bytes : new Uint8Array(Math.max(256, 2 * (held + bytes.length)));
      grown.set(this.#bytes.subarray(this.#start, this.#end));
      this.#bytes = grown;
      this.#offset -= this.#start;
      this.#start = 0;
      this.#end = held;
    }
    this.#bytes.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /** The bytes of the next whole value, valid until the next call; undefined while it is not there. @throws WireError */
  next(): Uint8Array | undefined {
    while (this.#open > 0) {
      if (!this.#step()) {
        if (this.heldBytes > this.#limits.bytesMax) throw new WireError(`a value of more than ${this.#limits.bytesMax} bytes`);
        return undefined;
      }
    }
    const value = this.#bytes.subarray(this.#start, this.#offset);
    if (value.length > this.#limits.bytesMax) throw new WireError(`a value of more than ${this.#limits.bytesMax} bytes`);
    this.#start = this.#offset;
    this.#open = 1;
    this.#seen = 0;
    return value;
  }

  /** Goes past one header and its raw bytes; false when they are not all there. */
  #step(): boolean {
    const code = this.#peek(0);
    if (code === undefined) return false;
    if (code < 0x80 || code >= 0xe0) return this.#pass(1, 0, 0);
    if (code < 0x90) return this.#pass(1, 0, 2 * (code & 0x0f));
    if (code < 0xa0) return this.#pass(1, 0, code & 0x0f);
    if (code < 0xc0) return this.#pass(1, code & 0x1f, 0);
    switch (code) {
      case 0xc0: case 0xc2: case 0xc3: return this.#pass(1, 0, 0);
      case 0xc4: case 0xd9: return this.#raw(1);
      case 0xc5: case 0xda: return this.#raw(2);
      case 0xc6: case 0xdb: return this.#raw(4);
      case 0xcc: case 0xd0: return this.#pass(1, 1, 0);
      case 0xcd: case 0xd1: return this.#pass(1, 2, 0);
      case 0xca: case 0xce: case 0xd2: return this.#pass(1, 4, 0);
      case 0xcb: case 0xcf: case 0xd3: return this.#pass(1, 8, 0);
      case 0xdc: return this.#children(2, 1);
      case 0xdd: return this.#children(4, 1);
      case 0xde: return this.#children(2, 2);
      case 0xdf: return this.#children(4, 2);
      default: throw new WireError(`unknown MessagePack code 0x${code.toString(16)}`);
    }
  }

  #raw(size: 1 | 2 | 4): boolean {
    const length = this.#unsigned(size);
    if (length === undefined) return false;
    if (length > this.#limits.bytesMax) throw new WireError(`${length} bytes are announced; at most ${this.#limits.bytesMax} are read`);
    return this.#pass(1 + size, length, 0);
  }

  #children(size: 2 | 4, each: 1 | 2): boolean {
    const count = this.#unsigned(size);
    return count === undefined ? false : this.#pass(1 + size, 0, each * count);
  }

  #pass(header: number, raw: number, children: number): boolean {
    if (this.#offset + header + raw > this.#end) return false;
    this.#seen += 1;
    if (this.#seen + this.#open + children > this.#limits.valuesMax) throw new WireError(`more than ${this.#limits.valuesMax} values in one message`);
    this.#offset += header + raw;
    this.#open += children - 1;
    return true;
  }

  #peek(ahead: number): number | undefined {
    const at = this.#offset + ahead;
    return at < this.#end ? this.#bytes[at] : undefined;
  }

  #unsigned(size: 1 | 2 | 4): number | undefined {
    if (this.#offset + 1 + size > this.#end) return undefined;
    let value = 0;
    for (let i = 1; i <= size; i++) value = value * 256 + (this.#peek(i) as number);
    return value;
  }
}
