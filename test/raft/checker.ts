import type { Raft } from '../../src/core/raft/raft.ts';
import type { Entry, ReadState } from '../../src/core/raft/types.ts';
import type { Member } from './group.ts';

interface Election { readonly term: number; readonly wonAt: number; readonly silentMs: number }

/** Raft's invariants (paper, Figure 3), checked over a whole group after each step. */
export class Checker {
  /** Election safety: at most one leader per term. */
  readonly #leaders: Map<number, string> = new Map();
  /** Log matching: one content and one predecessor for each index and term; the rest follows by induction. */
  readonly #seen: Map<string, string> = new Map();
  /** State machine safety: what was applied at an index, by anybody, and the digest of the state after it; and a term by which it was committed. */
  readonly #applied: Map<number, { term: number; digest: number; committedBy: number }> = new Map();
  highestCommit = 0;
  readonly #reads: Map<number, { floor: number; askedAt: number; term: number }> = new Map();
  readonly #elections: Election[] = [];
  /** Quorum rounds that were completed: when they were asked for, and in which term. */
  readonly #rounds: { term: number; askedAt: number }[] = [];
  readsServedCount = 0;

  appended(id: string, entries: readonly Entry[]): void {
    for (const entry of entries) {
      const key = `${entry.index}@${entry.term}`;
      const content = `${entry.type} ${entry.data.join()}`;
      const known = this.#seen.get(key);
      if (known === undefined) this.#seen.set(key, content);
      else if (known !== content) throw new Error(`log matching: ${id} holds another entry ${key}: ${content}, not ${known}`);
    }
  }

  check(member: Member, now: number): void {
    const { id } = member;
    const raft = member.raft as Raft;
    if (raft.commitIndex > raft.lastIndex) throw new Error(`${id} has commit ${raft.commitIndex} past its log end ${raft.lastIndex}`);
    if (raft.role === 'leader') this.#checkLeader(id, raft, now);
    this.highestCommit = Math.max(this.highestCommit, raft.commitIndex);
  }

  #checkLeader(id: string, raft: Raft, now: number): void {
    const other = this.#leaders.get(raft.term);
    if (other === id) return;
    if (other !== undefined) throw new Error(`election safety: ${other} and ${id} both lead term ${raft.term}`);
    this.#leaders.set(raft.term, id);
    // Leader completeness: a new leader holds everything that was committed in an earlier term (a stale candidate
    // may still win an earlier term after that; it can commit nothing).
    for (const [index, { term, committedBy }] of this.#applied) {
      if (committedBy >= raft.term || index < raft.firstIndex - 1) continue;
      if (raft.termAt(index) !== term) throw new Error(`leader completeness: ${id} leads term ${raft.term} without the committed ${index}@${term}`);
    }
    const election = { term: raft.term, wonAt: now, silentMs: raft.lastElection?.previousLeaderSilentMs ?? NaN };
    this.#elections.push(election);
    for (const round of this.#rounds) this.#checkSilence(round, election);
  }

  /** A round that a leader completed began no later than the silence that a later leader was told of. */
  #checkSilence(round: { term: number; askedAt: number }, election: Election): void {
    if (round.term >= election.term) return;
    const silentSince = election.wonAt - election.silentMs;
    if (!(round.askedAt <= silentSince + 1e-3)) {
      throw new Error(`silence over-stated: the leader of term ${election.term} holds the old one silent since ${silentSince}, but a round of term ${round.term} asked for at ${round.askedAt} was completed`);
    }
  }

  applied(member: Member, entry: Entry): void {
    const known = this.#applied.get(entry.index);
    if (known === undefined) this.#applied.set(entry.index, { term: entry.term, digest: member.digest, committedBy: (member.raft as Raft).term });
    else if (known.term !== entry.term || known.digest !== member.digest) {
      throw new Error(`state machine safety: ${member.id} applied ${entry.index}@${entry.term}, elsewhere it was @${known.term}, or the states differ`);
    }
  }

  restored(member: Member): void {
    const known = this.#applied.get(member.applied);
    if (known !== undefined && known.digest !== member.digest) throw new Error(`state machine safety: ${member.id} restored a snapshot at ${member.applied} that differs`);
  }

  readAsked(token: number, term: number, now: number): void {
    this.#reads.set(token, { floor: this.highestCommit, askedAt: now, term });
  }

  /** Linearizable reads: one served from a state older than what was committed when it was asked for would be stale. */
  readsServed(member: Member, reads: readonly ReadState[]): void {
    for (const { token } of reads) {
      const read = this.#reads.get(token);
      if (read === undefined) continue;
      this.readsServedCount++;
      if (member.applied < read.floor) throw new Error(`stale read: ${member.id} serves token ${token} at ${member.applied}, but ${read.floor} was committed when it was asked for`);
      this.#rounds.push(read);
      for (const election of this.#elections) this.#checkSilence(read, election);
    }
  }
}
