import { ballotOutcome } from './quorum.ts';
import type { ReadState } from './types.ts';

interface Round {
  readonly number: number;
  readonly tokens: readonly number[];
  /** The commit index when the round began: at least that of each token's request. */
  readonly index: number;
  readonly acknowledged: Set<string>;
}

/**
 * Read index (thesis 6.4): a read is served once a round of heartbeats, sent after it was asked for, shows that no newer
 * leader can have committed anything by then. One round is in flight at a time; requests that come meanwhile wait
 * for the next, because the one in flight was sent before them.
 */
export class ReadRounds {
  #waiting: number[] = [];
  #round: Round | undefined;
  #nextNumber = 1;
  #confirmed: ReadState[] = [];

  /** The number that heartbeats carry; 0 when no round is in flight. */
  get current(): number {
    return this.#round?.number ?? 0;
  }

  get waitingCount(): number {
    return this.#waiting.length + (this.#round?.tokens.length ?? 0) + this.#confirmed.length;
  }

  get hasConfirmed(): boolean {
    return this.#confirmed.length > 0;
  }

  add(token: number): void {
    this.#waiting.push(token);
  }

  /** True if a new round began: its heartbeats must be sent now. */
  begin(commitIndex: number, self: string): boolean {
    if (this.#round !== undefined || this.#waiting.length === 0) return false;
    this.#round = { number: this.#nextNumber++, tokens: this.#waiting, index: commitIndex, acknowledged: new Set([self]) };
    this.#waiting = [];
    return true;
  }

  acknowledged(from: string, round: number): void {
    if (this.#round !== undefined && round >= this.#round.number) this.#round.acknowledged.add(from);
  }

  /** True if the round in flight has its majority; its reads are then confirmed. */
  finish(voters: readonly string[]): boolean {
    const round = this.#round;
    if (round === undefined) return false;
    if (ballotOutcome(voters, (id) => round.acknowledged.has(id) || undefined) !== 'won') return false;
    for (const token of round.tokens) this.#confirmed.push({ token, index: round.index });
    this.#round = undefined;
    return true;
  }

  /** Takes the confirmed reads whose index has been handed out to be applied. */
  take(handedIndex: number): ReadState[] {
    const ready = this.#confirmed.filter((read) => read.index <= handedIndex);
    if (ready.length > 0) this.#confirmed = this.#confirmed.filter((read) => read.index > handedIndex);
    return ready;
  }

  hasServable(handedIndex: number): boolean {
    return this.#confirmed.some((read) => read.index <= handedIndex);
  }
}
