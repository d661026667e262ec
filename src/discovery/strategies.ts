import { consul } from './consul.ts';
import { dns } from './dns.ts';
import { etcd } from './etcd.ts';
import { gossip } from './gossip.ts';
import { hostsFile } from './hosts-file.ts';
import { http } from './http.ts';
import { kubernetesDns, kubernetesDnsSrv } from './kubernetes-dns.ts';
import { kubernetes } from './kubernetes.ts';
import { local } from './local.ts';
import { mdns } from './mdns.ts';
import { programOutput } from './program.ts';
import { staticHosts } from './static.ts';
import type { Strategy } from './strategy.ts';

const all: readonly Strategy[] = [staticHosts, hostsFile, local, gossip, mdns, dns, kubernetes, kubernetesDns, kubernetesDnsSrv, consul, etcd, http, programOutput];

/** Every strategy there is, by its name. */
export const strategies: ReadonlyMap<string, Strategy> = new Map(all.map((strategy) => [strategy.name, strategy]));
