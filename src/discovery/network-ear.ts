import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock } from '../ports/clock.ts';
import type { HeardHosts } from './heard-hosts.ts';
import type { Sink } from './strategy.ts';

export interface NetworkEarOptions {
  readonly clock: Clock;
  readonly sink: Sink;
  readonly heard: HeardHosts;
  /** Where everybody sends to. */
  readonly target: Address;
  /** When our own packets have not come back for so long, the network carries none (ms). */
  readonly deafMs: number;
}

/**
 * For strategies whose source is the network itself. Our own packets come back to us: as long as they do, the silence of
 * another node says something about that node; when they do not, it says nothing, and that is an outage.
 */
export class NetworkEar {
  readonly #options: NetworkEarOptions;
  /** When our own packet last came back: the proof that the network carries them. */
  #echoAt = -Infinity;
  #openedAt = 0;
  #told: string | undefined = '';
  /** The source was last told to be away. */
  #outage = false;

  constructor(options: NetworkEarOptions) {
    this.#options = options;
  }

  /** The sockets are open: from now on silence counts. */
  opened(): void {
    this.#openedAt = this.#options.clock.now();
  }

  /** Nothing has come back for too long. */
  get isDeaf(): boolean {
    return this.#options.clock.now() - this.#lastHeardAt > this.#options.deafMs;
  }

  failDeaf(): void {
    const target = formatAddress(this.#options.target);
    this.fail(new TroupeError('DISCOVERY_SILENT', `what is sent to ${target} does not come back: this network does not carry it, or the interface is down`, { target }));
  }

  fail(error: unknown): void {
    this.#outage = true;
    this.#options.sink.failed(error);
  }

  /** A packet of our own has come back. */
  heardOurselves(): void {
    const { clock, heard, deafMs } = this.#options;
    const now = clock.now();
    // Those who were there when the network was last heard are not to blame for the silence since.
    if (now - this.#echoAt > deafMs) heard.excuse(this.#echoAt, now);
    this.#echoAt = now;
    if (!this.#outage) return;
    this.#outage = false;
    this.#told = undefined;
    this.tell();
  }

  /** Says who is there, if that has changed. */
  tell(): void {
    // While nothing can be heard, silence says nothing about the others.
    if (this.#outage) return;
    const hosts = this.#options.heard.present(this.#lastHeardAt);
    const told = hosts.map(formatAddress).sort().join(' ');
    if (told === this.#told) return;
    this.#told = told;
    this.#options.sink.found(hosts);
  }

  get #lastHeardAt(): number {
    return Math.max(this.#echoAt, this.#openedAt);
  }
}

/** The interface to use: the one that is written; for a node on loopback, loopback; else the system's choice. */
export function interfaceFor(written: string | undefined, self: Address): { readonly interface?: string } {
  const chosen = written ?? (self.host.startsWith('127.') ? '127.0.0.1' : self.host === '::1' ? 'lo' : undefined);
  return chosen === undefined ? {} : { interface: chosen };
}
