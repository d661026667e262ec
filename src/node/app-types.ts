import type { Log } from '../ports/log.ts';
import type { Keyspace } from './node-types.ts';

/** `local`: started again on the same node after it had failed there. */
export type AppStartType = 'normal' | 'failover' | 'takeover' | 'local';

/** What an app sees of its node. */
export interface AppNode {
  readonly name: string;
  /** The app's `config` from the configuration file. */
  readonly config: unknown;
  /** A keyspace that answers only while this instance holds the app: later calls reject with LEASE_LOST. */
  keyspace(name: string): Keyspace;
}

/** @typeParam Handover what this app's `stop` returns */
export interface AppContext<Handover = unknown> {
  readonly type: AppStartType;
  /** The node it comes from; undefined for a normal start. */
  readonly from: string | undefined;
  /** The fencing token: grows with every start anywhere. Give it to whatever must refuse an older instance. */
  readonly epoch: number;
  /** What the old instance's `stop` returned; undefined when it died, or returned nothing. */
  readonly handover: Handover | undefined;
  readonly node: AppNode;
  /** Aborts when this instance must not act any more: at a stop, and at once when the node loses its session. */
  readonly signal: AbortSignal;
  readonly log: Log;
}

export interface AppInstance<Handover = unknown> {
  /** Ends the instance; what it returns is handed over to the next one (anything msgpack can carry, at most 16 MiB). */
  stop?(): Handover | void | Promise<Handover | void>;
  /** If given: settles when the instance has ended by itself, which counts as a failure. */
  readonly done?: Promise<unknown>;
}

export interface AppDefinition<Handover = unknown> {
  start(context: AppContext<Handover>): Promise<AppInstance<Handover> | void> | AppInstance<Handover> | void;
}

/** Declares an app; use it for the default export of an app's module. In TypeScript: `defineApp<{ count: number }>({ … })`, if that is what `stop` returns. */
export function defineApp<Handover = unknown>(definition: AppDefinition<Handover>): AppDefinition<Handover> {
  return definition;
}
