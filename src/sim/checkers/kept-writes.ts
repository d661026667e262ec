import { describeOperation } from '../history.ts';
import type { Operation } from '../history.ts';
import type { Report } from './checker.ts';

/**
 * Acknowledged means kept, checked the plain way: a key that was written once must be there at the end, unless its
 * partition was lost with all its copies after the write was called.
 */
export function checkKeptWrites(byKey: ReadonlyMap<string, readonly Operation[]>, report: Report): void {
  for (const [key, operations] of byKey) {
    const writes = operations.filter((operation) => !['get', 'touch', 'gat', 'wipe', 'rollback'].includes(operation.kind));
    // What may go by itself is judged with the order of operations.
    if (operations.some(({ expiresAt, evicts }) => expiresAt !== 0 || evicts)) continue;
    const [write] = writes;
    if (writes.length !== 1 || write === undefined || write.outcome !== 'done' || write.result?.status !== 'stored') continue;
    if (operations.some((operation) => (operation.kind === 'wipe' || operation.kind === 'rollback') && operation.returned > write.called)) continue;
    for (const read of operations) {
      if (read.kind !== 'get' || read.outcome !== 'done' || read.called < write.returned) continue;
      if (read.result?.status === 'hit' && read.result.value === write.value) continue;
      report('kept-writes', `an acknowledged write is gone: ${key} was written (${describeOperation(write)}), but then ${describeOperation(read)}`);
      return;
    }
  }
}
