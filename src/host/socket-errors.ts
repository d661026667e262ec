import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';

/** The system's short name for what went wrong (`ECONNREFUSED`), or ''. */
export function systemCodeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : '';
}

/** Says why an address could not be had and what to do. `what` completes "cannot …", e.g. 'listen on TCP'. */
export function bindError(what: string, address: Address, cause: unknown): TroupeError {
  const at = formatAddress(address);
  const fields = { host: address.host, port: address.port };
  switch (systemCodeOf(cause)) {
    case 'EADDRINUSE':
      return new TroupeError('ADDRESS_IN_USE', `cannot ${what} ${at}: another socket has this address; stop that process or choose another port`, fields, cause);
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EINVAL':
    case 'EAFNOSUPPORT':
      return new TroupeError('ADDRESS_NOT_AVAILABLE', `cannot ${what} ${at}: this host has no such address; bind to one of its own or to 0.0.0.0`, fields, cause);
    case 'EACCES':
    case 'EPERM':
      return new TroupeError('PERMISSION_DENIED', `cannot ${what} ${at}: the system forbids it (ports below 1024 need a privilege); choose a higher port`, fields, cause);
    default:
      return new TroupeError('BIND_FAILED', `cannot ${what} ${at}: ${cause instanceof Error ? cause.message : String(cause)}`, fields, cause);
  }
}
