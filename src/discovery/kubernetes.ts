import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { fetchJson } from './fetch-json.ts';
import { hostOfEndpoint, hostOfPod, hostsOfSlice } from './kubernetes-lists.ts';
import type { AddressMode } from './kubernetes-lists.ts';
import { defaultGossipPort, hostsMax, kubernetesBytesMax } from './limits.ts';
import { isRecord, member, neededListAt, textAt } from './json.ts';
import { boolean, choice, milliseconds, optionalPath, optionalText, textOr, url, whole } from './options.ts';
import { startPolling } from './polling.ts';
import type { DiscoveryPorts, Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface KubernetesOptions {
  readonly source: 'endpoints' | 'endpointslices' | 'pods';
  readonly selector: string | undefined;
  readonly service: string | undefined;
  readonly namespace: string | undefined;
  readonly address: 'ip' | 'dns' | 'hostname';
  readonly port: number;
  readonly includeNotReady: boolean;
  readonly clusterDomain: string;
  readonly server: string;
  readonly serviceAccount: string;
  readonly token: string | undefined;
  readonly ca: string | undefined;
  readonly pollMs: number;
  readonly timeoutMs: number;
}

/** The token is read before each look: the cluster exchanges it about every hour. */
export const kubernetes: Strategy = defineStrategy<KubernetesOptions, 'clock' | 'random' | 'http' | 'files'>({
  name: 'kubernetes',
  summary: 'The pods that the Kubernetes API lists. The service account needs `list` on what is listed.',
  ports: ['clock', 'random', 'http', 'files'],
  options: {
    source: choice(['endpoints', 'endpointslices', 'pods'], 'endpoints', 'what to list; `endpointslices` are what newer clusters (1.33 and later) want instead of `endpoints`'),
    selector: optionalText('label selector, for example `app=troupe`', 'everything in the namespace'),
    service: optionalText('take only the endpoints of this service; with `address: hostname` the names are made with it', 'all that the selector finds'),
    namespace: optionalText('where to look', "the service account's own"),
    address: choice(['ip', 'dns', 'hostname'], 'ip', 'how to call a pod: by its IP address, by `1-2-3-4.NAMESPACE.pod.DOMAIN`, or by `HOSTNAME.SERVICE.NAMESPACE.svc.DOMAIN` (stateful sets; needs `service`)'),
    port: whole(defaultGossipPort, 1, 65_535, 'gossip port of the pods'),
    includeNotReady: boolean(true, 'take pods that are not ready too: a pod that becomes ready only as a member must be found before'),
    clusterDomain: textOr('cluster.local', "the cluster's own domain"),
    server: url('https://kubernetes.default.svc', 'the API server'),
    serviceAccount: textOr('/var/run/secrets/kubernetes.io/serviceaccount', 'directory with `token`, `ca.crt` and `namespace`'),
    token: optionalPath('file with the token', '`token` of the service account'),
    ca: optionalPath("file with the server's certificate authority", '`ca.crt` of the service account'),
    pollMs: milliseconds(5000, 'time between two looks'),
    timeoutMs: milliseconds(4000, 'a look that takes longer has failed'),
  },
  contradiction: ({ address, service }) => (address === 'hostname' && service === undefined ? { option: 'service', message: "is missing: with 'address: hostname' pods are called by the name of their service" } : undefined),
  start(options, ports, sink) {
    const { pollMs, timeoutMs } = options;
    return startPolling({ pollMs, timeoutMs }, ports, sink, async (signal) => await look(options, ports, signal));
  },
});

async function look(options: KubernetesOptions, { http, files }: Pick<DiscoveryPorts, 'http' | 'files'>, signal: AbortSignal): Promise<Address[]> {
  const { serviceAccount } = options;
  const read = async (path: string): Promise<string | undefined> => (await files.read(path, 64 * 1024))?.trim();
  const token = await read(options.token ?? `${serviceAccount}/token`);
  const ca = await read(options.ca ?? `${serviceAccount}/ca.crt`);
  const namespace = options.namespace ?? (await read(`${serviceAccount}/namespace`));
  if (namespace === undefined || !/^[a-z0-9-]{1,63}$/.test(namespace)) throw new TroupeError('DISCOVERY_REFUSED', `which namespace to look in is not known: set 'namespace', or let ${serviceAccount}/namespace say it`, { serviceAccount });
  const ask = (query: URLSearchParams): Promise<unknown> => fetchJson(http, 'the Kubernetes API', {
    url: `${options.server.replace(/\/$/, '')}${pathOf(options, namespace)}?${query.toString()}`,
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    ...(ca === undefined ? {} : { ca }),
    bytesMax: kubernetesBytesMax,
    signal,
  });
  const hosts = await allPages(options, namespace, ask);
  return [...hosts].map((host) => ({ host, port: options.port }));
}

function pathOf({ source }: KubernetesOptions, namespace: string): string {
  return `${source === 'endpointslices' ? '/apis/discovery.k8s.io/v1' : '/api/v1'}/namespaces/${namespace}/${source}`;
}

function queryOf({ source, selector, service }: KubernetesOptions): Record<string, string> {
  // Slices are called what they like; a label says which service they belong to.
  const labels = [selector, source === 'endpointslices' && service !== undefined ? `kubernetes.io/service-name=${service}` : undefined].filter((each) => each !== undefined);
  return {
    limit: String(itemsPerPage),
    ...(labels.length === 0 ? {} : { labelSelector: labels.join(',') }),
    ...(source === 'endpoints' && service !== undefined ? { fieldSelector: `metadata.name=${service}` } : {}),
  };
}

/** The hosts of all pages. A list whose continuation has expired on the way (410 Gone) is begun anew, once. */
async function allPages(options: KubernetesOptions, namespace: string, ask: (query: URLSearchParams) => Promise<unknown>): Promise<ReadonlySet<string>> {
  const mode: AddressMode = { address: options.address, namespace, service: options.service, clusterDomain: options.clusterDomain, includeNotReady: options.includeNotReady };
  let hosts = new Set<string>();
  let next = '';
  let begunAnew = false;
  for (let page = 0; page < pagesMax; page++) {
    let list: unknown;
    try {
      list = await ask(new URLSearchParams({ ...queryOf(options), ...(next === '' ? {} : { continue: next }) }));
    } catch (error) {
      if (next === '' || begunAnew || !(error instanceof TroupeError) || error.fields['status'] !== 410) throw error;
      begunAnew = true;
      hosts = new Set();
      next = '';
      continue;
    }
    if (!isRecord(list)) throw new TroupeError('DISCOVERY_ANSWER', 'the answer of the Kubernetes API is no list', {});
    for (const item of neededListAt(list, 'items', 'the Kubernetes API')) for (const host of hostsOf[options.source](item, mode)) hosts.add(host);
    if (hosts.size > hostsMax) throw new TroupeError('DISCOVERY_TOO_LARGE', `the source names more than ${hostsMax} hosts: narrow it by 'selector' or 'service'`, { hostsMax });
    next = textAt(member(list, 'metadata'), 'continue') ?? '';
    if (next === '') return hosts;
  }
  throw new TroupeError('DISCOVERY_TOO_LARGE', `the list has more than ${pagesMax} pages: narrow it by 'selector' or 'service'`, { pagesMax });
}

const hostsOf = { endpoints: hostOfEndpoint, endpointslices: hostsOfSlice, pods: hostOfPod } as const;
/** As `kubectl` asks for it: what is held at a time is one page. */
const itemsPerPage = 500;
const pagesMax = 40;
