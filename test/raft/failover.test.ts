import { expect, it } from 'vitest';
import type { Raft } from '../../src/core/raft/raft.ts';
import { Prng } from '../../src/base/prng.ts';
import { Group } from './group.ts';

/** Milliseconds from a leader's crash, which all the others see within 3 ms, to the next leader's first commit. */
function failover(seed: number, voters: number): number {
  const prng = new Prng(seed);
  const ids = ['a', 'b', 'c', 'd', 'e'].slice(0, voters);
  const group = Group.of(ids, { seed, delayMs: () => 0.1 + prng.float(), writeMs: () => 0.5 + prng.float() * (prng.chance(0.1) ? 25 : 5) });
  group.runUntil(() => group.leader?.hasCommittedInTerm === true);
  group.runFor(prng.float() * 300);
  const dead = group.leader as Raft;
  group.crash(dead.id);
  const crashedAt = group.now;
  for (const member of prng.shuffle(group.live)) {
    group.runFor(prng.float() * 3 / voters);
    if (member.raft?.role !== 'leader') group.do(member.id, (raft) => raft.campaign(group.now, { leaderKnownDead: dead.id }));
  }
  expect(group.runUntil(() => group.leader?.hasCommittedInTerm === true && group.leader.term > dead.term, 2000)).toBe(true);
  return group.now - crashedAt;
}

it.each([3, 5])('%i voters that know of the leader\'s death elect the next one far below an election time-out', (voters) => {
  const times = Array.from({ length: 300 }, (_, seed) => failover(seed, voters)).sort((a, b) => a - b);
  const at = (share: number): number => times[Math.floor(share * (times.length - 1))] as number;
  if (process.env['RAFT_SEEDS'] !== undefined) console.log(voters, at(0.5).toFixed(1), at(0.95).toFixed(1), at(0.99).toFixed(1), at(1).toFixed(1));
  expect(at(0.5)).toBeLessThan(40);
  expect(at(0.99)).toBeLessThan(150);
  expect(at(1)).toBeLessThan(300);
});

it('survivors that drop the dead voters go on as one group with all that they held', () => {
  for (let seed = 0; seed < 150; seed++) {
    const prng = new Prng(seed);
    const ids = ['a', 'b', 'c', 'd', 'e'].slice(0, 2 + prng.below(4));
    const group = Group.of(ids, { seed, delayMs: () => 0.1 + prng.float() * 3, writeMs: () => 0.5 + prng.float() * 5 });
    group.runUntil(() => group.leader?.hasCommittedInTerm === true);
    for (let i = 0; i < 5; i++) {
      const leader = group.leader as Raft;
      group.do(leader.id, (raft) => raft.propose(group.now, new Uint8Array([i])));
      group.runFor(prng.float() * 10);
    }
    const survivorCount = 1 + prng.below(Math.floor(ids.length / 2));
    const survivors = prng.shuffle([...ids]).slice(0, survivorCount);
    const dead = ids.filter((id) => !survivors.includes(id));
    const held = Math.max(...survivors.map((id) => group.raft(id).commitIndex));
    for (const id of dead) group.crash(id);
    group.runFor(prng.float() * 800);
    // Every survivor drops them, at times of their own; one of them may lead or have led.
    for (const id of survivors) {
      if (group.raft(id).configuration.voters.length > survivors.length) group.do(id, (raft) => raft.dropVoters(group.now, dead));
      group.runFor(prng.float() * 20);
    }
    const isWhole = (): boolean => group.leader?.hasCommittedInTerm === true && survivors.every((id) => group.member(id).applied === (group.leader as Raft).lastIndex);
    expect(group.runUntil(isWhole, 5000), `seed ${seed}`).toBe(true);
    expect([...(group.leader as Raft).configuration.voters].sort(), `seed ${seed}`).toEqual([...survivors].sort());
    expect((group.leader as Raft).commitIndex).toBeGreaterThan(held);
  }
});
