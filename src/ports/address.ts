import { TroupeError } from '../base/errors.ts';

/** A host and port. `host` is an IP address in text form (a name only where a `connect` may resolve it). */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** `1.2.3.4:5` or `[::1]:5`. */
export function formatAddress(address: Address): string {
  return address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/**
 * Reads `host`, `host:port`, `[v6]`, `[v6]:port` or a bare `v6`.
 * @throws TroupeError BAD_ADDRESS that names the text and what is wrong with it
 */
export function parseAddress(text: string, defaultPort?: number): Address {
  const match = /^\[([^\]]+)\](?::(\d+))?$/.exec(text) ?? /^([^:]*)(?::(\d+))?$/.exec(text);
  const host = match?.[1] ?? (text.includes('::') || text.split(':').length > 2 ? text : undefined);
  const portText = match?.[2];
  const port = portText === undefined ? defaultPort : Number(portText);
  if (host === undefined || host === '') throw new TroupeError('BAD_ADDRESS', `cannot read the address '${text}': write HOST:PORT, for example 127.0.0.1:7946`, { text });
  if (port === undefined) throw new TroupeError('BAD_ADDRESS', `the address '${text}' has no port: write HOST:PORT`, { text });
  if (port > 65_535) throw new TroupeError('BAD_ADDRESS', `the address '${text}' has port ${port}; a port is at most 65535`, { text });
  return { host, port };
}
