import type { Operation } from '../history.ts';

/** One key of the store: absent, or a value with its version. */
export interface KeyState {
  readonly present: boolean;
  readonly value: string;
  /** 0: not known yet (the write's answer did not tell). */
  readonly version: number;
}

export const absentState: KeyState = { present: false, value: '', version: 0 };
const misfit: readonly KeyState[] = [];

function state(value: string, version: number): readonly KeyState[] {
  return [{ present: true, value, version }];
}

export function isNumber(value: string): boolean {
  return /^[0-9]+ *$/.test(value) && BigInt(value.trim()) < 1n << 64n;
}

function increased(value: string, by: string): string {
  return String(BigInt.asUintN(64, BigInt(value.trim()) + BigInt(by)));
}

/**
 * The states that the key may be in if this operation takes effect now; none if what it was told does not fit.
 * An operation of unknown outcome does whatever it would have done.
 */
export function stepKey(now: KeyState, operation: Operation): readonly KeyState[] {
  return operation.result === undefined ? stepUnknown(now, operation) : stepDone(now, operation, operation.result);
}

function stepDone(now: KeyState, operation: Operation, result: NonNullable<Operation['result']>): readonly KeyState[] {
  const { present } = now;
  const same = (fits: boolean): readonly KeyState[] => (fits ? [now] : misfit);
  const write = (fits: boolean, value: string): readonly KeyState[] => (fits ? state(value, result.version) : misfit);
  switch (operation.kind) {
    case 'get': {
      if (result.status === 'miss') return same(!present);
      if (!present || now.value !== result.value) return misfit;
      if (now.version === 0) return state(now.value, result.version);
      return same(now.version === result.version);
    }
    case 'put': return write(true, operation.value);
    case 'create': return result.status === 'stored' ? write(!present, operation.value) : same(present);
    case 'update': return result.status === 'stored' ? write(present, operation.value) : same(!present);
    case 'delete': return result.status === 'deleted' ? (present ? [absentState] : misfit) : same(!present);
    case 'cas':
      if (result.status === 'notFound') return same(!present);
      if (result.status === 'exists') return same(present && now.version !== operation.version);
      return write(present && (now.version === 0 || now.version === operation.version), operation.value);
    case 'increment':
      if (result.status === 'notFound') return same(!present);
      if (result.status === 'nonNumeric') return same(present && !isNumber(now.value));
      if (!present || !isNumber(now.value)) return misfit;
      return increased(now.value, operation.value) === result.value ? state(result.value, result.version) : misfit;
    case 'append': return result.status === 'stored' ? write(present, now.value + operation.value) : same(!present);
    case 'touch': return same(present === (result.status === 'touched'));
    case 'wipe': return [absentState];
  }
}

function stepUnknown(now: KeyState, operation: Operation): readonly KeyState[] {
  const { present } = now;
  switch (operation.kind) {
    case 'get':
    case 'touch': return [now];
    case 'wipe': return [absentState];
    case 'put': return state(operation.value, 0);
    case 'create': return present ? [now] : state(operation.value, 0);
    case 'update': return present ? state(operation.value, 0) : [now];
    case 'delete': return [absentState];
    case 'cas':
      if (!present) return [now];
      if (now.version === 0) return [{ present: true, value: operation.value, version: 0 }, now];
      return now.version === operation.version ? state(operation.value, 0) : [now];
    case 'increment': return present && isNumber(now.value) ? state(increased(now.value, operation.value), 0) : [now];
    case 'append': return present ? state(now.value + operation.value, 0) : [now];
  }
}
