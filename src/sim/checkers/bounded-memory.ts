import type { Checker, Report, RunningNode } from './checker.ts';

const everyEvents = 200;
const waitingMax = 5000;
const logBytesMax = 9 << 20;

/** Nothing grows without bound: queues of requests and logs of partitions stay within what this load can explain. */
export class BoundedMemory implements Checker {
  readonly #report: Report;
  #events = 0;

  constructor(report: Report) {
    this.#report = report;
  }

  afterEvent(_now: number, nodes: readonly RunningNode[]): void {
    if (++this.#events % everyEvents !== 0) return;
    for (const { name, parts } of nodes) {
      if (parts.requests.waiting > waitingMax) this.#report('bounded-memory', `${name} has ${parts.requests.waiting} requests waiting`);
      for (const keyspace of parts.store.keyspaces.values()) {
        for (const copy of keyspace.copies) {
          if (copy === undefined) continue;
          if (copy.log.bytes > logBytesMax) this.#report('bounded-memory', `${name} keeps a log of ${copy.log.bytes} bytes for partition ${copy.address.partition}`);
          if ((copy.primary?.pendingCount ?? 0) > waitingMax) this.#report('bounded-memory', `${name} has ${copy.primary?.pendingCount} writes waiting in partition ${copy.address.partition}`);
        }
      }
    }
  }
}
