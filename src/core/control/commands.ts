import { Packr } from 'msgpackr';
import { TroupeError } from '../../base/errors.ts';
import type { Address, AppSpec, Evidence, KeyspaceOptions, LeaseTiming } from './map.ts';

/** What the leader puts into the consensus log. Each says under which condition it holds; `apply` checks it again. */
export type Command =
  | { readonly type: 'found-cluster'; readonly clusterId: string; readonly timing: LeaseTiming }
  | {
      readonly type: 'open-session'; readonly name: string; readonly raftId: string; readonly instance: string; readonly peer: Address; readonly gossip: Address;
      readonly zone: string; readonly eligible: boolean; readonly storage: boolean; readonly version: string; readonly offers: Readonly<Record<string, string>>;
      /** The session number that the same process had before, if it only lost contact; 0 for a new process. */
      readonly resumes: number;
      /** The instance of this name that is certainly gone; '' when the name was free. A live session of any other is not replaced. */
      readonly replaces: string;
    }
  | { readonly type: 'close-sessions'; readonly sessions: readonly { readonly name: string; readonly session: number; readonly evidence: Evidence }[] }
  | { readonly type: 'drain'; readonly name: string; readonly on: boolean }
  /** `instance` is whom the operator means: an order that was long on its way must not meet the node's next life. */
  | { readonly type: 'forget-node'; readonly name: string; readonly instance?: string }
  | { readonly type: 'maintenance'; readonly on: boolean }
  | { readonly type: 'create-keyspace'; readonly name: string; readonly options: KeyspaceOptions; readonly copies: readonly (readonly string[])[] }
  | { readonly type: 'in-sync'; readonly changes: readonly InSyncChange[] }
  | { readonly type: 'place'; readonly moves: readonly PlacementMove[] }
  | { readonly type: 'transfer-primary'; readonly transfers: readonly { readonly keyspace: string; readonly partition: number; readonly epoch: number; readonly to: string }[] }
  /** The epoch is what the operator saw: an order that was long on its way must not meet a partition that has come back since, and only waits for its holder. */
  | { readonly type: 'accept-loss'; readonly keyspace: string; readonly partitions: readonly { readonly partition: number; readonly epoch: number }[] }
  | { readonly type: 'define-app'; readonly spec: AppSpec }
  | { readonly type: 'app'; readonly app: string; readonly action: AppAction };

/** The primary's word about its own in-sync set, valid only under its epoch. */
export interface InSyncChange {
  readonly keyspace: string;
  readonly partition: number;
  readonly epoch: number;
  readonly add?: string;
  /** The session of the added node in which it caught up. */
  readonly session?: number;
  /** The primary itself: it resigns, because its copy is not complete. */
  readonly remove?: string;
  /** With the primary's resignation: its copy is complete, but this one's log is longer than any that it can catch up from. Void once that one has left. */
  readonly inFavourOf?: string;
  /** It serves, so whoever was primary before it has given up. */
  readonly settled?: boolean;
}

export interface PlacementMove {
  readonly keyspace: string;
  readonly partition: number;
  readonly add?: string;
  readonly remove?: string;
}

export type AppAction =
  /** Choose a node and start there, if nobody runs it. */
  | { readonly type: 'start'; readonly startType: 'normal' | 'failover' }
  | { readonly type: 'started'; readonly epoch: number }
  | { readonly type: 'failed'; readonly epoch: number; readonly error: string }
  | { readonly type: 'stopped'; readonly epoch: number; readonly hasState: boolean }
  /** Stop where it runs, then start on `to`; by an operator's hand it stays there though a higher node is up. */
  | { readonly type: 'take-over'; readonly to: string; readonly epoch: number; readonly byHand?: boolean }
  | { readonly type: 'want'; readonly wanted: 'started' | 'stopped' }
  | { readonly type: 'permit'; readonly node: string; readonly allowed: boolean }
  | { readonly type: 'retry'; readonly epoch: number };

/** What became of a command: known to whoever proposed it. */
export type Outcome = { readonly ok: true; readonly session?: number; /** Of several changes: how many fitted. */ readonly changed?: number } | { readonly ok: false; readonly code: string; readonly message: string };

// Plain maps, no records or shared structures: the bytes must not depend on what this encoder packed before.
const packr = new Packr({ useRecords: false, variableMapSize: true, encodeUndefinedAsNil: false });

export function encodeCommand(command: Command): Uint8Array {
  return packr.pack(command);
}

/** @throws TroupeError BAD_COMMAND on bytes that are no command */
export function decodeCommand(bytes: Uint8Array): Command {
  let value: unknown;
  try {
    value = packr.unpack(bytes);
  } catch (error) {
    throw new TroupeError('BAD_COMMAND', 'cannot read a command of the consensus log: it is not msgpack', { length: bytes.length }, error);
  }
  if (typeof value !== 'object' || value === null || typeof (value as { type?: unknown }).type !== 'string') {
    throw new TroupeError('BAD_COMMAND', 'cannot read a command of the consensus log: it has no type', { length: bytes.length });
  }
  return value as Command;
}

/** Any plain value ⇄ bytes, for snapshots of the map and for calls between nodes. */
export function packValue(value: unknown): Uint8Array {
  return packr.pack(value);
}

export function unpackValue(bytes: Uint8Array): unknown {
  return packr.unpack(bytes);
}
