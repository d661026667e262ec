import type { Entry, Message, ReadState } from '../../src/core/raft/types.ts';
import type { Member } from './group.ts';

/** Raft's invariants (paper, Figure 3), checked over a whole group after each step. */
export class Checker {
  /** Election safety: at most one leader per term. */
  readonly #leaders: Map<number, string> = new Map();
  /** State machine safety: what was applied at an index, by anybody, and the digest of the state after it. */
  readonly #applied: Map<number, { term: number; digest: number }> = new Map();
  highestCommit = 0;
  /** The greatest index that any member had committed when a read was asked for, by token. */
  readonly #readFloors: Map<number, number> = new Map();
  isUnsafe = false;

  check(members: ReadonlyMap<string, Member>): void {
    for (const { id, raft } of members.values()) {
      if (raft === undefined) continue;
      if (raft.role === 'leader' && !this.isUnsafe) {
        const other = this.#leaders.get(raft.term);
        if (other !== undefined && other !== id) throw new Error(`election safety: ${other} and ${id} both lead term ${raft.term}`);
        if (other === undefined) {
          this.#leaders.set(raft.term, id);
          // Leader completeness: a new leader holds everything that was committed before.
          if (raft.lastIndex < this.highestCommit) throw new Error(`leader completeness: ${id} leads term ${raft.term} with log end ${raft.lastIndex}, but ${this.highestCommit} was committed`);
        }
      }
      if (raft.commitIndex > raft.lastIndex) throw new Error(`${id} has commit ${raft.commitIndex} past its log end ${raft.lastIndex}`);
      this.highestCommit = Math.max(this.highestCommit, raft.commitIndex);
    }
  }

  applied(member: Member, entry: Entry): void {
    const known = this.#applied.get(entry.index);
    if (known === undefined) this.#applied.set(entry.index, { term: entry.term, digest: member.digest });
    else if (known.term !== entry.term || known.digest !== member.digest) {
      throw new Error(`state machine safety: ${member.id} applied ${entry.index}@${entry.term}, elsewhere it was @${known.term}, or the states differ`);
    }
  }

  restored(member: Member): void {
    const known = this.#applied.get(member.applied);
    if (known !== undefined && known.digest !== member.digest) throw new Error(`state machine safety: ${member.id} restored a snapshot at ${member.applied} that differs`);
  }

  readAsked(token: number): void {
    this.#readFloors.set(token, this.highestCommit);
  }

  /** Linearizable reads: one served from a state older than what was committed when it was asked for would be stale. */
  readsServed(member: Member, reads: readonly ReadState[]): void {
    for (const { token } of reads) {
      const floor = this.#readFloors.get(token);
      if (floor !== undefined && member.applied < floor) throw new Error(`stale read: ${member.id} serves token ${token} at ${member.applied}, but ${floor} was committed when it was asked for`);
    }
  }

  delivered(_member: Member, _message: Message, _now: number): void {}
}
