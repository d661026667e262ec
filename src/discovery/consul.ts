import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { fetchJson } from './fetch-json.ts';
import { parseHost } from './host-lines.ts';
import { isRecord, member, textAt } from './json.ts';
import { answerBytesMax } from './limits.ts';
import { boolean, milliseconds, optionalPath, optionalText, text, url, whole } from './options.ts';
import { startPolling } from './polling.ts';
import type { DiscoveryPorts, Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface ConsulOptions {
  readonly service: string;
  readonly passing: boolean;
  readonly tag: string | undefined;
  readonly datacenter: string | undefined;
  readonly port: number;
  readonly server: string;
  readonly token: string | undefined;
  readonly ca: string | undefined;
  readonly pollMs: number;
  readonly timeoutMs: number;
}

export const consul: Strategy = defineStrategy<ConsulOptions, 'clock' | 'random' | 'http' | 'files'>({
  name: 'consul',
  summary: 'The instances of a service that Consul knows. Registering them is left to whoever runs the nodes.',
  ports: ['clock', 'random', 'http', 'files'],
  options: {
    service: text("the service's name"),
    passing: boolean(false, 'take only instances whose health checks pass (`/v1/health/service`) instead of all (`/v1/catalog/service`)'),
    tag: optionalText('take only instances with this tag', 'all'),
    datacenter: optionalText('where to look', "the agent's own"),
    port: whole(0, 0, 65_535, 'gossip port of the instances; 0: the port they are registered with'),
    server: url('http://127.0.0.1:8500', 'the Consul agent'),
    token: optionalPath('file with the ACL token', 'none'),
    ca: optionalPath("file with the agent's certificate authority", "the system's"),
    pollMs: milliseconds(5000, 'time between two looks'),
    timeoutMs: milliseconds(4000, 'a look that takes longer has failed'),
  },
  start(options, ports, sink) {
    const { pollMs, timeoutMs } = options;
    return startPolling({ pollMs, timeoutMs }, ports, sink, async (signal) => await look(options, ports, signal));
  },
});

async function look(options: ConsulOptions, { http, files }: Pick<DiscoveryPorts, 'http' | 'files'>, signal: AbortSignal): Promise<Address[]> {
  const { tag, datacenter, passing } = options;
  const token = options.token === undefined ? undefined : (await files.read(options.token, 4096))?.trim();
  const ca = options.ca === undefined ? undefined : await files.read(options.ca, 64 * 1024);
  const query = new URLSearchParams({ ...(tag === undefined ? {} : { tag }), ...(datacenter === undefined ? {} : { dc: datacenter }), ...(passing ? { passing: 'true' } : {}) }).toString();
  const list = await fetchJson(http, 'Consul', {
    url: `${options.server.replace(/\/$/, '')}/v1/${passing ? 'health' : 'catalog'}/service/${encodeURIComponent(options.service)}${query === '' ? '' : `?${query}`}`,
    headers: token === undefined ? {} : { 'x-consul-token': token },
    ...(ca === undefined ? {} : { ca }),
    bytesMax: answerBytesMax,
    signal,
  });
  if (!Array.isArray(list)) throw new TroupeError('DISCOVERY_ANSWER', 'the answer of Consul is no list', {});
  return list.map((each) => instanceAddress(each, passing, options.port));
}

/** The service's own address if it has one, else that of its host. */
function instanceAddress(instance: unknown, passing: boolean, fixedPort: number): Address {
  if (!isRecord(instance)) throw new TroupeError('DISCOVERY_ANSWER', 'an instance in the answer of Consul is no object', {});
  const host = passing
    ? (textAt(member(instance, 'Service'), 'Address') ?? textAt(member(instance, 'Node'), 'Address'))
    : (textAt(instance, 'ServiceAddress') ?? textAt(instance, 'Address'));
  const port = fixedPort === 0 ? (passing ? member(member(instance, 'Service'), 'Port') : member(instance, 'ServicePort')) : fixedPort;
  if (host === undefined || typeof port !== 'number' || !Number.isInteger(port)) throw new TroupeError('DISCOVERY_ANSWER', 'an instance in the answer of Consul has no address or no port: register it with one, or set `port`', {});
  return parseHost(host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`, 0, 'instance');
}
