import type { ClusterMap } from '../core/control/map.ts';
import type { MemcachedServer } from '../frontends/memcached/server.ts';
import type { Address } from '../ports/address.ts';
import type { Bootstrap } from './bootstrap.ts';
import type { Commands } from './commands.ts';
import type { Consensus } from './consensus.ts';
import type { Gossip } from './gossip.ts';
import type { Keyspaces } from './keyspaces.ts';
import type { ProcessBoard } from './ps.ts';
import type { Readiness } from './readiness.ts';
import type { Requests } from './router.ts';
import type { SessionClient } from './session-client.ts';
import type { Stopping } from './stopping.ts';
import type { StoreHost } from './store-host.ts';

/** The parts of a running node, for checkers that look inside: no API. */
export interface NodeParts {
  readonly instance: string;
  readonly consensus: Consensus;
  readonly session: SessionClient;
  readonly store: StoreHost;
  readonly requests: Requests;
  readonly closed: boolean;
}

/** What an assembled node's public side is made of. */
export interface OpenNode extends Omit<NodeParts, 'closed'> {
  readonly peerAddress: Address;
  readonly gossip: Gossip;
  readonly bootstrap: Bootstrap;
  readonly commands: Commands;
  readonly keyspaces: Keyspaces;
  readonly processes: ProcessBoard;
  readonly memcached: MemcachedServer | undefined;
  readonly readiness: Readiness;
  readonly stopping: Stopping;
  readonly mapListeners: Set<(map: ClusterMap) => void>;
}
