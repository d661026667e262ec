import { TroupeError } from '../../../src/base/errors.ts';
import type { Address } from '../../../src/ports/address.ts';
import { formatAddress } from '../../../src/ports/address.ts';
import type { Sink } from '../../../src/discovery/strategy.ts';

/** Remembers what a source says. */
export class Recorder implements Sink {
  /** What it said last, sorted; undefined before it has said anything. */
  hosts: string[] | undefined;
  foundCount = 0;
  readonly failures: string[] = [];

  found(hosts: readonly Address[]): void {
    this.foundCount++;
    this.hosts = hosts.map(formatAddress).sort();
  }

  failed(error: unknown): void {
    this.failures.push(error instanceof TroupeError ? error.code : `not coded: ${String(error)}`);
  }

  get words(): number {
    return this.foundCount + this.failures.length;
  }
}
