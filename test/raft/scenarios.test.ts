import { describe, expect, it } from 'vitest';
import { Raft } from '../../src/core/raft/raft.ts';
import { bytesOf, Group } from './group.ts';

/**
 * Text scenarios: the whole trace of an interleaving is kept beside the tests. Rewrite with `npx vitest run -u
 * test/raft/scenarios.test.ts` and read the difference. One message takes 1 ms, one write 1 ms.
 */
const expectTrace = (group: Group, name: string): Promise<void> => expect(group.trace()).toMatchFileSnapshot(`./scenarios/${name}.txt`);

const timing = { heartbeatMs: 100, electionTimeoutMinMs: 300, electionTimeoutMaxMs: 500 };
const groupOf = (ids: readonly string[], seed = 1): Group => Group.of(ids, { seed, trace: true, raft: timing });

/** `id` is elected by its own campaign, so that scenarios do not depend on random time-outs. */
function elect(group: Group, id: string): void {
  group.do(id, (raft) => raft.campaign(group.now));
  expect(group.runUntil(() => group.raft(id).hasCommittedInTerm, 100)).toBe(true);
  group.runFor(5);
  // Every scenario begins so; `election` has the trace of it.
  group.lines.length = 0;
}

const propose = (group: Group, id: string, text: string): unknown => {
  group.note(`propose '${text}' to ${id}`);
  return group.do(id, (raft) => raft.propose(group.now, bytesOf(text)));
};

describe('scenarios', () => {
  it('elects a leader after a time-out and tells followers of a commit at once (paper 5.2, 5.3)', async () => {
    const group = groupOf(['a', 'b', 'c']);
    expect(group.runUntil(() => group.leader?.hasCommittedInTerm === true, 600)).toBe(true);
    const leader = group.leader as Raft;
    group.runFor(10);
    propose(group, leader.id, 'x');
    const index = leader.lastIndex;
    // One message out, one write, one message back, one message out: no heartbeat is waited for.
    group.runFor(4.1);
    expect(group.live.map((member) => member.raft?.commitIndex)).toEqual([index, index, index]);
    await expectTrace(group, 'election');
  });

  it('lets a cut-off follower return without deposing the leader (thesis 9.6, pre-vote)', async () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    group.partition(['a', 'b'], ['c']);
    group.runFor(1200);
    expect(group.raft('c').role).toBe('pre-candidate');
    const { term } = group.raft('a');
    group.note('heal');
    group.heal();
    group.do('c', (raft) => raft.campaign(group.now));
    group.runFor(150);
    expect([group.raft('a').role, group.raft('a').term, group.raft('c').leaderId]).toEqual(['leader', term, 'a']);
    await expectTrace(group, 'pre-vote');
  });

  it('steps down when it hears from no majority (thesis 6.2, check quorum)', async () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    group.partition(['a'], ['b', 'c']);
    expect(propose(group, 'a', 'lost')).toBeDefined();
    group.runFor(700);
    expect(group.raft('a').role).not.toBe('leader');
    expect(group.leader?.id).not.toBe('a');
    await expectTrace(group, 'check-quorum');
  });

  it('replaces what a deposed leader had not committed (paper 5.3, Figure 7)', async () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    group.partition(['a'], ['b', 'c']);
    for (const text of ['p', 'q', 'r']) propose(group, 'a', text);
    group.runFor(600);
    expect(group.runUntil(() => group.leader !== undefined && group.leader.id !== 'a' && group.leader.hasCommittedInTerm, 2000)).toBe(true);
    propose(group, (group.leader as Raft).id, 's');
    group.runFor(5);
    group.note('heal');
    group.heal();
    group.runFor(250);
    const leader = group.leader as Raft;
    expect(group.raft('a').commitIndex).toBe(leader.commitIndex);
    expect(group.raft('a').lastIndex).toBe(leader.lastIndex);
    await expectTrace(group, 'conflict');
  });

  it('adds, promotes, demotes and removes members one at a time (thesis 4.1, 4.2)', async () => {
    const group = new Group({ seed: 1, trace: true, raft: timing });
    group.add('a', Raft.bootstrap('a'));
    elect(group, 'a');
    group.add('b');
    expect(group.raft('b').nextWakeAt()).toBe(Infinity);
    for (const type of ['add-learner', 'promote'] as const) {
      group.note(`${type} b`);
      expect(group.do('a', (raft) => raft.proposeConfiguration(group.now, { type, id: 'b' }))).toBeDefined();
      expect(group.do('a', (raft) => raft.proposeConfiguration(group.now, { type: 'add-learner', id: 'z' }))).toBeUndefined();
      expect(group.raft('a').lastRefusal).toBe('configuration-pending');
      group.runFor(12);
      expect(group.raft('b').commitIndex).toBe(group.raft('a').lastIndex);
    }
    group.note('remove a, the leader');
    expect(group.do('a', (raft) => raft.proposeConfiguration(group.now, { type: 'remove', id: 'a' }))).toBeDefined();
    group.runFor(20);
    expect([group.raft('a').role, group.raft('b').role]).toEqual(['follower', 'leader']);
    expect(group.raft('b').configuration).toEqual({ voters: ['b'], learners: [] });
    expect(group.raft('a').nextWakeAt()).toBe(Infinity);
    await expectTrace(group, 'membership');
  });

  it('hands leadership over within a few messages (thesis 3.10)', async () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    propose(group, 'a', 'x');
    expect(group.do('a', (raft) => raft.transferLeadership(group.now, 'c'))).toBe(true);
    expect(propose(group, 'a', 'y')).toBeUndefined();
    expect(group.raft('a').lastRefusal).toBe('transferring');
    group.runFor(15);
    expect([group.raft('a').role, group.raft('c').role]).toEqual(['follower', 'leader']);
    expect(group.raft('c').hasCommittedInTerm).toBe(true);
    await expectTrace(group, 'transfer');
  });

  it('gives up a transfer to a member that does not answer, after an election time-out', () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    group.crash('c');
    group.do('a', (raft) => raft.propose(group.now, bytesOf('x')));
    expect(group.do('a', (raft) => raft.transferLeadership(group.now, 'c'))).toBe(true);
    group.runFor(510);
    expect(group.raft('a').role).toBe('leader');
    expect(propose(group, 'a', 'y')).toBeDefined();
  });

  it('sends a snapshot to a follower that needs what the log no longer holds (paper 7)', async () => {
    const group = Group.of(['a', 'b', 'c'], { seed: 1, trace: true, raft: { ...timing, limits: { compactionTailEntries: 1 } } });
    elect(group, 'a');
    group.crash('c');
    for (const text of ['p', 'q', 'r', 's']) {
      propose(group, 'a', text);
      group.runFor(6);
    }
    group.compact('a');
    group.runFor(2);
    group.start('c');
    group.do('a', (raft) => raft.reportConnected(group.now, 'c'));
    group.runFor(8);
    expect(group.member('c').applied).toBe(group.raft('a').lastIndex);
    expect(group.member('c').digest).toBe(group.member('a').digest);
    await expectTrace(group, 'snapshot');
  });

  it('serves reads after a round that began later than they were asked for (thesis 6.4)', async () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    group.note('reads 1, then 2 and 3 while the round of 1 is in flight');
    group.do('a', (raft) => raft.readIndex(group.now, 1));
    group.runFor(0.5);
    group.do('a', (raft) => raft.readIndex(group.now, 2));
    group.do('a', (raft) => raft.readIndex(group.now, 3));
    expect(group.member('a').reads).toEqual([]);
    group.runFor(1.6);
    expect(group.member('a').reads.map((read) => read.token)).toEqual([1]);
    group.runFor(2);
    expect(group.member('a').reads.map((read) => read.token)).toEqual([1, 2, 3]);
    group.partition(['a'], ['b', 'c']);
    group.do('a', (raft) => raft.readIndex(group.now, 4));
    group.runFor(1500);
    expect(group.member('a').reads.map((read) => read.token)).toEqual([1, 2, 3]);
    await expectTrace(group, 'read-index');
  });

  it('elects a new leader within milliseconds when all know that the old one is dead', async () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    group.runFor(230);
    group.crash('a');
    for (const id of ['c', 'b']) group.do(id, (raft) => raft.campaign(group.now, { leaderKnownDead: 'a' }));
    group.runFor(8);
    expect(group.raft('b').role).toBe('leader');
    expect(group.raft('b').hasCommittedInTerm).toBe(true);
    expect(group.raft('c').leaderId).toBe('b');
    await expectTrace(group, 'known-dead');
  });

  it('takes turns when the first in line has the shorter log', async () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    group.partition(['a', 'c'], ['b']);
    propose(group, 'a', 'only c has it');
    group.runFor(6);
    group.heal();
    group.crash('a');
    for (const id of ['b', 'c']) group.do(id, (raft) => raft.campaign(group.now, { leaderKnownDead: 'a' }));
    group.runFor(50);
    expect(group.raft('c').role).toBe('leader');
    await expectTrace(group, 'known-dead-short-log');
  });

  it('ignores a campaign against a leader that the voter hears from', () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    const { term } = group.raft('a');
    // c holds z for the dead leader: no voter follows z.
    group.do('c', (raft) => raft.campaign(group.now, { leaderKnownDead: 'z' }));
    group.runFor(50);
    expect([group.raft('a').role, group.raft('a').term]).toEqual(['leader', term]);
  });

  it('goes on alone after the operator dropped the dead voters', async () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    propose(group, 'a', 'kept');
    group.runFor(6);
    group.crash('a');
    group.crash('b');
    group.note('c drops a and b');
    expect(group.do('c', (raft) => raft.dropVoters(group.now, ['a', 'b']))).toBe(true);
    expect(group.raft('c').configuration.voters).toEqual(['a', 'b', 'c']);
    group.runFor(4);
    expect(group.raft('c').role).toBe('leader');
    expect(group.raft('c').hasCommittedInTerm).toBe(true);
    expect(group.raft('c').configuration).toEqual({ voters: ['c'], learners: [] });
    propose(group, 'c', 'alone');
    group.runFor(2);
    expect(group.member('c').applied).toBe(group.raft('c').lastIndex);
    group.crash('c');
    group.start('c');
    expect(group.raft('c').configuration).toEqual({ voters: ['c'], learners: [] });
    await expectTrace(group, 'drop-voters');
  });

  it('drops voters as the leader, and commits what waited for them', async () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    group.crash('b');
    group.crash('c');
    propose(group, 'a', 'waits');
    group.runFor(10);
    expect(group.raft('a').commitIndex).toBeLessThan(group.raft('a').lastIndex);
    expect(group.do('a', (raft) => raft.dropVoters(group.now, ['b', 'c']))).toBe(true);
    group.runFor(2);
    expect(group.member('a').applied).toBe(group.raft('a').lastIndex);
    await expectTrace(group, 'drop-voters-leader');
  });

  it('lets a removed leader that crashed before anybody heard of it still hand the group on (thesis 4.2.2)', () => {
    const group = groupOf(['a', 'b']);
    elect(group, 'a');
    group.partition(['a'], ['b']);
    group.do('a', (raft) => raft.proposeConfiguration(group.now, { type: 'remove', id: 'a' }));
    group.runFor(5);
    group.crash('a');
    group.heal();
    group.start('a');
    // b's log is shorter, so only a, which is no voter of its own latest configuration, can win.
    expect(group.runUntil(() => group.leader?.id === 'b' && group.raft('b').hasCommittedInTerm, 3000)).toBe(true);
    expect(group.raft('b').configuration.voters).toEqual(['b']);
  });

  it('fills a learner again that lost its disk', () => {
    const group = groupOf(['a', 'b', 'c']);
    elect(group, 'a');
    group.add('d');
    group.do('a', (raft) => raft.proposeConfiguration(group.now, { type: 'add-learner', id: 'd' }));
    propose(group, 'a', 'x');
    group.runFor(20);
    expect(group.member('d').applied).toBe(group.raft('a').lastIndex);
    group.crash('d');
    group.add('d');
    expect(group.runUntil(() => group.member('d').applied === group.raft('a').lastIndex, 1000)).toBe(true);
    expect(group.raft('a').role).toBe('leader');
  });
});
