import type { Entry } from '../../core/raft/types.ts';
import type { Checker, Report, RunningNode } from './checker.ts';
import type { ShadowMap } from './shadow-map.ts';

interface Seen {
  commitIndex: number;
  appliedIndex: number;
  term: number;
  mapVersion: number;
}

/**
 * Raft's invariants (Ongaro and Ousterhout 2014, figure 3) over all nodes and all their lives: one leader per term, a
 * leader holds everything that was committed, what is committed is the same everywhere and stays so. Feeds the agreed
 * log to the shadow map. Map versions only grow in one process.
 */
export class RaftInvariants implements Checker {
  readonly #report: Report;
  readonly #shadow: ShadowMap;
  readonly #leaders = new Map<number, string>();
  /** By index. */
  readonly #committed: (Entry | undefined)[] = [];
  readonly #seen = new Map<string, Seen>();
  #highest = 0;

  constructor(report: Report, shadow: ShadowMap) {
    this.#report = report;
    this.#shadow = shadow;
  }

  get committedCount(): number {
    return this.#highest;
  }

  afterEvent(_now: number, nodes: readonly RunningNode[]): void {
    for (const running of nodes) this.#look(running);
  }

  #look({ name, parts }: RunningNode): void {
    const { raft, map } = parts.consensus;
    let seen = this.#seen.get(parts.instance);
    if (seen === undefined) {
      seen = { commitIndex: 0, appliedIndex: 0, term: 0, mapVersion: 0 };
      this.#seen.set(parts.instance, seen);
    }
    if (raft.role === 'leader') this.#checkLeader(name, raft.term, raft);
    if (raft.term < seen.term) this.#report('raft', `the term of ${name} fell from ${seen.term} to ${raft.term}`);
    seen.term = raft.term;
    const { commitIndex, appliedIndex } = raft;
    if (commitIndex !== seen.commitIndex) {
      if (commitIndex < seen.commitIndex) this.#report('raft', `the commit index of ${name} fell from ${seen.commitIndex} to ${commitIndex}`);
      this.#checkCommitted(name, seen.commitIndex, commitIndex, raft);
      seen.commitIndex = commitIndex;
    }
    if (appliedIndex !== seen.appliedIndex) {
      if (appliedIndex < seen.appliedIndex) this.#report('raft', `${name} applied ${seen.appliedIndex} entries, now only ${appliedIndex}`);
      seen.appliedIndex = appliedIndex;
      if (map.version < seen.mapVersion) this.#report('map-versions', `the map version of ${name} fell from ${seen.mapVersion} to ${map.version}`);
      seen.mapVersion = map.version;
      this.#shadow.compare(name, map, appliedIndex);
    }
  }

  #checkCommitted(name: string, from: number, to: number, raft: RunningNode['parts']['consensus']['raft']): void {
    for (let index = Math.max(from + 1, raft.firstIndex); index <= to; index++) {
      const entry = raft.entryAt(index);
      if (entry === undefined) continue;
      const known = this.#committed[index];
      if (known === undefined) this.#committed[index] = entry;
      else if (known.term !== entry.term || known.type !== entry.type || !sameBytes(known.data, entry.data)) {
        this.#report('raft', `${name} committed entry ${index} of term ${entry.term}, elsewhere that is one of term ${known.term}`);
      }
    }
    this.#highest = Math.max(this.#highest, to);
    for (;;) {
      // The first entry of a group is its founding snapshot.
      const next = this.#shadow.appliedIndex === 0 ? 2 : this.#shadow.appliedIndex + 1;
      const entry = this.#committed[next];
      if (entry === undefined || next > this.#highest) return;
      this.#shadow.apply(entry);
    }
  }

  #checkLeader(name: string, term: number, raft: RunningNode['parts']['consensus']['raft']): void {
    const known = this.#leaders.get(term);
    if (known === raft.id) return;
    if (known !== undefined) this.#report('raft', `${known} and ${name} both lead term ${term}`);
    this.#leaders.set(term, raft.id);
    for (let index = Math.max(2, raft.firstIndex); index <= this.#highest; index++) {
      const entry = this.#committed[index];
      // One of a later term than this leader's was committed after it had been deposed already.
      if (entry !== undefined && entry.term < term && raft.termAt(index) !== entry.term) {
        this.#report('raft', `${name} leads term ${term} without the committed entry ${index} of term ${entry.term}`);
        return;
      }
    }
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true;
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}
