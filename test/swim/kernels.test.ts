import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Awareness } from '../../src/core/swim/awareness.ts';
import { BroadcastQueue } from '../../src/core/swim/broadcast-queue.ts';
import { Suspicion, suspicionLengthMs } from '../../src/core/swim/suspicion.ts';
import { pushPullIntervalMs, retransmitLimit, suspicionTimeoutMs } from '../../src/core/swim/timing.ts';
import { Timers } from '../../src/core/swim/timers.ts';

describe('formulas of memberlist', () => {
  test.each([[4, 3, 1000, 4000], [4, 10, 1000, 4000], [4, 100, 1000, 8000], [4, 1000, 1000, 12_000], [3, 5, 1000, 3000], [6, 50, 5000, 50_940], [3, 0, 1000, 3000]])(
    'suspicionTimeoutMs(%d, %d nodes, %d) is %d', (mult, n, interval, expected) => expect(suspicionTimeoutMs(mult, n, interval)).toBe(expected));
  test.each([[1, 4], [2, 4], [5, 8], [9, 16], [99, 16], [1000, 16], [10_000, 20]])('with %d members a message is sent %d times', (n, expected) => expect(retransmitLimit(4, n)).toBe(expected));
  test.each([[1, 30], [32, 30], [33, 60], [64, 60], [65, 90], [1024, 180]])('with %d members state is exchanged every %d s', (n, seconds) => expect(pushPullIntervalMs(30_000, n)).toBe(seconds * 1000));
  test.each([[0, 2, 24_000], [1, 2, 11_381], [2, 2, 4000], [3, 2, 4000], [0, 0, 4000], [0, 1, 24_000], [1, 1, 4000]])(
    '%d of %d confirmations leave a suspect %d ms', (confirmations, wanted, expected) => expect(suspicionLengthMs(confirmations, wanted, 4000, 24_000)).toBe(expected));
});

describe('Suspicion', () => {
  const suspicion = (): Suspicion => new Suspicion({ from: 'a', confirmationsWanted: 2, minMs: 4000, maxMs: 24_000, startedAt: 100 });
  test('each independent accuser brings the deadline nearer; the first, a repeated and a superfluous one do not', () => {
    const s = suspicion();
    expect([s.confirm('a'), s.deadline]).toEqual([false, 24_100]);
    expect([s.confirm('b'), s.deadline]).toEqual([true, 11_481]);
    expect([s.confirm('b'), s.deadline]).toEqual([false, 11_481]);
    expect([s.confirm('c'), s.deadline]).toEqual([true, 4100]);
    expect([s.confirm('d'), s.deadline, s.confirmations]).toEqual([false, 4100, 2]);
  });
});

describe('Awareness', () => {
  test('stays between 0 and the multiplier less one, and stretches time-outs', () => {
    const awareness = new Awareness(8);
    const scores = [-1, 1, 3, 10, -2, -20].map((delta) => {
      awareness.apply(delta);
      return [awareness.score, awareness.scale(1000)];
    });
    expect(scores).toEqual([[0, 1000], [1, 2000], [4, 5000], [7, 8000], [5, 6000], [0, 1000]]);
  });
});

describe('BroadcastQueue', () => {
  const message = (text: string, length = text.length): Uint8Array => Buffer.from(text.padEnd(length, '.'));
  const names = (taken: Uint8Array[]): string[] => taken.map((bytes) => Buffer.from(bytes).toString().replaceAll('.', ''));
  test('takes the least sent first, then the largest that fits, then the newest', () => {
    const queue = new BroadcastQueue(() => 3, 100);
    for (const text of ['a', 'b', 'c']) queue.add(message(text, 20));
    queue.add(message('big', 50));
    expect(names(queue.take(2, 1000))).toEqual(['big', 'c', 'b', 'a']);
    queue.add(message('new', 30));
    expect(names(queue.take(2, 76))).toEqual(['new', 'c', 'b']); // big does not fit behind new
    expect(names(queue.take(2, 60))).toEqual(['big']);
  });
  test('sends each as often as the limit says, and tells when it is done', () => {
    const queue = new BroadcastQueue(() => 2, 100);
    const done: string[] = [];
    queue.add(message('a', 10), { finished: () => done.push('a') });
    expect([queue.take(2, 100).length, queue.take(2, 100).length, queue.take(2, 100).length]).toEqual([1, 1, 0]);
    expect([done, queue.size]).toEqual([['a'], 0]);
  });
  test('a newer message of a name replaces the older one', () => {
    const queue = new BroadcastQueue(() => 9, 100);
    const done: string[] = [];
    queue.add(message('old', 10), { name: 'x', finished: () => done.push('old') });
    queue.take(2, 100);
    queue.add(message('new', 10), { name: 'x' });
    queue.add(message('other', 10), { name: 'y' });
    expect([done, names(queue.take(2, 100)).sort()]).toEqual([['old'], ['new', 'other']]);
  });
  test('is bounded: the most sent goes first', () => {
    const queue = new BroadcastQueue(() => 9, 2);
    queue.add(message('a', 10));
    queue.take(2, 100);
    queue.add(message('b', 10));
    queue.add(message('c', 10));
    expect(names(queue.take(2, 100)).sort()).toEqual(['b', 'c']);
  });
  test('never exceeds the budget, never sends one twice in a packet, and empties in the end', () => {
    fc.assert(fc.property(fc.array(fc.integer({ min: 8, max: 300 }), { maxLength: 60 }), fc.integer({ min: 0, max: 1400 }), (lengths, budget) => {
      const queue = new BroadcastQueue(() => 3, 1000);
      lengths.forEach((length, i) => queue.add(message(String(i), length), { name: i % 3 === 0 ? `n${i % 9}` : undefined! }));
      for (let i = 0; i < 500 && queue.size > 0; i++) {
        const taken = queue.take(3, budget);
        expect(new Set(taken).size).toBe(taken.length);
        expect(taken.reduce((sum, bytes) => sum + bytes.length + 3, 0)).toBeLessThanOrEqual(budget);
        if (taken.length === 0) break;
      }
      queue.clear();
      expect(queue.size).toBe(0);
    }));
  });
});

describe('Timers', () => {
  test('run what is due in order; what is set for the past waits for the next run', () => {
    const timers = new Timers();
    const seen: string[] = [];
    timers.after(5, () => seen.push('b'));
    const cancelled = timers.after(1, () => seen.push('no'));
    timers.after(2, () => {
      seen.push('a');
      timers.after(0, () => seen.push('c'));
    });
    timers.cancel(cancelled);
    expect(timers.nextAt()).toBe(2);
    timers.run(10);
    expect(seen).toEqual(['a', 'b']);
    expect(timers.nextAt()).toBe(10);
    timers.run(10);
    expect([seen, timers.nextAt()]).toEqual([['a', 'b', 'c'], Infinity]);
  });
});
