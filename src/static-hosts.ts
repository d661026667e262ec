import type { Address } from './ports/address.ts';
import { formatAddress } from './ports/address.ts';
import type { Clock, Timer } from './ports/clock.ts';
import type { Log } from './ports/log.ts';

export interface StaticDiscoveryOptions {
  /** The name the user gave it, for the log. */
  readonly name: string;
  readonly hosts: readonly Address[];
  /** Time between two looks (ms). */
  readonly intervalMs: number;
}

export interface DiscoveryPorts {
  readonly clock: Clock;
  readonly log: Log;
  /** Addresses of all members that are alive, our own among them. */
  readonly alive: () => readonly Address[];
  readonly join: (addresses: readonly Address[]) => Promise<{ readonly joined: number }>;
  /** The IP addresses behind a host name; an IP address stands for itself. Rejects when the name cannot be resolved. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
}

/**
 * A fixed list of hosts: whoever of them is no live member is asked again every interval, for ever. Nobody is ever
 * dropped because of what discovery says: an outage of name resolution must not tear a healthy cluster down.
 * Returns the way to stop.
 */
export function startStaticDiscovery(options: StaticDiscoveryOptions, ports: DiscoveryPorts): () => void {
  let stopped = false;
  let timer: Timer | undefined;
  let found = true;

  const look = async (): Promise<void> => {
    const missing = await missingHosts(options.hosts, ports);
    if (stopped || missing.length === 0) return;
    const { joined } = await ports.join(missing);
    if (stopped || (joined > 0) === found) return;
    found = joined > 0;
    const fields = { discovery: options.name, hosts: missing.map(formatAddress) };
    if (found) ports.log.info('discovery found other nodes', fields);
    else ports.log.info('discovery reaches none of its hosts that are not members; it keeps trying', fields);
  };
  const wait = (): void => {
    timer = ports.clock.at(ports.clock.now() + options.intervalMs, () => {
      void look().catch((error: unknown) => ports.log.debug('discovery failed', { discovery: options.name, error: String(error) })).finally(() => {
        if (!stopped) wait();
      });
    });
  };
  wait();
  return () => {
    stopped = true;
    timer?.cancel();
  };
}

async function missingHosts(hosts: readonly Address[], ports: DiscoveryPorts): Promise<Address[]> {
  const alive = new Set(ports.alive().map(formatAddress));
  const missing = await Promise.all(hosts.map(async ({ host, port }) => {
    try {
      const addresses = (await ports.resolve(host)).map((ip) => ({ host: ip, port }));
      return addresses.filter((address) => !alive.has(formatAddress(address)));
    } catch (error) {
      ports.log.debug('discovery cannot resolve a host', { host, error: String(error) });
      return [];
    }
  }));
  return missing.flat();
}
