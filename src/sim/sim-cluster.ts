import { defaultTiming } from '../core/control/map.ts';
import type { KeyspaceOptions } from '../core/control/map.ts';
import { createNode } from '../node/create-node.ts';
import type { AppConfig, LastNodeRule, Node, NodeOptions, NodePorts } from '../node/node-types.ts';
import type { LogLine } from '../ports/log.ts';
import type { SimHost, SimProcess } from './sim-host.ts';
import type { SimPrograms } from './sim-processes.ts';
import type { SimWorld } from './sim-world.ts';

/** What a node may be beside a router and a place for apps. */
export interface NodeRole {
  readonly voter: boolean;
  readonly storage: boolean;
}

export interface SimClusterOptions {
  readonly nodes: number;
  readonly keyspace?: Partial<KeyspaceOptions>;
  /** Instead of that one. */
  readonly keyspaces?: Readonly<Record<string, KeyspaceOptions>> | undefined;
  /** The zone of node i; default none. */
  readonly zone?: (index: number) => string;
  /** What node i may be; default everything. */
  readonly role?: (index: number) => NodeRole | undefined;
  readonly apps?: readonly AppConfig[];
  /** What `import` of an app's module gives, on the node of this name. */
  readonly loadModule?: (specifier: string, node: string) => Promise<unknown>;
  /** Waits for as long as that takes before a command starts, on the node of this name. */
  readonly prepareFiles?: (node: string) => Promise<void>;
  /** The programs that apps' commands name, on the node of this name. */
  readonly programs?: (node: string) => SimPrograms;
  readonly lastNode?: LastNodeRule;
  readonly healAfterMs?: number;
  readonly onLog?: (node: string, line: LogLine) => void;
  /** Clock drift of node i; default none. */
  readonly drift?: (index: number) => number;
  /** Timers of every node fire up to this much late (ms); default 0. */
  readonly lateMaxMs?: number;
  /** A node has come up. */
  readonly onNode?: (name: string, node: Node, process: SimProcess) => void;
  /** A node could not come up. Without it the error counts as escaped. */
  readonly onFailedStart?: (name: string, error: unknown, process: SimProcess) => void;
  /** The last word on a node's options. */
  readonly adjust?: (options: NodeOptions) => NodeOptions;
  /** And on its ports. */
  readonly adjustPorts?: (ports: NodePorts) => NodePorts;
}

export const simKeyspace: KeyspaceOptions = { partitions: 8, replicas: 3, acks: 'all', engine: 'memory', maxMemoryBytes: 8 << 20, eviction: 'lru', minInSync: 1 };

/** No secrets travel in a simulated world. */
const noCipher: NodePorts['cipher'] = { seal: (_key, plaintext) => plaintext, open: (_key, sealed) => sealed };

/** A whole cluster of the shipped node code, each node a process on a host of its own. */
export class SimCluster {
  readonly world: SimWorld;
  readonly options: SimClusterOptions;
  readonly names: readonly string[];
  readonly #hosts = new Map<string, SimHost>();
  readonly #processes = new Map<string, SimProcess>();
  readonly #nodes = new Map<string, Node>();
  /** What the configuration of a node that starts from now on says of apps. */
  apps: readonly AppConfig[];
  /** Errors that escaped from a node: each is a violation. */
  readonly errors: { node: string; error: unknown }[] = [];

  constructor(world: SimWorld, options: SimClusterOptions) {
    this.world = world;
    this.options = options;
    this.apps = options.apps ?? [];
    this.names = Array.from({ length: options.nodes }, (_, index) => `n${index + 1}`);
    for (const name of this.names) this.#hosts.set(name, world.addHost(name));
  }

  host(name: string): SimHost {
    return this.#hosts.get(name) as SimHost;
  }

  process(name: string): SimProcess | undefined {
    const process = this.#processes.get(name);
    return process?.alive === true ? process : undefined;
  }

  zoneOf(name: string): string {
    return this.options.zone?.(this.names.indexOf(name)) ?? '';
  }

  roleOf(name: string): NodeRole {
    return this.options.role?.(this.names.indexOf(name)) ?? { voter: true, storage: true };
  }

  /** The running node, if its process lives and it has come up. */
  node(name: string): Node | undefined {
    return this.process(name) === undefined ? undefined : this.#nodes.get(name);
  }

  nodes(): Node[] {
    return this.names.map((name) => this.node(name)).filter((node) => node !== undefined);
  }

  startAll(): void {
    for (const name of this.names) this.start(name);
  }

  start(name: string): void {
    if (this.process(name) !== undefined) return;
    const host = this.host(name);
    const index = this.names.indexOf(name);
    const { onLog } = this.options;
    const process = host.start(name, { directory: 'node', clock: { drift: this.options.drift?.(index) ?? 0, lateMaxMs: this.options.lateMaxMs ?? 0 }, programs: this.options.programs?.(name) ?? new Map(), ...(onLog === undefined ? {} : { onLog: (line: LogLine) => onLog(name, line) }) });
    this.#processes.set(name, process);
    this.#nodes.delete(name);
    const ports = this.#ports(process, name);
    createNode(this.options.adjust?.(this.nodeOptions(name)) ?? this.nodeOptions(name), this.options.adjustPorts?.(ports) ?? ports).then(
      (node) => {
        if (this.#processes.get(name) !== process) return;
        this.#nodes.set(name, node);
        if (process.alive) this.options.onNode?.(name, node, process);
      },
      (error: unknown) => {
        if (!process.alive) return;
        if (this.options.onFailedStart === undefined) this.errors.push({ node: name, error });
        else this.options.onFailedStart(name, error, process);
      },
    );
  }

  nodeOptions(name: string): NodeOptions {
    const join = this.names.filter((other) => other !== name).map((other) => ({ host: this.host(other).address, port: 7946 }));
    return {
      name, gossip: { bind: { host: this.host(name).address, port: 7946 }, profile: 'lan' }, tags: {}, zone: this.zoneOf(name), ...this.roleOf(name),
      bootstrapExpect: this.names.length, lastNode: this.options.lastNode ?? 'never', timing: defaultTiming, keyspaces: this.options.keyspaces ?? { default: { ...simKeyspace, ...this.options.keyspace } },
      apps: this.apps, join, version: 'sim', ...(this.options.healAfterMs === undefined ? {} : { healAfterMs: this.options.healAfterMs }),
    };
  }

  #ports(process: SimProcess, name: string): NodePorts {
    const { clock, random, datagrams, streams, disk, processes, log } = process;
    return {
      clock, random, datagrams, streams, peerStreams: streams, disk, processes, log, cipher: noCipher,
      loadModule: async (specifier) => {
        if (this.options.loadModule === undefined) throw new Error(`no module '${specifier}' in this simulation`);
        return await this.options.loadModule(specifier, name);
      },
      files: {
        prepare: async (app) => {
          await this.options.prepareFiles?.(name);
          return `/simulated/${app}`;
        },
        collect: async () => undefined,
      },
    };
  }

  kill(name: string): void {
    this.process(name)?.kill();
  }

  /** Power loss of the host: unsynced writes are lost. */
  crash(name: string): void {
    this.host(name).crash();
  }

  restart(name: string): void {
    if (!this.host(name).up) this.host(name).boot();
    this.start(name);
  }

  async runFor(ms: number): Promise<void> {
    await this.world.scheduler.runFor(ms);
  }

  async until(condition: () => boolean, limitMs: number): Promise<boolean> {
    return await this.world.scheduler.runWhile(() => !condition(), limitMs);
  }

  /** Every living node has a session and sees every partition with all its copies in sync. */
  isHealthy(): boolean {
    const alive = this.names.filter((name) => this.process(name) !== undefined);
    return alive.length > 0 && alive.every((name) => {
      const status = this.node(name)?.status();
      return status !== undefined && status.sessionLive && status.partitions.total > 0 && status.partitions.underReplicated === 0 && status.partitions.withoutPrimary === 0;
    });
  }
}
