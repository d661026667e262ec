import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MsgpackReader, MsgpackWriter } from '../../src/core/wire/msgpack.ts';
import type { MsgpackValue } from '../../src/core/wire/msgpack.ts';
import { MsgpackScanner } from '../../src/core/wire/msgpack-scanner.ts';
import { WireError } from '../../src/core/wire/wire-error.ts';

const limits = { bytesMax: 10_000, valuesMax: 1000 };

const value: fc.Arbitrary<MsgpackValue> = fc.letrec<{ value: MsgpackValue }>((tie) => ({
  value: fc.oneof({ depthSize: 'small', withCrossShrink: true },
    fc.constant(null), fc.boolean(), fc.maxSafeInteger(), fc.double(), fc.bigInt({ min: 2n ** 60n, max: 2n ** 64n - 1n }),
    fc.uint8Array({ maxLength: 300 }), fc.array(tie('value'), { maxLength: 20 }),
    fc.array(fc.tuple(fc.string({ maxLength: 40 }), tie('value')), { maxLength: 18 }).map((entries) => new Map(entries))),
})).value;

function write(writer: MsgpackWriter, what: MsgpackValue): void {
  if (what === null) writer.nil();
  else if (typeof what === 'boolean') writer.boolean(what);
  else if (typeof what === 'bigint') writer.integer(what);
  else if (typeof what === 'number' && Number.isSafeInteger(what) && !Object.is(what, -0)) writer.integer(what);
  else if (typeof what === 'number') writer.float64(what);
  else if (what instanceof Uint8Array) writer.bytes(what);
  else if (Array.isArray(what)) {
    writer.arrayHeader(what.length);
    for (const each of what) write(writer, each);
  } else {
    writer.mapHeader(what.size);
    for (const [key, each] of what) {
      writer.text(key);
      write(writer, each);
    }
  }
}

/** Cuts bytes into pieces at these places. */
function* pieces(bytes: Uint8Array, cuts: readonly number[]): Iterable<Uint8Array> {
  const places = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b);
  for (let i = 1; i < places.length; i++) yield bytes.slice(places[i - 1], places[i]);
}

describe('MsgpackScanner', () => {
  test('finds every value, however it is cut', () => {
    fc.assert(fc.property(fc.array(value, { minLength: 1, maxLength: 5 }), fc.array(fc.nat(), { maxLength: 40 }), fc.constantFrom('old' as const, 'new' as const), (values, cuts, dialect) => {
      const parts = values.map((each) => {
        const writer = new MsgpackWriter(dialect);
        write(writer, each);
        return Buffer.from(writer.finish());
      });
      const scanner = new MsgpackScanner({ bytesMax: 1_000_000, valuesMax: 100_000 });
      const found: Buffer[] = [];
      for (const piece of pieces(Buffer.concat(parts), cuts)) {
        scanner.push(piece);
        for (let next = scanner.next(); next !== undefined; next = scanner.next()) found.push(Buffer.from(next));
      }
      expect(found).toEqual(parts);
      expect(scanner.heldBytes).toBe(0);
    }), { numRuns: 300 });
  });

  test('garbage is an error or waits for more, agrees with the reader, and never holds more than it may', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 2000 }), fc.array(fc.nat(), { maxLength: 10 }), (bytes, cuts) => {
      const scanner = new MsgpackScanner(limits);
      try {
        for (const piece of pieces(bytes, cuts)) {
          scanner.push(piece);
          for (let next = scanner.next(); next !== undefined; next = scanner.next()) {
            try {
              const reader = new MsgpackReader(next.slice(), 0, { depthMax: 2000 });
              reader.read();
              expect(reader.offset).toBe(next.length);
            } catch (error) {
              if (!(error instanceof WireError) || !/UTF-8|not text|a map key/.test(error.message)) throw error;
            }
          }
          expect(scanner.heldBytes).toBeLessThanOrEqual(limits.bytesMax + piece.length);
        }
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
      }
    }), { numRuns: 1000 });
  });

  test.each([
    ['bytes that are announced', Buffer.from('c6ffffffff', 'hex')],
    ['text that is announced', Buffer.from('db00002711', 'hex')],
    ['elements that are announced', Buffer.from('ddffffffff', 'hex')],
    ['entries that are announced', Buffer.from('de0200', 'hex')],
    ['nested elements that are announced', Buffer.from('93dd000003e5', 'hex')],
    ['an extension', Buffer.from('d40100', 'hex')],
  ])('%s beyond the limits are refused before they come', (_, bytes) => {
    const scanner = new MsgpackScanner(limits);
    scanner.push(bytes);
    expect(() => scanner.next()).toThrow(WireError);
  });

  test('many small values without end are refused', () => {
    const scanner = new MsgpackScanner(limits);
    scanner.push(Buffer.from('dc03e6', 'hex'));
    expect(scanner.next()).toBeUndefined();
    const deep = new MsgpackScanner(limits);
    expect(() => {
      for (let i = 0; i < 2000; i++) {
        deep.push(Uint8Array.of(0x91));
        deep.next();
      }
    }).toThrow(WireError);
  });

  test('a byte at a time costs no more than linear time', () => {
    const scanner = new MsgpackScanner({ bytesMax: 2_000_000, valuesMax: 10 });
    const writer = new MsgpackWriter('new');
    writer.bytes(new Uint8Array(1_000_000));
    const bytes = writer.finish();
    const start = performance.now();
    let found = 0;
    for (let i = 0; i < bytes.length; i++) {
      scanner.push(bytes.subarray(i, i + 1));
      if (scanner.next() !== undefined) found++;
    }
    expect(found).toBe(1);
    expect(performance.now() - start).toBeLessThan(5000);
  });
});
