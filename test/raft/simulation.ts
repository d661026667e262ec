import { Prng } from '../../src/base/prng.ts';
import type { Raft } from '../../src/core/raft/raft.ts';
import type { ConfigurationChange } from '../../src/core/raft/types.ts';
import { bytesOf, Group } from './group.ts';

const pool = ['a', 'b', 'c', 'd', 'e', 'f'];

export interface SimulationResult {
  readonly trace: string;
  readonly committed: number;
  readonly elections: number;
  readonly reads: number;
  readonly changes: number;
}

/** One seeded run: faults and requests for a while, then everything heals and the group must converge. Throws on a violation. */
export function simulate(seed: number, trace = false): SimulationResult {
  const prng = new Prng(seed);
  const initialCount = 1 + prng.below(5);
  const lossChance = prng.chance(0.3) ? 0 : prng.float() * 0.3;
  const duplicateChance = prng.chance(0.5) ? 0 : prng.float() * 0.3;
  const slowestMs = prng.pick([1, 5, 30, 120]) as number;
  const slowestWriteMs = prng.pick([0.5, 5, 50, 200]) as number;
  let isHealed = false;
  const group = Group.of(pool.slice(0, initialCount), {
    seed: prng.uint32(), trace, skipCodec: seed % 4 !== 0,
    raft: {
      snapshotRetryMs: 300,
      campaignStaggerMs: prng.pick([1, 5, 30]) as number,
      limits: {
        maxEntriesPerMessage: 1 + prng.below(4), maxInflightMessages: 1 + prng.below(4), compactionTailEntries: prng.below(4),
        maxOutstandingBatches: 1 + prng.below(6), maxCommittedBytesPerReady: 1 + prng.below(20),
      },
    },
    delayMs: () => (isHealed ? 1 : prng.chance(lossChance) ? undefined : 0.1 + prng.float() * (prng.chance(0.1) ? slowestMs * 5 : slowestMs)),
    duplicate: () => !isHealed && prng.chance(duplicateChance),
    writeMs: () => (isHealed ? 1 : prng.float() * slowestWriteMs),
  });
  const chaos = new Chaos(group, prng);
  const pace = prng.pick([10, 40, 100]) as number;
  for (const until = 800 + prng.below(2000); group.now < until;) {
    chaos.act();
    group.runFor(prng.float() * pace);
  }
  isHealed = true;
  chaos.heal();
  converge(group);
  return { trace: group.trace(), committed: group.checker.highestCommit, elections: group.leader?.term ?? 0, reads: group.checker.readsServedCount, changes: chaos.changes };
}

/** After all faults: a leader within a bound, a proposal committed, and every member at the same state. */
function converge(group: Group): void {
  const configuration = (): { voters: readonly string[]; learners: readonly string[] } => (group.leader as Raft).configuration;
  if (!group.runUntil(() => group.leader?.hasCommittedInTerm === true, 10_000)) throw new Error('liveness: no leader 10 s after the group healed');
  group.runFor(700);
  // What was under way when it healed may have cost one more election.
  if (!group.runUntil(() => group.leader?.hasCommittedInTerm === true, 5000)) throw new Error('liveness: the healed group lost its leader');
  const leader = group.leader as Raft;
  const at = group.do(leader.id, (raft) => raft.propose(group.now, bytesOf('last')));
  if (at === undefined) throw new Error(`liveness: ${leader.id} refuses a proposal: ${leader.lastRefusal}`);
  const isDone = (): boolean => [...configuration().voters, ...configuration().learners].every((id) => group.member(id).applied >= at.index);
  if (!group.runUntil(isDone, 5000)) {
    throw new Error(`liveness: not all members reach ${at.index}: ${[...configuration().voters, ...configuration().learners].map((id) => `${id} ${group.member(id).applied}`).join(', ')}`);
  }
  for (const { id, anomalyCount } of group.live.map((member) => member.raft as Raft)) if (anomalyCount > 0) throw new Error(`${id} met ${anomalyCount} impossible messages`);
}

class Chaos {
  readonly #group: Group;
  readonly #prng: Prng;
  readonly #actions: readonly (readonly [weight: number, act: () => void])[];
  #token = 1;
  changes = 0;

  constructor(group: Group, prng: Prng) {
    this.#group = group;
    this.#prng = prng;
    this.#actions = this.#weigh();
  }

  #any(): Raft | undefined {
    return this.#prng.pick(this.#group.live)?.raft;
  }

  /** Each run has likings of its own (swarm testing): a fault that is common in one run never happens in another. */
  #weigh(): (readonly [weight: number, act: () => void])[] {
    const group = this.#group;
    const prng = this.#prng;
    const some = (weight: number): number => (prng.chance(0.3) ? 0 : weight * (prng.chance(0.2) ? 4 : 1) * prng.float());
    const theme = prng.pick(['mixed', 'mixed', 'elections', 'isolation', 'membership'] as const);
    const themed = (weight: number, themes: readonly string[]): number => (theme === 'mixed' ? some(weight) : themes.includes(theme as string) ? 15 + 15 * prng.float() : some(2));
    return [
      [theme === 'elections' ? 8 : 30, () => this.#propose()],
      [12, () => this.#read()],
      [themed(8, []), () => this.#crash()],
      [10, () => this.#restart()],
      [themed(8, ['elections', 'isolation']), () => this.#crashAndRestart()],
      [themed(6, []), () => this.#partition()],
      [themed(6, ['isolation', 'membership']), () => this.#isolateLeader()],
      [theme === 'isolation' || theme === 'membership' ? 25 : 4, () => group.heal()],
      [themed(20, ['membership']), () => this.#change()],
      [themed(3, []), () => this.#transfer()],
      [themed(6, []), () => this.#compact()],
      [themed(6, []), () => this.#pause()],
      [themed(6, ['isolation']), () => this.#campaign()],
      [themed(12, ['elections']), () => this.#campaignAll()],
      [themed(4, []), () => this.#report()],
    ];
  }

  act(): void {
    let dice = this.#prng.float() * this.#actions.reduce((sum, [weight]) => sum + weight, 0);
    for (const [weight, act] of this.#actions) {
      dice -= weight;
      if (dice < 0) return act();
    }
  }

  #propose(): void {
    for (const member of this.#group.live) {
      if (member.raft?.role !== 'leader') continue;
      this.#group.do(member.id, (raft) => raft.propose(this.#group.now, bytesOf(`${this.#prng.below(1000)}`)));
    }
  }

  /** Of every member that holds itself for the leader, so that deposed ones are asked as well. */
  #read(): void {
    for (const member of this.#group.live) {
      if (member.raft?.role !== 'leader') continue;
      const token = this.#token++;
      this.#group.checker.readAsked(token, member.raft.term, this.#group.now);
      this.#group.do(member.id, (raft) => raft.readIndex(this.#group.now, token));
    }
  }

  #crash(): void {
    const member = this.#prng.pick(this.#group.live);
    if (member === undefined) return;
    this.#group.crash(member.id, this.#prng.below(member.writes.length + 1));
    if (!this.#prng.chance(0.5)) return;
    // The others' kernels know it; rightly or not, some are told.
    for (const other of this.#group.live) {
      if (this.#prng.chance(0.8)) this.#group.do(other.id, (raft) => raft.campaign(this.#group.now, { leaderKnownDead: member.id }));
    }
  }

  /** A process that comes back before anybody has noticed: what it promised and did not write down shows at once. */
  #crashAndRestart(): void {
    for (const member of this.#group.live) {
      if (!this.#prng.chance(0.5)) continue;
      this.#group.crash(member.id, this.#prng.below(member.writes.length + 1));
      this.#group.start(member.id);
    }
  }

  #restart(): void {
    const down = [...this.#group.members.values()].filter((member) => member.raft === undefined);
    const member = this.#prng.pick(down);
    if (member !== undefined) this.#group.start(member.id);
  }

  #partition(): void {
    const ids = this.#prng.shuffle([...this.#group.members.keys()]);
    const cut = this.#prng.below(ids.length + 1);
    if (this.#prng.chance(0.7)) this.#group.partition(ids.slice(0, cut), ids.slice(cut));
    else for (let i = 0; i < 3; i++) this.#group.cut.add(`${this.#prng.pick(ids)}>${this.#prng.pick(ids)}`);
  }

  /** The leader goes on alone for a while: what it appends then, entries and configurations, is taken back later. */
  #isolateLeader(): void {
    const leader = this.#group.leader?.id;
    if (leader === undefined) return;
    const others = [...this.#group.members.keys()].filter((id) => id !== leader);
    const friend = this.#prng.chance(0.3) ? others.splice(this.#prng.below(others.length), 1) : [];
    this.#group.partition([leader, ...friend], others);
    if (this.#prng.chance(0.5)) this.#change(leader);
    this.#propose();
    for (const id of others) if (this.#prng.chance(0.5) && this.#group.member(id).raft) this.#group.do(id, (raft) => raft.campaign(this.#group.now, { leaderKnownDead: leader }));
  }

  #change(of?: string): void {
    const group = this.#group;
    const leader = group.live.find((member) => member.id === of)?.raft ?? this.#prng.pick(group.live.filter((member) => member.raft?.role === 'leader'))?.raft;
    if (leader === undefined) return;
    const type = this.#prng.pick(['add-learner', 'promote', 'promote', 'demote', 'remove'] as const) as ConfigurationChange['type'];
    const { voters, learners } = leader.configuration;
    const from = type === 'add-learner' ? pool : type === 'promote' ? learners : type === 'demote' ? voters : [...voters, ...learners];
    const id = this.#prng.pick(from);
    if (id === undefined) return;
    if (!group.members.has(id)) group.add(id);
    const at = group.do(leader.id, (raft) => raft.proposeConfiguration(group.now, { type, id }));
    if (at !== undefined) this.changes++;
    group.note(`${leader.id} is asked to ${type} ${id}: ${at === undefined ? leader.lastRefusal : at.index}`);
  }

  #transfer(): void {
    const leader = this.#group.leader;
    const to = this.#prng.pick(leader?.configuration.voters ?? []);
    if (leader === undefined || to === undefined) return;
    this.#group.do(leader.id, (raft) => raft.transferLeadership(this.#group.now, to));
  }

  #compact(): void {
    const member = this.#prng.pick(this.#group.live);
    if (member !== undefined) this.#group.compact(member.id);
  }

  #pause(): void {
    const member = this.#prng.pick(this.#group.live);
    if (member !== undefined) member.pausedUntil = this.#group.now + this.#prng.below(800);
  }

  /** Evidence may be wrong: that must cost no more than an election. */
  #campaign(): void {
    const raft = this.#any();
    const dead = this.#prng.chance(0.5) ? this.#group.leader?.id : undefined;
    if (raft !== undefined) this.#group.do(raft.id, () => raft.campaign(this.#group.now, dead === undefined ? {} : { leaderKnownDead: dead }));
  }

  /** All at once, as when a leader's death shows on every connection. */
  #campaignAll(): void {
    const dead = this.#group.leader?.id;
    for (const member of this.#group.live) {
      if (member.id !== dead && this.#prng.chance(0.8)) this.#group.do(member.id, (raft) => raft.campaign(this.#group.now, dead === undefined ? {} : { leaderKnownDead: dead }));
    }
  }

  #report(): void {
    const raft = this.#any();
    const id = this.#prng.pick(pool) as string;
    if (raft === undefined) return;
    this.#group.do(raft.id, () => (this.#prng.chance(0.5) ? raft.reportConnected(this.#group.now, id) : raft.reportUnreachable(this.#group.now, id)));
  }

  heal(): void {
    this.#group.heal();
    for (const member of this.#group.members.values()) {
      member.pausedUntil = 0;
      if (member.raft === undefined) this.#group.start(member.id);
    }
  }
}
