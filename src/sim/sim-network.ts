import type { Prng } from '../base/prng.ts';
import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { LinkSettings } from './links.ts';
import { Links } from './links.ts';
import type { SimScheduler } from './scheduler.ts';
import type { SimDatagramSocket } from './sim-datagrams.ts';
import type { Endpoint, SimListener } from './sim-streams.ts';

export interface SimNetworkOptions {
  /** For all links between hosts; default: a quiet local network. */
  readonly link?: Partial<LinkSettings>;
  /** First retransmission of a stream's segment (ms); doubles up to `retransmitMaxMs`. Defaults 200 and 5000 (Linux: 200 and 120,000). */
  readonly retransmitMinMs?: number;
  readonly retransmitMaxMs?: number;
  /** A stream whose data is not acknowledged for this long ends with `timeout` (ms); default 60,000 (Linux: about 15 minutes). */
  readonly giveUpMs?: number;
  /** Probability that a stream's bytes are cut at a random place, as TCP may; default 0.1. */
  readonly fragment?: number;
}

export interface NetworkCounters {
  datagramsSent: number;
  datagramsDelivered: number;
  datagramsLost: number;
  streamBytes: number;
}

/** What the kernel of one simulated host knows. */
export class HostNetwork {
  readonly name: string;
  readonly addresses: readonly string[];
  up = true;
  /** Grows with each power loss: what the kernel held before is gone. */
  boot = 1;
  readonly datagrams: Map<number, SimDatagramSocket[]> = new Map();
  readonly listeners: Map<number, SimListener[]> = new Map();
  readonly endpoints: Set<Endpoint> = new Set();
  #nextPort = 32_768;

  constructor(name: string, addresses: readonly string[]) {
    this.name = name;
    this.addresses = addresses;
  }

  has(address: string): boolean {
    return isWildcard(address) || isLoopback(address) || this.addresses.includes(address);
  }

  /** The address that peers see when a socket is bound to any. */
  get primaryAddress(): string {
    return this.addresses[0] ?? '127.0.0.1';
  }

  ephemeralPort(taken: (port: number) => boolean): number {
    for (let tries = 0; tries < 28_000; tries++) {
      const port = this.#nextPort++;
      if (this.#nextPort > 60_999) this.#nextPort = 32_768;
      if (!taken(port)) return port;
    }
    throw new TroupeError('ADDRESS_IN_USE', `cannot find a free port on ${this.name}: all of 32768 to 60999 are taken`, { host: this.name });
  }
}

/** Hosts, and the wires between them. */
export class SimNetwork {
  readonly scheduler: SimScheduler;
  readonly random: Prng;
  readonly links: Links;
  readonly options: Required<Omit<SimNetworkOptions, 'link'>>;
  readonly counters: NetworkCounters = { datagramsSent: 0, datagramsDelivered: 0, datagramsLost: 0, streamBytes: 0 };
  readonly #byAddress = new Map<string, HostNetwork>();
  readonly #hosts = new Map<string, HostNetwork>();

  constructor(scheduler: SimScheduler, random: Prng, options: SimNetworkOptions = {}) {
    this.scheduler = scheduler;
    this.random = random;
    this.links = new Links(random, options.link);
    this.options = {
      retransmitMinMs: options.retransmitMinMs ?? 200,
      retransmitMaxMs: options.retransmitMaxMs ?? 5000,
      giveUpMs: options.giveUpMs ?? 60_000,
      fragment: options.fragment ?? 0.1,
    };
  }

  addHost(name: string, addresses: readonly string[]): HostNetwork {
    const host = new HostNetwork(name, addresses);
    this.#hosts.set(name, host);
    for (const address of addresses) this.#byAddress.set(address, host);
    return host;
  }

  get hosts(): readonly HostNetwork[] {
    return [...this.#hosts.values()];
  }

  /** The host that `address` leads to, seen from `from`: itself for loopback addresses; host names resolve. */
  route(from: HostNetwork, address: string): HostNetwork | undefined {
    return isLoopback(address) || isWildcard(address) || address === 'localhost' ? from : this.#byAddress.get(address) ?? this.#hosts.get(address);
  }

  /** Cuts every link from a host of `from` to a host of `to`; with `oneWay` unset, also back. Streams stall, datagrams vanish. */
  block(from: readonly string[], to: readonly string[], oneWay: boolean = false): void {
    for (const a of from) {
      for (const b of to) {
        if (a === b) continue;
        this.links.set(a, b, { blocked: true });
        if (!oneWay) this.links.set(b, a, { blocked: true });
      }
    }
  }

  /** Lets hosts of different groups no longer reach each other. */
  partition(...groups: readonly (readonly string[])[]): void {
    groups.forEach((group, index) => groups.slice(index + 1).forEach((other) => this.block(group, other)));
  }

  /**
   * Resets the connections between hosts of the two groups, as a box in between that has forgotten them does: what was under
   * way is lost. With `oneSide` only the first group's ends hear of it now, the others when they send.
   */
  reset(from: readonly string[], to: readonly string[], oneSide: boolean = false): void {
    for (const name of from) {
      for (const endpoint of this.#hosts.get(name)?.endpoints ?? []) {
        const { peer } = endpoint;
        if (peer === undefined || !to.includes(peer.host.name) || peer.host === endpoint.host) continue;
        endpoint.wasReset();
        if (!oneSide) peer.wasReset();
      }
    }
  }

  /** Lifts all blocks; delays and losses stay. */
  heal(): void {
    this.links.unblockAll();
  }

  link(from: HostNetwork, to: HostNetwork): LinkSettings {
    return this.links.get(from.name, to.name);
  }

  open(from: HostNetwork, to: HostNetwork): boolean {
    return !this.link(from, to).blocked;
  }

  latency(from: HostNetwork, to: HostNetwork): number {
    return this.links.latency(this.link(from, to));
  }
}

/** The TroupeErrors of a bind, worded as the host's. */
export function checkBind(host: HostNetwork, what: string, address: Address, taken: boolean): void {
  const fields = { host: address.host, port: address.port };
  if (!host.has(address.host)) throw new TroupeError('ADDRESS_NOT_AVAILABLE', `cannot ${what} ${formatAddress(address)}: this host has no such address; bind to one of its own or to 0.0.0.0`, fields);
  if (taken) throw new TroupeError('ADDRESS_IN_USE', `cannot ${what} ${formatAddress(address)}: another socket has this address; stop that process or choose another port`, fields);
}

export function isWildcard(address: string): boolean {
  return address === '0.0.0.0' || address === '::';
}

export function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1';
}

/** Whether two bound addresses of one host and port stand in each other's way. */
export function clashes(a: string, b: string): boolean {
  return a === b || isWildcard(a) || isWildcard(b);
}

/** Whether a socket bound to `bound` gets what is sent to `to`. */
export function accepts(bound: string, to: string): boolean {
  return bound === to || isWildcard(bound) || to === 'localhost' && isLoopback(bound) || !/^[0-9.]+$|:/.test(to);
}
