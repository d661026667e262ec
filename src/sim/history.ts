/** What the clients of a simulated cluster asked for and were told, with the order in which that happened. */
export type OperationKind = 'get' | 'put' | 'create' | 'update' | 'delete' | 'cas' | 'increment' | 'append' | 'touch' | 'wipe';

/** What a call that was answered said. `version` is 0 where the answer does not tell it. */
export interface OperationResult {
  readonly status: 'hit' | 'miss' | 'stored' | 'notStored' | 'exists' | 'notFound' | 'deleted' | 'touched' | 'number' | 'nonNumeric';
  readonly value: string;
  readonly version: number;
}

export interface Operation {
  readonly id: number;
  /** The node that was asked. */
  readonly node: string;
  readonly kind: OperationKind;
  readonly key: string;
  /** put, create, update, cas, append: what to write. increment: by how much. */
  readonly value: string;
  /** cas: the version that must be there. */
  readonly version: number;
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

export type OperationCall = Pick<Operation, 'node' | 'kind' | 'key' | 'value' | 'version'>;

export class History {
  readonly operations: Operation[] = [];
  #sequence = 0;

  /** The present place in the order. */
  mark(): number {
    return ++this.#sequence;
  }

  call(now: number, call: OperationCall): Operation {
    const operation: Operation = {
      ...call, id: this.operations.length, called: this.mark(), calledAt: now, returned: Infinity, returnedAt: Infinity, outcome: 'open', result: undefined, code: '',
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

  /**
   * All copies of a partition were lost and the operator accepted it: the keys became absent between place `called` and now.
   * A write that is under way may have been carried out before, and then, as nobody remembers, once more.
   */
  wiped(now: number, keys: readonly string[], called: number): void {
    const gone = new Set(keys);
    const underWay = this.operations.filter((operation) => operation.outcome === 'open' && gone.has(operation.key) && operation.kind !== 'get' && operation.kind !== 'touch');
    for (const operation of underWay) this.operations.push({ ...operation, id: this.operations.length, outcome: 'unknown', code: 'LOST', returned: Infinity, returnedAt: now });
    for (const key of keys) {
      this.operations.push({
        id: this.operations.length, node: '', kind: 'wipe', key, value: '', version: 0, called, calledAt: now, returned: this.mark(), returnedAt: now,
        outcome: 'done', result: { status: 'deleted', value: '', version: 0 }, code: '',
      });
    }
  }

  byKey(): Map<string, Operation[]> {
    const keys = new Map<string, Operation[]>();
    for (const operation of this.operations) {
      const list = keys.get(operation.key);
      if (list === undefined) keys.set(operation.key, [operation]);
      else list.push(operation);
    }
    return keys;
  }
}

export function describeOperation(operation: Operation): string {
  const { kind, key, value, version, node, result, outcome, code, calledAt, returnedAt } = operation;
  const argument = kind === 'cas' ? ` ${clip(value)} if version ${version}` : value === '' ? '' : ` ${clip(value)}`;
  const answer = result === undefined ? `${outcome} ${code}` : `${result.status}${result.value === '' ? '' : ` ${clip(result.value)}`}${result.version === 0 ? '' : ` version ${result.version}`}`;
  return `#${operation.id} ${calledAt.toFixed(2)}–${returnedAt.toFixed(2)} ${node} ${kind} ${key}${argument} → ${answer}`;
}

function clip(text: string): string {
  return text.length <= 40 ? text : `${text.slice(0, 12)}…${text.slice(-26)}`;
}
