/**
 * Whole clusters that know nobody at their start and form through discovery alone, while the source fails, lies and is
 * away, wires are cut, and nodes die and come back. `npx vitest run test/sim/discovery.test.ts` plays some seeds of it.
 */
import { completeOptions } from '../discovery/strategy.ts';
import type { DiscoveryPorts } from '../discovery/strategy.ts';
import { strategies } from '../discovery/strategies.ts';
import { Topologies } from '../discovery/topologies.ts';
import type { TopologyHooks, TopologyOptions } from '../discovery/topology-types.ts';
import type { Node } from '../node/node-types.ts';
import { poolHooks } from '../node/pool-hooks.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import { SimCluster } from './sim-cluster.ts';
import type { SimProcess } from './sim-host.ts';
import { SimMulticast } from './sim-multicast.ts';
import { registryModes, SimRegistry } from './sim-registry.ts';
import type { RegistryMode } from './sim-registry.ts';
import { SimWorld } from './sim-world.ts';
import { Trace } from './trace.ts';

export interface DiscoveryRunOptions {
  readonly seed: number;
  /** A registry that all ask; heartbeats by multicast; or both. Default by the seed. */
  readonly way?: 'registry' | 'gossip' | 'both';
  /** Default 3 to 5, by the seed. */
  readonly nodes?: number;
  /** How long faults happen (s); default 40. */
  readonly safetySeconds?: number;
  /** Called with each line of the run. */
  readonly onLine?: (line: string) => void;
  /** Plants an error, to show that it is found. */
  readonly spoil?: (hooks: TopologyHooks, registry: SimRegistry) => TopologyHooks;
}

export interface DiscoveryRunResult {
  readonly way: 'registry' | 'gossip' | 'both';
  readonly nodes: number;
  /** What is wrong; empty when all is well. */
  readonly findings: readonly string[];
  /** From the healing of all until every node had a session and every partition that is not lost its copies (ms of simulated time). */
  readonly convergedMs: number;
  /** Equal seeds, equal digests. */
  readonly digest: string;
}

/** Where all copies of a partition died, its loss waits for an operator's word: that is not discovery's part. */
function isWhole(node: Node): boolean {
  const { sessionLive, partitions } = node.status();
  return sessionLive && partitions.total > 0 && partitions.underReplicated === 0 && partitions.withoutPrimary === partitions.lost;
}

/** After all is healed: everybody knows everybody within this, all partitions are whole within the second (ms). */
const membersLimitMs = 30_000;
const healthLimitMs = 90_000;

export async function runDiscovery(options: DiscoveryRunOptions): Promise<DiscoveryRunResult> {
  return await new DiscoveryRun(options).play();
}

class DiscoveryRun {
  readonly #options: DiscoveryRunOptions;
  readonly #world: SimWorld;
  readonly #registry: SimRegistry;
  readonly #multicast: SimMulticast;
  readonly #cluster: SimCluster;
  readonly #trace: Trace;
  readonly #findings: string[] = [];
  readonly #way: DiscoveryRunResult['way'];
  /** When each node last had a reason to be taken for dead: killed, down, cut off, just started. */
  readonly #blamedAt = new Map<string, number>();

  constructor(options: DiscoveryRunOptions) {
    this.#options = options;
    this.#world = new SimWorld({ seed: options.seed });
    const { random, scheduler } = this.#world;
    this.#trace = new Trace(() => scheduler.now, options.onLine);
    this.#way = options.way ?? (['registry', 'gossip', 'both'] as const)[random.below(3)] ?? 'both';
    this.#registry = new SimRegistry(random.fork());
    this.#multicast = new SimMulticast(this.#world);
    this.#cluster = new SimCluster(this.#world, {
      nodes: options.nodes ?? 3 + random.below(3),
      // Nobody is told of anybody.
      adjust: (node) => ({ ...node, join: [], gossip: { ...node.gossip, profile: 'local' } }),
      onNode: (name, node, process) => this.#discover(name, node, process),
    });
  }

  async play(): Promise<DiscoveryRunResult> {
    const cluster = this.#cluster;
    this.#registry.hosts = cluster.names.map((name) => this.#address(name));
    this.#setMode(this.#world.random.chance(0.5) ? 'well' : this.#anyMode());
    for (const name of cluster.names) {
      this.#blame(name);
      cluster.start(name);
      await cluster.runFor(this.#world.random.float() * 2000);
    }
    const end = this.#world.scheduler.now + (this.#options.safetySeconds ?? 40) * 1000;
    while (this.#world.scheduler.now < end) {
      this.#happen();
      await cluster.runFor(300 + this.#world.random.float() * 3000);
    }
    return await this.#settle();
  }

  #address(name: string): Address {
    return { host: this.#cluster.host(name).address, port: 7946 };
  }

  #discover(name: string, node: Node, process: SimProcess): void {
    const unused = (): never => {
      throw new Error('no part of this simulation');
    };
    const ports: DiscoveryPorts = {
      clock: process.clock, random: process.random, log: process.log, processes: process.processes, datagrams: this.#multicast.datagramsOf(process),
      cipher: { seal: unused, open: unused }, http: { request: unused },
      dns: { lookup: async (host) => [host], addresses: unused, services: unused },
      files: { read: unused, revision: unused, list: unused, write: unused, remove: unused, makePrivate: unused },
      processTable: { pid: 1, identity: unused },
      self: { name, address: node.addresses.gossip, keys: [], runtimeDirectory: '/simulated' },
    };
    const pool = poolHooks(node.gossip);
    const hooks: TopologyHooks = { ...pool, disconnect: (address) => this.#disconnected(name, address) };
    const topologies = new Topologies(this.#topologies(), ports, this.#options.spoil?.(hooks, this.#registry) ?? hooks);
    topologies.onEvent((event) => this.#trace.add(`${name} ${event.topology} ${event.type} ${'address' in event ? formatAddress(event.address) : ''}`));
    node.gossip.onEvent((event) => {
      if (!('member' in event)) return;
      this.#trace.add(`${name} sees ${event.type} ${event.member.name}`);
      if (event.type === 'member-leave' || event.type === 'member-failed') this.#lost(name, event.member.name, event.type);
    });
  }

  #topologies(): TopologyOptions[] {
    const of = (name: string, written: Record<string, unknown>, strategy = strategies.get('gossip')): TopologyOptions => {
      if (strategy === undefined) throw new Error('no strategy gossip');
      return { name, strategy, options: completeOptions(strategy, written), retryMaxMs: 2000 };
    };
    return [
      ...(this.#way === 'gossip' ? [] : [of('list', { pollMs: 1000 }, this.#registry.strategy())]),
      ...(this.#way === 'registry' ? [] : [of('air', { heartbeatMinMs: 500, heartbeatMaxMs: 1500 })]),
    ];
  }

  /** A hook was told to let go of somebody: only an answer that left it out, or its own silence, may be why. */
  #disconnected(by: string, address: Address): void {
    const name = this.#cluster.names.find((each) => this.#cluster.host(each).address === address.host);
    this.#trace.add(`${by} lets go of ${formatAddress(address)}`);
    if (name === undefined || this.#registry.leftOut.has(formatAddress(address)) || this.#isBlamed(name) || this.#isBlamed(by)) return;
    this.#findings.push(`${by} let go of ${name}, which no answer has left out and which lives`);
  }

  /** Failure detection says so; discovery must not have been the reason. */
  #lost(by: string, name: string, how: string): void {
    if (this.#isBlamed(name) || this.#isBlamed(by)) return;
    this.#findings.push(`${by} lost ${name} (${how}) although nothing but its source of discovery was wrong`);
  }

  #blame(name: string): void {
    this.#blamedAt.set(name, this.#world.scheduler.now);
  }

  #isBlamed(name: string): boolean {
    if (this.#cluster.process(name) === undefined || this.#cutOff.has(name)) return true;
    return this.#world.scheduler.now - (this.#blamedAt.get(name) ?? -Infinity) < 30_000;
  }

  readonly #cutOff = new Set<string>();

  // ── What happens ──

  #anyMode(): RegistryMode {
    return registryModes[this.#world.random.below(registryModes.length)] ?? 'well';
  }

  #setMode(mode: RegistryMode): void {
    this.#trace.add(`the registry: ${mode}`);
    this.#registry.before = this.#registry.hosts.filter(() => this.#world.random.chance(0.7));
    this.#registry.mode = mode;
  }

  #happen(): void {
    const { random } = this.#world;
    const name = this.#cluster.names[random.below(this.#cluster.names.length)] as string;
    const draw = random.float();
    if (draw < 0.45) this.#setMode(this.#anyMode());
    else if (draw < 0.6) this.#kill(name, random.chance(0.5));
    else if (draw < 0.75) this.#revive();
    else if (draw < 0.9) this.#cut(name);
    else this.#mend();
  }

  #kill(name: string, withHost: boolean): void {
    if (this.#cluster.process(name) === undefined) return;
    this.#trace.add(`${name} ${withHost ? 'crashes' : 'is killed'}`);
    this.#blame(name);
    if (withHost) this.#cluster.crash(name);
    else this.#cluster.kill(name);
  }

  #revive(): void {
    for (const name of this.#cluster.names) {
      if (this.#cluster.process(name) !== undefined) continue;
      this.#trace.add(`${name} comes back`);
      this.#blame(name);
      this.#cluster.restart(name);
    }
  }

  #cut(name: string): void {
    this.#trace.add(`${name} is cut off`);
    this.#cutOff.add(name);
    this.#world.network.partition([name], this.#cluster.names.filter((other) => other !== name));
  }

  #mend(): void {
    this.#trace.add('the wires are mended');
    // What each side has come to believe of the other travels to all once they meet.
    if (this.#cutOff.size > 0) for (const name of this.#cluster.names) this.#blame(name);
    this.#cutOff.clear();
    this.#world.network.heal();
  }

  /** Everything is mended: now all must come together. */
  async #settle(): Promise<DiscoveryRunResult> {
    const cluster = this.#cluster;
    this.#mend();
    this.#revive();
    this.#setMode('well');
    const from = this.#world.scheduler.now;
    const complete = (): boolean => cluster.names.every((name) => cluster.node(name)?.gossip.members().filter((member) => member.status === 'alive').length === cluster.names.length);
    if (!(await cluster.until(complete, membersLimitMs))) this.#findings.push(`${membersLimitMs} ms after all was mended not everybody knows everybody: ${cluster.names.map((name) => `${name} sees ${cluster.node(name)?.gossip.members().filter((member) => member.status === 'alive').length ?? 'nothing'}`).join(', ')}`);
    else if (!(await cluster.until(() => cluster.nodes().every(isWhole), healthLimitMs))) this.#findings.push(`${healthLimitMs} ms after all was mended the cluster is not whole: ${cluster.nodes().map((node) => `${node.name}: ${node.status().attention.join(', ')}`).join('; ')}`);
    for (const { node, error } of cluster.errors) this.#findings.push(`${node}: ${String(error)}`);
    return { way: this.#way, nodes: cluster.names.length, findings: this.#findings, convergedMs: Math.round(this.#world.scheduler.now - from), digest: this.#trace.digest };
  }
}
