import { describe, expect, it } from 'vitest';
import { Prng } from '../../src/base/prng.ts';
import { encodeConfiguration } from '../../src/core/raft/configuration.ts';
import { RaftLog } from '../../src/core/raft/log.ts';
import { Persistence } from '../../src/core/raft/persistence.ts';
import { Raft } from '../../src/core/raft/raft.ts';
import type { Entry, Message, RaftOptions, RaftState, Ready } from '../../src/core/raft/types.ts';
import { bytesOf } from './group.ts';

/** Single members driven by hand, one rule each: what a simulation meets too rarely to be relied on for. */

const entry = (index: number, term: number, type: Entry['type'] = 'normal', data: Uint8Array = new Uint8Array(0)): Entry => ({ index, term, type, data });

function stateOf(voters: readonly string[], term: number, entries: readonly Entry[] = [], votedFor?: string): RaftState {
  const snapshot = { index: 1, term: 1, configuration: { voters, learners: [] }, data: new Uint8Array(0) };
  return { hardState: { term, votedFor, commit: 1 }, snapshot, entries };
}

const memberOf = (initial: RaftState, options: Partial<RaftOptions> = {}): Raft => new Raft({ id: 'a', random: new Prng(1), now: 0, initial, ...options });

/** Takes all there is and makes it durable. */
function settle(raft: Raft, now = 0): Message[] {
  const sent: Message[] = [];
  while (raft.hasReady()) {
    const ready = raft.ready(now);
    sent.push(...ready.messages);
    raft.persisted(now, ready.token);
    sent.push(...ready.messagesAfterPersist);
  }
  return sent;
}

const grant = (from: string, term: number, sinceLeaderMs = 0): Message => ({ type: 'vote-response', from, to: 'a', term, granted: true, sinceLeaderMs });
const ack = (from: string, term: number, index: number): Message =>
  ({ type: 'append-response', from, to: 'a', term, rejected: false, index, hintIndex: 0, hintTerm: 0, lastIndex: index });
const append = (term: number, previous: readonly [number, number], entries: readonly Entry[], commit = 0): Message =>
  ({ type: 'append', from: 'b', to: 'a', term, previousIndex: previous[0], previousTerm: previous[1], commit, entries });
const voteRequest = (from: string, term: number, last: readonly [number, number] = [9, 9]): Message =>
  ({ type: 'vote', from, to: 'a', term, lastIndex: last[0], lastTerm: last[1] < term ? last[1] : term - 1, transfer: false, leaderKnownDead: undefined });

function leaderOf(initial: RaftState, options: Partial<RaftOptions> = {}): Raft {
  const raft = memberOf(initial, options);
  raft.campaign(0, { leaderKnownDead: 'z' });
  settle(raft);
  for (const id of initial.snapshot?.configuration.voters ?? []) if (id !== 'a') raft.step(0, grant(id, raft.term));
  expect(raft.role).toBe('leader');
  return raft;
}

const types = (messages: readonly Message[]): string[] => messages.map((message) => `${message.type}>${message.to}`);
const writeOf = (raft: Raft): Ready => raft.ready(0);

describe('what must be durable first (Figure 2: "updated on stable storage before responding")', () => {
  it('a candidate asks for votes only once its log is durable', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
    settle(raft);
    raft.step(0, append(4, [1, 1], [entry(2, 4)]));
    const written = raft.ready(0);
    raft.campaign(0, { leaderKnownDead: 'b' });
    const campaign = raft.ready(0);
    expect(campaign.messages).toEqual([]);
    expect(types(campaign.messagesAfterPersist)).toEqual(['vote>b', 'vote>c']);
    raft.persisted(0, written.token);
    expect(settle(raft)).toEqual([]);
    // Entries that have come and are not even being written yet.
    const other = memberOf(stateOf(['a', 'b', 'c'], 4));
    settle(other);
    other.step(0, append(4, [1, 1], [entry(2, 4)]));
    other.campaign(0, { leaderKnownDead: 'b' });
    const both = other.ready(0);
    expect(both.messages).toEqual([]);
    expect(types(both.messagesAfterPersist)).toEqual(['append-response>b', 'vote>b', 'vote>c']);
  });

  it('a candidate whose log is durable asks while its vote is written, and leads only once that is durable', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
    settle(raft);
    raft.campaign(0, { leaderKnownDead: 'z' });
    const ready = writeOf(raft);
    expect(ready.hardState).toMatchObject({ term: 5, votedFor: 'a' });
    expect(types(ready.messages)).toEqual(['vote>b', 'vote>c']);
    expect(ready.mustPersist).toBe(true);
    // A majority without its own vote: after a crash it could be granted the term once more, with another log.
    raft.step(0, grant('b', 5));
    raft.step(0, grant('c', 5));
    expect(raft.role).toBe('candidate');
    raft.persisted(0, ready.token);
    expect(raft.role).toBe('leader');
  });

  it('a candidate that lost its term in a crash may count grants from before it, and gives its vote to another at most once', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
    settle(raft);
    raft.campaign(0, { leaderKnownDead: 'z' });
    raft.ready(0);
    const again = memberOf(stateOf(['a', 'b', 'c'], 4));
    settle(again);
    // Grants for the life before find no candidate.
    again.step(0, grant('b', 5));
    expect(again.role).toBe('follower');
    again.step(0, voteRequest('c', 5));
    expect(settle(again)).toMatchObject([{ to: 'c', granted: true }]);
    again.step(0, grant('b', 5));
    expect(again.role).toBe('follower');
  });

  it('a voter answers only once its vote is durable, and gives one vote per term (5.2)', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
    settle(raft);
    raft.step(0, voteRequest('b', 5));
    const ready = writeOf(raft);
    expect(ready.hardState).toMatchObject({ term: 5, votedFor: 'b' });
    expect(ready.messages).toEqual([]);
    expect(types(ready.messagesAfterPersist)).toEqual(['vote-response>b']);
    raft.step(0, voteRequest('c', 5));
    raft.step(0, voteRequest('b', 5));
    raft.persisted(0, ready.token);
    expect(settle(raft)).toMatchObject([{ to: 'c', granted: false }, { to: 'b', granted: true }]);
  });

  it('a voter writes a vote that it gives later in a term that it already wrote', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 5, [entry(2, 4)]));
    settle(raft);
    raft.step(0, voteRequest('b', 6, [1, 1]));
    expect(settle(raft)).toMatchObject([{ granted: false, term: 6 }]);
    raft.step(0, voteRequest('c', 6));
    expect(writeOf(raft).hardState).toMatchObject({ term: 6, votedFor: 'c' });
  });

  it('a member remembers its vote over a restart', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 5, [], 'b'));
    settle(raft);
    raft.step(0, voteRequest('c', 5));
    expect(settle(raft)).toMatchObject([{ granted: false }]);
  });

  it('a follower acknowledges only once the entries and the term are durable', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
    settle(raft);
    raft.step(0, append(5, [1, 1], [entry(2, 5)]));
    const ready = writeOf(raft);
    expect(ready.entries).toHaveLength(1);
    expect(ready.hardState).toMatchObject({ term: 5 });
    expect(ready.messages).toEqual([]);
    expect(types(ready.messagesAfterPersist)).toEqual(['append-response>b']);
    // Again, while the first is being written: still not before it.
    raft.step(0, append(5, [1, 1], [entry(2, 5)]));
    const again = raft.ready(0);
    expect([again.mustPersist, again.messages, types(again.messagesAfterPersist)]).toEqual([true, [], ['append-response>b']]);
    raft.persisted(0, again.token);
    raft.step(0, append(5, [1, 1], [entry(2, 5)]));
    expect(types(raft.ready(0).messages)).toEqual(['append-response>b']);
  });

  it('a leader sends before its own write, and counts itself only after it (thesis 10.2.1)', () => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 1));
    settle(raft);
    raft.step(0, ack('b', 2, 2));
    raft.step(0, ack('c', 2, 2));
    expect(raft.commitIndex).toBe(2);
    settle(raft);
    raft.propose(0, bytesOf('x'));
    const ready = raft.ready(0);
    expect(types(ready.messages)).toEqual(['append>b', 'append>c']);
    raft.step(0, ack('b', 2, 3));
    expect(raft.commitIndex).toBe(2);
    raft.persisted(0, ready.token);
    expect(raft.commitIndex).toBe(3);
  });

  it('a single voter leads only once its vote is durable', () => {
    const raft = memberOf(Raft.bootstrap('a'));
    settle(raft);
    raft.campaign(0);
    const ready = raft.ready(0);
    expect(raft.role).toBe('candidate');
    raft.persisted(0, ready.token);
    expect(raft.role).toBe('leader');
  });
});

describe('commitment (5.4.2)', () => {
  it('a leader commits an entry of an earlier term only together with one of its own (Figure 8)', () => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 3, [entry(2, 2)]));
    settle(raft);
    expect([raft.term, raft.lastIndex]).toEqual([4, 3]);
    raft.step(0, ack('b', 4, 2));
    expect(raft.commitIndex).toBe(1);
    raft.step(0, ack('b', 4, 3));
    expect(raft.commitIndex).toBe(3);
  });

  it('a follower commits only what the append shows to agree', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4, [entry(2, 3), entry(3, 3), entry(4, 3)]));
    settle(raft);
    raft.step(0, append(5, [1, 1], [entry(2, 3)], 4));
    expect(raft.commitIndex).toBe(2);
    const [answer] = settle(raft);
    // Nor does it acknowledge what follows, which may differ from the leader's log.
    expect(answer).toMatchObject({ rejected: false, index: 2 });
  });

  it('a late append does not cut off what came after it (Figure 2, AppendEntries 3)', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
    raft.step(0, append(5, [1, 1], [entry(2, 5), entry(3, 5)]));
    raft.step(0, append(5, [1, 1], [entry(2, 5)]));
    expect(raft.lastIndex).toBe(3);
  });

  it('never cuts off what is committed, whatever a message says', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
    raft.step(0, append(5, [1, 1], [entry(2, 5), entry(3, 5)], 3));
    raft.step(0, append(6, [1, 1], [entry(2, 6), entry(3, 6), entry(4, 6)], 3));
    expect([raft.termAt(2), raft.termAt(3), raft.termAt(4)]).toEqual([5, 5, 6]);
  });
});

describe('elections (5.2, 5.4.1)', () => {
  it('a voter refuses a candidate whose log is behind its own, by term first, then by length', () => {
    for (const [last, granted] of [[[2, 3], true], [[3, 3], true], [[1, 3], false], [[9, 2], false], [[1, 4], true]] as const) {
      const raft = memberOf(stateOf(['a', 'b', 'c'], 4, [entry(2, 3)]));
      settle(raft);
      raft.step(0, voteRequest('b', 6, last));
      expect(settle(raft), String(last)).toMatchObject([{ granted }]);
    }
  });

  it('a voter that hears from a leader ignores other candidates until the time-out (thesis 4.2.3)', () => {
    for (const [now, leaderKnownDead, transfer, isHeard] of [
      [299, undefined, false, false], [300, undefined, false, true], [10, 'b', false, true], [10, 'c', false, false], [10, undefined, true, true],
    ] as const) {
      const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
      raft.step(0, append(5, [1, 1], []));
      settle(raft);
      raft.step(now, { ...voteRequest('c', 7), leaderKnownDead, transfer } as Message);
      expect(raft.term === 7, `${now} ${leaderKnownDead} ${transfer}`).toBe(isHeard);
    }
  });

  it('a member without a configuration never campaigns and never votes', () => {
    const raft = memberOf({ entries: [] });
    raft.campaign(0);
    raft.tick(10_000);
    raft.step(0, voteRequest('b', 5));
    expect([raft.role, raft.term, settle(raft), raft.nextWakeAt()]).toEqual(['follower', 0, [], Infinity]);
  });

  it('a learner never campaigns', () => {
    const raft = memberOf({ ...stateOf(['b', 'c'], 2), snapshot: { index: 1, term: 1, configuration: { voters: ['b', 'c'], learners: ['a'] }, data: new Uint8Array(0) } });
    raft.campaign(0);
    raft.campaign(0, { leaderKnownDead: 'b' });
    raft.step(0, append(2, [1, 1], []));
    raft.step(0, { type: 'timeout-now', from: 'b', to: 'a', term: 2 });
    raft.tick(10_000);
    expect([raft.role, raft.nextWakeAt()]).toEqual(['follower', Infinity]);
  });

  it('a vote of somebody who is no voter does not count', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
    raft.campaign(0, { leaderKnownDead: 'z' });
    settle(raft);
    raft.step(0, grant('x', 5));
    raft.step(0, grant('y', 5));
    expect(raft.role).toBe('candidate');
    raft.step(0, grant('c', 5));
    expect(raft.role).toBe('leader');
  });
});

describe('how long the leader before was silent', () => {
  it('is the least over the winning voters, the winner included', () => {
    for (const [own, others, expected] of [[40, [90], 40], [40, [15], 15], [40, [0], 0]] as const) {
      const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
      raft.step(100, append(5, [1, 1], []));
      settle(raft);
      raft.campaign(100 + own, { leaderKnownDead: 'b' });
      settle(raft);
      raft.step(200, grant('c', 6, others[0]));
      expect(raft.lastElection).toEqual({ term: 6, previousLeaderSilentMs: expected });
    }
  });

  it('counts from the start of a member that has heard from nobody', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4), { now: 1000 });
    raft.step(1250, voteRequest('b', 5));
    expect(settle(raft)).toMatchObject([{ granted: true, sinceLeaderMs: 250 }]);
  });

  it('counts from the moment at which a leader stopped being one: it acknowledged its own rounds', () => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 4));
    settle(raft);
    raft.step(400, { ...voteRequest('b', 6), transfer: true } as Message);
    expect(settle(raft).filter((message) => message.type === 'vote-response')).toMatchObject([{ granted: true, sinceLeaderMs: 0 }]);
  });

  it.each(['append', 'heartbeat', 'snapshot'] as const)('counts from the latest %s', (type) => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
    const head = { from: 'b', to: 'a', term: 5 };
    raft.step(10, append(5, [1, 1], []));
    if (type === 'append') raft.step(77, append(5, [1, 1], []));
    else if (type === 'heartbeat') raft.step(77, { type, ...head, commit: 0, round: 0 });
    else raft.step(77, { type, ...head, snapshot: { index: 3, term: 5, configuration: { voters: ['a', 'b', 'c'], learners: [] }, data: new Uint8Array(0) } });
    settle(raft);
    raft.step(500, voteRequest('c', 6, [9, 5]));
    expect(settle(raft)).toMatchObject([{ granted: true, sinceLeaderMs: 423 }]);
  });
});

describe('membership (thesis 4.1)', () => {
  it('a configuration counts once it is appended, and no more once it is cut off', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4));
    const grown = { voters: ['a', 'b', 'c', 'd'], learners: [] };
    raft.step(0, append(5, [1, 1], [entry(2, 5, 'config', encodeConfiguration(grown))]));
    expect(raft.configuration).toEqual(grown);
    raft.step(0, append(6, [1, 1], [entry(2, 6, 'empty')]));
    expect(raft.configuration.voters).toEqual(['a', 'b', 'c']);
  });

  it('a leader changes nothing before it committed an entry of its term (raft-dev, July 2015)', () => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 3, [entry(2, 2)]));
    settle(raft);
    expect(raft.proposeConfiguration(0, { type: 'add-learner', id: 'd' })).toBeUndefined();
    raft.step(0, ack('b', 4, 2));
    expect(raft.proposeConfiguration(0, { type: 'add-learner', id: 'd' })).toBeUndefined();
    expect(raft.lastRefusal).toBe('configuration-pending');
    raft.step(0, ack('b', 4, 3));
    expect(raft.proposeConfiguration(0, { type: 'add-learner', id: 'd' })).toEqual({ index: 4, term: 4 });
  });

  it.each([
    [{ type: 'promote', id: 'b' }, 'not-applicable'], [{ type: 'add-learner', id: 'b' }, 'not-applicable'], [{ type: 'remove', id: 'x' }, 'not-applicable'],
    [{ type: 'demote', id: 'x' }, 'not-applicable'], [{ type: 'add-learner', id: '' }, 'not-applicable'],
  ] as const)('refuses %o', (change, why) => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 3));
    settle(raft);
    raft.step(0, ack('b', 4, 2));
    expect(raft.proposeConfiguration(0, change)).toBeUndefined();
    expect(raft.lastRefusal).toBe(why);
  });

  it('refuses to lose the last voter, and to promote a learner that lags', () => {
    const raft = memberOf(Raft.bootstrap('a'), { limits: { maxPromotionLagEntries: 2 } });
    raft.campaign(0);
    settle(raft);
    for (const type of ['remove', 'demote'] as const) {
      expect(raft.proposeConfiguration(0, { type, id: 'a' })).toBeUndefined();
      expect(raft.lastRefusal).toBe('last-voter');
    }
    raft.proposeConfiguration(0, { type: 'add-learner', id: 'b' });
    settle(raft);
    expect(raft.proposeConfiguration(0, { type: 'promote', id: 'b' })).toBeUndefined();
    expect(raft.lastRefusal).toBe('lagging');
    raft.step(0, ack('b', 2, 1));
    expect(raft.proposeConfiguration(0, { type: 'promote', id: 'b' })).toBeDefined();
  });
});

describe('reads (thesis 6.4)', () => {
  it('wait until the leader committed an entry of its term: its commit index may lag until then', () => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 3, [entry(2, 2)]));
    settle(raft);
    expect(raft.readIndex(0, 7)).toBe(true);
    expect(settle(raft)).toEqual([]);
    raft.step(0, ack('b', 4, 3));
    const rounds = settle(raft).filter((message) => message.type === 'heartbeat');
    expect(rounds).toMatchObject([{ to: 'b', round: 1 }, { to: 'c', round: 1 }]);
    raft.step(0, { type: 'heartbeat-response', from: 'x', to: 'a', term: 4, round: 1, lastIndex: 3 });
    expect(raft.hasReady()).toBe(false);
    raft.step(0, { type: 'heartbeat-response', from: 'c', to: 'a', term: 4, round: 1, lastIndex: 0 });
    expect(raft.ready(0).readStates).toEqual([{ token: 7, index: 3 }]);
  });

  it('are dropped when the leader steps down', () => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 3));
    settle(raft);
    raft.step(0, ack('b', 4, 2));
    raft.readIndex(0, 7);
    settle(raft);
    raft.step(0, { type: 'heartbeat', from: 'b', to: 'a', term: 9, commit: 0, round: 0 });
    raft.step(0, { type: 'heartbeat-response', from: 'c', to: 'a', term: 4, round: 1, lastIndex: 0 });
    expect([raft.role, raft.ready(0).readStates]).toEqual(['follower', []]);
  });
});

describe('catching up', () => {
  it('sends a lost snapshot again after snapshotRetryMs, or at once when the member connects', () => {
    for (const isConnected of [false, true]) {
      const raft = leaderOf({ ...stateOf(['a', 'b', 'c'], 3), snapshot: { index: 5, term: 3, configuration: { voters: ['a', 'b', 'c'], learners: [] }, data: bytesOf('s') }, hardState: { term: 3, votedFor: undefined, commit: 5 } }, { snapshotRetryMs: 400 });
      settle(raft);
      const beat = (now: number): Message[] => {
        raft.step(now, { type: 'heartbeat-response', from: 'b', to: 'a', term: 4, round: 0, lastIndex: 0 });
        return settle(raft, now).filter((message) => message.type === 'snapshot');
      };
      const reject = (now: number, index: number): Message[] => {
        raft.step(now, { type: 'append-response', from: 'b', to: 'a', term: 4, rejected: true, index, hintIndex: 0, hintTerm: 0, lastIndex: 0 });
        return settle(raft, now).filter((message) => message.type === 'snapshot');
      };
      expect(reject(0, 5)).toHaveLength(1);
      expect(beat(399)).toEqual([]);
      if (isConnected) raft.reportConnected(399, 'b');
      else beat(400);
      settle(raft, 400);
      // It may have arrived, so the probe asks first.
      expect(raft.progress(400)[0]).toMatchObject({ id: 'b', state: isConnected ? 'snapshot' : 'probe' });
      if (!isConnected) expect(reject(401, 5)).toHaveLength(1);
    }
  });

  it('sends nothing but heartbeats to a member that is unreachable', () => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 3));
    settle(raft);
    raft.step(0, ack('b', 4, 2));
    settle(raft);
    raft.reportUnreachable(0, 'b');
    raft.propose(0, bytesOf('x'));
    expect(settle(raft).filter((message) => message.to === 'b')).toEqual([]);
    raft.tick(60);
    expect(types(settle(raft, 60).filter((message) => message.to === 'b'))).toEqual(['heartbeat>b']);
    raft.reportConnected(70, 'b');
    expect(types(settle(raft, 70).filter((message) => message.to === 'b'))).toEqual(['heartbeat>b', 'append>b']);
  });
});

describe('limits', () => {
  it('refuses proposals past maxUncommittedBytes, and takes them again once committed', () => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 3), { limits: { maxUncommittedBytes: 250, maxEntryBytes: 150 } });
    settle(raft);
    expect(raft.propose(0, new Uint8Array(151))).toBeUndefined();
    expect(raft.lastRefusal).toBe('too-large');
    expect(raft.propose(0, new Uint8Array(100))).toBeDefined();
    expect(raft.propose(0, new Uint8Array(100))).toBeUndefined();
    expect(raft.lastRefusal).toBe('overloaded');
    settle(raft);
    raft.step(0, ack('b', 4, 3));
    expect(raft.propose(0, new Uint8Array(100))).toBeDefined();
  });

  it('sends at most maxInflightMessages ahead, each of at most maxEntriesPerMessage', () => {
    const raft = leaderOf(stateOf(['a', 'b'], 3), { limits: { maxInflightMessages: 3, maxEntriesPerMessage: 2 } });
    settle(raft);
    raft.step(0, ack('b', 4, 2));
    settle(raft);
    for (let i = 0; i < 20; i++) raft.propose(0, bytesOf('x'));
    const appends = settle(raft).filter((message) => message.type === 'append');
    expect(appends.map((message) => message.entries.length)).toEqual([2, 2, 2]);
    raft.step(0, ack('b', 4, 4));
    expect(settle(raft).filter((message) => message.type === 'append' && message.entries.length > 0)).toHaveLength(1);
  });

  it('sends nothing more to a member that does not answer while it probes', () => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 3));
    settle(raft);
    for (let i = 0; i < 5; i++) {
      raft.propose(0, bytesOf('x'));
      expect(settle(raft)).toEqual([]);
    }
  });

  it('holds back batches past maxOutstandingBatches, and joins acknowledgements meanwhile', () => {
    const raft = memberOf(stateOf(['a', 'b', 'c'], 4), { limits: { maxOutstandingBatches: 2 } });
    settle(raft);
    const tokens: number[] = [];
    for (let i = 2; i < 8; i++) {
      raft.step(0, append(5, [i - 1, i === 2 ? 1 : 5], [entry(i, 5)]));
      if (raft.hasReady()) tokens.push(raft.ready(0).token);
    }
    expect(tokens).toHaveLength(2);
    raft.persisted(0, tokens[0] as number);
    const ready = raft.ready(0);
    expect(ready.entries.map((item) => item.index)).toEqual([4, 5, 6, 7]);
    expect(ready.messagesAfterPersist).toMatchObject([{ index: 7 }]);
  });

  it('refuses reads past maxPendingReads', () => {
    const raft = leaderOf(stateOf(['a', 'b', 'c'], 3), { limits: { maxPendingReads: 2 } });
    expect([raft.readIndex(0, 1), raft.readIndex(0, 2), raft.readIndex(0, 3), raft.lastRefusal]).toEqual([true, true, false, 'overloaded']);
  });
});

describe('Persistence', () => {
  it('believes no batch past a later cut, even when equal entries are appended again', () => {
    const log = new RaftLog({ entries: [] });
    const persistence = new Persistence(0, 0);
    const hardState = { term: 1, votedFor: undefined, commit: 0 };
    const take = (): number => persistence.take(log, hardState, false).token;
    log.append(entry(1, 1));
    log.append(entry(2, 1));
    const first = take();
    log.truncate(2);
    persistence.truncated(2);
    log.append(entry(2, 1));
    persistence.persisted(first);
    // The disk now holds an entry 2, but the batch under way will delete and write it again.
    expect(persistence.persistedIndex).toBe(1);
    const second = persistence.take(log, hardState, false);
    expect([second.truncateFrom, second.entries.map((item) => item.index)]).toEqual([2, [2]]);
    persistence.persisted(second.token);
    expect(persistence.persistedIndex).toBe(2);
  });

  it('asks for no cut where nothing was handed out yet', () => {
    const log = new RaftLog({ entries: [] });
    const persistence = new Persistence(0, 0);
    log.append(entry(1, 1));
    log.truncate(1);
    persistence.truncated(1);
    log.append(entry(1, 2));
    const batch = persistence.take(log, { term: 2, votedFor: undefined, commit: 0 }, false);
    expect([batch.truncateFrom, batch.entries]).toEqual([undefined, [entry(1, 2)]]);
  });
});

describe('compact()', () => {
  it('keeps a tail for slow followers, and gives nothing when there is nothing new', () => {
    const raft = memberOf(Raft.bootstrap('a'), { limits: { compactionTailEntries: 3 } });
    raft.campaign(0);
    settle(raft);
    for (let i = 0; i < 8; i++) raft.propose(0, bytesOf('x'));
    settle(raft);
    raft.applied(raft.lastIndex);
    const snapshot = raft.compact(raft.lastIndex, bytesOf('state'));
    expect(snapshot).toMatchObject({ index: 10, term: 2, configuration: { voters: ['a'], learners: [] } });
    expect([raft.firstIndex, raft.lastIndex, raft.termAt(10)]).toEqual([8, 10, 2]);
    expect(raft.compact(10, bytesOf('state'))).toBeUndefined();
    expect(() => raft.compact(11, bytesOf('state'))).toThrow(/only entries up to 10 are applied/);
  });
});
