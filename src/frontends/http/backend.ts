import type { AppAction } from '../../core/control/commands.ts';
import type { Address } from '../../ports/address.ts';

/**
 * What the HTTP API asks of the node behind it. A `Node` of src/node has nearly all of it; the agent adds the rest.
 * What is only passed on as JSON is typed no further than this room looks into it.
 */
export interface HttpBackend {
  readonly name: string;
  readonly version: string;
  /** The node has had a live session, or stands alone on purpose. */
  isReady(): boolean;
  members(): readonly HttpMember[];
  join(addresses: readonly Address[]): Promise<{ readonly joined: number; readonly errors: readonly { readonly address: Address; readonly code: string; readonly message: string }[] }>;
  /** Resolves when the node has left; the process ends soon after. */
  leave(): Promise<void>;
  forceLeave(name: string, prune: boolean): Promise<void>;
  status(): HttpStatus;
  partitions(): readonly HttpPartition[];
  /** What runs in a node; default: in this one. */
  ps(node?: string): Promise<{ readonly node: string; readonly processes: readonly { readonly name: string }[] }>;
  /** What each topology of discovery knows and has done. */
  discovery(): readonly { readonly name: string }[];
  app(name: string, action: AppAction | { readonly type: 'move'; readonly to: string }): Promise<void>;
  drainNode(name: string, on: boolean): Promise<void>;
  forgetNode(name: string): Promise<void>;
  maintenance(on: boolean): Promise<void>;
  acceptLoss(keyspace: string, partitions?: readonly number[]): Promise<number>;
  transferLeadership(to?: string): Promise<void>;
  keyspace(name: string): HttpKeyspace;
}

export interface HttpMember {
  readonly name: string;
  readonly address: Address;
  readonly tags: Readonly<Record<string, string>>;
  readonly status: string;
  readonly protocol: HttpProtocolRange;
  readonly delegate: HttpProtocolRange;
}

export interface HttpProtocolRange {
  readonly min: number;
  readonly max: number;
  readonly current: number;
}

export interface HttpStatus {
  readonly nodes: readonly { readonly name: string }[];
  readonly apps: readonly { readonly name: string }[];
  readonly leader: string | undefined;
  readonly term: number;
  readonly voters: readonly string[];
  readonly quorum: boolean;
  readonly sessionLive: boolean;
}

export interface HttpPartition {
  readonly keyspace: string;
}

export interface HttpEntry {
  readonly value: Uint8Array;
  readonly version: number;
  readonly expiresAt: number | undefined;
  readonly flags: number;
}

export interface HttpKeyspace {
  get(key: string): Promise<HttpEntry | undefined>;
  put(key: string, value: Uint8Array, options?: HttpWriteOptions): Promise<{ version: number }>;
  create(key: string, value: Uint8Array, options?: HttpWriteOptions): Promise<boolean>;
  update(key: string, value: Uint8Array, options?: HttpWriteOptions): Promise<boolean>;
  delete(key: string): Promise<boolean>;
  compareAndSet(key: string, value: Uint8Array, version: number, options?: HttpWriteOptions): Promise<'stored' | 'changed' | 'missing'>;
  increment(key: string, by?: number | bigint): Promise<bigint | undefined>;
}

export interface HttpWriteOptions {
  readonly ttlSeconds?: number;
  readonly flags?: number;
}
