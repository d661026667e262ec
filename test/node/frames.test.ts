import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { StoreRequest } from '../../src/core/store/request.ts';
import { FrameReader } from '../../src/core/wire/frame-reader.ts';
import { FrameSplitter } from '../../src/core/wire/frame-splitter.ts';
import { FrameWriter } from '../../src/core/wire/frame-writer.ts';
import { readRequest } from '../../src/node/request-frames.ts';
import type { RequestHead } from '../../src/node/request-frames.ts';

function pieces(bytes: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const at = [0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].toSorted((a, b) => a - b);
  return at.slice(1).map((end, index) => bytes.slice(at[index], end));
}

describe('FrameWriter, FrameSplitter and FrameReader', () => {
  test('what is written comes out whole, however the stream is cut', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(255), fc.uint8Array({ maxLength: 3000 }), fc.string(), fc.double({ noNaN: true }), fc.maxSafeNat()), { maxLength: 8 }), fc.array(fc.nat(), { maxLength: 10 }), (frames, cuts) => {
      const writer = new FrameWriter(16);
      for (const [type, blob, text, number, count] of frames) {
        writer.begin(type);
        writer.blob(blob);
        writer.text(text);
        writer.f64(number);
        writer.u64(count);
        writer.end();
      }
      const seen: unknown[] = [];
      const splitter = new FrameSplitter();
      const reader = new FrameReader();
      for (const piece of pieces(writer.take(), cuts)) {
        splitter.push(piece, (type, bytes, start, end) => {
          reader.reset(bytes, start, end);
          seen.push([type, reader.blob(), reader.text(), reader.f64(), reader.u64()]);
          expect(reader.remaining).toBe(0);
        });
      }
      expect(seen).toEqual(frames.map(([type, blob, text, number, count]) => [type, blob, new TextDecoder().decode(new TextEncoder().encode(text)), number, count]));
    }));
  });

  test('a writer that begins anew stays in the memory of the largest turn', () => {
    const writer = new FrameWriter(64);
    const reader = new FrameReader();
    const memory = new Set<ArrayBufferLike>();
    const turn = (first: number, count: number): void => {
      writer.rewind();
      for (let i = 0; i < count; i++) {
        writer.begin(7);
        writer.f64(first + i);
        writer.end();
      }
      expect(writer.size).toBe(13 * count);
      const seen: number[] = [];
      const taken = writer.take();
      memory.add(taken.buffer);
      new FrameSplitter().push(taken, (_type, bytes, start, end) => {
        reader.reset(bytes, start, end);
        seen.push(reader.f64());
      });
      expect(seen).toEqual(Array.from({ length: count }, (_, i) => first + i));
      expect(writer.size).toBe(0);
    };
    for (let i = 0; i < 1000; i++) turn(i, 1 + (i * 7) % 300);
    expect(memory.size).toBeLessThan(8);
  });

  test('any bytes: whole frames, BAD_FRAME, or waiting for more; never more held than came', () => {
    fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 20 }), fc.integer({ min: 1, max: 500 }), (chunks, limit) => {
      const splitter = new FrameSplitter(limit);
      try {
        for (const chunk of chunks) splitter.push(chunk, (_type, bytes, start, end) => expect(end - start <= limit && end <= bytes.length).toBe(true));
      } catch (error) {
        expect((error as { code?: string }).code).toBe('BAD_FRAME');
      }
    }));
  });

  test('a frame that is announced and never comes costs no memory', () => {
    const before = process.memoryUsage().arrayBuffers;
    const splitters = Array.from({ length: 1000 }, () => new FrameSplitter());
    for (const splitter of splitters) splitter.push(Uint8Array.of(0x03, 0xff, 0xff, 0xff, 1, 2, 3), () => {});
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 << 20);
    expect(splitters).toHaveLength(1000);
  });

  test('reading past the end is BAD_FRAME, whatever is read', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), fc.array(fc.constantFrom('u8' as const, 'u16' as const, 'u32' as const, 'f64' as const, 'u64' as const, 'count' as const, 'blob' as const, 'text' as const), { maxLength: 10 }), (bytes, reads) => {
      const reader = new FrameReader();
      reader.reset(bytes, 0, bytes.length);
      try {
        for (const read of reads) reader[read]();
        expect(reader.at).toBeLessThanOrEqual(bytes.length);
      } catch (error) {
        expect((error as { code?: string }).code).toBe('BAD_FRAME');
      }
    }));
  });
});

test('a forwarded request of any bytes is read or refused as BAD_FRAME, and points into its frame', () => {
  const head: RequestHead = { keyspace: 0, partition: 0, epoch: 0, origin: 0, id: 0, attempt: 0, ageMs: 0 };
  fc.assert(fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => {
    const reader = new FrameReader();
    reader.reset(bytes, 0, bytes.length);
    const request = new StoreRequest();
    try {
      readRequest(reader, head, request);
      expect(request.keyEnd - request.keyStart).toBeLessThanOrEqual(250);
      expect(request.keyEnd <= bytes.length && request.valueStart >= request.keyEnd && request.valueEnd <= bytes.length).toBe(true);
    } catch (error) {
      expect((error as { code?: string }).code).toBe('BAD_FRAME');
    }
  }), { numRuns: 2000 });
});
