import { copyBytes } from '../../base/copy-bytes.ts';
import { IncompleteError, WireError } from './wire-error.ts';

/**
 * The two dialects of MessagePack that HashiCorp's programs speak.
 * `old`: the specification before 2013, used for gossip: text and bytes are both "raw" (a0.., da, db).
 * `new`: text is fixstr/d9/da/db and bytes are c4/c5/c6; used by Serf's RPC port.
 * Readers understand both, so that only writers need to choose.
 */
export type MsgpackDialect = 'old' | 'new';

/**
 * Text and bytes both read as Uint8Array (the old dialect cannot tell them apart); whole numbers beyond 2^53 as bigint.
 * A map keeps its keys as text.
 */
export type MsgpackValue = null | boolean | number | bigint | Uint8Array | MsgpackValue[] | Map<string, MsgpackValue>;

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function encodeUtf8(text: string): Uint8Array {
  return utf8Encoder.encode(text);
}

/** @throws WireError when the bytes are no UTF-8: a changed name would be another name. */
export function decodeUtf8(bytes: Uint8Array): string {
  if (bytes.length < 32) {
    // Short ASCII, nearly every name and key: cheaper than a decoder call.
    for (let i = 0; i < bytes.length; i++) if ((bytes[i] as number) > 0x7f) return decodeSlowly(bytes);
    return String.fromCharCode.apply(null, bytes as unknown as number[]);
  }
  return decodeSlowly(bytes);
}

function decodeSlowly(bytes: Uint8Array): string {
  try {
    return utf8Decoder.decode(bytes);
  } catch {
    throw new WireError('text is not UTF-8');
  }
}

/** Appends MessagePack values to a growing buffer. */
export class MsgpackWriter {
  readonly dialect: MsgpackDialect;
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  constructor(dialect: MsgpackDialect = 'old', capacity = 256) {
    this.dialect = dialect;
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  /** A copy of what has been written. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** One byte as it is: type bytes that stand before a value. */
  byte(value: number): void {
    this.#room(1);
    this.#bytes[this.#length++] = value;
  }

  /** Bytes as they are: values that are encoded already. */
  splice(bytes: Uint8Array): void {
    this.#room(bytes.length);
    copyBytes(bytes, 0, bytes.length, this.#bytes, this.#length);
    this.#length += bytes.length;
  }

  nil(): void {
    this.byte(0xc0);
  }

  boolean(value: boolean): void {
    this.byte(value ? 0xc3 : 0xc2);
  }

  float64(value: number): void {
    this.#room(9);
    this.#bytes[this.#length++] = 0xcb;
    this.#view.setFloat64(this.#length, value);
    this.#length += 8;
  }

  /** The shortest form, as go-msgpack writes it: unsigned codes for zero and above. */
  integer(value: number | bigint): void {
    this.#room(9);
    if (value >= 0) {
      if (value < 0x80) this.#bytes[this.#length++] = Number(value);
      else if (value <= 0xff) this.#coded8(0xcc, Number(value));
      else if (value <= 0xffff) this.#coded16(0xcd, Number(value));
      else if (value <= 0xffff_ffff) this.#coded32(0xce, Number(value));
      else {
        this.#bytes[this.#length] = 0xcf;
        this.#view.setBigUint64(this.#length + 1, BigInt(value));
        this.#length += 9;
      }
    } else if (value >= -32) this.#bytes[this.#length++] = Number(value) & 0xff;
    else if (value >= -0x80) this.#coded8(0xd0, Number(value) & 0xff);
    else if (value >= -0x8000) this.#coded16(0xd1, Number(value) & 0xffff);
    else if (value >= -0x8000_0000) this.#coded32(0xd2, Number(value) >>> 0);
    else {
      this.#bytes[this.#length] = 0xd3;
      this.#view.setBigInt64(this.#length + 1, BigInt(value));
      this.#length += 9;
    }
  }

  text(value: string): void {
    if (value.length < 32 && this.#shortAscii(value)) return;
    const bytes = encodeUtf8(value);
    this.#room(5 + bytes.length);
    if (bytes.length < 32) this.#bytes[this.#length++] = 0xa0 | bytes.length;
    else if (bytes.length <= 0xff && this.dialect === 'new') this.#coded8(0xd9, bytes.length);
    else if (bytes.length <= 0xffff) this.#coded16(0xda, bytes.length);
    else this.#coded32(0xdb, bytes.length);
    this.splice(bytes);
  }

  /** Nearly every name and key: cheaper than an encoder call. False, and nothing written, when it is not ASCII. */
  #shortAscii(value: string): boolean {
    this.#room(1 + value.length);
    const start = this.#length;
    this.#bytes[start] = 0xa0 | value.length;
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) return false;
      this.#bytes[start + 1 + i] = code;
    }
    this.#length = start + 1 + value.length;
    return true;
  }

  bytes(value: Uint8Array): void {
    this.#room(5 + value.length);
    if (this.dialect === 'new') {
      if (value.length <= 0xff) this.#coded8(0xc4, value.length);
      else if (value.length <= 0xffff) this.#coded16(0xc5, value.length);
      else this.#coded32(0xc6, value.length);
    } else if (value.length < 32) this.#bytes[this.#length++] = 0xa0 | value.length;
    else if (value.length <= 0xffff) this.#coded16(0xda, value.length);
    else this.#coded32(0xdb, value.length);
    this.splice(value);
  }

  arrayHeader(count: number): void {
    this.#room(5);
    if (count < 16) this.#bytes[this.#length++] = 0x90 | count;
    else if (count <= 0xffff) this.#coded16(0xdc, count);
    else this.#coded32(0xdd, count);
  }

  mapHeader(count: number): void {
    this.#room(5);
    if (count < 16) this.#bytes[this.#length++] = 0x80 | count;
    else if (count <= 0xffff) this.#coded16(0xde, count);
    else this.#coded32(0xdf, count);
  }

  #coded8(code: number, value: number): void {
    this.#bytes[this.#length] = code;
    this.#bytes[this.#length + 1] = value;
    this.#length += 2;
  }

  #coded16(code: number, value: number): void {
    this.#bytes[this.#length] = code;
    this.#view.setUint16(this.#length + 1, value);
    this.#length += 3;
  }

  #coded32(code: number, value: number): void {
    this.#bytes[this.#length] = code;
    this.#view.setUint32(this.#length + 1, value);
    this.#length += 5;
  }

  #room(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}

export interface MsgpackLimits {
  /** Values, counting each key and element, that one `read` may make; default 1,000,000. Bounds memory: a value costs far more than its byte. */
  readonly valuesMax?: number;
  /** Nesting; default 16. */
  readonly depthMax?: number;
}

/**
 * Reads values one after another. Byte strings are views into the input.
 * Announced lengths are never trusted: nothing is allocated before the bytes that fill it are there.
 */
export class MsgpackReader {
  readonly bytes: Uint8Array;
  offset: number;
  #cachedView: DataView | undefined;
  readonly #valuesMax: number;
  readonly #depthMax: number;
  #values = 0;

  constructor(bytes: Uint8Array, offset = 0, limits: MsgpackLimits = {}) {
    this.bytes = bytes;
    this.offset = offset;
    this.#valuesMax = limits.valuesMax ?? 1_000_000;
    this.#depthMax = limits.depthMax ?? 16;
  }

  /**
   * The next value.
   * @throws IncompleteError when the input ends inside it (the offset is then anywhere), WireError when it is malformed
   */
  read(): MsgpackValue {
    this.#values = 0;
    return this.#value(0);
  }

  /** The number of entries if a map comes next (and then moves behind its header); undefined otherwise (and stays). */
  mapHeader(): number | undefined {
    const start = this.offset;
    const code = this.#unsigned(1);
    if (code >= 0x80 && code < 0x90) return code & 0x0f;
    if (code === 0xde) return this.#unsigned(2);
    if (code === 0xdf) return this.#unsigned(4);
    this.offset = start;
    return undefined;
  }

  #value(depth: number): MsgpackValue {
    if (++this.#values > this.#valuesMax) throw new WireError(`more than ${this.#valuesMax} values in one message`);
    if (depth > this.#depthMax) throw new WireError(`values nested deeper than ${this.#depthMax}`);
    const code = this.#unsigned(1);
    if (code < 0x80) return code;
    if (code < 0x90) return this.#map(code & 0x0f, depth);
    if (code < 0xa0) return this.#array(code & 0x0f, depth);
    if (code < 0xc0) return this.#raw(code & 0x1f);
    if (code >= 0xe0) return code - 0x100;
    switch (code) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: case 0xd9: return this.#raw(this.#unsigned(1));
      case 0xc5: case 0xda: return this.#raw(this.#unsigned(2));
      case 0xc6: case 0xdb: return this.#raw(this.#unsigned(4));
      case 0xca: return this.#view.getFloat32(this.#advance(4));
      case 0xcb: return this.#view.getFloat64(this.#advance(8));
      case 0xcc: return this.#unsigned(1);
      case 0xcd: return this.#unsigned(2);
      case 0xce: return this.#unsigned(4);
      case 0xcf: return narrow(this.#view.getBigUint64(this.#advance(8)));
      case 0xd0: return this.#view.getInt8(this.#advance(1));
      case 0xd1: return this.#view.getInt16(this.#advance(2));
      case 0xd2: return this.#view.getInt32(this.#advance(4));
      case 0xd3: return narrow(this.#view.getBigInt64(this.#advance(8)));
      case 0xdc: return this.#array(this.#unsigned(2), depth);
      case 0xdd: return this.#array(this.#unsigned(4), depth);
      case 0xde: return this.#map(this.#unsigned(2), depth);
      case 0xdf: return this.#map(this.#unsigned(4), depth);
      default: throw new WireError(`unknown MessagePack code 0x${code.toString(16)}`);
    }
  }

  #array(count: number, depth: number): MsgpackValue[] {
    if (count > this.#valuesMax) throw new WireError(`an array of ${count} elements; at most ${this.#valuesMax} are read`);
    const list: MsgpackValue[] = [];
    for (let i = 0; i < count; i++) list.push(this.#value(depth + 1));
    return list;
  }

  #map(count: number, depth: number): Map<string, MsgpackValue> {
    if (count > this.#valuesMax) throw new WireError(`a map of ${count} entries; at most ${this.#valuesMax} are read`);
    const map = new Map<string, MsgpackValue>();
    for (let i = 0; i < count; i++) {
      const key = this.#value(depth + 1);
      if (!(key instanceof Uint8Array)) throw new WireError('a map key that is not text');
      map.set(decodeUtf8(key), this.#value(depth + 1));
    }
    return map;
  }

  #raw(length: number): Uint8Array {
    const start = this.#advance(length);
    return this.bytes.subarray(start, start + length);
  }

  #unsigned(size: 1 | 2 | 4): number {
    const start = this.#advance(size);
    const { bytes } = this;
    if (size === 1) return bytes[start] as number;
    const high = ((bytes[start] as number) << 8) | (bytes[start + 1] as number);
    return size === 2 ? high : high * 0x1_0000 + (((bytes[start + 2] as number) << 8) | (bytes[start + 3] as number));
  }

  get #view(): DataView {
    return (this.#cachedView ??= new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength));
  }

  /** Moves on and returns where the bytes start. */
  #advance(length: number): number {
    const start = this.offset;
    if (start + length > this.bytes.length) throw new IncompleteError('the message ends inside a value');
    this.offset = start + length;
    return start;
  }
}

function narrow(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}
