/** Troupe as a library: a member of the cluster inside your own process. */
import { resolve } from 'node:path';
import { startOnHost } from './agent/host-node.ts';
import { createLog } from './host/log.ts';
import { packageVersion } from './host/package-version.ts';
import { hostName } from './host/system.ts';
import { readConfig } from './node/config.ts';
import type { ConfigInput } from './node/config.ts';
import type { TopologyEvent, TopologyView } from './discovery/topology-types.ts';
import type { Node } from './node/node-types.ts';
import type { Log } from './ports/log.ts';

export { TroupeError } from './base/errors.ts';
export { defineApp } from './node/app-types.ts';
export type { AppContext, AppDefinition, AppInstance, AppNode, AppStartType } from './node/app-types.ts';
export { watchLiveNodes } from './agent/watch-live-nodes.ts';
export type { ExpectedNode, WatchLiveNodesOptions } from './agent/watch-live-nodes.ts';
export type { HeldOut, LiveNode, LiveNodesDocument } from './node/live-nodes.ts';
export type { ConfigApp, ConfigKeyspace } from './node/config-shape.ts';
export { defineStrategy } from './discovery/strategy.ts';
export type { Contradiction, DiscoveryPorts, Self, Sink, Source, Strategy, StrategyDefinition } from './discovery/strategy.ts';
export { startPolling } from './discovery/polling.ts';
export type { Look, PollingOptions } from './discovery/polling.ts';
export * as strategyOption from './discovery/options.ts';
export type { OptionKind, OptionRule, OptionRules } from './discovery/options.ts';
export type { ConnectContext, DiscoveryHooks, HookContext, WrittenHooks } from './discovery/hooks.ts';
export type { TopologyCounters, TopologyEvent as DiscoveryEvent, TopologyView } from './discovery/topology-types.ts';
export type { DiscoveryInput, TopologyInput } from './node/config-discovery.ts';
export type { ConfigInput } from './node/config.ts';
export type { Gossip, GossipEvent, Member, MemberStatus } from './node/gossip-types.ts';
export type { AppView, Keyspace, Node, NodeStatus, NodeView, PartitionView, StoreEntry, WriteOptions } from './node/node-types.ts';
export type { NodeProcesses, ProcessDraft, ProcessView } from './node/ps.ts';
export type { Address } from './ports/address.ts';
export type { Log, LogLevel } from './ports/log.ts';

export interface CreateNodeOptions {
  /** Default: JSON lines on stderr (pretty on a terminal) of at least the level `log.level`, by default `warn`. */
  readonly log?: Log;
  /** Relative paths of the configuration count from here, and packages are looked up from here. Default: the working directory. */
  readonly directory?: string;
  /** Told of all that discovery does, from its first word on: hosts found and lost, connected and disconnected, outages. Must not throw. */
  readonly onDiscovery?: (event: TopologyEvent) => void;
}

/** What finds other nodes (the section `discovery` of the configuration). */
export interface NodeDiscovery {
  /** Each topology with its hosts, what its source says, and counts of what it has done. */
  topologies(): readonly TopologyView[];
  /** Listeners are called synchronously, in order, and must not throw. Returns the way to stop. */
  onEvent(listener: (event: TopologyEvent) => void): () => void;
}

/** A member of the cluster in this process. */
export interface LocalNode extends Node {
  readonly discovery: NodeDiscovery;
}

/**
 * Makes this process a member of the cluster. The configuration is the same as in a config file (docs/config.md), with one
 * difference: HTTP is served only if `http` is given, and Serf's RPC only if `rpc` is. Resolves once the node has its sockets and its data, and
 * with `discovery.waitJoinedMs` once it has found others or that time is up; `node.ready()` resolves once it belongs to a cluster. End it with `node.leave()` (hands over) or `node.close()`.
 *
 * @throws TroupeError BAD_CONFIG with every mistake, ADDRESS_IN_USE and its like, DATA_LOCKED and its like, NOT_JOINED
 */
export async function createNode(config: ConfigInput, options: CreateNodeOptions = {}): Promise<LocalNode> {
  const directory = resolve(options.directory ?? '.');
  const read = readConfig({
    object: { http: false, rpc: false, ...config },
    defaultName: hostName(),
    version: packageVersion(),
    resolvePath: (path) => resolve(directory, path),
  });
  const log = options.log ?? createLog({ level: config.log?.level ?? 'warn' });
  const host = await startOnHost(read, log, directory, options.onDiscovery);
  // Whoever ends the node need not know what lies around it.
  void host.node.stopped.then(() => host.release());
  try {
    await host.lookAround();
  } catch (error) {
    await host.node.close();
    await host.release();
    throw error;
  }
  const { discovery } = host;
  return Object.assign(host.node, { discovery: { topologies: () => discovery.views(), onEvent: (listener: (event: TopologyEvent) => void) => discovery.onEvent(listener) } });
}
