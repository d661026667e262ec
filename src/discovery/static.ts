import type { Address } from '../ports/address.ts';
import { addresses, milliseconds } from './options.ts';
import type { Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface StaticOptions {
  readonly hosts: readonly Address[];
  readonly intervalMs: number;
}

/** The list is as long as it is; whoever of it is no live member is asked again and again by the topology. */
export const staticHosts: Strategy = defineStrategy<StaticOptions, 'clock'>({
  name: 'static',
  summary: 'A fixed list of hosts.',
  ports: ['clock'],
  options: {
    hosts: addresses('`HOST[:PORT]`, 1 to 256 of them; names are resolved anew before each attempt'),
    intervalMs: milliseconds(3000, 'longest time between two attempts to reach a host that is no live member; stands for `retryMaxMs`', 100),
  },
  start({ hosts }, { clock }, sink) {
    const timer = clock.at(clock.now(), () => sink.found(hosts));
    return { stop: async () => timer.cancel() };
  },
});
