import type { Endpoint } from '../wire/ip-address.ts';

export type MemberStatus = 'alive' | 'leaving' | 'left' | 'failed';

/** The range of protocol versions a member understands and the one it speaks. */
export interface ProtocolRange {
  readonly min: number;
  readonly max: number;
  readonly current: number;
}

/** An immutable picture of a member; a change makes a new one. */
export interface Member {
  readonly name: string;
  readonly address: Endpoint;
  readonly tags: Readonly<Record<string, string>>;
  readonly status: MemberStatus;
  /** Grows each time the member refutes or changes its tags; starts anew with its process. */
  readonly incarnation: number;
  /** memberlist's protocol. */
  readonly protocol: ProtocolRange;
  /** Serf's protocol. */
  readonly delegate: ProtocolRange;
}

export interface MemberEvent {
  readonly type: 'member-join' | 'member-leave' | 'member-failed' | 'member-update' | 'member-reap';
  readonly member: Member;
}

/** Someone else claims a name that a live member has. Said at most once a minute for the same claim. */
export interface NameConflictEvent {
  readonly type: 'name-conflict';
  readonly name: string;
  readonly known: Endpoint;
  readonly claimed: Endpoint;
  /** The name is our own. */
  readonly own: boolean;
}

/** Most others hold another node for the owner of our name: this one should stop, or it disturbs the pool. */
export interface NameLostEvent {
  readonly type: 'name-lost';
  readonly name: string;
  /** How many others know our address under the name, of how many that answered. */
  readonly matching: number;
  readonly responses: number;
}

export interface UserEvent {
  readonly type: 'user';
  readonly name: string;
  readonly payload: Uint8Array;
  readonly lamportTime: number;
  /** Of several of this name the newest is enough. */
  readonly coalesce: boolean;
}

export interface QueryEvent {
  readonly type: 'query';
  readonly name: string;
  readonly payload: Uint8Array;
  readonly lamportTime: number;
  readonly id: number;
  /** The node that asks; empty when it does not say. */
  readonly from: string;
  /** On the clock's `now` (ms): later responses are of no use. */
  readonly deadline: number;
  /** Answers once; false when it is too late, too large (1024 bytes encoded) or answered already. */
  respond(payload: Uint8Array): boolean;
}

export type SerfEvent = MemberEvent | NameConflictEvent | NameLostEvent | UserEvent | QueryEvent;

export interface QueryOptions {
  /** Only these nodes; default all. */
  readonly nodes?: readonly string[];
  /** Only nodes whose tag values match these regular expressions (unanchored). */
  readonly tags?: Readonly<Record<string, string>>;
  /** Ask each receiver to acknowledge. Default false. */
  readonly acknowledge?: boolean;
  /** Send answers through this many further nodes too. Default 0. */
  readonly relayFactor?: number;
  /** Default as in Serf: 16 gossip intervals times ceil(log10(members + 1)). */
  readonly timeoutMs?: number;
}

export type QueryRecord =
  | { readonly type: 'ack'; readonly from: string }
  | { readonly type: 'response'; readonly from: string; readonly payload: Uint8Array }
  | { readonly type: 'done' };
