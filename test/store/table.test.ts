import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Arena, arenaPageBytes } from '../../src/core/store/arena.ts';
import { hashKey } from '../../src/core/store/hash.ts';
import { reverseBits } from '../../src/core/store/bucket-index.ts';
import { entryBytes, Table } from '../../src/core/store/table.ts';
import { Prng } from '../../src/base/prng.ts';

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const MiB = 1024 * 1024;

interface Entry {
  value: string;
  flags: number;
  expiresAt: number;
  cas: number;
}

/** A table driven by strings, next to a Map that must always agree with it. */
class Twins {
  readonly arena: Arena;
  readonly table: Table;
  readonly map = new Map<string, Entry>();
  readonly hash: (key: Uint8Array) => number;

  constructor(limitBytes = 64 * MiB, hash: (key: Uint8Array) => number = (key) => hashKey(key, 0, key.length)) {
    this.arena = new Arena({ limitBytes });
    this.table = new Table({ arena: this.arena, budgetBytes: limitBytes });
    this.hash = hash;
  }

  set(key: string, entry: Entry): void {
    const bytes = encoder.encode(key);
    const value = encoder.encode(entry.value);
    this.table.set(bytes, 0, bytes.length, this.hash(bytes), value, 0, value.length, entry.flags, entry.expiresAt, entry.cas);
    this.map.set(key, entry);
  }

  setParts(key: string, first: string, entry: Entry): void {
    const bytes = encoder.encode(key);
    const a = encoder.encode(first);
    const b = encoder.encode(entry.value);
    this.table.setParts(bytes, 0, bytes.length, this.hash(bytes), a, 0, a.length, b, 0, b.length, entry.flags, entry.expiresAt, entry.cas);
    this.map.set(key, { ...entry, value: first + entry.value });
  }

  setExpiry(key: string, expiresAt: number, cas: number): void {
    const entry = this.map.get(key);
    if (entry === undefined) return;
    this.table.setExpiry(this.find(key), expiresAt, cas);
    this.map.set(key, { ...entry, expiresAt, cas });
  }

  delete(key: string): void {
    const bytes = encoder.encode(key);
    expect(this.table.delete(bytes, 0, bytes.length, this.hash(bytes))).toBe(this.map.delete(key));
  }

  expire(now: number): void {
    const gone: string[] = [];
    this.table.expireSome(now, Infinity, (ref) => gone.push(decoder.decode(this.table.keyView(ref))));
    for (const key of gone) {
      const entry = this.map.get(key);
      expect(entry).toBeDefined();
      expect((entry as Entry).expiresAt).toBeGreaterThan(0);
      expect((entry as Entry).expiresAt).toBeLessThanOrEqual(now);
      this.map.delete(key);
    }
    for (const entry of this.map.values()) expect(entry.expiresAt === 0 || entry.expiresAt > now).toBe(true);
  }

  find(key: string): number {
    const bytes = encoder.encode(key);
    return this.table.get(bytes, 0, bytes.length, this.hash(bytes));
  }

  check(): void {
    let bytes = 0;
    for (const [key, entry] of this.map) {
      const ref = this.find(key);
      expect(ref, `entry of ${key}`).toBeGreaterThan(0);
      expect(decoder.decode(this.table.keyView(ref))).toBe(key);
      expect(decoder.decode(this.table.valueView(ref))).toBe(entry.value);
      expect(this.table.flagsOf(ref)).toBe(entry.flags);
      expect(this.table.expiresAtOf(ref)).toBe(entry.expiresAt);
      expect(this.table.casOf(ref)).toBe(entry.cas);
      bytes += entryBytes(this.table.keyLengthOf(ref), this.table.valueLengthOf(ref));
    }
    expect(this.table.count).toBe(this.map.size);
    expect(this.table.bytes).toBe(bytes);
    const seen: string[] = [];
    let cursor = 0;
    do cursor = this.table.scan(cursor, 7, (ref) => seen.push(decoder.decode(this.table.keyView(ref))));
    while (cursor !== 0);
    expect(seen.toSorted()).toEqual([...this.map.keys()].toSorted());
  }
}

const anyEntry = fc.record({
  value: fc.oneof(fc.string({ maxLength: 40 }), fc.integer({ min: 0, max: 300_000 }).map((length) => 'v'.repeat(length))),
  flags: fc.integer({ min: 0, max: 0xffff_ffff }),
  expiresAt: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 100 })),
  cas: fc.maxSafeNat(),
});
const anyKey = fc.integer({ min: 0, max: 60 }).map((n) => 'k'.repeat(1 + (n % 7)) + n);
const anyStep = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('set' as const), key: anyKey, entry: anyEntry }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('setParts' as const), key: anyKey, first: fc.string(), entry: anyEntry }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('delete' as const), key: anyKey }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('setExpiry' as const), key: anyKey, at: fc.integer({ min: 0, max: 100 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('expire' as const), now: fc.integer({ min: 0, max: 100 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('clear' as const) }) },
);

function run(twins: Twins, step: typeof anyStep extends fc.Arbitrary<infer T> ? T : never): void {
  switch (step.do) {
    case 'set':
      return twins.set(step.key, step.entry);
    case 'setParts':
      return twins.setParts(step.key, step.first, step.entry);
    case 'setExpiry':
      return twins.setExpiry(step.key, step.at, 7);
    case 'delete':
      return twins.delete(step.key);
    case 'expire':
      return twins.expire(step.now);
    case 'clear':
      twins.table.clear();
      return twins.map.clear();
  }
}

describe('Table', () => {
  it('agrees with a Map whatever is done to it', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 150 }), (steps) => {
        const twins = new Twins();
        for (const step of steps) run(twins, step);
        twins.check();
      }),
      { numRuns: 150 },
    );
  });

  it('agrees with a Map when nearly all hashes collide', () => {
    fc.assert(
      fc.property(fc.array(anyStep, { maxLength: 100 }), (steps) => {
        const twins = new Twins(64 * MiB, (key) => (key.at(-1) as number) & 3);
        for (const step of steps) run(twins, step);
        twins.check();
      }),
      { numRuns: 60 },
    );
  });

  it('keeps every entry while it grows to many thousands and shrinks again', () => {
    const twins = new Twins();
    for (let i = 0; i < 20_000; i++) twins.set(`key-${i}`, { value: `value-${i}`, flags: i, expiresAt: 0, cas: i });
    twins.check();
    for (let i = 0; i < 20_000; i++) if (i % 50 !== 0) twins.delete(`key-${i}`);
    twins.check();
    for (let i = 0; i < 20_000; i += 50) twins.delete(`key-${i}`);
    twins.check();
    expect(twins.arena.usedBytes).toBe(0);
  });

  it('scan() visits every entry that lasts exactly once, while the table grows, shrinks and changes', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 1, max: 40 }), (seed, lasting, limit) => {
        const random = new Prng(seed);
        const twins = new Twins();
        const entry: Entry = { value: 'x', flags: 0, expiresAt: 0, cas: 1 };
        for (let i = 0; i < lasting; i++) twins.set(`lasting-${i}`, entry);
        const passing = 4000;
        if (random.chance(0.5)) for (let i = 0; i < passing; i++) twins.set(`passing-${i}`, entry);
        const grow = random.chance(0.5);
        const visits = new Map<string, number>();
        let cursor = 0;
        let next = 0;
        do {
          let inCall = 0;
          cursor = twins.table.scan(cursor, limit, (ref) => {
            inCall++;
            const key = decoder.decode(twins.table.keyView(ref));
            visits.set(key, (visits.get(key) ?? 0) + 1);
          });
          expect(inCall).toBeLessThan(limit + 30);
          for (let i = 0; i < limit * 2; i++, next++) {
            const key = `passing-${next % passing}`;
            if (grow) twins.set(key, { ...entry, value: 'y'.repeat(random.below(200)) });
            else if (twins.map.has(key)) twins.delete(key);
            const changed = `lasting-${random.below(lasting)}`;
            twins.set(changed, { ...entry, value: 'z'.repeat(random.below(300)) });
          }
        } while (cursor !== 0);
        for (let i = 0; i < lasting; i++) expect(visits.get(`lasting-${i}`), `lasting-${i}`).toBe(1);
      }),
      { numRuns: 25 },
    );
  });

  it('scan() visits nothing twice when the table shrinks around the cursor', () => {
    for (let seed = 0; seed < 40; seed++) {
      const random = new Prng(seed);
      const twins = new Twins();
      const entry: Entry = { value: 'x', flags: 0, expiresAt: 0, cas: 1 };
      const lasting = 300;
      for (let i = 0; i < lasting; i++) twins.set(`lasting-${i}`, entry);
      for (let i = 0; i < 2500; i++) twins.set(`passing-${i}`, entry);
      const visits = new Map<string, number>();
      // Somewhere into the table, then it shrinks to a tenth, a little between any two calls.
      const start = random.below(400);
      let cursor = 0;
      let calls = 0;
      let next = 0;
      do {
        cursor = twins.table.scan(cursor, calls < start ? 4 : 1, (ref) => {
          const key = decoder.decode(twins.table.keyView(ref));
          visits.set(key, (visits.get(key) ?? 0) + 1);
        });
        if (calls++ >= start) for (let i = 0; i < 30 && next < 2500; i++, next++) twins.delete(`passing-${next}`);
      } while (cursor !== 0);
      for (let i = 0; i < lasting; i++) expect(visits.get(`lasting-${i}`), `seed ${seed}, lasting-${i}`).toBe(1);
    }
  });

  it('evictionCandidate() prefers what was not used for long', () => {
    const twins = new Twins();
    for (let i = 0; i < 4000; i++) twins.set(`key-${i}`, { value: 'v', flags: 0, expiresAt: 0, cas: 1 });
    for (let i = 0; i < 4000; i++) twins.table.touchLru(twins.find(`key-${i}`), i % 4 === 0 ? 10 : 1000 + i);
    let old = 0;
    for (let i = 0; i < 800; i++) {
      const ref = twins.table.evictionCandidate();
      if (twins.table.lastAccessOf(ref) === 10) old++;
      twins.table.deleteEntry(ref);
    }
    expect(old).toBeGreaterThan(650);
    expect(twins.table.count).toBe(3200);
  });

  it('evictionCandidate() empties a table of any size', () => {
    for (const size of [0, 1, 2, 100]) {
      const twins = new Twins();
      for (let i = 0; i < size; i++) twins.set(`key-${i}`, { value: 'v', flags: 0, expiresAt: 0, cas: 1 });
      for (let i = 0; i < size; i++) twins.table.deleteEntry(twins.table.evictionCandidate());
      expect(twins.table.evictionCandidate()).toBe(0);
      expect(twins.table.count).toBe(0);
    }
  });

  it('set() throws OUT_OF_MEMORY at the limit and leaves the table as it was', () => {
    const twins = new Twins(3 * MiB);
    const value = 'v'.repeat(1000);
    let stored = 0;
    const fill = (): void => {
      for (;;) {
        twins.set(`key-${stored}`, { value, flags: 0, expiresAt: 0, cas: 1 });
        stored++;
      }
    };
    expect(fill).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }));
    expect(stored).toBeGreaterThan(2500);
    expect(() => twins.set('key-1', { value: 'v'.repeat(5000), flags: 0, expiresAt: 0, cas: 1 })).toThrow(expect.objectContaining({ code: 'OUT_OF_MEMORY' }));
    twins.check();
    twins.delete('key-7');
    twins.set('another', { value, flags: 0, expiresAt: 0, cas: 1 });
    twins.check();
  });

  it('clear() gives the memory back with the allocations that follow, a few chunks at a time', () => {
    const twins = new Twins(8 * MiB);
    for (let i = 0; i < 20_000; i++) twins.set(`key-${i}`, { value: 'v'.repeat(100), flags: 0, expiresAt: 0, cas: 1 });
    const used = twins.arena.usedBytes;
    twins.table.clear();
    twins.map.clear();
    expect(twins.arena.usedBytes).toBe(used);
    for (let i = 0; i < 10; i++) twins.set(`new-${i}`, { value: 'v', flags: 0, expiresAt: 0, cas: 1 });
    expect(used - twins.arena.usedBytes).toBeGreaterThan(0);
    expect(used - twins.arena.usedBytes).toBeLessThan(150 * 144);
    while (twins.arena.reclaim(1000));
    twins.check();
    expect(twins.arena.usedBytes).toBe(10 * 40);
    // A limit that has been reached is no limit for memory that nobody uses.
    for (let i = 0; i < 30_000; i++) twins.set(`again-${i}`, { value: 'v'.repeat(100), flags: 0, expiresAt: 0, cas: 1 });
    twins.table.clear();
    twins.map.clear();
    for (let i = 0; i < 30_000; i++) twins.set(`other-size-${i}`, { value: 'v'.repeat(80), flags: 0, expiresAt: 0, cas: 1 });
    twins.check();
  });

  it('expireSome() does a bounded piece of work and goes on where it stopped', () => {
    const twins = new Twins();
    for (let i = 0; i < 3000; i++) twins.set(`key-${i}`, { value: 'v', flags: 0, expiresAt: i % 2 === 0 ? 5 : 0, cas: 1 });
    let removed = 0;
    for (let i = 0; i < 200 && removed < 1500; i++) {
      const some = twins.table.expireSome(5, 50);
      expect(some).toBeLessThan(70);
      removed += some;
    }
    expect(removed).toBe(1500);
    expect(twins.table.count).toBe(1500);
  });

  it('an empty table holds no index', () => {
    const twins = new Twins();
    expect(twins.table.scan(0, 10, () => expect.unreachable())).toBe(0);
    expect(twins.table.expireSome(1, 10)).toBe(0);
    expect(twins.arena.committedBytes).toBe(0);
    twins.table.clear();
    expect(twins.find('a')).toBe(0);
  });
});

describe('Arena', () => {
  it('reuses emptied pages for other sizes', () => {
    const arena = new Arena({ limitBytes: 8 * MiB });
    for (const size of [100, 5000, 300, 120_000, 64, 131_072]) {
      const refs: number[] = [];
      for (let ref = arena.allocate(size); ref !== 0; ref = arena.allocate(size)) refs.push(ref);
      expect(refs.length * size).toBeGreaterThan(7 * MiB);
      expect(new Set(refs).size).toBe(refs.length);
      for (const ref of refs) arena.free(ref);
      expect(arena.usedBytes).toBe(0);
      expect(arena.committedBytes).toBeLessThanOrEqual(4 * arenaPageBytes);
    }
  });

  it('never hands out overlapping chunks, and keeps their contents when it moves them', () => {
    fc.assert(
      fc.property(fc.integer(), fc.boolean(), (seed, oneSize) => {
        const random = new Prng(seed);
        const arena = new Arena({ limitBytes: 24 * MiB });
        const live = new Map<number, { size: number; mark: number }>();
        const id = arena.register({
          relocate(from, to) {
            const chunk = live.get(from);
            if (chunk === undefined) return false;
            expect(live.has(to)).toBe(false);
            live.delete(from);
            live.set(to, chunk);
            return true;
          },
        });
        let refused = 0;
        for (let i = 0; i < 3000; i++) {
          if (live.size > 0 && random.chance(i % 1000 < 600 ? 0.3 : 0.8)) {
            const [ref, chunk] = [...live][random.below(live.size)] as [number, { size: number; mark: number }];
            const bytes = arena.bytes[ref >>> 17] as Uint8Array;
            const start = (ref & 0x1ffff) << 3;
            for (let at = start + 32; at < start + chunk.size; at++) if (bytes[at] !== chunk.mark) expect.unreachable(`chunk ${ref} was overwritten`);
            live.delete(ref);
            arena.free(ref);
          } else {
            const size = oneSize ? 20_000 : random.chance(0.1) ? 33 + random.below(400_000) : 33 + random.below(40_000);
            const ref = arena.allocate(size);
            if (ref === 0) {
              refused++;
              continue;
            }
            expect(live.has(ref)).toBe(false);
            const bytes = arena.bytes[ref >>> 17] as Uint8Array;
            const start = (ref & 0x1ffff) << 3;
            expect(start + size).toBeLessThanOrEqual(bytes.length);
            const words = arena.words[ref >>> 17] as Uint32Array;
            words[start / 4 + 2] = 1 << 24;
            words[start / 4 + 6] = id << 21;
            const mark = random.below(256);
            bytes.fill(mark, start + 32, start + size);
            live.set(ref, { size, mark });
          }
          if (random.chance(0.02)) arena.tidy(50);
          expect(arena.usedBytes).toBeLessThanOrEqual(arena.committedBytes);
          expect(arena.committedBytes).toBeLessThanOrEqual(arena.limitBytes);
        }
        let bytes = 0;
        for (const chunk of live.values()) bytes += chunk.size;
        expect(arena.usedBytes).toBeGreaterThanOrEqual(bytes);
        // A refusal means full: not memory stranded in pages of other sizes.
        if (oneSize && refused > 0) expect(arena.committedBytes).toBeGreaterThan(20 * MiB);
      }),
      { numRuns: 20 },
    );
  });

  it('a shift in the size of values strands little memory', () => {
    const twins = new Twins(27 * MiB);
    const random = new Prng(3);
    let key = 0;
    // Full of small values; then each larger one evicts what it needs, from all over the pages.
    for (const size of [100, 1000, 60, 400]) {
      const value = 'v'.repeat(size);
      const bytes = encoder.encode(value);
      for (let i = 0; i < (16 * MiB) / (size + 50); i++) {
        const name = encoder.encode(`key-${key++}`);
        while (twins.table.bytes + entryBytes(name.length, size) > 16 * MiB) twins.table.deleteEntry(twins.table.evictionCandidate());
        twins.table.set(name, 0, name.length, hashKey(name, 0, name.length), bytes, 0, bytes.length, 0, 0, key, random.below(1000));
      }
    }
    expect(twins.arena.moves).toBeGreaterThan(1000);
    // Every entry can still be reached, through the index and through the cursor.
    let seen = 0;
    let cursor = 0;
    do
      cursor = twins.table.scan(cursor, 1000, (ref) => {
        seen++;
        const name = twins.table.keyView(ref);
        if (twins.table.get(name, 0, name.length, hashKey(name, 0, name.length)) !== ref) expect.unreachable(`entry ${decoder.decode(name)} cannot be reached`);
        const value = twins.table.valueView(ref);
        if (value[0] !== 0x76 || value[value.length - 1] !== 0x76) expect.unreachable(`entry ${decoder.decode(name)} was damaged`);
      });
    while (cursor !== 0);
    expect(seen).toBe(twins.table.count);
  });

  it('replacing entries while others move keeps them all in order', () => {
    const twins = new Twins();
    const random = new Prng(5);
    for (let i = 0; i < 60_000; i++) twins.set(`key-${i}`, { value: 'v'.repeat(300), flags: i, expiresAt: 0, cas: i });
    for (let i = 0; i < 60_000; i++) if (i % 8 !== 0) twins.delete(`key-${i}`);
    // Each replacement takes another size, so that it allocates, so that entries move: now and then the very one that is replaced.
    for (let round = 0; round < 4; round++) for (let i = 0; i < 60_000; i += 8) twins.set(`key-${i}`, { value: 'w'.repeat(random.below(400)), flags: i, expiresAt: 0, cas: round });
    expect(twins.arena.moves).toBeGreaterThan(500);
    twins.check();
  });

  it('gives back memory after deletes when it is told to tidy', () => {
    const twins = new Twins();
    const value = new Uint8Array(600);
    for (let i = 0; i < 80_000; i++) {
      const name = encoder.encode(`key-${i}`);
      twins.table.set(name, 0, name.length, hashKey(name, 0, name.length), value, 0, value.length, 0, 0, i);
    }
    const full = twins.arena.committedBytes;
    for (let i = 0; i < 80_000; i++) {
      if (i % 20 === 0) continue;
      const name = encoder.encode(`key-${i}`);
      twins.table.delete(name, 0, name.length, hashKey(name, 0, name.length));
    }
    expect(twins.arena.committedBytes).toBeGreaterThan(full / 2);
    let calls = 0;
    while (twins.arena.tidy(500)) calls++;
    expect(calls).toBeGreaterThan(1);
    expect(twins.arena.committedBytes).toBeLessThan(full / 3);
    expect(twins.arena.committedBytes - twins.arena.usedBytes).toBeLessThan(12 * MiB);
    for (let i = 0; i < 80_000; i += 20) expect(twins.find(`key-${i}`)).toBeGreaterThan(0);
  });
});

describe('hashKey', () => {
  it('is MurmurHash3', () => {
    // From the reference implementation with seed 0x9747b28c.
    const vectors: [string, number][] = [
      ['', 0xebb6c228],
      ['a', 0x7fa09ea6],
      ['aa', 0x5d211726],
      ['aaa', 0x283e0130],
      ['aaaa', 0x5a97808a],
      ['abcd', 0xf0478627],
      ['Hello, world!', 0x24884cba],
      ['The quick brown fox jumps over the lazy dog', 0x2fa826cd],
    ];
    for (const [text, hash] of vectors) {
      const bytes = encoder.encode(`x${text}y`);
      expect(hashKey(bytes, 1, bytes.length - 1)).toBe(hash >>> 1);
    }
  });

  it('reverseBits() is its own inverse', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (n) => reverseBits(reverseBits(n)) === n));
    expect(reverseBits(1)).toBe(0x8000_0000);
  });
});
