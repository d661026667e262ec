import { TroupeError } from '../base/errors.ts';
import type { Sink } from '../discovery/strategy.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';

/** Remembers what a strategy's source says. */
export class SinkRecorder implements Sink {
  /** What it said last, sorted, as `HOST:PORT`; undefined before it has said anything. */
  hosts: string[] | undefined;
  foundCount = 0;
  /** The codes of its failures; `not coded: …` for what was no TroupeError. */
  readonly failures: string[] = [];

  found(hosts: readonly Address[]): void {
    this.foundCount++;
    this.hosts = hosts.map(formatAddress).sort();
  }

  failed(error: unknown): void {
    this.failures.push(error instanceof TroupeError ? error.code : `not coded: ${String(error)}`);
  }

  /** How often it has said anything. */
  get words(): number {
    return this.foundCount + this.failures.length;
  }
}
