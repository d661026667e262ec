/** Troupe as a library: a member of the cluster inside your own process. */
import { resolve } from 'node:path';
import { startOnHost } from './agent/host-node.ts';
import { createLog } from './host/log.ts';
import { packageVersion } from './host/package-version.ts';
import { hostName } from './host/system.ts';
import { readConfig } from './node/config.ts';
import type { ConfigInput } from './node/config.ts';
import type { Node } from './node/node-types.ts';
import type { Log } from './ports/log.ts';

export { TroupeError } from './base/errors.ts';
export { defineApp } from './node/app-types.ts';
export type { AppContext, AppDefinition, AppInstance, AppNode, AppStartType } from './node/app-types.ts';
export { watchLiveNodes } from './agent/watch-live-nodes.ts';
export type { ExpectedNode, WatchLiveNodesOptions } from './agent/watch-live-nodes.ts';
export type { LiveNode, LiveNodesDocument } from './node/live-nodes.ts';
export type { ConfigApp, ConfigKeyspace } from './node/config-shape.ts';
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
}

/**
 * Makes this process a member of the cluster. The configuration is the same as in a config file (docs/config.md), with one
 * difference: HTTP is served only if `http` is given, and Serf's RPC only if `rpc` is. Resolves once the node has its sockets and its data; `node.ready()`
 * resolves once it belongs to a cluster. End it with `node.leave()` (hands over) or `node.close()`.
 *
 * @throws TroupeError BAD_CONFIG with every mistake, ADDRESS_IN_USE and its like, DATA_LOCKED and its like
 */
export async function createNode(config: ConfigInput, options: CreateNodeOptions = {}): Promise<Node> {
  const directory = resolve(options.directory ?? '.');
  const read = readConfig({
    object: { http: false, rpc: false, ...config },
    defaultName: hostName(),
    version: packageVersion(),
    resolvePath: (path) => resolve(directory, path),
  });
  const log = options.log ?? createLog({ level: config.log?.level ?? 'warn' });
  const host = await startOnHost(read, log, directory);
  // Whoever ends the node need not know what lies around it.
  void host.node.stopped.then(() => host.release());
  await host.lookAround();
  return host.node;
}
