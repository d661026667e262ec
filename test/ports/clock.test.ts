import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { PortWorld } from './worlds.ts';
import { worlds } from './worlds.ts';

describe.each(worlds)('Clock of %s', (_name, make) => {
  let world: PortWorld;
  beforeEach(() => {
    world = make();
  });
  afterEach(() => world.end());

  it('never fires a timer early, nor synchronously', async () => {
    const { clock } = world;
    const early: number[] = [];
    let fired = 0;
    const start = clock.now();
    for (let i = 0; i < 200; i++) {
      const due = start + i * 0.37;
      clock.at(due, () => {
        fired++;
        if (clock.now() < due) early.push(due - clock.now());
      });
    }
    expect(fired).toBe(0);
    await world.until(() => fired === 200);
    expect(early).toEqual([]);
  });

  it('fires in the order of the times, and of the calls where times are equal', async () => {
    const { clock } = world;
    const order: string[] = [];
    const start = clock.now();
    clock.at(start + 6, () => order.push('6'));
    clock.at(start + 2, () => order.push('2 first'));
    clock.at(start + 2, () => order.push('2 second'));
    clock.at(start - 5, () => order.push('past'));
    clock.at(start + 4, () => order.push('4'));
    await world.until(() => order.length === 5);
    expect(order).toEqual(['past', '2 first', '2 second', '4', '6']);
  });

  it('does not fire what was cancelled, before or by another timer of the same moment', async () => {
    const { clock } = world;
    const fired: string[] = [];
    const start = clock.now();
    const first = clock.at(start + 1, () => fired.push('first'));
    first.cancel();
    first.cancel();
    clock.at(start + 2, () => second.cancel());
    const second = clock.at(start + 2, () => fired.push('second'));
    const last = clock.at(start + 20, () => fired.push('last'));
    await world.until(() => fired.length > 0);
    last.cancel();
    expect(fired).toEqual(['last']);
  });

  it('lets a timer that re-arms itself for the past leave room for others', async () => {
    const { clock } = world;
    let rounds = 0;
    let turnEnded = false;
    const again = (): void => {
      if (++rounds < 50) clock.at(clock.now() - 1, again);
    };
    clock.at(clock.now(), again);
    clock.endOfTurn(() => (turnEnded = true));
    await world.until(() => rounds === 50);
    expect(turnEnded).toBe(true);
  });

  it('runs end-of-turn callbacks once each, in order, after promises have settled', async () => {
    const { clock } = world;
    const order: string[] = [];
    clock.endOfTurn(() => order.push('end 1'));
    clock.endOfTurn(() => order.push('end 2'));
    void Promise.resolve().then(() => order.push('promise'));
    order.push('now');
    await world.until(() => order.length === 4);
    await world.pass(2);
    expect(order).toEqual(['now', 'promise', 'end 1', 'end 2']);
  });

  it('never goes back', async () => {
    const { clock } = world;
    let last = clock.now();
    let backwards = 0;
    let ticks = 0;
    const tick = (): void => {
      const now = clock.now();
      if (now < last) backwards++;
      last = now;
      if (++ticks < 20) clock.at(now + 0.5, tick);
    };
    clock.at(last, tick);
    await world.until(() => ticks === 20);
    expect(backwards).toBe(0);
    expect(clock.wallTime()).toBeGreaterThan(Date.UTC(2025, 0, 1));
  });
});
