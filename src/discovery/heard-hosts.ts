import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import { sendersMax } from './limits.ts';

interface Sender {
  readonly address: Address;
  readonly counter: number;
  readonly heardAt: number;
  /** It has said that it goes, or another process speaks from its address now. */
  readonly gone: boolean;
}

export interface HeardOptions {
  /** Not heard for this long, a host counts as gone (ms). */
  readonly lossMs: number;
  /** How long a sender's counter is kept after it was last heard (ms): longer than any of its packets may be replayed. */
  readonly rememberMs: number;
}

/**
 * Who has been heard, and with which number last. A packet counts only if its number is above the last one of the
 * same sender: what is recorded and sent again is dropped for as long as it would pass for fresh.
 */
export class HeardHosts {
  readonly #options: HeardOptions;
  readonly #senders = new Map<string, Sender>();

  constructor(options: HeardOptions) {
    this.#options = options;
  }

  /** `new` when the sender was not known as present before; `replay` when the packet is old. */
  hear(sender: string, address: Address, counter: number, gone: boolean, now: number): 'new' | 'known' | 'replay' | 'full' {
    const known = this.#senders.get(sender);
    if (known !== undefined && counter <= known.counter) return 'replay';
    if (known === undefined && !this.#makeRoom(now)) return 'full';
    if (!gone) this.#supersede(sender, address);
    this.#senders.set(sender, { address, counter, heardAt: now, gone });
    return !gone && (known === undefined || known.gone || now - known.heardAt > this.#options.lossMs) ? 'new' : 'known';
  }

  /** All that were heard lately, each address once. */
  present(now: number): Address[] {
    const found = new Map<string, Address>();
    for (const { address, heardAt, gone } of this.#senders.values()) {
      if (!gone && now - heardAt <= this.#options.lossMs) found.set(formatAddress(address), address);
    }
    return [...found.values()];
  }

  /** Nothing could be heard since `sinceMs`: whoever was present then is not to blame for the silence. */
  excuse(sinceMs: number, now: number): void {
    for (const [name, sender] of this.#senders) {
      if (!sender.gone && sinceMs - sender.heardAt <= this.#options.lossMs) this.#senders.set(name, { ...sender, heardAt: now });
    }
  }

  /** One address is one process: an earlier one that spoke from there has ended. */
  #supersede(sender: string, address: Address): void {
    for (const [name, other] of this.#senders) {
      if (name !== sender && other.address.host === address.host && other.address.port === address.port) this.#senders.set(name, { ...other, gone: true });
    }
  }

  #makeRoom(now: number): boolean {
    if (this.#senders.size < sendersMax) return true;
    for (const [name, { heardAt }] of this.#senders) if (now - heardAt > this.#options.rememberMs) this.#senders.delete(name);
    return this.#senders.size < sendersMax;
  }
}
