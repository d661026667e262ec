import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { Arena } from '../../src/core/store/arena.ts';
import { addCounter, parseCounter, parsedCounter, subtractCounter, writeCounter } from '../../src/core/store/counter-text.ts';
import { applyEncoded, decodeEffect, encodedLength, encodeEffect } from '../../src/core/store/effect-codec.ts';
import { Effect, EffectKind } from '../../src/core/store/effect.ts';
import { applyEffect, bytesNeeded, evaluate, Evaluation, evictionsFor, isLive } from '../../src/core/store/evaluate.ts';
import { Op, Status, StoreRequest } from '../../src/core/store/request.ts';
import { Table } from '../../src/core/store/table.ts';
import { requestOf } from './requests.ts';
import type { RequestFields } from './requests.ts';

const MiB = 1024 * 1024;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

function newTable(budgetBytes = 8 * MiB): Table {
  return new Table({ arena: new Arena({ limitBytes: 32 * MiB }), budgetBytes });
}

/** A primary with one table: evaluates, applies, and tells what came out. */
class Primary {
  readonly table = newTable();
  readonly out = new Evaluation(MiB);
  now = 1000;
  sequence = 0;

  run(op: Op, key: string, fields: RequestFields = {}): { status: Status; value: string; flags: number; cas: number; kind: EffectKind } {
    evaluate(this.table, requestOf(op, key, fields), this.now, ++this.sequence, this.out);
    const { reply, effect } = this.out;
    applyEffect(this.table, effect, this.now);
    // Read after applying: replies outlive their own effect.
    const value = reply.status === Status.hit ? decoder.decode(reply.value.subarray(reply.valueStart, reply.valueEnd)) : reply.status === Status.number ? String(reply.counter) : '';
    return { status: reply.status, value, flags: reply.flags, cas: reply.cas, kind: effect.kind };
  }
}

function contents(table: Table): Map<string, string> {
  const all = new Map<string, string>();
  let cursor = 0;
  do
    cursor = table.scan(cursor, 50, (ref) => {
      all.set(decoder.decode(table.keyView(ref)), JSON.stringify([decoder.decode(table.valueView(ref)), table.flagsOf(ref), table.expiresAtOf(ref), table.casOf(ref)]));
    });
  while (cursor !== 0);
  return all;
}

describe('evaluate', () => {
  it('add, replace and cas act on their condition only', () => {
    const primary = new Primary();
    expect(primary.run(Op.replace, 'a', { value: '1' })).toMatchObject({ status: Status.notStored, kind: EffectKind.none });
    expect(primary.run(Op.add, 'a', { value: '1', flags: 7 })).toMatchObject({ status: Status.stored });
    expect(primary.run(Op.add, 'a', { value: '2' })).toMatchObject({ status: Status.notStored, kind: EffectKind.none });
    const { cas } = primary.run(Op.get, 'a');
    expect(cas).toBe(2);
    expect(primary.run(Op.cas, 'a', { value: '3', cas: cas + 1 })).toMatchObject({ status: Status.exists, kind: EffectKind.none });
    expect(primary.run(Op.cas, 'a', { value: '3', cas })).toMatchObject({ status: Status.stored });
    expect(primary.run(Op.cas, 'b', { value: '3', cas })).toMatchObject({ status: Status.notFound });
    expect(primary.run(Op.get, 'a')).toMatchObject({ status: Status.hit, value: '3', flags: 0 });
  });

  it('append and prepend keep flags and expiry', () => {
    const primary = new Primary();
    primary.run(Op.set, 'a', { value: 'b', flags: 9, expiresAt: 2000 });
    expect(primary.run(Op.append, 'a', { value: 'c', flags: 1, expiresAt: 1 })).toMatchObject({ status: Status.stored });
    expect(primary.run(Op.prepend, 'a', { value: 'a' })).toMatchObject({ status: Status.stored });
    expect(primary.run(Op.get, 'a')).toMatchObject({ value: 'abc', flags: 9 });
    primary.now = 2000;
    expect(primary.run(Op.append, 'a', { value: 'd' })).toMatchObject({ status: Status.notStored });
  });

  it('append that would exceed the limit is refused', () => {
    const primary = new Primary();
    primary.run(Op.set, 'a', { value: 'x'.repeat(MiB - 1) });
    expect(primary.run(Op.append, 'a', { value: 'y' })).toMatchObject({ status: Status.stored });
    expect(primary.run(Op.append, 'a', { value: 'y' })).toMatchObject({ status: Status.tooLarge, kind: EffectKind.none });
    expect(primary.run(Op.get, 'a').value.length).toBe(MiB);
  });

  it('counters wrap upwards, stop at 0 and keep their width', () => {
    const primary = new Primary();
    primary.run(Op.set, 'n', { value: '18446744073709551615', flags: 3 });
    expect(primary.run(Op.incr, 'n', { delta: 1 })).toMatchObject({ status: Status.number, value: '0' });
    expect(primary.run(Op.get, 'n')).toMatchObject({ value: `0${' '.repeat(19)}`, flags: 3 });
    expect(primary.run(Op.incr, 'n', { delta: 18446744073709551615n })).toMatchObject({ value: '18446744073709551615' });
    expect(primary.run(Op.decr, 'n', { delta: 2 ** 53 })).toMatchObject({ value: '18437736874454810623' });
    expect(primary.run(Op.decr, 'n', { delta: 18446744073709551615n })).toMatchObject({ value: '0' });
    primary.run(Op.set, 'n', { value: 'abc' });
    expect(primary.run(Op.incr, 'n', { delta: 1 })).toMatchObject({ status: Status.nonNumeric, kind: EffectKind.none });
    expect(primary.run(Op.decr, 'none', { delta: 1 })).toMatchObject({ status: Status.notFound });
  });

  it('an expired entry counts as absent for every operation', () => {
    const primary = new Primary();
    for (const op of [Op.get, Op.replace, Op.append, Op.prepend, Op.cas, Op.incr, Op.decr, Op.delete, Op.touch, Op.gat]) {
      primary.run(Op.set, 'a', { value: '1', expiresAt: 1500 });
      primary.now = 1500;
      expect([Status.miss, Status.notFound, Status.notStored], `op ${op}`).toContain(primary.run(op, 'a', { value: 'x', cas: primary.sequence, delta: 1 }).status);
      primary.now = 1000;
    }
    primary.run(Op.set, 'a', { value: '1', expiresAt: 1500 });
    primary.now = 1500;
    expect(primary.run(Op.add, 'a', { value: '2' })).toMatchObject({ status: Status.stored });
    expect(primary.run(Op.get, 'a')).toMatchObject({ value: '2' });
  });

  it('what is stored as already expired is gone, and so is what it replaces', () => {
    const primary = new Primary();
    primary.run(Op.set, 'a', { value: '1' });
    expect(primary.run(Op.set, 'a', { value: '2', expiresAt: -1 })).toMatchObject({ status: Status.stored, kind: EffectKind.delete });
    expect(primary.run(Op.get, 'a')).toMatchObject({ status: Status.miss });
    expect(primary.run(Op.set, 'b', { value: '2', expiresAt: 900 })).toMatchObject({ status: Status.stored, kind: EffectKind.none });
    expect(primary.table.count).toBe(0);
  });

  it('touch and gat set the expiry and keep the version', () => {
    const primary = new Primary();
    primary.run(Op.set, 'a', { value: '1' });
    expect(primary.run(Op.touch, 'a', { expiresAt: 1100 })).toMatchObject({ status: Status.touched, kind: EffectKind.expiry });
    expect(primary.run(Op.gat, 'a', { expiresAt: 1200 })).toMatchObject({ status: Status.hit, value: '1', cas: 1 });
    primary.now = 1199;
    expect(primary.run(Op.get, 'a')).toMatchObject({ status: Status.hit, cas: 1 });
    expect(primary.run(Op.gat, 'a', { expiresAt: -1 })).toMatchObject({ status: Status.hit, value: '1' });
    expect(primary.run(Op.get, 'a')).toMatchObject({ status: Status.miss });
  });

  it('flush with a delay takes everything that is there when its time comes, on the primary and in its next effect', () => {
    const primary = new Primary();
    primary.run(Op.set, 'before', { value: '1' });
    expect(primary.run(Op.flush, '', { expiresAt: 1010 })).toMatchObject({ status: Status.ok });
    primary.run(Op.set, 'between', { value: '1' });
    expect(primary.run(Op.get, 'before')).toMatchObject({ status: Status.hit });
    primary.now = 1010;
    for (const key of ['before', 'between']) expect(primary.run(Op.get, key)).toMatchObject({ status: Status.miss });
    expect(primary.table.count).toBe(2);
    primary.run(Op.add, 'between', { value: '2' });
    expect(primary.table.count).toBe(1);
    expect(primary.run(Op.get, 'between')).toMatchObject({ value: '2' });
    expect(primary.run(Op.flush, '')).toMatchObject({ status: Status.ok });
    expect(primary.run(Op.get, 'between')).toMatchObject({ status: Status.miss });
  });

  it('bytesNeeded() is never less than what the table grows by', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = new Prng(seed);
        const primary = new Primary();
        for (let i = 0; i < 200; i++) {
          const request = randomRequest(random, primary.now);
          const needed = bytesNeeded(primary.table, request);
          const before = primary.table.bytes;
          evaluate(primary.table, request, primary.now, ++primary.sequence, primary.out);
          applyEffect(primary.table, primary.out.effect, primary.now);
          expect(primary.table.bytes - before).toBeLessThanOrEqual(needed);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('evictionsFor() keeps to the budget, or says that it cannot', () => {
    const table = newTable(10_000);
    const out = new Evaluation(MiB);
    const victims: string[] = [];
    for (let i = 0; i < 500; i++) {
      const request = requestOf(Op.set, `key-${i}`, { value: 'v'.repeat(100) });
      expect(evictionsFor(table, bytesNeeded(table, request), (ref) => victims.push(decoder.decode(table.keyView(ref))))).toBe(true);
      evaluate(table, request, 1000 + i, i + 1, out);
      applyEffect(table, out.effect, 1000 + i);
      expect(table.bytes).toBeLessThanOrEqual(10_000);
    }
    expect(victims.length).toBe(500 - table.count);
    expect(evictionsFor(table, 20_000, () => {})).toBe(false);
  });
});

function randomRequest(random: Prng, now: number): StoreRequest {
  const op = (1 + random.below(random.chance(0.02) ? 13 : 12)) as Op;
  const value = random.chance(0.5) ? String(random.below(10 ** random.below(10))) : 'v'.repeat(random.below(300));
  return requestOf(op, `key-${random.below(30)}`, {
    value,
    flags: random.uint32(),
    expiresAt: random.pick([0, 0, 0, -1, now + random.below(50), 5]) as number,
    cas: random.below(300),
    delta: random.below(1000),
  });
}

describe('effects', () => {
  it('make a replica equal to its primary, with evictions, expiry and flushes among them', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = new Prng(seed);
        const primary = newTable(3000);
        const replica = newTable(3000);
        const out = new Evaluation(MiB);
        const wire = new Uint8Array(100_000);
        let used = 0;
        let now = 1000;
        let sequence = 0;
        const send = (effect: Effect): void => {
          const length = encodedLength(effect);
          const end = encodeEffect(effect, wire, used);
          expect(end - used).toBe(length);
          used = end;
        };
        const sendDelete = (ref: number): void => {
          const effect = new Effect();
          effect.kind = EffectKind.delete;
          effect.key = primary.keyView(ref).slice();
          effect.keyEnd = effect.key.length;
          effect.hash = primary.hashOf(ref);
          effect.cas = ++sequence;
          send(effect);
        };
        const deliver = (): void => {
          let at = 0;
          while (at < used) at = applyEncoded(replica, wire, at, used, now);
          used = 0;
        };
        for (let i = 0; i < 300; i++) {
          const request = randomRequest(random, now);
          evictionsFor(primary, bytesNeeded(primary, request), sendDelete);
          evaluate(primary, request, now, ++sequence, out);
          if (out.effect.kind !== EffectKind.none) send(out.effect);
          applyEffect(primary, out.effect, now);
          if (random.chance(0.1)) primary.expireSome(now, 20, sendDelete);
          if (random.chance(0.3)) now += random.below(10);
          if (used > 90_000 || random.chance(0.05)) deliver();
        }
        deliver();
        expect(contents(replica)).toEqual(contents(primary));
        expect(replica.bytes).toBe(primary.bytes);
        expect(replica.count).toBe(primary.count);
        expect(replica.flushAt).toBe(primary.flushAt);
      }),
      { numRuns: 60 },
    );
  });

  it('survive any damage to their bytes: a coded error or a well-formed effect', () => {
    const effect = new Effect();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(10), fc.nat(90), (bytes, start, end) => {
        try {
          const stop = decodeEffect(bytes, start, end, effect);
          expect(stop).toBeGreaterThan(start);
          expect(stop).toBeLessThanOrEqual(Math.min(end, bytes.length));
          if (effect.kind === EffectKind.put) expect(effect.valueEnd).toBe(stop);
          if (effect.kind === EffectKind.put || effect.kind === EffectKind.delete) expect(effect.keyEnd - effect.keyStart).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toMatchObject({ code: 'BAD_EFFECT' });
        }
      }),
      { numRuns: 3000 },
    );
  });

  it('cut short anywhere are refused and change nothing', () => {
    const table = newTable();
    const out = new Evaluation(MiB);
    evaluate(table, requestOf(Op.set, 'key', { value: 'some value', flags: 0xffff_ffff, expiresAt: 0xffff_ffff }), 1000, Number.MAX_SAFE_INTEGER, out);
    const bytes = new Uint8Array(encodedLength(out.effect));
    encodeEffect(out.effect, bytes, 0);
    for (let length = 0; length < bytes.length; length++) expect(() => applyEncoded(table, bytes, 0, length)).toThrow(expect.objectContaining({ code: 'BAD_EFFECT' }));
    expect(table.count).toBe(0);
    expect(applyEncoded(table, bytes, 0, bytes.length)).toBe(bytes.length);
    const ref = table.get(out.effect.key, 0, out.effect.keyEnd, out.effect.hash);
    expect([table.casOf(ref), table.flagsOf(ref), table.expiresAtOf(ref)]).toEqual([Number.MAX_SAFE_INTEGER, 0xffff_ffff, 0xffff_ffff]);
    expect(isLive(table, ref, 0xffff_fffe)).toBe(true);
    expect(isLive(table, ref, 0xffff_ffff)).toBe(false);
  });
});

describe('counter text', () => {
  const uint64 = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.bigInt({ min: 2n ** 53n - 5n, max: 2n ** 53n + 5n }), fc.bigInt({ min: 0n, max: 100n }));
  const narrow = (value: bigint): number | bigint => (value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value);

  it('reads and writes every number below 2^64, and computes as 64-bit arithmetic does', () => {
    fc.assert(
      fc.property(uint64, uint64, (a, b) => {
        const bytes = new Uint8Array(30);
        const end = writeCounter(narrow(a), bytes, 3);
        expect(decoder.decode(bytes.subarray(3, end))).toBe(String(a));
        expect(parseCounter(bytes, 3, end)).toBe(true);
        expect(parsedCounter.value).toBe(narrow(a));
        expect(addCounter(narrow(a), narrow(b))).toBe(narrow(BigInt.asUintN(64, a + b)));
        expect(subtractCounter(narrow(a), narrow(b))).toBe(narrow(a > b ? a - b : 0n));
      }),
      { numRuns: 2000 },
    );
  });

  it('refuses what is no number below 2^64', () => {
    for (const text of ['', ' ', '-', 'a', '1a', '18446744073709551616', '99999999999999999999999', '-1', '-9223372036854775808', '0x1', '1.5']) {
      const bytes = encoder.encode(text);
      expect(parseCounter(bytes, 0, bytes.length), text).toBe(false);
    }
  });
});
