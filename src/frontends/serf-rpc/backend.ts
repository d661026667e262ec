import type { AgentEvent } from '../../core/serf/agent-event.ts';
import type { Coordinate } from '../../core/serf/coordinates.ts';
import type { Member, QueryOptions, QueryRecord } from '../../core/serf/types.ts';
import type { RpcStats } from '../../core/wire/serf-rpc.ts';

/** What Serf's RPC needs of the agent. Methods that fail throw or reject; the client is told the message. */
export interface SerfRpcBackend {
  members(): readonly Member[];
  /** `error` is '' when at least one address answered. */
  join(addresses: readonly string[], replay: boolean): Promise<{ readonly joined: number; readonly error: string }>;
  /** Resolves when this node has left. */
  leave(): Promise<void>;
  forceLeave(name: string, prune: boolean): void;
  userEvent(name: string, payload: Uint8Array, coalesce: boolean): void;
  /** `done` is the last record. Never calls back before it has returned. */
  query(name: string, payload: Uint8Array, options: QueryOptions, onRecord: (record: QueryRecord) => void): void;
  changeTags(set: ReadonlyMap<string, string>, remove: readonly string[]): Promise<void>;
  keys(action: 'install' | 'use' | 'remove' | 'list', key: string): Promise<RpcKeyOutcome>;
  stats(): RpcStats;
  coordinate(name: string): Coordinate | undefined;
  /** Coalesced events, from now on. Returns the way to stop. */
  onEvent(listener: (event: AgentEvent) => void): () => void;
}

export interface RpcKeyOutcome {
  readonly error: string;
  readonly messages: ReadonlyMap<string, string>;
  readonly keys: ReadonlyMap<string, number>;
  readonly nodes: number;
  readonly failures: number;
  readonly answers: number;
}
