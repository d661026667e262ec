import { TroupeError } from '../base/errors.ts';
import { parseHost } from './host-lines.ts';
import { listAt, member, textAt } from './json.ts';

/** How pods are called. */
export interface AddressMode {
  readonly address: 'ip' | 'dns' | 'hostname';
  readonly namespace: string;
  readonly service: string | undefined;
  readonly clusterDomain: string;
  readonly includeNotReady: boolean;
}

const what = 'the Kubernetes API';

/** The hosts of one `Endpoints` object: its subsets' addresses. @throws TroupeError DISCOVERY_ANSWER */
export function hostOfEndpoint(item: unknown, mode: AddressMode): string[] {
  return listAt(item, 'subsets', what).flatMap((subset) => {
    const addresses = [...listAt(subset, 'addresses', what), ...(mode.includeNotReady ? listAt(subset, 'notReadyAddresses', what) : [])];
    return addresses.flatMap((address) => hostOf(textAt(address, 'ip'), textAt(address, 'hostname') ?? textAt(member(address, 'targetRef'), 'name'), mode));
  });
}

/**
 * The hosts of one `EndpointSlice` (discovery.k8s.io/v1). A condition that is not said counts as ready, as its
 * documentation asks; slices of names (`addressType: FQDN`) have them in place of addresses. Whoever is terminating is not taken.
 * @throws TroupeError DISCOVERY_ANSWER
 */
export function hostsOfSlice(item: unknown, mode: AddressMode): string[] {
  const isNamed = textAt(item, 'addressType') === 'FQDN';
  return listAt(item, 'endpoints', what).flatMap((endpoint) => {
    const conditions = member(endpoint, 'conditions');
    if (member(conditions, 'terminating') === true) return [];
    if (!mode.includeNotReady && member(conditions, 'ready') === false) return [];
    const hostname = textAt(endpoint, 'hostname') ?? textAt(member(endpoint, 'targetRef'), 'name');
    return listAt(endpoint, 'addresses', what).flatMap((address) => {
      if (typeof address !== 'string') throw new TroupeError('DISCOVERY_ANSWER', 'an address in the answer of the Kubernetes API is no text', {});
      return isNamed ? [parseHost(address, 1, 'endpoint').host] : hostOf(address, hostname, mode);
    });
  });
}

/** The host of one `Pod`; none while it has no address, when it is being deleted, and when it has ended. */
export function hostOfPod(item: unknown, mode: AddressMode): string[] {
  const status = member(item, 'status');
  const phase = textAt(status, 'phase');
  if (phase === 'Succeeded' || phase === 'Failed' || textAt(member(item, 'metadata'), 'deletionTimestamp') !== undefined) return [];
  if (!mode.includeNotReady && !isReady(status)) return [];
  const hostname = textAt(member(item, 'spec'), 'hostname') ?? textAt(member(item, 'metadata'), 'name');
  return hostOf(textAt(status, 'podIP'), hostname, mode);
}

function isReady(status: unknown): boolean {
  return listAt(status, 'conditions', what).some((condition) => textAt(condition, 'type') === 'Ready' && textAt(condition, 'status') === 'True');
}

function hostOf(ip: string | undefined, hostname: string | undefined, mode: AddressMode): string[] {
  if (ip === undefined) return [];
  const checked = parseHost(ip.includes(':') ? `[${ip}]` : ip, 1, 'pod').host;
  switch (mode.address) {
    case 'ip': return [checked];
    case 'dns': return [`${checked.replaceAll(/[.:]/g, '-')}.${mode.namespace}.pod.${mode.clusterDomain}`];
    case 'hostname': return hostname === undefined ? [] : [parseHost(`${hostname}.${mode.service ?? ''}.${mode.namespace}.svc.${mode.clusterDomain}`, 1, 'pod').host];
  }
}
