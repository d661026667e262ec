/** What the clients of a simulated cluster ask for next. */
import type { Prng } from '../base/prng.ts';
import type { Extras, ExtraKeyspace } from './extras.ts';
import { everyKey } from './history.ts';
import type { OperationKind } from './history.ts';
import type { SimPlan } from './plan.ts';

export interface CallDraft {
  readonly keyspace: string;
  readonly kind: OperationKind;
  readonly key: string;
  readonly value: string;
  /** What is written, or touched, lives so long; a flush takes effect so much later; 0: for ever, or at once. */
  readonly ttlSeconds: number;
}

/** Makes keys and values unlike all others. */
export interface DrawCounts {
  unique: number;
  value: number;
}

const valueless: readonly OperationKind[] = ['get', 'delete', 'touch', 'gat', 'flush'];
const lasting: readonly OperationKind[] = ['put', 'create', 'update', 'cas', 'touch', 'gat'];
/** 2^64 less a little: a few increments go over it. */
const nearOverflow = '18446744073709551611';

function valueOf(random: Prng, counts: DrawCounts): string {
  const size = random.chance(0.05) ? 2000 : 0;
  return `v${counts.value++}.${'x'.repeat(size)}`;
}

/** Plain calls on the keyspace `default`, nothing of which goes by itself. */
export function drawBasicCall(random: Prng, plan: SimPlan, counts: DrawCounts): CallDraft {
  const call = (kind: OperationKind, key: string, value: string): CallDraft => ({ keyspace: 'default', kind, key, value, ttlSeconds: 0 });
  if (random.chance(0.1)) return call('put', `unique-${counts.unique++}`, valueOf(random, counts));
  if (random.chance(0.25)) {
    const key = `count-${random.below(2)}`;
    const kind = random.pick(['increment', 'increment', 'increment', 'increment', 'get', 'create'] as const) ?? 'get';
    return call(kind, key, kind === 'increment' ? String(1 + random.below(3)) : kind === 'create' ? '0' : '');
  }
  const key = `hot-${random.below(plan.hotKeys)}`;
  const kind = random.pick(['get', 'get', 'get', 'put', 'put', 'create', 'update', 'delete', 'cas', 'cas', 'append', 'touch', 'increment'] as const) ?? 'get';
  return call(kind, key, valueless.includes(kind) ? '' : kind === 'increment' ? '1' : valueOf(random, counts));
}

/** Calls on all keyspaces of the plan, with every verb of the store, and with what makes entries go by themselves. */
export class ExtendedCalls {
  readonly #plan: SimPlan;
  readonly #extras: Extras;
  readonly #counts: DrawCounts;
  readonly #names: readonly string[];
  #bulkLeft: number;

  constructor(plan: SimPlan, extras: Extras, counts: DrawCounts) {
    this.#plan = plan;
    this.#extras = extras;
    this.#counts = counts;
    this.#names = Object.keys(extras.keyspaces);
    this.#bulkLeft = extras.bulkKeys;
  }

  draw(random: Prng): CallDraft {
    if (this.#bulkLeft > 0 && random.chance(0.3)) return this.#drawBulk(random);
    if (random.chance(0.2)) return drawBasicCall(random, this.#plan, this.#counts);
    const name = random.pick(this.#names) as string;
    const keyspace = this.#extras.keyspaces[name] as ExtraKeyspace;
    if (keyspace.flushes && random.chance(0.01)) return { keyspace: name, kind: 'flush', key: everyKey, value: '', ttlSeconds: random.chance(0.5) ? 0 : 1 + random.below(4) };
    return random.chance(0.25) ? this.#drawCount(random, name) : this.#drawAny(random, name, keyspace);
  }

  /** Enough that filling a copy takes many chunks. */
  #drawBulk(random: Prng): CallDraft {
    const key = `bulk-${--this.#bulkLeft}`;
    return { keyspace: 'default', kind: 'put', key, value: `v${this.#counts.value++}.${'b'.repeat(this.#extras.bulkBytes + random.below(1000))}`, ttlSeconds: 0 };
  }

  #drawCount(random: Prng, keyspace: string): CallDraft {
    const key = `count-${random.below(2)}`;
    const kind = random.pick(['increment', 'increment', 'increment', 'decrement', 'decrement', 'get', 'put', 'create'] as const) ?? 'get';
    const value = kind === 'increment' || kind === 'decrement' ? String(1 + random.below(9)) : kind === 'get' ? '' : random.pick(['0', '12', nearOverflow]) ?? '0';
    return { keyspace, kind, key, value, ttlSeconds: 0 };
  }

  #drawAny(random: Prng, name: string, keyspace: ExtraKeyspace): CallDraft {
    const kind = random.pick(['get', 'get', 'get', 'get', 'put', 'put', 'put', 'create', 'update', 'delete', 'cas', 'cas', 'append', 'prepend', 'touch', 'gat', 'increment'] as const) ?? 'get';
    const value = valueless.includes(kind) ? '' : kind === 'increment' ? '1' : valueOf(random, this.#counts);
    const ttlSeconds = keyspace.expires && lasting.includes(kind) && random.chance(0.5) ? 1 + random.below(5) : 0;
    return { keyspace: name, kind, key: `hot-${random.below(keyspace.keys)}`, value, ttlSeconds };
  }
}
