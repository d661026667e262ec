import type { Checker, Report, RunningNode } from './checker.ts';

/** Two nodes never both acknowledge for a partition: at no moment do two hold a live lease, by their own clocks, and serve the same one. */
export class OnePrimary implements Checker {
  readonly #report: Report;
  readonly #servedBy = new Map<number, string>();

  constructor(report: Report) {
    this.#report = report;
  }

  afterEvent(_now: number, nodes: readonly RunningNode[]): void {
    const served = this.#servedBy;
    served.clear();
    for (const { name, process, parts } of nodes) {
      // A process that stands still answers nobody.
      if (process.paused || parts.closed || !parts.session.hasRights(process.clock.now())) continue;
      for (const [id, keyspace] of parts.store.keyspaces) {
        const { copies } = keyspace;
        for (let index = 0; index < copies.length; index++) {
          const copy = copies[index];
          if (copy === undefined || !copy.serving) continue;
          const key = id * 65_536 + index;
          const other = served.get(key);
          if (other !== undefined) this.#report('one-primary', `${other} and ${name} both serve partition ${index} of keyspace ${id} (${name} under epoch ${copy.epoch})`);
          served.set(key, name);
        }
      }
    }
  }
}
