import type { Address } from '../ports/address.ts';
import { addressesOf, servicesOf } from './dns.ts';
import { defaultGossipPort } from './limits.ts';
import { milliseconds, nameServers, optionalText, text, textOr, whole } from './options.ts';
import { startPolling } from './polling.ts';
import type { Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface KubernetesDnsOptions {
  readonly service: string;
  readonly namespace: string;
  readonly clusterDomain: string;
  readonly port: number;
  readonly pollMs: number;
  readonly timeoutMs: number;
  readonly servers: readonly Address[];
}

const common = {
  service: text('name of a headless service (`clusterIP: None`); with `publishNotReadyAddresses: true`, so that nodes find each other before they are ready'),
  namespace: textOr('default', 'the namespace of the service'),
  clusterDomain: textOr('cluster.local', "the cluster's own domain"),
  port: whole(defaultGossipPort, 1, 65_535, 'gossip port of the pods'),
  pollMs: milliseconds(5000, 'time between two looks'),
  timeoutMs: milliseconds(3000, 'a look that takes longer has failed'),
  servers: nameServers(),
} as const;

export const kubernetesDns: Strategy = defineStrategy<KubernetesDnsOptions, 'clock' | 'random' | 'dns'>({
  name: 'kubernetes-dns',
  summary: 'The pods of a headless service, by its A and AAAA records.',
  ports: ['clock', 'random', 'dns'],
  options: common,
  start({ service, namespace, clusterDomain, port, servers, ...timing }, ports, sink) {
    const name = `${service}.${namespace}.svc.${clusterDomain}`;
    return startPolling(timing, ports, sink, async (signal) => await addressesOf(ports.dns, name, port, 'a+aaaa', { servers, signal }));
  },
});

export interface KubernetesDnsSrvOptions extends KubernetesDnsOptions {
  readonly portName: string | undefined;
}

export const kubernetesDnsSrv: Strategy = defineStrategy<KubernetesDnsSrvOptions, 'clock' | 'random' | 'dns'>({
  name: 'kubernetes-dns-srv',
  summary: 'The pods of a headless service, by its SRV records: for stateful sets, whose pods have names of their own.',
  ports: ['clock', 'random', 'dns'],
  options: { ...common, portName: optionalText("name of the service's gossip port: its records' port is then used instead of `port`", 'the records of all its ports are read, and `port` is used') },
  start({ service, namespace, clusterDomain, port, portName, servers, ...timing }, ports, sink) {
    const host = `${service}.${namespace}.svc.${clusterDomain}`;
    return startPolling(timing, ports, sink, async (signal) => {
      return portName === undefined
        ? await servicesOf(ports.dns, host, { servers, signal }, port)
        : await servicesOf(ports.dns, `_${portName}._tcp.${host}`, { servers, signal });
    });
  },
});
