import { describe, expect, test } from 'vitest';
import { newLocation, ReplicaLog, effectStart } from '../../src/core/replica/log.ts';
import { decodeEffect } from '../../src/core/store/effect-codec.ts';
import { Effect, EffectKind } from '../../src/core/store/effect.ts';

const valueBytes = 1000;
const logBytes = 1 << 20;
const key = new TextEncoder().encode('key');

/** Entry number `seq` of log `name`: no two have the same value. */
function append(log: ReplicaLog, name: number, now: number): void {
  const effect = new Effect();
  effect.kind = EffectKind.put;
  effect.key = key;
  effect.keyEnd = key.length;
  effect.value = new Uint8Array(valueBytes).fill((7 * name + log.lastSeq + 1) & 0xff);
  effect.valueEnd = valueBytes;
  effect.flags = name;
  effect.cas = log.lastSeq + 1;
  log.append(now, 1, name, log.lastSeq + 1, 1, effect);
}

function check(log: ReplicaLog, name: number): void {
  const location = newLocation();
  const effect = new Effect();
  for (let seq = log.baseSeq + 1; seq <= log.lastSeq; seq++) {
    log.locate(seq, location);
    const end = decodeEffect(location.bytes, effectStart(location.start), location.end, effect);
    if (end !== location.end || effect.flags !== name || effect.cas !== seq) throw new Error(`entry ${seq} of log ${name} is another`);
    const value = location.bytes.subarray(effect.valueStart, effect.valueEnd);
    if (seq % 97 === 0) expect(log.find(name, seq)).toBe(seq);
    if (!value.every((byte) => byte === ((7 * name + seq) & 0xff))) throw new Error(`entry ${seq} of log ${name} is not what was written`);
  }
}

describe('ReplicaLog', () => {
  test('what one log has dropped, others write over; what each holds stays as it was written', () => {
    const logs = Array.from({ length: 4 }, () => new ReplicaLog());
    for (let now = 0; now < 6000; now++) {
      for (const [name, log] of logs.entries()) {
        // They grow in turns, so that memory goes from one to the other.
        if ((now >> 9) % logs.length === name || now % 3 === 0) append(log, name, now);
        log.trim(logBytes, log.lastSeq - 10, now - (name === 0 ? 4000 : 0));
      }
      if (now % 1000 === 999) for (const [name, log] of logs.entries()) check(log, name);
    }
    for (const log of logs) {
      expect(log.baseSeq).toBeGreaterThan(0);
      expect(log.bytes).toBeLessThanOrEqual(4 * logBytes + (1 << 18));
    }
  });

  test('a full log that is written to takes no new memory', () => {
    const log = new ReplicaLog();
    const fill = (count: number): void => {
      for (let i = 0; i < count; i++) {
        append(log, 1, 0);
        log.trim(logBytes, log.lastSeq, 1);
      }
    };
    fill(3000);
    const seen = new Set<ArrayBufferLike>();
    const location = newLocation();
    for (let i = 0; i < 20_000; i++) {
      fill(1);
      log.locate(log.lastSeq, location);
      seen.add(location.bytes.buffer);
    }
    // 20 MB have gone through it.
    expect(seen.size).toBeLessThan(10);
  });
});
