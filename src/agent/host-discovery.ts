import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { withHooks } from '../discovery/hooks.ts';
import type { DiscoveryPorts, Self } from '../discovery/strategy.ts';
import { Topologies } from '../discovery/topologies.ts';
import { aesGcmCipher } from '../host/aes-gcm-cipher.ts';
import { HostDns } from '../host/dns.ts';
import { processTable } from '../host/process-table.ts';
import { HostProcesses } from '../host/processes.ts';
import { createRandom } from '../host/random.ts';
import { textFiles } from '../host/text-files.ts';
import { UdpDatagrams } from '../host/udp.ts';
import type { DiscoveryConfig } from '../node/config-discovery.ts';
import type { Gossip } from '../node/gossip-types.ts';
import { poolHooks } from '../node/pool-hooks.ts';
import type { Clock } from '../ports/clock.ts';
import type { HttpClient } from '../ports/http-client.ts';
import type { Log } from '../ports/log.ts';

/** Looks for the other nodes on behalf of a node of this host, for as long as it runs. */
export function startDiscovery({ topologies }: DiscoveryConfig, gossip: Gossip, clock: Clock, log: Log): Topologies {
  const ports = hostDiscoveryPorts({
    name: gossip.local.name,
    address: gossip.local.address,
    // They may be exchanged while we run.
    get keys() {
      return gossip.keys();
    },
    runtimeDirectory: runtimeDirectory(),
  }, { clock, log });
  const pool = poolHooks(gossip);
  return new Topologies(topologies, ports, ({ name, hooks = {} }) => withHooks(name, hooks, pool, ports));
}

/** This host's ports, for strategies. */
export function hostDiscoveryPorts(self: Self, more: Pick<DiscoveryPorts, 'clock' | 'log'>): DiscoveryPorts {
  return {
    ...more,
    random: createRandom(),
    cipher: aesGcmCipher,
    datagrams: new UdpDatagrams(),
    dns: new HostDns(),
    http: httpClient,
    files: textFiles,
    processes: new HostProcesses(),
    processTable,
    self,
  };
}

/** Few sources are asked over HTTP: the client, and TLS with it, is only loaded for those. */
const httpClient: HttpClient = {
  request: async (options) => new (await import('../host/http-client.ts')).HostHttpClient().request(options),
};

function runtimeDirectory(): string {
  const given = process.env['XDG_RUNTIME_DIR'];
  return given === undefined || given === '' ? join(tmpdir(), `troupe-${process.getuid?.() ?? 'user'}`) : join(given, 'troupe');
}
