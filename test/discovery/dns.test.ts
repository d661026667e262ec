import { expect, test } from 'vitest';
import { servicesOf } from '../../src/discovery/dns.ts';
import type { Address } from '../../src/ports/address.ts';
import type { Dns } from '../../src/ports/dns.ts';

const resolver = (services: readonly Address[]): Dns => ({
  lookup: async (host) => [host],
  addresses: async (name, type) => (type === 'A' ? [`10.0.0.${name.length}`] : []),
  services: async () => services,
});

test('a target of nothing stands for nobody (RFC 2782); a target of two ports for two addresses, named twice for one', async () => {
  expect(await servicesOf(resolver([{ host: '', port: 1 }]), 'x', {})).toEqual([]);
  expect(await servicesOf(resolver([{ host: '.', port: 1 }]), 'x', {})).toEqual([]);
  expect(await servicesOf(resolver([{ host: 'ab', port: 1 }, { host: 'ab.', port: 1 }, { host: 'ab', port: 2 }]), 'x', {})).toEqual([{ host: '10.0.0.2', port: 1 }, { host: '10.0.0.2', port: 2 }]);
});
