import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import type { Dns, DnsQueryOptions } from '../ports/dns.ts';
import { parseHost } from './host-lines.ts';
import { defaultGossipPort, hostsMax } from './limits.ts';
import { choice, milliseconds, nameServers, text, whole } from './options.ts';
import { startPolling } from './polling.ts';
import type { Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface DnsOptions {
  readonly query: string;
  readonly type: 'a+aaaa' | 'a' | 'aaaa' | 'srv';
  readonly port: number;
  readonly pollMs: number;
  readonly timeoutMs: number;
  readonly servers: readonly Address[];
}

/** A name that does not exist (any more) counts as an outage: a zone that was lost must not make nodes forget each other. */
export const dns: Strategy = defineStrategy<DnsOptions, 'clock' | 'random' | 'dns'>({
  name: 'dns',
  summary: 'The addresses behind a DNS name.',
  ports: ['clock', 'random', 'dns'],
  options: {
    query: text('the name to ask for'),
    type: choice(['a+aaaa', 'a', 'aaaa', 'srv'], 'a+aaaa', 'records to ask for; those of `srv` bring their own ports'),
    port: whole(defaultGossipPort, 1, 65_535, 'port of addresses that come without'),
    pollMs: milliseconds(5000, 'time between two looks'),
    timeoutMs: milliseconds(3000, 'a look that takes longer has failed'),
    servers: nameServers(),
  },
  start({ query, type, port, servers, ...timing }, ports, sink) {
    return startPolling(timing, ports, sink, async (signal) => {
      const options = { servers, signal };
      return type === 'srv' ? await servicesOf(ports.dns, query, options) : await addressesOf(ports.dns, query, port, type, options);
    });
  },
});

/** @throws TroupeError DNS_NOT_FOUND when there is no record of either type; DNS_FAILED when one of the questions failed */
export async function addressesOf(resolver: Dns, name: string, port: number, type: 'a+aaaa' | 'a' | 'aaaa', options: DnsQueryOptions): Promise<Address[]> {
  const types = type === 'a+aaaa' ? (['A', 'AAAA'] as const) : ([type === 'a' ? 'A' : 'AAAA'] as const);
  const answers = await Promise.allSettled(types.map((each) => resolver.addresses(name, each, options)));
  const failures = answers.flatMap((each) => (each.status === 'rejected' ? [each.reason as unknown] : []));
  // Most names have only one kind. But half an answer because of an outage is no answer.
  const outage = failures.find((each) => !isNotFound(each)) ?? (failures.length === types.length ? failures[0] : undefined);
  if (outage !== undefined) throw outage;
  const hosts = answers.flatMap((each) => (each.status === 'fulfilled' ? each.value : []));
  return hosts.map((host) => ({ host, port }));
}

/** The targets of the SRV records, as IP addresses with the records' ports. */
export async function servicesOf(resolver: Dns, name: string, options: DnsQueryOptions, portInstead?: number): Promise<Address[]> {
  const services = await resolver.services(name, options);
  if (services.length > hostsMax) throw new TroupeError('DISCOVERY_TOO_LARGE', `'${name}' has ${services.length} records; at most ${hostsMax} are taken`, { name });
  // A target of nothing says that the service is not there (RFC 2782).
  const offered = services.filter((each) => each.host !== '' && each.host !== '.');
  const targets = new Map(offered.map((each) => {
    const target = parseHost(`${each.host.replace(/\.$/, '')}:${portInstead ?? each.port}`, 0, 'target');
    return [`${target.host} ${target.port}`, target] as const;
  }));
  const found: Address[] = [];
  // One after another in small groups: a thousand targets should not be a thousand questions at once.
  const waiting = [...targets.values()];
  while (waiting.length > 0) {
    const group = waiting.splice(0, 4);
    const resolved = await Promise.all(group.map((each) => addressesOf(resolver, each.host, each.port, 'a+aaaa', options).catch(nothingIfGone)));
    found.push(...resolved.flat());
  }
  return found;
}

/** A record may outlive its target for a while. */
function nothingIfGone(error: unknown): Address[] {
  if (isNotFound(error)) return [];
  throw error;
}

function isNotFound(error: unknown): boolean {
  return error instanceof TroupeError && error.code === 'DNS_NOT_FOUND';
}
