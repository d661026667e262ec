import { isActive } from './map.ts';
import type { ClusterMap } from './map.ts';

export interface VoterView {
  /** Raft ids. */
  readonly voters: readonly string[];
  readonly learners: readonly string[];
  readonly leader: string;
  /** Learners that hold (nearly) the whole log. */
  readonly caughtUp: ReadonlySet<string>;
  /** Members whose node has been without a session for longer than the grace, or is gone for good. */
  readonly gone: ReadonlySet<string>;
  /** The operator lets voters go down to the last node (quorum.lastNode is not `never`): dead voters leave at once. */
  readonly downToOne: boolean;
}

export type MembershipStep = { readonly type: 'promote' | 'demote' | 'remove'; readonly id: string };

export const voterCountMax = 5;

/**
 * The next single step towards the right voters: as many as there are eligible nodes, odd, at most five, the dead
 * replaced. Undefined when nothing is to do. One step at a time; the caller asks again when it is done.
 */
export function nextVoterStep(map: ClusterMap, view: VoterView): MembershipStep | undefined {
  const nodeOf = new Map(Object.values(map.nodes).map((node) => [node.raftId, node]));
  const eligible = (id: string): boolean => {
    const node = nodeOf.get(id);
    return node !== undefined && node.eligible && isActive(map, node.name);
  };
  // A member whose node has another identity by now (a new data directory), or is forgotten, can never speak again.
  const orphan = [...view.learners, ...view.voters].find((id) => !nodeOf.has(id) && id !== view.leader);
  if (orphan !== undefined) return { type: 'remove', id: orphan };

  const liveVoters = view.voters.filter((id) => eligible(id) || id === view.leader);
  const leaving = (id: string): boolean => isLeaving(map, nodeOf.get(id)?.name);
  const present = (id: string): boolean => map.nodes[nodeOf.get(id)?.name ?? '']?.live === true;
  const someVoterLeaves = view.voters.some(leaving);
  // Those that do not answer go first: while one that leaves is still here, its word counts for their going, not the other way round.
  const deadVoters = view.voters.filter((id) => !liveVoters.includes(id) && (view.gone.has(id) || leaving(id))).toSorted((a, b) => Number(present(a)) - Number(present(b)));
  const spares = view.learners.filter((id) => eligible(id) && view.caughtUp.has(id)).toSorted();
  const target = targetCount(liveVoters.length + view.learners.filter(eligible).length, view.downToOne);

  const dead = deadVoters[0];
  // Beside one that leaves, a dead one would take away the majority.
  // Who is still here waits until the others are a majority without it: one that is dead, but not yet for long enough, would make them none.
  const rest = view.voters.filter((id) => id !== dead);
  const holdsWithout = rest.filter(present).length > rest.length / 2;
  if (dead !== undefined && (holdsWithout || !present(dead)) && (spares.length > 0 || view.voters.length > 3 || view.downToOne || someVoterLeaves)) {
    return { type: 'demote', id: dead };
  }
  const spare = spares[0];
  if (leaving(view.leader)) {
    // Its vote goes along with it: if it is the last one, another node must have one first. The next leader does the rest.
    return spare !== undefined && !view.voters.some(eligible) ? { type: 'promote', id: spare } : undefined;
  }
  if (spare !== undefined && view.voters.length < target) return { type: 'promote', id: spare };
  // A live voter is let go only while all are live: beside a dead one each of them counts towards the majority.
  if (view.voters.length > target && liveVoters.length === view.voters.length) {
    const surplus = liveVoters.filter((id) => id !== view.leader).toSorted().at(-1);
    if (surplus !== undefined) return { type: 'demote', id: surplus };
  }
  return undefined;
}

function isLeaving(map: ClusterMap, name: string | undefined): boolean {
  const node = name === undefined ? undefined : map.nodes[name];
  return node !== undefined && (node.draining || (!node.live && node.ended === 'left'));
}

function targetCount(eligible: number, downToOne: boolean): number {
  const most = Math.min(voterCountMax, eligible);
  // Two voters need both; one survives the other's death. Only the last-node rule makes two better than one.
  if (downToOne && most === 2) return 2;
  return most % 2 === 1 ? most : Math.max(1, most - 1);
}
