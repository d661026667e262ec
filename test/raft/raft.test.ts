import { describe, expect, it } from 'vitest';
import { Raft } from '../../src/core/raft/raft.ts';
import { bytesOf, Group } from './group.ts';

describe('Raft', () => {
  it('commits alone in a group of one', () => {
    const group = new Group({ seed: 1 });
    group.add('a', Raft.bootstrap('a'));
    expect(group.runUntil(() => group.raft('a').role === 'leader')).toBe(true);
    const at = group.do('a', (raft) => raft.propose(group.now, bytesOf('x')));
    expect(at).toEqual({ index: 3, term: 2 });
    expect(group.runUntil(() => group.raft('a').appliedIndex === 3)).toBe(true);
    expect(group.do('a', (raft) => raft.readIndex(group.now, 7))).toBe(true);
    expect(group.member('a').reads).toEqual([{ token: 7, index: 3, applied: 3 }]);
  });

  it('grows from one member to three, and keeps all entries', () => {
    const group = new Group({ seed: 2 });
    group.add('a', Raft.bootstrap('a'));
    group.runUntil(() => group.raft('a').role === 'leader');
    for (const id of ['b', 'c']) {
      group.add(id);
      group.runUntil(() => group.raft('a').hasCommittedInTerm);
      expect(group.do('a', (raft) => raft.proposeConfiguration(group.now, { type: 'add-learner', id }))).toBeDefined();
      expect(group.runUntil(() => group.raft(id).appliedIndex === group.raft('a').lastIndex, 100)).toBe(true);
      expect(group.do('a', (raft) => raft.proposeConfiguration(group.now, { type: 'promote', id }))).toBeDefined();
      expect(group.runUntil(() => group.raft(id).appliedIndex === group.raft('a').lastIndex, 100)).toBe(true);
    }
    expect(group.raft('c').configuration).toEqual({ voters: ['a', 'b', 'c'], learners: [] });
    group.do('a', (raft) => raft.propose(group.now, bytesOf('x')));
    expect(group.runUntil(() => group.live.every((member) => member.applied === group.raft('a').lastIndex), 10)).toBe(true);
  });

  it('elects within a few milliseconds when the leader is known dead', () => {
    const group = Group.of(['a', 'b', 'c'], { seed: 3 });
    group.runUntil(() => group.leader?.hasCommittedInTerm === true);
    group.runFor(200);
    const dead = (group.leader as Raft).id;
    group.crash(dead);
    for (const member of group.live) group.do(member.id, (raft) => raft.campaign(group.now, { leaderKnownDead: dead }));
    expect(group.runUntil(() => group.leader?.hasCommittedInTerm === true, 20)).toBe(true);
    expect(group.leader?.lastElection?.previousLeaderSilentMs).toBeLessThan(60);
  });
});
