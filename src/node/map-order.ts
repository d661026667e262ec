import type { ClusterMap } from '../core/control/map.ts';
import type { AppsRunner } from './apps-runner.ts';
import type { Leadership } from './leadership.ts';
import type { Peers } from './peers.ts';
import type { Requests } from './router.ts';
import type { SessionClient } from './session-client.ts';
import type { StoreHost } from './store-host.ts';

/** Undefined until it has opened. */
export interface MapFollowers {
  readonly self: string;
  readonly peers: Peers | undefined;
  readonly session: SessionClient | undefined;
  readonly store: StoreHost | undefined;
  readonly apps: AppsRunner | undefined;
  readonly leadership: Leadership | undefined;
  readonly requests: Requests | undefined;
}

/** Tells a node's parts of a new map, in the order that DESIGN.md gives reasons for. */
export function tellOfMap(map: ClusterMap, to: MapFollowers): void {
  for (const node of Object.values(map.nodes)) if (node.live && node.name !== to.self) to.peers?.want(node.name, node.peer);
  to.session?.onMap(map);
  to.session?.applied();
  const current = to.session?.isCurrent === true;
  to.store?.onMap(map, current);
  to.apps?.onMap(map, current);
  to.leadership?.leader?.onMap();
  to.requests?.lookAgain();
  to.leadership?.noteLeader();
}
