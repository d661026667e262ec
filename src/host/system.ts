import os from 'node:os';

/** How many cores this process may use. */
export function coreCount(): number {
  return os.availableParallelism();
}

export function hostName(): string {
  return os.hostname();
}

export interface InterfaceAddress {
  readonly interfaceName: string;
  readonly host: string;
  readonly v6: boolean;
  readonly loopback: boolean;
  /** For IPv6 link-local addresses, which mean nothing without it. */
  readonly linkLocal: boolean;
}

/** All addresses of this host, those of one interface if `interfaceName` is given. */
export function interfaceAddresses(interfaceName?: string): readonly InterfaceAddress[] {
  return Object.entries(os.networkInterfaces())
    .filter(([name]) => interfaceName === undefined || name === interfaceName)
    .flatMap(([name, addresses]) => (addresses ?? []).map((each) => ({
      interfaceName: name,
      host: each.address,
      v6: each.family === 'IPv6',
      loopback: each.internal,
      linkLocal: each.family === 'IPv6' ? each.address.startsWith('fe80:') : each.address.startsWith('169.254.'),
    })));
}

/**
 * The address that others most likely reach this host by, for those that bind to 0.0.0.0 and advertise nothing:
 * a private IPv4 address first, as Serf does, then any other IPv4, then IPv6, then loopback.
 */
export function defaultAddress(addresses: readonly InterfaceAddress[] = interfaceAddresses()): string {
  const usable = addresses.filter((each) => !each.loopback && !each.linkLocal);
  const best = usable.find((each) => !each.v6 && isPrivate(each.host)) ?? usable.find((each) => !each.v6) ?? usable[0];
  return best?.host ?? '127.0.0.1';
}

/** RFC 1918 and RFC 6598. */
export function isPrivate(host: string): boolean {
  const [a = -1, b = -1] = host.split('.').map(Number);
  return a === 10 || (a === 172 && b >= 16 && b <= 31) || (a === 192 && b === 168) || (a === 100 && b >= 64 && b <= 127);
}
