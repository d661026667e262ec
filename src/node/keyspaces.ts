import { TroupeError } from '../base/errors.ts';
import type { ClusterMap } from '../core/control/map.ts';
import type { StoreRouter } from '../core/store/request.ts';
import type { Clock } from '../ports/clock.ts';
import { KeyspaceClient } from './keyspace-client.ts';
import type { AppConfig, Keyspace } from './node-types.ts';
import type { ProcessBoard } from './ps.ts';
import { KeyspaceRouter } from './keyspace-router.ts';
import type { Requests } from './router.ts';
import { keyspaceStats } from './status.ts';
import type { StoreHost } from './store-host.ts';

export interface KeyspacesSurroundings {
  readonly self: string;
  readonly store: StoreHost;
  readonly requests: Requests;
  readonly processes: ProcessBoard;
  readonly clock: Clock;
  map(): ClusterMap;
  hasRights(now: number): boolean;
}

/** The keyspaces as programs, frontends and apps of this node take hold of them: one router each. */
export class Keyspaces {
  readonly #around: KeyspacesSurroundings;
  readonly #routers = new Map<string, KeyspaceRouter>();

  constructor(around: KeyspacesSurroundings) {
    this.#around = around;
  }

  router(name: string): StoreRouter {
    const { store, requests } = this.#around;
    let router = this.#routers.get(name);
    if (router === undefined) {
      const entry = (): ClusterMap['keyspaces'][string] | undefined => this.#around.map().keyspaces[name];
      router = new KeyspaceRouter(requests, name, entry, () => keyspaceStats(entry(), store, requests));
      this.#routers.set(name, router);
    }
    return router;
  }

  /** @param guard is asked before and after each call; it throws when the caller may not act */
  client(name: string, guard?: () => void): Keyspace {
    return new KeyspaceClient(name, this.router(name), () => Math.floor(this.#around.clock.wallTime() / 1000), guard);
  }

  /** What an app's instance sees of this node, as long as it is the current one. */
  forApp(config: AppConfig, isCurrent: () => boolean): { name: string; config: unknown; keyspace(name: string): Keyspace } {
    const { self, clock, processes } = this.#around;
    const guard = (): void => {
      if (isCurrent() && this.#around.hasRights(clock.now())) return;
      throw new TroupeError('LEASE_LOST', `this instance of app '${config.name}' does not hold the app any more`, { app: config.name });
    };
    return {
      name: self, config: config.config,
      keyspace: (name) => {
        processes.used(config.name, name);
        return this.client(name, guard);
      },
    };
  }
}
