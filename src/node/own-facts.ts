/** What a node tells the others of itself: what it wants, the tags that gossip carries, and its registration with the leader. */
import type { AppSpec } from '../core/control/map.ts';
import type { Address } from '../ports/address.ts';
import { appDigest } from './apps-runner.ts';
import type { Consensus } from './consensus.ts';
import type { Gossip } from './gossip.ts';
import type { OwnIdentity } from './identity.ts';
import type { NodeWishes } from './leader.ts';
import type { NodeOptions } from './node-types.ts';
import type { Registration } from './registration.ts';
import { tagsOf, userTagsOf } from './troupe-tags.ts';

/** What this node's configuration wants the cluster to have, in the map's terms: with all defaults filled in. */
export function wishesOf(options: Pick<NodeOptions, 'apps' | 'keyspaces'>): NodeWishes {
  const apps: AppSpec[] = options.apps.map((app) => ({
    name: app.name, tiers: app.nodes.map((tier) => (typeof tier === 'string' ? [tier] : [...tier])), failoverTimeoutMs: app.failoverTimeoutMs ?? 0, takeover: app.takeover ?? 'automatic',
    stopTimeoutMs: app.stopTimeoutMs ?? 10_000, startTimeoutMs: app.startTimeoutMs ?? 30_000,
  }));
  return { keyspaces: options.keyspaces, apps };
}

export interface OwnFactsSurroundings {
  readonly instance: string;
  /** Undefined until it has opened. */
  readonly identity: OwnIdentity | undefined;
  readonly consensus: Consensus | undefined;
  readonly gossip: Gossip | undefined;
}

export class OwnFacts {
  /** Where peers connect to; known once the node listens. */
  peerAddress: Address = { host: '', port: 0 };
  readonly #options: NodeOptions;
  readonly #around: OwnFactsSurroundings;

  constructor(options: NodeOptions, around: OwnFactsSurroundings) {
    this.#options = options;
    this.#around = around;
  }

  /** Empty while it belongs to none. */
  get clusterId(): string {
    const fromMap = this.#around.consensus?.map.clusterId ?? '';
    return fromMap === '' ? (this.#around.identity?.clusterId ?? '') : fromMap;
  }

  /** The user's tags, as they have been set since the start, and the node's own. */
  tags(): Record<string, string> {
    const { gossip, instance } = this.#around;
    const { clusterId } = this;
    return {
      ...(gossip === undefined ? this.#options.tags : userTagsOf(gossip.local.tags)),
      ...tagsOf({ peerPort: this.peerAddress.port, instance, cluster: clusterId, expect: clusterId === '' ? this.#options.bootstrapExpect : 0 }),
    };
  }

  /** @param resumes the session that this process had last, or 0 */
  registration(consensus: Consensus, gossip: Gossip, resumes: number): Registration {
    const { name, zone, voter, storage, version, apps } = this.#options;
    const { address } = gossip.local;
    return {
      name, raftId: consensus.raft.id, instance: this.#around.instance, peer: { host: address.host, port: this.peerAddress.port }, gossip: address,
      zone, eligible: voter, storage, version, clusterId: this.clusterId, resumes,
      offers: Object.fromEntries(apps.map((app) => [app.name, appDigest(app)])), ...wishesOf(this.#options),
    };
  }
}
