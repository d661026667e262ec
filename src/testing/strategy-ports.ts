import { hostDiscoveryPorts } from '../agent/host-discovery.ts';
import type { DiscoveryPorts, Self } from '../discovery/strategy.ts';
import { HostClock } from '../host/clock.ts';
import { silentLog } from '../ports/log.ts';

/** This host's ports, as an agent gives them to a strategy: of a node called `one` at 127.0.0.1:7946 without keys, unless `self` says otherwise. */
export function strategyPorts(self: Partial<Self> = {}): DiscoveryPorts {
  return hostDiscoveryPorts({ name: 'one', address: { host: '127.0.0.1', port: 7946 }, keys: [], runtimeDirectory: '/nowhere', ...self }, { clock: new HostClock(), log: silentLog });
}
