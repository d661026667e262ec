import { MsgpackReader, MsgpackWriter, decodeUtf8, encodeUtf8 } from './msgpack.ts';
import type { MsgpackDialect, MsgpackLimits, MsgpackValue } from './msgpack.ts';
import { WireError } from './wire-error.ts';

/** How one field of a Go struct goes over the wire. */
export interface FieldCodec<T> {
  /** What a missing or nil field reads as: Go's zero value. */
  readonly zero: T;
  /** `omitempty`: not written when this says so. */
  readonly omit?: (value: T) => boolean;
  write(writer: MsgpackWriter, value: T): void;
  read(value: MsgpackValue): T;
}

/** A Go struct: fields in the order of their declaration, under the exact Go names. */
export interface StructCodec<T> extends FieldCodec<T> {
  encode(value: T, dialect?: MsgpackDialect): Uint8Array;
  /** @throws WireError (IncompleteError when the input is cut short) */
  decode(bytes: Uint8Array, limits?: MsgpackLimits): T;
  /** Reads the next value of a longer input. */
  decodeFrom(reader: MsgpackReader): T;
}

export type Wire<S> = S extends FieldCodec<infer T> ? T : never;

const none = new Uint8Array(0);

function unsigned(bits: number): FieldCodec<number> {
  const max = bits === 64 ? Number.MAX_SAFE_INTEGER : 2 ** bits - 1;
  return {
    zero: 0,
    write: (writer, value) => writer.integer(value),
    read(value) {
      if (typeof value !== 'number' || !Number.isInteger(value) || value < 0 || value > max) {
        throw new WireError(`expected a whole number from 0 to ${max}, found ${describe(value)}`);
      }
      return value;
    },
  };
}

export const u8: FieldCodec<number> = unsigned(8);
export const u16: FieldCodec<number> = unsigned(16);
export const u32: FieldCodec<number> = unsigned(32);
/** Up to 2^53-1: a Lamport time or a nanosecond count beyond it is not meant. */
export const u64: FieldCodec<number> = unsigned(64);

/** Go's int, time.Duration and the like, within what a double holds exactly. */
export const i64: FieldCodec<number> = {
  zero: 0,
  write: (writer, value) => writer.integer(value),
  read(value) {
    if (typeof value !== 'number' || !Number.isInteger(value)) throw new WireError(`expected a whole number, found ${describe(value)}`);
    return value;
  },
};

export const f64: FieldCodec<number> = {
  zero: 0,
  write: (writer, value) => writer.float64(value),
  read(value) {
    if (typeof value !== 'number') throw new WireError(`expected a number, found ${describe(value)}`);
    return value;
  },
};

export const bool: FieldCodec<boolean> = {
  zero: false,
  write: (writer, value) => writer.boolean(value),
  read(value) {
    if (typeof value !== 'boolean') throw new WireError(`expected true or false, found ${describe(value)}`);
    return value;
  },
};

export const text: FieldCodec<string> = {
  zero: '',
  write: (writer, value) => writer.text(value),
  read(value) {
    if (!(value instanceof Uint8Array)) throw new WireError(`expected text, found ${describe(value)}`);
    return decodeUtf8(value);
  },
};

/** Bytes; never nil. */
export const raw: FieldCodec<Uint8Array> = {
  zero: none,
  write: (writer, value) => writer.bytes(value),
  read(value) {
    if (!(value instanceof Uint8Array)) throw new WireError(`expected bytes, found ${describe(value)}`);
    return value;
  },
};

/** Bytes that Go leaves nil: no bytes are written as nil. */
export const rawOrNil: FieldCodec<Uint8Array> = {
  ...raw,
  write: (writer, value) => (value.length === 0 ? writer.nil() : writer.bytes(value)),
};

/** A field that is left out when it is empty or zero. */
export function optional<T>(codec: FieldCodec<T>): FieldCodec<T> {
  return { ...codec, omit: (value) => value === codec.zero || (value instanceof Uint8Array && value.length === 0) };
}

/** A slice; empty is written as nil when `emptyAsNil`, as Go does for one that was never made. */
export function list<T>(element: FieldCodec<T>, emptyAsNil = false): FieldCodec<readonly T[]> {
  return {
    zero: [],
    write(writer, value) {
      if (value.length === 0 && emptyAsNil) return writer.nil();
      writer.arrayHeader(value.length);
      for (const item of value) element.write(writer, item);
    },
    read(value) {
      if (!Array.isArray(value)) throw new WireError(`expected a list, found ${describe(value)}`);
      return value.map((item) => (item === null ? element.zero : element.read(item)));
    },
  };
}

export function nullable<T>(codec: FieldCodec<T>): FieldCodec<T | undefined> {
  return {
    zero: undefined,
    write: (writer, value) => (value === undefined ? writer.nil() : codec.write(writer, value)),
    read: (value) => codec.read(value),
  };
}

/** A Go map with text keys, written in the order of the Map. */
export function mapOf<T>(element: FieldCodec<T>): FieldCodec<ReadonlyMap<string, T>> {
  return {
    zero: new Map<string, T>(),
    write(writer, value) {
      writer.mapHeader(value.size);
      for (const [key, item] of value) {
        writer.text(key);
        element.write(writer, item);
      }
    },
    read(value) {
      if (!(value instanceof Map)) throw new WireError(`expected a map, found ${describe(value)}`);
      const map = new Map<string, T>();
      for (const [key, item] of value) map.set(key, item === null ? element.zero : element.read(item));
      return map;
    },
  };
}

/** Builds the codec of a struct from its fields in declaration order. */
export function struct<T extends object>(fields: { readonly [K in keyof T]: FieldCodec<T[K]> }): StructCodec<T> {
  const declared = Object.entries(fields) as unknown as [string, FieldCodec<unknown>][];
  const sorted = [...declared].sort(([a], [b]) => (a < b ? -1 : 1)); // go-msgpack writes keys in byte order; Go names are ASCII.
  const keys = declared.map(([name]) => encodeUtf8(name));
  const zero = Object.fromEntries(declared.map(([name, codec]) => [name, codec.zero])) as T;

  function fromValue(value: MsgpackValue): T {
    const out: Record<string, unknown> = {};
    if (value instanceof Map) {
      for (const [name, codec] of declared) out[name] = field(name, codec, value.get(name));
    } else if (Array.isArray(value)) {
      declared.forEach(([name, codec], i) => { out[name] = field(name, codec, value[i]); });
    } else {
      throw new WireError(`expected a struct, found ${describe(value)}`);
    }
    return out as T;
  }

  /** The usual case without a Map in between: keys are compared as bytes, unknown ones are skipped. */
  function fromReader(reader: MsgpackReader): T {
    const count = reader.mapHeader();
    if (count === undefined) return fromValue(reader.read());
    const out: Record<string, unknown> = { ...(zero as Record<string, unknown>) };
    for (let i = 0; i < count; i++) {
      const key = reader.read();
      const value = reader.read();
      if (!(key instanceof Uint8Array)) throw new WireError('a map key that is not text');
      const index = indexOfKey(keys, key);
      if (index < 0) continue;
      const [name, codec] = declared[index] as [string, FieldCodec<unknown>];
      out[name] = field(name, codec, value);
    }
    return out as T;
  }

  return {
    zero,
    write(writer, value) {
      let count = 0;
      for (const [name, codec] of sorted) if (codec.omit?.(value[name as keyof T]) !== true) count++;
      writer.mapHeader(count);
      for (const [name, codec] of sorted) {
        if (codec.omit?.(value[name as keyof T]) === true) continue;
        writer.text(name);
        codec.write(writer, value[name as keyof T]);
      }
    },
    read: fromValue,
    encode(value, dialect = 'old') {
      const writer = new MsgpackWriter(dialect);
      this.write(writer, value);
      return writer.finish();
    },
    decode: (bytes, limits) => fromReader(new MsgpackReader(bytes, 0, limits)),
    decodeFrom: fromReader,
  };
}

function indexOfKey(keys: readonly Uint8Array[], key: Uint8Array): number {
  search: for (let i = 0; i < keys.length; i++) {
    const candidate = keys[i] as Uint8Array;
    if (candidate.length !== key.length) continue;
    for (let j = 0; j < key.length; j++) if (candidate[j] !== key[j]) continue search;
    return i;
  }
  return -1;
}

function field(name: string, codec: FieldCodec<unknown>, value: MsgpackValue | undefined): unknown {
  if (value === undefined || value === null) return codec.zero;
  try {
    return codec.read(value);
  } catch (error) {
    throw error instanceof WireError ? new WireError(`${name}: ${error.message}`) : error;
  }
}

function describe(value: MsgpackValue): string {
  if (value === null) return 'nil';
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (value instanceof Map) return `a map of ${value.size}`;
  return Array.isArray(value) ? `a list of ${value.length}` : String(value);
}
