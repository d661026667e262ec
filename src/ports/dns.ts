import type { Address } from './address.ts';

export type DnsRecordType = 'A' | 'AAAA' | 'SRV';

export interface DnsQueryOptions {
  /** Ask these servers instead of the system's; default: the system's. */
  readonly servers?: readonly Address[];
  readonly signal?: AbortSignal;
}

/**
 * Asks the domain name system. Every method rejects with a TroupeError: DNS_NOT_FOUND (the name, or a record of that
 * type, does not exist), DNS_FAILED (no server answered, or none would), ABORTED (the signal).
 */
export interface Dns {
  /** The IP addresses behind a host name the way the system finds them, its hosts file included. An IP address stands for itself. */
  lookup(host: string, signal?: AbortSignal): Promise<readonly string[]>;
  /** The records of type A and AAAA as IP addresses. */
  addresses(name: string, type: 'A' | 'AAAA', options?: DnsQueryOptions): Promise<readonly string[]>;
  services(name: string, options?: DnsQueryOptions): Promise<readonly Address[]>;
}
