import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';

/**
 * One way to write each host, so that two ways to write the same one are not taken for two: IPv6 in its short form,
 * IPv4 inside IPv6 as IPv4, names in small letters without the dot at their end.
 */
export function canonicalHost(host: string): string {
  if (!host.includes(':')) return host.toLowerCase().replace(/\.$/, '');
  const [address = '', zone] = host.toLowerCase().split('%');
  const short = shortV6(address);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(short);
  if (mapped !== null) {
    const [high, low] = [Number.parseInt(mapped[1] as string, 16), Number.parseInt(mapped[2] as string, 16)];
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  return zone === undefined ? short : `${short}%${zone}`;
}

/** As `formatAddress`, but equal for equal hosts. */
export function addressKey({ host, port }: Address): string {
  return formatAddress({ host: canonicalHost(host), port });
}

function shortV6(address: string): string {
  try {
    // The URL parser shortens as RFC 5952 asks.
    return new URL(`http://[${address}]/`).hostname.slice(1, -1);
  } catch {
    // No IPv6 address: it stays as it is, and whoever connects says what is wrong with it.
    return address;
  }
}
