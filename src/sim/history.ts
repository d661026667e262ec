/** What the clients of a simulated cluster asked for and were told, with the order in which that happened. */
export type OperationKind =
  | 'get' | 'put' | 'create' | 'update' | 'delete' | 'cas' | 'increment' | 'decrement' | 'append' | 'prepend' | 'touch' | 'gat' | 'flush'
  /** Nobody calls these: what a loss does to a key. */
  | 'wipe' | 'rollback';

/** Stands for all keys of a keyspace, or of a partition: a flush, a wipe. */
export const everyKey = '*';

/** What a call that was answered said. `version` is 0 where the answer does not tell it. */
export interface OperationResult {
  readonly status: 'hit' | 'miss' | 'stored' | 'notStored' | 'exists' | 'notFound' | 'deleted' | 'touched' | 'number' | 'nonNumeric' | 'flushed';
  readonly value: string;
  readonly version: number;
}

export interface Operation {
  readonly id: number;
  /** The node that was asked. */
  readonly node: string;
  readonly kind: OperationKind;
  readonly keyspace: string;
  readonly key: string;
  /** put, create, update, cas, append, prepend: what to write. increment, decrement: by how much. */
  readonly value: string;
  /** cas: the version that must be there. */
  readonly version: number;
  /** Unix seconds: what it writes, or touches, counts as gone from then on; 0 never. flush: when it takes effect; 0 at once. */
  readonly expiresAt: number;
  /** The keyspace may drop entries to make room. */
  readonly evicts: boolean;
  /** Whoever carried it out had a clock that showed something in between (unix seconds). */
  wallFrom: number;
  wallTo: number;
  /** Place of the call in the order of all calls and returns. */
  readonly called: number;
  readonly calledAt: number;
  /** Place of the return; Infinity while there is none. */
  returned: number;
  returnedAt: number;
  /** unknown: it may take effect at any time after the call, or never. failed: it never did. */
  outcome: 'open' | 'done' | 'failed' | 'unknown';
  /** Given if and only if the outcome is `done`. */
  result: OperationResult | undefined;
  /** The error's code, for failed and unknown ones. */
  code: string;
}

export type OperationCall = Pick<Operation, 'node' | 'kind' | 'key' | 'value' | 'version'> & Partial<Pick<Operation, 'keyspace' | 'expiresAt' | 'evicts'>>;

const defaultKeyspace = 'default';

export class History {
  readonly operations: Operation[] = [];
  /** Of what was done to a part of the keys of a keyspace: which. */
  readonly #coverage = new Map<Operation, (key: string) => boolean>();
  #sequence = 0;

  /** The present place in the order. */
  mark(): number {
    return ++this.#sequence;
  }

  call(now: number, call: OperationCall): Operation {
    const operation: Operation = {
      keyspace: defaultKeyspace, expiresAt: 0, evicts: false, wallFrom: -Infinity, wallTo: Infinity, ...call, id: this.operations.length, called: this.mark(), calledAt: now, returned: Infinity, returnedAt: Infinity, outcome: 'open', result: undefined, code: '',
    };
    this.operations.push(operation);
    return operation;
  }

  done(now: number, operation: Operation, result: OperationResult): void {
    if (operation.outcome !== 'open') return;
    operation.outcome = 'done';
    operation.result = result;
    operation.returned = this.mark();
    operation.returnedAt = now;
  }

  failed(now: number, operation: Operation, code: string): void {
    if (operation.outcome !== 'open') return;
    operation.outcome = 'failed';
    operation.code = code;
    operation.returned = this.mark();
    operation.returnedAt = now;
  }

  /** Nobody will ever learn how it ended. */
  unknown(now: number, operation: Operation, code: string): void {
    if (operation.outcome !== 'open') return;
    operation.outcome = 'unknown';
    operation.code = code;
    operation.returnedAt = now;
  }

  /** Calls on these keys that have no answer yet. */
  underWay(keyspace: string, isIn: (key: string) => boolean): Operation[] {
    return this.operations.filter((operation) => operation.outcome === 'open' && operation.keyspace === keyspace && (operation.key === everyKey || isIn(operation.key)) && operation.kind !== 'get' && operation.kind !== 'touch');
  }

  /**
   * All copies of a partition were lost and the operator accepted it: its keys became absent between place `called` and now,
   * also those that nothing but a flush had been done to yet, which is lost with them.
   * A write that is under way may have been carried out before, and then, as nobody remembers, once more.
   */
  wiped(now: number, isIn: (key: string) => boolean, called: number, keyspace: string = defaultKeyspace): void {
    this.#doubt(now, this.underWay(keyspace, isIn));
    const wipe = this.#loss('wipe', now, keyspace, everyKey, called);
    this.#coverage.set(wipe, isIn);
    this.operations.push(wipe);
  }

  /**
   * The newest writes of a partition may be gone, because all that held them are: between place `called` and now the keys
   * went back to something that they were before. `underWay`: the writes without an answer at that place. `expires`: entries
   * of the keyspace have times to live.
   */
  rolledBack(now: number, keyspace: string, keys: readonly string[], called: number, underWay: readonly Operation[], expires: boolean): void {
    this.#doubt(now, underWay);
    for (const key of keys) this.operations.push(this.#loss('rollback', now, keyspace, key, called, expires ? 1 : 0));
  }

  /** They may have been carried out without anybody's knowing it. */
  #doubt(now: number, underWay: readonly Operation[]): void {
    for (const operation of underWay) this.operations.push({ ...operation, id: this.operations.length, outcome: 'unknown', result: undefined, code: 'LOST', returned: Infinity, returnedAt: now, wallTo: Infinity });
  }

  #loss(kind: 'wipe' | 'rollback', now: number, keyspace: string, key: string, called: number, expiresAt: number = 0): Operation {
    return {
      id: this.operations.length, node: '', kind, keyspace, key, value: '', version: 0, expiresAt, evicts: false, wallFrom: -Infinity, wallTo: Infinity,
      called, calledAt: now, returned: this.mark(), returnedAt: now, outcome: 'done', result: { status: 'deleted', value: '', version: 0 }, code: '',
    };
  }

  /** What was done to each key of each keyspace; what was done to all of a keyspace's stands with each. */
  byKey(): Map<string, Operation[]> {
    const keys = new Map<string, Operation[]>();
    const ofAll = new Map<string, Operation[]>();
    for (const operation of this.operations) {
      const { keyspace, key } = operation;
      const [map, name] = key === everyKey ? [ofAll, keyspace] : [keys, keyspace === defaultKeyspace ? key : `${keyspace}/${key}`];
      const list = map.get(name);
      if (list === undefined) map.set(name, [operation]);
      else list.push(operation);
    }
    for (const list of keys.values()) {
      const { keyspace, key } = list[0] as Operation;
      for (const operation of ofAll.get(keyspace) ?? []) if (this.#coverage.get(operation)?.(key) ?? true) list.push(operation);
    }
    return keys;
  }
}

export function describeOperation(operation: Operation): string {
  const { kind, keyspace, key, value, version, expiresAt, node, result, outcome, code, calledAt, returnedAt } = operation;
  const until = expiresAt === 0 ? '' : ` until ${expiresAt}`;
  const argument = `${kind === 'cas' ? ` ${clip(value)} if version ${version}` : value === '' ? '' : ` ${clip(value)}`}${until}`;
  const answer = result === undefined ? `${outcome} ${code}` : `${result.status}${result.value === '' ? '' : ` ${clip(result.value)}`}${result.version === 0 ? '' : ` version ${result.version}`}`;
  return `#${operation.id} ${calledAt.toFixed(2)}–${returnedAt.toFixed(2)} ${node} ${kind} ${keyspace === defaultKeyspace ? '' : `${keyspace}/`}${key}${argument} → ${answer}`;
}

function clip(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 12)}…${text.slice(-26)}`;
}
