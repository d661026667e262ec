import { Prng } from '../base/prng.ts';
import { SimScheduler } from './scheduler.ts';
import { SimHost } from './sim-host.ts';
import type { SimNetworkOptions } from './sim-network.ts';
import { SimNetwork } from './sim-network.ts';

export interface SimWorldOptions {
  /** Everything random comes from it: equal seeds give equal runs. */
  readonly seed: number;
  readonly network?: SimNetworkOptions;
}

/** A whole simulated world: time, wires and machines. */
export class SimWorld {
  readonly seed: number;
  /** For the one who plays fate: faults and workloads draw from here. */
  readonly random: Prng;
  readonly scheduler: SimScheduler = new SimScheduler();
  readonly network: SimNetwork;
  readonly #hosts: Map<string, SimHost> = new Map();

  constructor(options: SimWorldOptions) {
    this.seed = options.seed;
    this.random = new Prng(options.seed);
    this.network = new SimNetwork(this.scheduler, this.random.fork(), options.network);
  }

  get hosts(): readonly SimHost[] {
    return [...this.#hosts.values()];
  }

  /** Adds a machine. Addresses default to 10.0.0.N in order of adding. */
  addHost(name: string, addresses: readonly string[] = [`10.0.${Math.floor((this.#hosts.size + 1) / 250)}.${((this.#hosts.size + 1) % 250) + 1}`]): SimHost {
    if (this.#hosts.has(name)) throw new Error(`the simulated world already has a host called ${name}`);
    const host = new SimHost(this.scheduler, this.network, this.random.fork(), name, addresses);
    this.#hosts.set(name, host);
    return host;
  }

  host(name: string): SimHost {
    const host = this.#hosts.get(name);
    if (host === undefined) throw new Error(`the simulated world has no host called ${name}; it has ${[...this.#hosts.keys()].join(', ')}`);
    return host;
  }
}
