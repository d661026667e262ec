import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeMessage, encodeMessage } from '../../src/core/raft/codec.ts';
import { decodeConfiguration, encodeConfiguration } from '../../src/core/raft/configuration.ts';
import { Raft } from '../../src/core/raft/raft.ts';
import type { Configuration, Entry, Message, Snapshot } from '../../src/core/raft/types.ts';
import { Prng } from '../../src/base/prng.ts';

const count = fc.oneof(fc.nat(300), fc.nat({ max: Number.MAX_SAFE_INTEGER }));
const id = fc.string({ minLength: 1, maxLength: 8, unit: 'grapheme' });
const data = fc.uint8Array({ maxLength: 40 });
const entry: fc.Arbitrary<Entry> = fc.record({ index: count, term: count, type: fc.constantFrom('normal', 'config', 'empty'), data });
const configuration: fc.Arbitrary<Configuration> = fc.uniqueArray(id, { minLength: 1, maxLength: 6 }).chain((ids) =>
  fc.nat(ids.length - 1).map((split) => ({ voters: ids.slice(0, split + 1), learners: ids.slice(split + 1) })));
const snapshot: fc.Arbitrary<Snapshot> = fc.record({ index: count, term: count, configuration, data });
const envelope = { from: id, to: id, term: count };
/** Eighths of a millisecond are whole microseconds and exact in binary: nothing is rounded on the way. */
const exactMs = fc.nat(1e9).map((eighths) => eighths / 8);
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({
    type: fc.constantFrom('pre-vote' as const, 'vote' as const), ...envelope, lastIndex: count, lastTerm: count, transfer: fc.boolean(),
    leaderKnownDead: fc.option(id, { nil: undefined }),
  }),
  fc.record({ type: fc.constantFrom('pre-vote-response' as const, 'vote-response' as const), ...envelope, granted: fc.boolean(), sinceLeaderMs: exactMs }),
  fc.record({ type: fc.constant('append' as const), ...envelope, previousIndex: count, previousTerm: count, commit: count, entries: fc.array(entry, { maxLength: 5 }) }),
  fc.record({ type: fc.constant('append-response' as const), ...envelope, rejected: fc.boolean(), index: count, hintIndex: count, hintTerm: count, lastIndex: count }),
  fc.record({ type: fc.constant('heartbeat' as const), ...envelope, commit: count, round: count }),
  fc.record({ type: fc.constant('heartbeat-response' as const), ...envelope, round: count, lastIndex: count }),
  fc.record({ type: fc.constant('snapshot' as const), ...envelope, snapshot }),
  fc.record({ type: fc.constant('timeout-now' as const), ...envelope }),
);

describe('messages as bytes', () => {
  it('come back as they were', () => {
    fc.assert(fc.property(message, (original) => {
      expect(decodeMessage(encodeMessage(original))).toEqual(original);
    }));
  });

  it('never over-state a silence beyond the rounding of a double, and under-state it by about a microsecond at most', () => {
    fc.assert(fc.property(fc.double({ min: 0, max: 1e9, noNaN: true }), (sinceLeaderMs) => {
      const decoded = decodeMessage(encodeMessage({ type: 'vote-response', from: 'a', to: 'b', term: 1, granted: true, sinceLeaderMs })) as { sinceLeaderMs: number };
      expect(decoded.sinceLeaderMs).toBeLessThanOrEqual(sinceLeaderMs * (1 + 2 ** -51));
      expect(decoded.sinceLeaderMs).toBeGreaterThan(sinceLeaderMs - 0.0011);
    }), { numRuns: 2000 });
  });

  it('are refused with BAD_MESSAGE when they are cut, and copied from the buffer when not', () => {
    fc.assert(fc.property(message, fc.nat(200), (original, at) => {
      const bytes = encodeMessage(original);
      const cut = bytes.subarray(0, at % bytes.length);
      expect(() => decodeMessage(cut)).toThrow(expect.objectContaining({ code: 'BAD_MESSAGE' }));
      const decoded = decodeMessage(bytes);
      bytes.fill(0xee);
      expect(decoded).toEqual(original);
    }));
  });

  it('do no harm when they are garbage: an error, or a message that a member survives', () => {
    fc.assert(fc.property(fc.oneof(fc.uint8Array({ maxLength: 80 }), fc.tuple(message, fc.nat(60), fc.nat(255)).map(([original, at, byte]) => {
      const bytes = encodeMessage(original);
      bytes[at % bytes.length] = byte;
      return bytes;
    })), (bytes) => {
      let decoded: Message;
      try {
        decoded = decodeMessage(bytes);
      } catch (error) {
        expect(error).toMatchObject({ code: 'BAD_MESSAGE' });
        return;
      }
      surviveAll([decoded]);
    }), { numRuns: 2000 });
  });

  it('cannot announce more than they hold: memory stays within the input', () => {
    // An append that announces 2^40 entries, and a text of 2^40 bytes.
    const head = [...encodeMessage({ type: 'append', from: 'a', to: 'b', term: 1, previousIndex: 0, previousTerm: 0, commit: 0, entries: [] })].slice(0, -1);
    const huge = [0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
    expect(() => decodeMessage(new Uint8Array([...head, ...huge]))).toThrow(/elements announced/);
    expect(() => decodeMessage(new Uint8Array([4, ...huge]))).toThrow(/bytes announced/);
    const zeroes = new Uint8Array(1_000_000);
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
    expect(() => decodeMessage(zeroes)).toThrow(/left over|BAD_MESSAGE|cannot read/);
    expect(process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before).toBeLessThan(20_000_000);
  });
});

/** A member in each role takes the messages, addressed to it, and answers without an exception. */
function surviveAll(messages: readonly Message[]): void {
  for (const role of ['empty', 'follower', 'leader'] as const) {
    const initial = role === 'empty' ? { entries: [] } : Raft.bootstrap('me');
    const raft = new Raft({ id: 'me', random: new Prng(1), now: 0, initial });
    if (role === 'leader') {
      raft.campaign(0);
      raft.persisted(0, raft.ready(0).token);
      raft.proposeConfiguration(0, { type: 'add-learner', id: 'you' });
      expect(raft.role).toBe('leader');
    }
    const drain = (now: number): void => {
      const ready = raft.ready(now);
      raft.persisted(now, ready.token);
      for (const out of [...ready.messages, ...ready.messagesAfterPersist]) decodeMessage(encodeMessage(out));
    };
    drain(1);
    messages.forEach((original, i) => {
      raft.step(i, { ...original, to: 'me' });
      drain(i);
      raft.tick(i + 0.5);
      drain(i + 0.5);
    });
    expect(raft.commitIndex).toBeLessThanOrEqual(raft.lastIndex);
  }
}

it('Raft survives any sequence of well-formed messages with senseless content', () => {
  const small = fc.nat(6);
  const smallEntry = fc.record({ index: small, term: small, type: fc.constantFrom('normal' as const, 'config' as const, 'empty' as const), data });
  const from = fc.constantFrom('you', 'other', 'me');
  const to = fc.constant('me');
  const head = { from, to, term: small };
  const senseless: fc.Arbitrary<Message> = fc.oneof(
    fc.record({ type: fc.constantFrom('pre-vote' as const, 'vote' as const), ...head, lastIndex: small, lastTerm: small, transfer: fc.boolean(), leaderKnownDead: fc.option(from, { nil: undefined }) }),
    fc.record({ type: fc.constantFrom('pre-vote-response' as const, 'vote-response' as const), ...head, granted: fc.boolean(), sinceLeaderMs: fc.double() }),
    fc.record({ type: fc.constant('append' as const), ...head, previousIndex: small, previousTerm: small, commit: small, entries: fc.array(smallEntry, { maxLength: 3 }) }),
    // Consecutive entries, so that they get past the first check.
    fc.record({ previousIndex: small, previousTerm: small, term: small, commit: small, size: fc.nat(3), data }).map(({ previousIndex, previousTerm, term, commit, size, data: bytes }) => ({
      type: 'append' as const, from: 'you', to: 'me', term, previousIndex, previousTerm, commit,
      entries: Array.from({ length: size }, (_, i) => ({ index: previousIndex + 1 + i, term: Math.max(previousTerm, term), type: 'config' as const, data: bytes })),
    })),
    fc.record({ type: fc.constant('append-response' as const), ...head, rejected: fc.boolean(), index: small, hintIndex: small, hintTerm: small, lastIndex: small }),
    fc.record({ type: fc.constant('heartbeat' as const), ...head, commit: small, round: small }),
    fc.record({ type: fc.constant('heartbeat-response' as const), ...head, round: small, lastIndex: small }),
    fc.record({ type: fc.constant('snapshot' as const), ...head, snapshot: fc.record({ index: small, term: small, configuration, data }) }),
    fc.record({ type: fc.constant('timeout-now' as const), ...head }),
  );
  fc.assert(fc.property(fc.array(senseless, { maxLength: 12 }), (messages) => surviveAll(messages)), { numRuns: 1500 });
});

it('decodeConfiguration() gives undefined for anything but a configuration with a voter', () => {
  fc.assert(fc.property(configuration, (original) => {
    expect(decodeConfiguration(encodeConfiguration(original))).toEqual(original);
  }));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 30 }), (bytes) => {
    const decoded = decodeConfiguration(bytes);
    if (decoded !== undefined) expect(decoded.voters.length).toBeGreaterThan(0);
  }));
  expect(decodeConfiguration(encodeConfiguration({ voters: ['a', 'a'], learners: [] }))).toBeUndefined();
  expect(decodeConfiguration(encodeConfiguration({ voters: ['a'], learners: ['a'] }))).toBeUndefined();
  expect(decodeConfiguration(encodeConfiguration({ voters: [], learners: ['a'] }))).toBeUndefined();
});
