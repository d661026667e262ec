import { afterEach, expect, test } from 'vitest';
import { HostClock } from '../../src/host/clock.ts';
import type { Address } from '../../src/ports/address.ts';
import { formatAddress } from '../../src/ports/address.ts';
import { silentLog } from '../../src/ports/log.ts';
import { startStaticDiscovery } from '../../src/static-hosts.ts';
import { until } from './program.ts';

let stop: () => void = () => {};
afterEach(() => stop());

const at = (host: string): Address => ({ host, port: 7946 });

test('asks whoever is missing again and again, and stops asking who is there', async () => {
  const alive: Address[] = [at('10.0.0.1')];
  const asked: string[][] = [];
  stop = startStaticDiscovery({ name: 'home', hosts: [at('10.0.0.1'), at('10.0.0.2'), at('two-addresses')], intervalMs: 5 }, {
    clock: new HostClock(),
    log: silentLog,
    alive: () => alive,
    join: async (addresses) => {
      asked.push(addresses.map(formatAddress));
      return { joined: 0 };
    },
    resolve: async (host) => (host === 'two-addresses' ? ['10.0.0.3', '10.0.0.4'] : [host]),
  });
  await until(() => asked.length >= 2, () => 'it asks once only');
  expect(asked[0]).toEqual(['10.0.0.2:7946', '10.0.0.3:7946', '10.0.0.4:7946']);
  alive.push(at('10.0.0.2'), at('10.0.0.3'));
  await until(() => asked.at(-1)?.join() === '10.0.0.4:7946', () => `it still asks ${asked.at(-1)?.join()}`);
});

test('an outage of name resolution, or of joining, is no reason to stop', async () => {
  let rounds = 0;
  const asked: string[] = [];
  stop = startStaticDiscovery({ name: 'home', hosts: [at('nowhere'), at('10.0.0.2')], intervalMs: 5 }, {
    clock: new HostClock(),
    log: silentLog,
    alive: () => [],
    join: async (addresses) => {
      asked.push(...addresses.map(formatAddress));
      if (rounds++ < 2) throw new Error('no network');
      return { joined: 1 };
    },
    resolve: async (host) => {
      if (host === 'nowhere') throw new Error('SERVFAIL');
      return [host];
    },
  });
  await until(() => rounds >= 4, () => `it stopped after ${rounds} rounds`);
  expect(new Set(asked)).toEqual(new Set(['10.0.0.2:7946']));
});
