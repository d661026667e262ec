import { TroupeError } from '../base/errors.ts';
import type { AppAction } from '../core/control/commands.ts';
import type { ClusterMap } from '../core/control/map.ts';
import type { StoreRouter } from '../core/store/request.ts';
import type { Address } from '../ports/address.ts';
import { Assembly } from './assembly.ts';
import type { Gossip } from './gossip.ts';
import type { NodeParts, OpenNode } from './node-parts.ts';
import type { Keyspace, Node, NodeOptions, NodePorts, NodeStatus, PartitionView } from './node-types.ts';
import type { NodeProcesses, ProcessDraft } from './ps.ts';
import { isGoodName } from './registration.ts';
import { buildStatus, partitionViews } from './status.ts';

/**
 * Starts a member of the cluster.
 * Rejects with a TroupeError: BAD_NAME, ADDRESS_IN_USE and its like, DATA_OF_OTHER_NODE, DATA_NEWER, DATA_UNREADABLE,
 * DISK_…, or what gossip says about its options. Nothing is left open then.
 */
export async function createNode(options: NodeOptions, ports: NodePorts): Promise<Node> {
  if (!isGoodName(options.name)) throw new TroupeError('BAD_NAME', `cannot call a node '${String(options.name)}': a name has 1 to 64 letters, digits, '.', '_' or '-', and begins with a letter or digit`, { name: options.name });
  const assembly = new Assembly(options, ports);
  try {
    return new OwnNode(options, ports, await assembly.open());
  } catch (error) {
    await assembly.stopping.close();
    throw error;
  }
}

/** What programs see of their node: each question goes to the part that knows. */
class OwnNode implements Node {
  readonly name: string;
  readonly stopped: Promise<Error | undefined>;
  readonly #options: NodeOptions;
  readonly #ports: NodePorts;
  readonly #parts: OpenNode;

  constructor(options: NodeOptions, ports: NodePorts, parts: OpenNode) {
    this.name = options.name;
    this.stopped = parts.stopping.stopped;
    this.#options = options;
    this.#ports = ports;
    this.#parts = parts;
  }

  get addresses(): { gossip: Address; peer: Address; memcached: Address | undefined } {
    const { gossip, peerAddress, memcached } = this.#parts;
    return { gossip: gossip.address, peer: peerAddress, memcached: memcached?.address };
  }

  get gossip(): Gossip {
    return this.#parts.gossip;
  }

  get map(): ClusterMap {
    return this.#parts.consensus.map;
  }

  onMap(listener: (map: ClusterMap) => void): () => void {
    const { mapListeners } = this.#parts;
    mapListeners.add(listener);
    return () => mapListeners.delete(listener);
  }

  status(): NodeStatus {
    const { consensus, session, bootstrap } = this.#parts;
    return buildStatus({
      name: this.name, version: this.#options.version, map: consensus.map, sessionLive: session.hasRights(this.#ports.clock.now()),
      leader: consensus.leaderName, term: consensus.raft.term, voters: consensus.raft.configuration.voters, waitsFor: () => bootstrap.waitsFor(),
    });
  }

  partitions(): PartitionView[] {
    return partitionViews(this.map);
  }

  async ps(name: string = this.name): Promise<NodeProcesses> {
    return await this.#parts.processes.of(name);
  }

  showInPs(source: () => readonly ProcessDraft[]): () => void {
    return this.#parts.processes.add(source);
  }

  keyspace(name: string): Keyspace {
    return this.#parts.keyspaces.client(name);
  }

  router(keyspace: string): StoreRouter {
    return this.#parts.keyspaces.router(keyspace);
  }

  async app(name: string, action: AppAction | { readonly type: 'move'; readonly to: string }): Promise<void> {
    await this.#parts.commands.app(name, action);
  }

  async drainNode(name: string, on: boolean): Promise<void> {
    await this.#parts.commands.submit({ type: 'drain', name, on });
  }

  async forgetNode(name: string): Promise<void> {
    const instance = this.#parts.consensus.map.nodes[name]?.instance;
    await this.#parts.commands.submit({ type: 'forget-node', name, ...(instance === undefined ? {} : { instance }) });
  }

  async maintenance(on: boolean): Promise<void> {
    await this.#parts.commands.submit({ type: 'maintenance', on });
  }

  async acceptLoss(keyspace: string, partitions?: readonly number[]): Promise<number> {
    return await this.#parts.commands.acceptLoss(keyspace, partitions);
  }

  async transferLeadership(to?: string): Promise<void> {
    await this.#parts.commands.transferLeadership(to);
  }

  ready(signal?: AbortSignal): Promise<void> {
    return this.#parts.readiness.wait(signal);
  }

  leave(): Promise<void> {
    return this.#parts.stopping.leave();
  }

  close(): Promise<void> {
    return this.#parts.stopping.close();
  }

  /** For the simulator's checkers. */
  inspect(): NodeParts {
    const { instance, consensus, session, store, requests, stopping } = this.#parts;
    return { instance, consensus, session, store, requests, closed: stopping.hasBegun };
  }
}
