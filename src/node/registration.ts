import type { Address, AppSpec, KeyspaceOptions } from '../core/control/map.ts';

/** What a process tells the leader to get a session. */
export interface Registration {
  readonly name: string;
  readonly raftId: string;
  readonly instance: string;
  readonly peer: Address;
  readonly gossip: Address;
  readonly zone: string;
  readonly eligible: boolean;
  readonly storage: boolean;
  readonly version: string;
  /** Of the data directory; '' for a new one. */
  readonly clusterId: string;
  readonly resumes: number;
  /** App name → digest of its configuration on this node. */
  readonly offers: Readonly<Record<string, string>>;
  /** Wanted, should the cluster not have them. */
  readonly keyspaces: Readonly<Record<string, KeyspaceOptions>>;
  readonly apps: readonly AppSpec[];
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** Names become keys of plain objects on every node: those that objects already have are refused. */
export function isGoodName(name: unknown): name is string {
  return typeof name === 'string' && namePattern.test(name) && !(name in Object.prototype);
}
