import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compoundPartsMax, decodeCompound, encodeCompound } from '../../src/core/wire/compound.ts';
import { crc32 } from '../../src/core/wire/crc32.ts';
import { openPayload, sealPayload } from '../../src/core/wire/encryption.ts';
import { ipFromBytes, ipToBytes, isUnspecified } from '../../src/core/wire/ip-address.ts';
import { lzwCompress, lzwDecompress } from '../../src/core/wire/lzw.ts';
import { MsgpackReader, MsgpackWriter } from '../../src/core/wire/msgpack.ts';
import type { MsgpackValue } from '../../src/core/wire/msgpack.ts';
import { addChecksum, compressMessage, stripChecksum, unwrapPacket, wrapPacket } from '../../src/core/wire/packet.ts';
import { encodePushPull, StreamAssembler, wrapStreamMessage } from '../../src/core/wire/stream-frames.ts';
import { WireError } from '../../src/core/wire/wire-error.ts';
import { aesGcmCipher } from '../../src/host/aes-gcm-cipher.ts';

const bytes = (max: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ maxLength: max });
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));

/** Runs it; WireError is the one error that bytes from outside may cause. */
function readable<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

describe('MessagePack', () => {
  const writeInteger = (value: number | bigint): string => {
    const writer = new MsgpackWriter('old');
    writer.integer(value);
    return Buffer.from(writer.finish()).toString('hex');
  };
  test.each([
    [0, '00'], [127, '7f'], [128, 'cc80'], [255, 'ccff'], [256, 'cd0100'], [65535, 'cdffff'], [65536, 'ce00010000'], [0xffffffff, 'ceffffffff'],
    [2 ** 32, 'cf0000000100000000'], [-1, 'ff'], [-32, 'e0'], [-33, 'd0df'], [-128, 'd080'], [-129, 'd1ff7f'], [-32769, 'd2ffff7fff'], [-(2 ** 31) - 1, 'd3ffffffff7fffffff'],
  ])('writes %d in the shortest form', (value, expected) => {
    expect(writeInteger(value)).toBe(expected);
    expect(new MsgpackReader(hex(expected)).read()).toBe(value);
  });
  test('numbers beyond 2^53 read as bigint', () => {
    expect(writeInteger(2n ** 64n - 1n)).toBe('cfffffffffffffffff');
    expect(new MsgpackReader(hex('cfffffffffffffffff')).read()).toBe(2n ** 64n - 1n);
  });
  test('the dialects differ in text over 31 bytes and in bytes', () => {
    const write = (dialect: 'old' | 'new', use: (writer: MsgpackWriter) => void): string => {
      const writer = new MsgpackWriter(dialect);
      use(writer);
      return Buffer.from(writer.finish().subarray(0, 3)).toString('hex');
    };
    expect(write('old', (w) => w.text('x'.repeat(40)))).toBe('da0028');
    expect(write('new', (w) => w.text('x'.repeat(40)))).toBe('d92878');
    expect(write('old', (w) => w.bytes(Uint8Array.of(1, 2)))).toBe('a20102');
    expect(write('new', (w) => w.bytes(Uint8Array.of(1, 2)))).toBe('c40201');
  });
  test('reads any bytes to a value or a WireError', () => {
    fc.assert(fc.property(bytes(200), (input) => { readable(() => new MsgpackReader(input).read()); }), { numRuns: 2000 });
  });
  test('announced lengths allocate nothing', () => {
    for (const bomb of ['dd7fffffff', 'df7fffffff', 'db7fffffff', 'c6ffffffff', '91'.repeat(10_000)]) expect(() => new MsgpackReader(hex(bomb)).read()).toThrow(WireError);
    const before = process.memoryUsage().heapUsed;
    const wide = new Uint8Array(100_005).fill(0xc0);
    wide.set(hex('dd000f4240'));
    expect(() => new MsgpackReader(wide).read()).toThrow(WireError);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(32 * 1024 * 1024);
  });
  test('what was written reads back', () => {
    const leaf = fc.oneof(fc.constant(null), fc.boolean(), fc.maxSafeInteger(), bytes(40));
    const tree: fc.Arbitrary<MsgpackValue> = fc.letrec<{ node: MsgpackValue }>((tie) => ({
      node: fc.oneof({ maxDepth: 5 }, leaf, fc.array(tie('node'), { maxLength: 5 }), fc.dictionary(fc.string(), tie('node'), { maxKeys: 5 }).map((d) => new Map(Object.entries(d)))),
    })).node;
    const write = (writer: MsgpackWriter, value: MsgpackValue): void => {
      if (value === null) writer.nil();
      else if (typeof value === 'boolean') writer.boolean(value);
      else if (typeof value === 'number' || typeof value === 'bigint') writer.integer(value);
      else if (value instanceof Uint8Array) writer.bytes(value);
      else if (Array.isArray(value)) {
        writer.arrayHeader(value.length);
        for (const item of value) write(writer, item);
      } else {
        writer.mapHeader(value.size);
        for (const [key, item] of value) {
          writer.text(key);
          write(writer, item);
        }
      }
    };
    fc.assert(fc.property(tree, fc.constantFrom('old' as const, 'new' as const), (value, dialect) => {
      const writer = new MsgpackWriter(dialect, 1);
      write(writer, value);
      expect(new MsgpackReader(writer.finish()).read()).toEqual(value);
    }));
  });
});

describe('LZW', () => {
  test('unfolds what it folds, over table resets too', () => {
    fc.assert(fc.property(bytes(3000), (input) => { expect(lzwDecompress(lzwCompress(input), 3000)).toEqual(input); }));
    const random = Uint8Array.from({ length: 60_000 }, (_, i) => (i * 2654435761) >>> 13);
    expect(Buffer.compare(lzwDecompress(lzwCompress(random), 60_000), random)).toBe(0);
    const zeros = new Uint8Array(2_000_000);
    expect(Buffer.compare(lzwDecompress(lzwCompress(zeros), zeros.length), zeros)).toBe(0);
  });
  test('every length around the places where the code width grows', () => {
    for (let length = 0; length < 4200; length++) {
      const input = Uint8Array.from({ length }, (_, i) => (Math.imul(i, 2654435761) >>> 24) & 0xff);
      const output = lzwDecompress(lzwCompress(input), 5000);
      if (output.length !== length || output[length - 1] !== input[length - 1]) expect(output).toEqual(input);
    }
  });
  test('known bytes: clear, three literals, end', () => {
    // 100000000 001100001 001100010 001100011 100000001 with low bits first
    expect(Buffer.from(lzwCompress(Buffer.from('abc'))).toString('hex')).toBe('00c388191310');
  });
  test('reads any bytes within the limit', () => {
    fc.assert(fc.property(bytes(300), (input) => {
      const output = readable(() => lzwDecompress(input, 1000));
      expect(output === undefined || output.length <= 1000).toBe(true);
    }), { numRuns: 3000 });
  });
  test('refuses to unfold past the limit', () => {
    expect(() => lzwDecompress(lzwCompress(new Uint8Array(100_000)), 99_999)).toThrow('99999');
  });
});

describe('packets', () => {
  const leaf = (text: string): Uint8Array => Uint8Array.of(8, ...Buffer.from(text));
  const unwrap = (packet: Uint8Array): string[] => {
    const seen: string[] = [];
    unwrapPacket(packet, (message) => seen.push(Buffer.from(message.subarray(1)).toString()));
    return seen;
  };
  test('crc32 gives the check value of the standard', () => expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926));
  test('layers come off in the order they went on', () => {
    const message = encodeCompound([leaf('aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa'), leaf('b')]);
    const packet = wrapPacket(message, { compress: true, checksum: true });
    expect(packet.length).toBeLessThan(message.length);
    expect(packet[0]).toBe(12);
    expect(packet[5]).toBe(9);
    expect(unwrap(packet)[1]).toBe('b');
  });
  test('a message that compression would lengthen stays plain', () => expect(wrapPacket(leaf('x'), { compress: true, checksum: false })).toEqual(leaf('x')));
  test('a changed byte breaks the checksum', () => {
    const packet = addChecksum(leaf('hello'));
    packet[7]! ^= 1;
    expect(() => stripChecksum(packet)).toThrow(WireError);
  });
  test('a cut compound gives what is there and says so', () => {
    const compound = encodeCompound([leaf('a'), leaf('bbb')]);
    expect(decodeCompound(compound.subarray(0, compound.length - 1))).toEqual({ parts: [leaf('a')], truncated: 1 });
  });
  test.each(['07010000', '0c00000000', '07', '0c', '', '09', '0980', '07ff', '0700', '0982a4416c676f00a3427566a0'])('the killer packet %s is refused', (text) => {
    const seen: Uint8Array[] = [];
    readable(() => unwrapPacket(hex(text), (message) => seen.push(message)));
    expect(seen).toEqual([]);
  });
  test('nested bombs are refused', () => {
    let bomb = compressMessage(new Uint8Array(250_000).fill(7));
    for (let i = 0; i < 10; i++) bomb = compressMessage(bomb);
    expect(() => unwrapPacket(bomb, () => {})).toThrow(WireError);
    let nested = leaf('x');
    for (let i = 0; i < 6; i++) nested = encodeCompound(Array.from({ length: 5 }, () => nested));
    expect(() => unwrapPacket(nested, () => {})).toThrow(WireError);
  });
  test('any bytes give messages or a WireError', () => {
    fc.assert(fc.property(fc.constantFrom(7, 9, 12, 0, 8), bytes(300), (type, rest) => {
      let count = 0;
      readable(() => unwrapPacket(Uint8Array.of(type, ...rest), () => count++));
      expect(count).toBeLessThanOrEqual(4096);
    }), { numRuns: 2000 });
  });
  test('a compound holds 255 parts and no more', () => {
    const parts = Array.from({ length: compoundPartsMax }, (_, i) => leaf(String(i)));
    expect(unwrap(encodeCompound(parts))).toHaveLength(255);
    expect(() => encodeCompound([...parts, leaf('x')])).toThrow(RangeError);
  });
});

describe('encryption', () => {
  const none = new Uint8Array(0);
  const key = (fill: number, size = 32): Uint8Array => new Uint8Array(size).fill(fill);
  test.each([16, 24, 32])('keys of %d bytes: any key of the ring opens, a strange one does not', (size) => {
    const sealed = sealPayload(aesGcmCipher, key(2, size), Buffer.from('hello'), none);
    expect(sealed.length).toBe(5 + 29);
    expect(sealed[0]).toBe(1);
    expect(Buffer.from(openPayload(aesGcmCipher, [key(1, size), key(2, size)], sealed, none)!).toString()).toBe('hello');
    expect(openPayload(aesGcmCipher, [key(1, size)], sealed, none)).toBeUndefined();
    expect(openPayload(aesGcmCipher, [key(2, size)], sealed, Uint8Array.of(1))).toBeUndefined();
  });
  test('version 0 is padded', () => {
    const sealed = Buffer.concat([Buffer.of(0), aesGcmCipher.seal(key(1), Buffer.concat([Buffer.from('hello'), Buffer.alloc(11, 11)]), none)]);
    expect(Buffer.from(openPayload(aesGcmCipher, [key(1)], sealed, none)!).toString()).toBe('hello');
  });
  test('any bytes', () => {
    fc.assert(fc.property(bytes(100), (input) => { expect(readable(() => openPayload(aesGcmCipher, [key(1)], input, none))).toBeUndefined(); }));
  });
});

describe('streams', () => {
  const state = {
    join: true, userState: Buffer.from('user state'),
    nodes: Array.from({ length: 20 }, (_, i) => ({ Name: `n${i}`, Addr: Uint8Array.of(127, 0, 0, i), Port: 7946, Meta: new Uint8Array(i), Incarnation: i, State: i % 4, Vsn: Uint8Array.of(1, 5, 2, 2, 5, 5) })),
  };
  const plain = { cipher: aesGcmCipher, keys: [] as Uint8Array[] };
  const secret = { cipher: aesGcmCipher, keys: [new Uint8Array(32).fill(1)] };
  test('a push/pull survives any cutting, in all four wrappings', () => {
    for (const security of [plain, secret]) for (const compress of [true, false]) {
      const wire = wrapStreamMessage(encodePushPull(state), { ...security, compress });
      fc.assert(fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 30 }), (cuts) => {
        const assembler = new StreamAssembler(security);
        let at = 0;
        for (const cut of [...cuts, wire.length]) {
          const end = Math.min(wire.length, at + cut);
          const message = assembler.push(wire.subarray(at, end));
          at = end;
          if (message !== undefined) {
            expect(at).toBe(wire.length);
            expect(message.type === 'push-pull' && { ...message.state, userState: Buffer.from(message.state.userState) }).toEqual(state);
            return;
          }
        }
        expect.unreachable('the message never became whole');
      }), { numRuns: 30 });
    }
  });
  test('says which side is encrypted, and that no key fits', () => {
    const wire = encodePushPull(state);
    expect(() => new StreamAssembler(secret).push(wire)).toThrow(expect.objectContaining({ code: 'REMOTE_PLAINTEXT' }));
    expect(() => new StreamAssembler(plain).push(wrapStreamMessage(wire, { ...secret, compress: true }))).toThrow(expect.objectContaining({ code: 'REMOTE_ENCRYPTED' }));
    const other = { ...secret, keys: [new Uint8Array(32).fill(9)] };
    expect(() => new StreamAssembler(other).push(wrapStreamMessage(wire, { ...secret, compress: true }))).toThrow(expect.objectContaining({ code: 'WRONG_KEY' }));
  });
  test.each([
    '0683a54e6f646573ce7fffffffac557365725374617465 4c656e00a44a6f696ec2',
    '0683a54e6f64657300ac55736572537461746 54c656ece7fffffffa44a6f696ec2',
    '0683a54e6f646573ffac557365725374617465 4c656e00a44a6f696ec2',
    '0681aa557365724d73674c656ece7fffffff',
    '0881aa557365724d73674c656ece7fffffff',
  ])('a length bomb is refused: %s', (text) => {
    const before = process.memoryUsage().heapUsed;
    const assembler = new StreamAssembler(plain);
    let refused = false;
    try {
      assembler.push(hex(text));
      assembler.push(new Uint8Array(100).fill(0xc1));
    } catch (error) {
      refused = error instanceof WireError;
    }
    expect(refused || assembler.buffered < 200).toBe(true);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(16 * 1024 * 1024);
  });
  test('an encrypted frame of 2^32-1 bytes is refused', () => expect(() => new StreamAssembler(secret).push(hex('0affffffff'))).toThrow(WireError));
  test('any bytes in any pieces', () => {
    fc.assert(fc.property(fc.constantFrom(0, 2, 6, 8, 9, 10, 13), fc.array(bytes(100), { maxLength: 5 }), (type, pieces) => {
      const assembler = new StreamAssembler(plain);
      readable(() => {
        assembler.push(Uint8Array.of(type));
        for (const piece of pieces) assembler.push(piece);
      });
    }), { numRuns: 2000 });
  });
});

describe('IP addresses', () => {
  test.each([['127.0.0.1', '7f000001'], ['::', '0'.repeat(32)], ['::1', `${'0'.repeat(31)}1`], ['fe80::1:2', 'fe800000000000000000000000010002'], ['2001:db8::', '20010db8000000000000000000000000']])('%s', (text, expected) => {
    expect(Buffer.from(ipToBytes(text)!).toString('hex')).toBe(expected);
    expect(ipFromBytes(ipToBytes(text)!)).toBe(text);
  });
  test('mapped IPv4 is IPv4', () => expect(ipToBytes('::ffff:1.2.3.4')).toEqual(Uint8Array.of(1, 2, 3, 4)));
  test.each(['', 'localhost', '1.2.3', '1.2.3.256', '1::2::3', ':1', '12345::', '1:2:3:4:5:6:7:8:9'])('%s is none', (text) => expect(ipToBytes(text)).toBeUndefined());
  test('all sixteen bytes go round', () => fc.assert(fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (ip) => {
    const text = ipFromBytes(ip);
    expect(ipFromBytes(ipToBytes(text)!)).toBe(text);
  })));
  test('isUnspecified', () => expect(['0.0.0.0', '::', '127.0.0.1', 'x'].map(isUnspecified)).toEqual([true, true, false, false]));
});
