import { afterEach, describe, expect, test } from 'vitest';
import { startPolling } from '../../src/discovery/polling.ts';
import type { Look } from '../../src/discovery/polling.ts';
import type { Source } from '../../src/discovery/strategy.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';
import { Recorder } from './support/recorder.ts';

describe('startPolling()', () => {
  const world = new SimWorld({ seed: 3 });
  const { scheduler } = world;
  const { clock, random } = world.addHost('one').start('p');
  let source: Source | undefined;
  let sink: Recorder;
  afterEach(() => scheduler.settle(source?.stop() ?? Promise.resolve()));

  const start = (look: Look, onStop?: (signal: AbortSignal) => Promise<void>): void => {
    sink = new Recorder();
    source = startPolling({ pollMs: 1000, timeoutMs: 300 }, { clock, random }, sink, look, onStop);
  };
  /** Of simulated time: a source that takes that long to answer. */
  const answerAfter = (ms: number): Promise<void> => new Promise((resolve) => scheduler.after(ms, resolve));

  test('looks at once, then every pollMs give or take a tenth, counted from the end of the last look', async () => {
    const times: number[] = [];
    start(async () => {
      times.push(scheduler.now);
      await answerAfter(100);
      return [];
    });
    await scheduler.runFor(50_000);
    const pauses = times.slice(1).map((time, i) => time - (times[i] as number));
    expect(Math.min(...pauses)).toBeGreaterThanOrEqual(1000);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(1200);
    expect(new Set(pauses.map(Math.round)).size).toBeGreaterThan(10);
    expect(sink.foundCount).toBe(times.length);
  });

  test('a look that takes too long has failed; one that does not heed its signal is left to itself; there are never two', async () => {
    let running = 0;
    let most = 0;
    start(async (signal) => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      running--;
      return [];
    });
    await scheduler.runFor(10_000);
    expect(most).toBe(1);
    expect(sink.failures.length).toBeGreaterThan(5);
    expect(new Set(sink.failures)).toEqual(new Set(['DISCOVERY_TIMEOUT']));
    expect(sink.foundCount).toBe(0);
    await scheduler.settle(source?.stop() as Promise<void>);
    start(() => new Promise(() => {}));
    await scheduler.runFor(2400);
    expect(sink.failures).toEqual(['DISCOVERY_TIMEOUT']);
  });

  test('stop() waits for the look under way, then runs onStop, and leaves no timer', async () => {
    const log: string[] = [];
    start(async (signal) => {
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => scheduler.after(50, resolve), { once: true }));
      log.push('look ended');
      return [];
    }, async () => void log.push('onStop'));
    await scheduler.runFor(10);
    await scheduler.settle(source?.stop() as Promise<void>);
    expect(log).toEqual(['look ended', 'onStop']);
    expect(scheduler.waitingCount).toBe(0);
    start(async () => []);
    await scheduler.runFor(10);
    await scheduler.settle(source?.stop() as Promise<void>);
    expect(scheduler.waitingCount).toBe(0);
  });

  test('stop() does not wait for ever', async () => {
    start(() => new Promise(() => {}), () => new Promise(() => {}));
    await scheduler.runFor(10);
    const begun = scheduler.now;
    await scheduler.settle(source?.stop() as Promise<void>);
    expect(scheduler.now - begun).toBeLessThanOrEqual(2000 + 300 + 2000 + 1);
  });
});
