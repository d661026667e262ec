import { describe, expect, test } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { Lease, SessionTable } from '../../src/core/control/sessions.ts';

const timing = { leaseMs: 800, marginMs: 50, renewMs: 100 };

describe('Lease', () => {
  test('counts from when the renewal that was answered was sent, less one margin', () => {
    const lease = new Lease(timing);
    const round = lease.sent(1000);
    lease.granted(round, 7);
    expect(lease.validUntil).toBe(1750);
    expect([lease.isValid(1749.9), lease.isValid(1750)]).toEqual([true, false]);
  });

  test('answers out of order and repeated do not shorten it, nor do they prolong it', () => {
    const lease = new Lease(timing);
    const first = lease.sent(1000);
    const second = lease.sent(1100);
    lease.granted(second, 7);
    lease.granted(first, 7);
    lease.granted(second, 7);
    expect(lease.validUntil).toBe(1850);
  });

  test('a grant of a round from before it was lost is void', () => {
    const lease = new Lease(timing);
    const round = lease.sent(1000);
    lease.lost();
    lease.granted(round, 7);
    expect(lease.isValid(1001)).toBe(false);
  });

  test('another session starts without what the one before had', () => {
    const lease = new Lease(timing);
    lease.granted(lease.sent(1000), 7);
    lease.granted(lease.sent(500), 8);
    expect(lease.validUntil).toBe(1250);
  });

  test('keeps no more than a few unanswered rounds', () => {
    const lease = new Lease(timing);
    const first = lease.sent(0);
    for (let i = 0; i < 1000; i++) lease.sent(i);
    lease.granted(first, 7);
    expect(lease.isValid(1)).toBe(false);
  });
});

describe('SessionTable', () => {
  test('waits a lease and a margin from its own answer', () => {
    const table = new SessionTable(0, timing, [], 0);
    table.answered(100, 'a');
    for (let now = 100; now < 950; now += 50) expect(table.expired(now)).toEqual([]);
    expect(table.expired(950)).toEqual(['a']);
  });

  test.each([[0, 850], [300, 550], [2000, 400]])('a new leader whose predecessor was silent for %d ms waits %d ms', (silentMs, waitMs) => {
    const table = new SessionTable(0, timing, ['a'], silentMs);
    for (let now = 0; now < waitMs; now += 50) expect(table.expired(now)).toEqual([]);
    expect(table.expired(waitMs)).toEqual(['a']);
  });

  test('its own pause counts against nobody', () => {
    const table = new SessionTable(0, timing, [], 0);
    table.expired(0);
    table.answered(0, 'a');
    table.expired(100);
    expect(table.expired(5000)).toEqual([]);
    expect(table.nextDeadline()).toBeLessThanOrEqual(5100);
    for (let now = 5000; now < 5650; now += 50) expect(table.expired(now)).toEqual([]);
    expect(table.expired(5700)).toEqual(['a']);
  });

  test('wakes often enough to notice its pauses', () => {
    const table = new SessionTable(0, timing, [], 0);
    table.expired(1000);
    expect(table.nextDeadline()).toBe(1100);
  });
});

/**
 * Node and leaders with clocks that drift by up to 5 % and messages that take any time. A grant is given only after a
 * round that began after the renewal came; a new leader knows how long the one before cannot have completed a round.
 */
test('no leader ends a session while its holder still acts', () => {
  for (let seed = 1; seed <= 2000; seed++) {
    const random = new Prng(seed);
    const drift = (): number => 0.95 + 0.1 * random.float();
    const [nodeRate, leaderRate] = [drift(), drift()];
    const lease = new Lease(timing);
    let roundBegan = Number.NEGATIVE_INFINITY;
    let table = new SessionTable(0, timing, ['node'], 0);
    let actsUntil = Number.NEGATIVE_INFINITY;
    const events: { at: number; run: (at: number) => void }[] = [];
    const later = (at: number, run: (at: number) => void): void => void events.push({ at, run });
    let leads = 1;
    for (let at = 0; at < 4000; at += 100) {
      later(at, (sentAt) => {
        const round = lease.sent(sentAt * nodeRate);
        const delay = random.below(random.below(3) === 0 ? 600 : 30);
        later(sentAt + delay, (came) => {
          const leader = leads;
          later(came + random.below(40), (confirmed) => {
            // The round of a leader that was deposed meanwhile comes to nothing.
            if (leader !== leads) return;
            roundBegan = Math.max(roundBegan, came);
            table.answered(confirmed * leaderRate, 'node');
            later(confirmed + random.below(random.below(3) === 0 ? 600 : 30), () => {
              lease.granted(round, 1);
              actsUntil = lease.validUntil / nodeRate;
            });
          });
        });
      });
    }
    later(500 + random.below(3000), (at) => {
      leads = 2;
      const silentMs = Math.max(0, at - roundBegan) * random.float() * 0.9;
      table = new SessionTable(at * leaderRate, timing, ['node'], silentMs);
    });
    for (let at = 0; at < 6000; at += 25) {
      later(at, (now) => {
        if (table.expired(now * leaderRate).length === 0) return;
        if (now < actsUntil) throw new Error(`seed ${seed}: at ${now} the leader ends a session that acts until ${actsUntil}`);
        table.answered((now + 1e9) * leaderRate, 'node');
        lease.lost();
        events.length = 0;
      });
    }
    while (events.length > 0) {
      let next = 0;
      for (let i = 1; i < events.length; i++) if (events[i]!.at < events[next]!.at) next = i;
      const [event] = events.splice(next, 1);
      event!.run(event!.at);
    }
  }
});
