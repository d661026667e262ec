import type { TopologyView } from '../discovery/topology-types.ts';
import type { HttpBackend } from '../frontends/http/backend.ts';
import type { Node } from '../node/node-types.ts';

export interface BackendOptions {
  readonly version: string;
  /** The node belongs to no cluster on purpose. */
  readonly standsAlone: boolean;
  readonly discovery: () => readonly TopologyView[];
}

/** The node as the HTTP API wants it. */
export function backendOf(node: Node, options: BackendOptions): HttpBackend {
  return {
    name: node.name,
    version: options.version,
    isReady: () => options.standsAlone || node.status().sessionLive,
    members: () => node.gossip.members(),
    join: (addresses) => node.gossip.join(addresses),
    leave: () => node.leave(),
    async forceLeave(name, prune) {
      node.gossip.forceLeave(name, prune);
      if (prune && node.map.nodes[name] !== undefined) await node.forgetNode(name);
    },
    status: () => node.status(),
    partitions: () => node.partitions(),
    ps: (name) => node.ps(name),
    discovery: options.discovery,
    app: (name, action) => node.app(name, action),
    drainNode: (name, on) => node.drainNode(name, on),
    forgetNode: (name) => node.forgetNode(name),
    maintenance: (on) => node.maintenance(on),
    acceptLoss: (keyspace, partitions) => node.acceptLoss(keyspace, partitions),
    transferLeadership: (to) => node.transferLeadership(to),
    keyspace: (name) => node.keyspace(name),
  };
}
