import { lookup, Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { TroupeError, messageOf } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Dns, DnsQueryOptions } from '../ports/dns.ts';
import { systemCodeOf } from './socket-errors.ts';

/** c-ares waits this long for a server (ms) before it asks again, this many times in all. */
const tryTimeoutMs = 1000;
const tryCount = 2;

/** The system's resolver for host names, c-ares for records. */
export class HostDns implements Dns {
  async lookup(host: string, signal?: AbortSignal): Promise<readonly string[]> {
    if (isIP(host) !== 0) return [host];
    // getaddrinfo cannot be stopped: its answer, if it still comes, is dropped.
    return await orAborted(signal, host, async () => (await lookup(host, { all: true })).map((each) => each.address));
  }

  async addresses(name: string, type: 'A' | 'AAAA', options: DnsQueryOptions = {}): Promise<readonly string[]> {
    return await withResolver(name, options, async (resolver) => (type === 'A' ? await resolver.resolve4(name) : await resolver.resolve6(name)));
  }

  async services(name: string, options: DnsQueryOptions = {}): Promise<readonly Address[]> {
    return await withResolver(name, options, async (resolver) => (await resolver.resolveSrv(name)).map((each) => ({ host: each.name, port: each.port })));
  }
}

async function withResolver<T>(name: string, { servers, signal }: DnsQueryOptions, ask: (resolver: Resolver) => Promise<T>): Promise<T> {
  const resolver = new Resolver({ timeout: tryTimeoutMs, tries: tryCount });
  if (servers !== undefined && servers.length > 0) resolver.setServers(servers.map(formatAddress));
  return await orAborted(signal, name, () => ask(resolver), () => resolver.cancel());
}

async function orAborted<T>(signal: AbortSignal | undefined, name: string, ask: () => Promise<T>, onAbort?: () => void): Promise<T> {
  const aborted = (): TroupeError => new TroupeError('ABORTED', `gave up asking for the name '${name}'`, { name });
  if (signal?.aborted === true) throw aborted();
  return await new Promise<T>((resolve, reject) => {
    const abort = (): void => {
      reject(aborted());
      onAbort?.();
    };
    signal?.addEventListener('abort', abort, { once: true });
    ask().then(resolve, (error: unknown) => reject(dnsError(name, error))).finally(() => signal?.removeEventListener('abort', abort));
  });
}

function dnsError(name: string, cause: unknown): TroupeError {
  const code = systemCodeOf(cause);
  if (code === 'ENOTFOUND' || code === 'ENODATA') return new TroupeError('DNS_NOT_FOUND', `there is no '${name}' in the domain name system (${code})`, { name }, cause);
  return new TroupeError('DNS_FAILED', `cannot ask for the name '${name}': ${code === '' ? messageOf(cause) : code}; is the name server up`, { name }, cause);
}
