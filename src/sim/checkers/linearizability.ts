/**
 * Is there an order of all operations on a key that respects real time and that a single store would answer so?
 * The search of Wing and Gong (1993) with Lowe's memory of what was tried (2017), as in Porcupine, one key at a time.
 * An operation of unknown outcome may be placed anywhere after its call, or nowhere.
 */
import { Prng } from '../../base/prng.ts';
import { describeOperation } from '../history.ts';
import type { Operation } from '../history.ts';
import { absentState, isNumber, stepKey } from './store-model.ts';
import type { KeyState } from './store-model.ts';

export type Verdict =
  | { readonly type: 'linearizable' }
  /** `explanation` names the operation that fits nowhere. */
  | { readonly type: 'violation'; readonly explanation: string }
  /** The search was given up after so many steps. */
  | { readonly type: 'undecided'; readonly steps: number };

const stepsMax = 400_000;

/** @param operations of one key, in any order */
export function checkKey(operations: readonly Operation[], limit: number = stepsMax): Verdict {
  const verdict = new Search(operations, 1, limit).run();
  // Two different sets of operations may share a hash: who is condemned gets a second trial with other hashes.
  return verdict.type === 'violation' ? new Search(operations, 2, limit).run() : verdict;
}

interface Frame {
  readonly state: number;
  readonly candidates: readonly number[];
  next: number;
  alternatives: readonly KeyState[];
  alternative: number;
  /** The operation that the frame above this one placed. */
  placed: number;
}

class Search {
  /** In order of their calls. */
  readonly #operations: readonly Operation[];
  readonly #isKnown: readonly boolean[];
  readonly #onlyLooks: readonly boolean[];
  readonly #hashes: readonly (readonly [number, number])[];
  readonly #done: Uint8Array;
  readonly #states: KeyState[] = [];
  readonly #stateIds = new Map<string, number>();
  readonly #tried = new Set<number>();
  readonly #limit: number;
  readonly #order: number[] = [];
  #deepest: number[] = [];
  #stuckAt = 0;
  #knownLeft: number;
  #high = 0;
  #low = 0;
  /** All operations before this one are placed. */
  #first = 0;

  constructor(operations: readonly Operation[], seed: number, limit: number) {
    this.#operations = unobservedAlike(operations.filter((operation) => operation.outcome !== 'failed' && !(operation.outcome !== 'done' && isRead(operation, operations)))).toSorted((a, b) => a.called - b.called);
    this.#isKnown = this.#operations.map((operation) => operation.outcome === 'done');
    this.#onlyLooks = this.#operations.map((operation) => isRead(operation, operations) || refusals.includes(operation.result?.status ?? ''));
    this.#knownLeft = this.#isKnown.filter(Boolean).length;
    const random = new Prng(seed);
    this.#hashes = this.#operations.map(() => [random.below(1 << 21), random.uint32()] as const);
    this.#done = new Uint8Array(this.#operations.length);
    this.#limit = limit;
  }

  run(): Verdict {
    if (this.#knownLeft === 0) return { type: 'linearizable' };
    const stack: Frame[] = [this.#frame(this.#stateId(absentState))];
    let steps = 0;
    for (;;) {
      const frame = stack.at(-1);
      if (frame === undefined) return { type: 'violation', explanation: this.#explain() };
      if (++steps > this.#limit) return { type: 'undecided', steps };
      const next = this.#advance(frame);
      if (next === undefined) {
        stack.pop();
        const below = stack.at(-1);
        if (below !== undefined) this.#take(below.placed);
        continue;
      }
      if (this.#knownLeft === 0) return { type: 'linearizable' };
      stack.push(this.#frame(next));
    }
  }

  /** Places the next candidate that fits and leads somewhere new; gives the state after it. */
  #advance(frame: Frame): number | undefined {
    for (;;) {
      if (frame.alternative >= frame.alternatives.length) {
        const candidate = frame.candidates[frame.next];
        if (candidate === undefined) return undefined;
        frame.next++;
        frame.placed = candidate;
        frame.alternative = 0;
        frame.alternatives = stepKey(this.#states[frame.state] as KeyState, this.#operations[candidate] as Operation);
        continue;
      }
      const state = this.#stateId(frame.alternatives[frame.alternative++] as KeyState);
      // Placing one of unknown outcome that changes nothing is the same as leaving it out.
      if (state === frame.state && this.#isKnown[frame.placed] !== true) continue;
      this.#place(frame.placed);
      const mixed = (Math.imul(state + 1, 0x9e3779b1) ^ this.#low) >>> 0;
      const tried = this.#high * 0x1_0000_0000 + mixed;
      if (!this.#tried.has(tried)) {
        this.#tried.add(tried);
        return state;
      }
      this.#take(frame.placed);
    }
  }

  #frame(state: number): Frame {
    return { state, candidates: this.#candidates(state), next: 0, alternatives: [], alternative: 0, placed: -1 };
  }

  /** What may come next: called before anything that is still to be placed has returned. Those of unknown outcome come last. */
  #candidates(state: number): number[] {
    while (this.#first < this.#done.length && this.#done[this.#first] === 1) this.#first++;
    const known: number[] = [];
    const unknown: number[] = [];
    let horizon = Infinity;
    for (let i = this.#first; i < this.#operations.length; i++) {
      if (this.#done[i] === 1) continue;
      const operation = this.#operations[i] as Operation;
      if (operation.called > horizon) break;
      if (this.#isKnown[i] !== true) {
        unknown.push(i);
        continue;
      }
      horizon = Math.min(horizon, operation.returned);
      known.push(i);
    }
    const callable = known.filter((i) => (this.#operations[i] as Operation).called < horizon);
    // What only looks may as well be placed at once where it fits: no other order can need it later.
    for (const i of callable) {
      if (this.#onlyLooks[i] !== true) continue;
      const after = stepKey(this.#states[state] as KeyState, this.#operations[i] as Operation)[0];
      if (after !== undefined && this.#stateId(after) === state) return [i];
    }
    return [...callable, ...this.#unlike(unknown.filter((i) => (this.#operations[i] as Operation).called < horizon))];
  }

  /** Of those that would do the same the one that was called first: they can stand in for each other. */
  #unlike(indices: readonly number[]): number[] {
    const seen = new Set<string>();
    return indices.filter((i) => {
      const { kind, value, version, expiresAt } = this.#operations[i] as Operation;
      const what = `${kind} ${version} ${expiresAt} ${value}`;
      if (seen.has(what)) return false;
      seen.add(what);
      return true;
    });
  }

  #place(index: number): void {
    this.#done[index] = 1;
    this.#toggle(index);
    this.#order.push(index);
    if (this.#isKnown[index] === true) this.#knownLeft--;
    if (this.#order.length > this.#deepest.length) {
      this.#deepest = [...this.#order];
      this.#stuckAt = this.#order.length;
    }
  }

  #take(index: number): void {
    this.#done[index] = 0;
    this.#toggle(index);
    this.#order.pop();
    if (this.#isKnown[index] === true) this.#knownLeft++;
    if (index < this.#first) this.#first = index;
  }

  #toggle(index: number): void {
    const [high, low] = this.#hashes[index] as readonly [number, number];
    this.#high ^= high;
    this.#low = (this.#low ^ low) >>> 0;
  }

  #stateId(state: KeyState): number {
    const { present, version, value, expiresAt, flushAt, anything, doubtful } = state;
    const due = flushAt === 0 && !anything && !doubtful && expiresAt === 0 ? '' : `${expiresAt} ${flushAt} ${anything} ${doubtful} `;
    const text = present || anything ? `${due}${version} ${value}` : flushAt === 0 ? '' : `absent ${flushAt}`;
    let id = this.#stateIds.get(text);
    if (id === undefined) {
      id = this.#states.length;
      this.#stateIds.set(text, id);
      this.#states.push(state);
    }
    return id;
  }

  #explain(): string {
    const placed = new Set(this.#deepest);
    const last = this.#deepest.slice(-6).map((i) => describeOperation(this.#operations[i] as Operation));
    const left = this.#operations.map((operation, i) => ({ operation, i })).filter(({ i }) => !placed.has(i)).map(({ operation }) => operation)
      .toSorted((a, b) => a.returned - b.returned).slice(0, 8).map(describeOperation);
    return `no order explains the history: after ${this.#stuckAt} operations, the last of them\n  ${last.join('\n  ')}\nnone of these fits next:\n  ${left.join('\n  ')}`;
  }
}

const writesValue: readonly Operation['kind'][] = ['put', 'create', 'update', 'cas', 'append', 'prepend'];

/** What an operation of unknown outcome wrote and nobody ever read may as well be any value that nobody ever reads. Numbers are read by increments too. */
function unobservedAlike(operations: readonly Operation[]): Operation[] {
  const read = operations.flatMap(({ result }) => (result?.status === 'hit' ? [result.value] : []));
  return operations.map((operation) => {
    if (operation.outcome === 'done' || !writesValue.includes(operation.kind) || isNumber(operation.value) || read.some((value) => value.includes(operation.value))) return operation;
    return { ...operation, value: '(never read)' };
  });
}

/** What was answered so has changed nothing. */
const refusals: readonly string[] = ['miss', 'notStored', 'exists', 'notFound', 'nonNumeric'];

function isRead(operation: Operation, among: readonly Operation[]): boolean {
  if (operation.kind === 'get') return true;
  return (operation.kind === 'touch' || operation.kind === 'gat') && among.every(({ expiresAt }) => expiresAt === 0);
}
