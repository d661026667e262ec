import type { Operation } from '../history.ts';

/** One key of the store: absent, or a value with its version; and what is due to happen to it by itself. */
export interface KeyState {
  readonly present: boolean;
  readonly value: string;
  /** 0: not known yet (the write's answer did not tell). */
  readonly version: number;
  /** Unix seconds from which on it counts as gone; 0 never. Kept while absent, where it means nothing. */
  readonly expiresAt: number;
  /** Unix seconds from which on what is there now counts as gone (a delayed flush); 0: none is due. */
  readonly flushAt: number;
  /** The tail of the log may have been lost: whatever it was before, or is said to be next. */
  readonly anything: boolean;
  /** It may vanish at any time, because what is known of its expiry was lost, and blanks behind a number may have been, too. */
  readonly doubtful: boolean;
}

export const absentState: KeyState = { present: false, value: '', version: 0, expiresAt: 0, flushAt: 0, anything: false, doubtful: false };
const misfit: readonly KeyState[] = [];

/** A view of the state that whoever carried the operation out may have had, and what stays if that changed nothing. */
interface View {
  readonly seen: KeyState;
  readonly kept: KeyState;
}

/** The number that the store reads from a value: digits, then the end or a blank. */
function numberIn(value: string): bigint | undefined {
  const digits = /^[0-9]+(?=$|[ \t-\r])/.exec(value)?.[0];
  if (digits === undefined) return undefined;
  const number = BigInt(digits);
  return number < 1n << 64n ? number : undefined;
}

export function isNumber(value: string): boolean {
  return numberIn(value) !== undefined;
}

/** As memcached counts: up modulo 2^64, down to 0, and a number that gets shorter keeps its length. */
function counted(value: string, operation: Operation): string {
  const number = numberIn(value) as bigint;
  const by = BigInt(operation.value);
  const next = operation.kind === 'increment' ? BigInt.asUintN(64, number + by) : number > by ? number - by : 0n;
  return String(next).padEnd(value.length);
}

/**
 * The states that the key may be in if this operation takes effect now; none if what it was told does not fit.
 * An operation of unknown outcome does whatever it would have done.
 */
export function stepKey(now: KeyState, operation: Operation): readonly KeyState[] {
  if (operation.kind === 'wipe') return [absentState];
  // Where entries expire, what was lost was also when.
  if (operation.kind === 'rollback') return [{ ...absentState, flushAt: now.flushAt, anything: true, doubtful: operation.expiresAt !== 0 }];
  const steps: KeyState[] = [];
  for (const { seen, kept } of viewsOf(now, operation)) {
    const after = operation.result === undefined ? stepUnknown(seen, operation) : stepDone(seen, operation, operation.result);
    for (const state of after) steps.push(state === seen ? kept : state);
  }
  return steps;
}

/** What has expired, or been flushed, by one node's clock may not have by another's: either is fitting while they differ. */
function viewsOf(now: KeyState, operation: Operation): View[] {
  if (now.flushAt === 0 && (!now.present || (now.expiresAt === 0 && !operation.evicts && !now.doubtful))) return [{ seen: now, kept: now }];
  const { wallFrom, wallTo } = operation;
  const views: View[] = [];
  const flushed = now.flushAt !== 0 && wallTo >= now.flushAt;
  const unflushed = now.flushAt === 0 || wallFrom < now.flushAt;
  if (unflushed && (!now.present || now.expiresAt === 0 || wallFrom < now.expiresAt)) views.push({ seen: now, kept: now });
  if (unflushed && now.present) {
    const gone = { ...absentState, flushAt: now.flushAt };
    if (operation.evicts) views.push({ seen: gone, kept: gone });
    if (now.doubtful || (now.expiresAt !== 0 && wallTo >= now.expiresAt)) views.push({ seen: gone, kept: now });
  }
  if (flushed) views.push({ seen: absentState, kept: now });
  return views;
}

function stepDone(now: KeyState, operation: Operation, result: NonNullable<Operation['result']>): readonly KeyState[] {
  const { present, anything } = now;
  const gone: KeyState = { ...absentState, flushAt: now.flushAt };
  /** What needs the entry, or its absence, settles a doubt about it. */
  const missing = (): readonly KeyState[] => (anything ? [gone, ...(now.doubtful ? [now] : [])] : present ? misfit : [now]);
  const there = anything || present;
  const write = (fits: boolean, value: string, expiresAt: number): readonly KeyState[] => (fits ? [stored(now, value, result.version, expiresAt)] : misfit);
  switch (operation.kind) {
    case 'get':
    case 'gat': {
      if (result.status === 'miss') return missing();
      if (!there) return misfit;
      const expiresAt = operation.kind === 'gat' ? operation.expiresAt : now.expiresAt;
      if (anything) return [{ ...stored(now, result.value, result.version, expiresAt), doubtful: now.doubtful && operation.kind === 'get' }];
      if (now.value !== result.value && !(now.doubtful && isNumber(now.value) && now.value.trimEnd() === result.value.trimEnd())) return misfit;
      if (now.version !== 0 && now.version !== result.version) return misfit;
      if (now.version === result.version && expiresAt === now.expiresAt && now.value === result.value) return [now];
      return [{ ...now, value: result.value, version: result.version, expiresAt }];
    }
    case 'put': return write(true, operation.value, operation.expiresAt);
    case 'create':
      if (result.status === 'stored') return write(anything || !present, operation.value, operation.expiresAt);
      return there ? [now] : misfit;
    case 'update': return result.status === 'stored' ? write(there, operation.value, operation.expiresAt) : missing();
    case 'delete': return result.status === 'deleted' ? (there ? [gone] : misfit) : missing();
    case 'cas':
      if (result.status === 'notFound') return missing();
      if (result.status === 'exists') return anything || (present && now.version !== operation.version) ? [now] : misfit;
      return write(there && (anything || now.version === 0 || now.version === operation.version), operation.value, operation.expiresAt);
    case 'increment':
    case 'decrement':
      if (result.status === 'notFound') return missing();
      if (result.status === 'nonNumeric') return anything || (present && !isNumber(now.value)) ? [now] : misfit;
      if (anything) return [{ ...stored(now, result.value, 0, now.expiresAt), doubtful: true }];
      if (!present || !isNumber(now.value)) return misfit;
      return counted(now.value, operation).trimEnd() === result.value ? [{ ...stored(now, counted(now.value, operation), result.version, now.expiresAt), doubtful: now.doubtful }] : misfit;
    case 'append':
    case 'prepend':
      if (result.status !== 'stored') return missing();
      if (anything) return [now];
      return present ? [{ ...stored(now, joined(now.value, operation), result.version, now.expiresAt), doubtful: now.doubtful }] : misfit;
    case 'touch':
      if (result.status !== 'touched') return missing();
      return there ? [anything || now.expiresAt === operation.expiresAt ? now : { ...now, expiresAt: operation.expiresAt }] : misfit;
    case 'flush': return flushes(now, operation);
    case 'wipe':
    case 'rollback': return misfit;
  }
}

function stepUnknown(now: KeyState, operation: Operation): readonly KeyState[] {
  const { present, anything } = now;
  const write = (value: string): readonly KeyState[] => [stored(now, value, 0, operation.expiresAt)];
  switch (operation.kind) {
    case 'get': return [now];
    case 'put': return write(operation.value);
    case 'delete': return present || anything ? [{ ...absentState, flushAt: now.flushAt }] : [now];
    case 'flush': return flushes(now, operation);
    // What is not known stays so, or is written over.
    case 'create':
    case 'update':
    case 'cas':
      if (anything) return [now, ...write(operation.value)];
      if (operation.kind === 'cas' && present && now.version === 0) return [...write(operation.value), now];
      if (operation.kind === 'cas') return present && now.version === operation.version ? write(operation.value) : [now];
      return present === (operation.kind === 'update') ? write(operation.value) : [now];
    case 'increment':
    case 'decrement': return !anything && present && isNumber(now.value) ? [{ ...stored(now, counted(now.value, operation), 0, now.expiresAt), doubtful: now.doubtful }] : [now];
    case 'append':
    case 'prepend': return !anything && present ? [{ ...stored(now, joined(now.value, operation), 0, now.expiresAt), doubtful: now.doubtful }] : [now];
    case 'touch':
    case 'gat': return !anything && present && now.expiresAt !== operation.expiresAt ? [{ ...now, expiresAt: operation.expiresAt }] : [now];
    case 'wipe':
    case 'rollback': return [now];
  }
}

/** At once, or once its time has come. */
function flushes(now: KeyState, { expiresAt, wallFrom, wallTo }: Operation): readonly KeyState[] {
  return [...(expiresAt === 0 || wallTo >= expiresAt ? [absentState] : []), ...(expiresAt !== 0 && wallFrom < expiresAt ? [{ ...now, flushAt: expiresAt }] : [])];
}

function stored(before: KeyState, value: string, version: number, expiresAt: number): KeyState {
  return { present: true, value, version, expiresAt, flushAt: before.flushAt, anything: false, doubtful: false };
}

function joined(value: string, operation: Operation): string {
  return operation.kind === 'append' ? value + operation.value : operation.value + value;
}
