import { describeOperation } from '../history.ts';
import type { Operation } from '../history.ts';
import type { Report } from './checker.ts';

/** What the workload writes is made of these: each is written by one call only. */
const tokens = /v[0-9]+\./g;

/**
 * Whatever may be lost, nothing is made up: each piece of a value that was read was written to this very key by a call that
 * began before the read ended.
 */
export function checkOrigins(byKey: ReadonlyMap<string, readonly Operation[]>, report: Report): void {
  for (const [key, operations] of byKey) {
    const writtenFrom = new Map<string, number>();
    for (const { kind, value, called } of operations) if (kind !== 'get') for (const [token] of value.matchAll(tokens)) writtenFrom.set(token, Math.min(called, writtenFrom.get(token) ?? Infinity));
    for (const read of operations) {
      if (read.result?.status !== 'hit') continue;
      for (const [token] of read.result.value.matchAll(tokens)) {
        if ((writtenFrom.get(token) ?? Infinity) < read.returned) continue;
        report('origins', `${key} was read with '${token}', which nobody had written there: ${describeOperation(read)}`);
        return;
      }
    }
  }
}
