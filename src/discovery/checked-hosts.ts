import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { addressKey } from './canonical-host.ts';
import { hostsMax } from './limits.ts';

/**
 * The hosts that a source names, each once. Strategies of users may say anything.
 * @throws TroupeError DISCOVERY_ANSWER, DISCOVERY_TOO_LARGE: half an answer is not taken for a whole one
 */
export function checkedHosts(answer: unknown): Map<string, Address> {
  if (!Array.isArray(answer)) throw new TroupeError('DISCOVERY_ANSWER', 'the strategy did not give a list of hosts', {});
  if (answer.length > hostsMax) throw new TroupeError('DISCOVERY_TOO_LARGE', `the source names ${answer.length} hosts; at most ${hostsMax} are taken`, { hosts: answer.length, hostsMax });
  const hosts = new Map<string, Address>();
  for (const each of answer as readonly unknown[]) {
    const { host, port } = (typeof each === 'object' && each !== null ? each : {}) as { readonly host?: unknown; readonly port?: unknown };
    if (typeof host !== 'string' || !/^[A-Za-z0-9._:%-]{1,255}$/.test(host) || typeof port !== 'number' || !Number.isInteger(port) || port < 1 || port > 65_535) {
      throw new TroupeError('DISCOVERY_ANSWER', 'the strategy named something that is no { host, port }', {});
    }
    const address = { host, port };
    hosts.set(addressKey(address), address);
  }
  return hosts;
}
