import type { Address } from '../ports/address.ts';
import type { WrittenHooks } from './hooks.ts';
import type { Strategy } from './strategy.ts';

/** A named way to find other nodes. */
export interface TopologyOptions {
  readonly name: string;
  readonly strategy: Strategy;
  /** Complete: see `completeOptions`. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Longest time between two attempts to reach a host that is no live member (ms). */
  readonly retryMaxMs: number;
  /** Own ways to connect, disconnect and list; default: those of the gossip pool. */
  readonly hooks?: WrittenHooks | undefined;
}

/** What the topology works on: by default the gossip pool. */
export interface TopologyHooks {
  /** The gossip addresses of all live members, our own among them. */
  list(): readonly Address[];
  /** Says how it went; must end soon after the signal. */
  connect(address: Address, signal: AbortSignal): Promise<{ readonly ok: true } | { readonly ok: false; readonly reason: string }>;
  /**
   * The source gave a good answer that does not name this host any more. Never called because of an outage. Without
   * this hook membership is left to failure detection. What it throws is a failure: it is tried again.
   */
  disconnect?(address: Address, signal: AbortSignal, reason: string): void | Promise<void>;
}

/**
 * What discovery tells. `reason` of `connected` and `disconnected` is what the source said, of the failures what stood
 * against it; `attempts` counts failures in a row.
 */
export type TopologyEvent = { readonly topology: string } & (
  | { readonly type: 'found' | 'lost'; readonly address: Address }
  | { readonly type: 'connected'; readonly address: Address; /** Of the attempt (ms). */ readonly durationMs: number; readonly reason: string }
  | { readonly type: 'connect-failed'; readonly address: Address; readonly durationMs: number; readonly reason: string; /** In a row. */ readonly attempts: number }
  | { readonly type: 'disconnected'; readonly address: Address; readonly durationMs: number; readonly reason: string }
  | { readonly type: 'disconnect-failed'; readonly address: Address; readonly durationMs: number; readonly reason: string; readonly attempts: number }
  | { readonly type: 'source-failed'; readonly reason: string }
  | { readonly type: 'source-recovered' }
  | { readonly type: 'source-answered' }
);

/** How often each happened since the start, and how long it took together (ms). */
export interface TopologyCounters {
  readonly connects: number;
  readonly connectFailures: number;
  readonly connectMs: number;
  readonly disconnects: number;
  readonly disconnectFailures: number;
  readonly disconnectMs: number;
  readonly sourceFailures: number;
}

export interface TopologyView {
  readonly name: string;
  readonly strategy: string;
  /** Why the source gives no answer at the moment; undefined when it does, or has not been asked yet. */
  readonly failure: string | undefined;
  readonly hosts: readonly { readonly address: Address; readonly live: boolean; readonly attempts: number; readonly lastReason: string | undefined }[];
  readonly counters: TopologyCounters;
}
