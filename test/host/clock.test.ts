import { describe, expect, it } from 'vitest';
import { HostClock } from '../../src/host/clock.ts';

/** What a system's clocks show; `sleep` and `turnHands` do to them what these do. */
class Clocks {
  nowMs = 1000;
  wallMs = 1_700_000_000_000;
  bootMs = 5_000_000;
  asked = 0;

  readonly clock: HostClock = new HostClock({
    now: () => this.nowMs,
    wallTime: () => this.wallMs,
    sinceBootMs: () => {
      this.asked++;
      return Math.floor(this.bootMs / 10) * 10;
    },
  });

  pass(ms: number): void {
    this.nowMs += ms;
    this.wallMs += ms;
    this.bootMs += ms;
  }

  sleep(ms: number): void {
    this.wallMs += ms;
    this.bootMs += ms;
  }
}

describe('HostClock.sleptMs()', () => {
  it('tells how long the machine has slept, once it has woken', () => {
    const clocks = new Clocks();
    clocks.pass(10_000);
    expect(clocks.clock.sleptMs()).toBe(0);
    clocks.sleep(800);
    expect(clocks.clock.sleptMs()).toBe(800);
    clocks.pass(60_000);
    clocks.sleep(3_600_000);
    expect(clocks.clock.sleptMs()).toBeCloseTo(3_600_800, -2);
    expect(clocks.clock.now()).toBe(71_000);
  });

  it('does not take a wall clock that is set for a sleep, nor overlooks a sleep after it', () => {
    const clocks = new Clocks();
    for (const byMs of [5000, -20_000, 3_600_000]) {
      clocks.wallMs += byMs;
      expect(clocks.clock.sleptMs()).toBe(0);
    }
    clocks.sleep(2000);
    expect(clocks.clock.sleptMs()).toBe(2000);
  });

  it('asks for the time since boot only where the wall clock and its own part', () => {
    const clocks = new Clocks();
    const { asked } = clocks;
    for (let i = 0; i < 1000; i++) {
      clocks.pass(100);
      clocks.clock.sleptMs();
    }
    expect(clocks.asked).toBe(asked);
    // As a clock that is being brought into step by 500 ppm.
    for (let i = 0; i < 1000; i++) {
      clocks.pass(100);
      clocks.wallMs += 0.05;
      clocks.clock.sleptMs();
    }
    expect(clocks.asked - asked).toBeLessThan(3);
    expect(clocks.clock.sleptMs()).toBe(0);
  });

  it('is 0 on a machine that has not slept', () => {
    const clock = new HostClock();
    for (let i = 0; i < 100_000; i++) clock.sleptMs();
    expect(clock.sleptMs()).toBe(0);
  });
});
