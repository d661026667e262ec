import { ipFromBytes } from '../core/wire/ip-address.ts';
import { rpcMembersResponse } from '../core/wire/serf-rpc.ts';
import type { RpcMember } from '../core/wire/serf-rpc.ts';
import { formatAddress } from '../ports/address.ts';
import type { RpcClient } from './rpc-client.ts';

/** A member as `members --format json` shows it. */
export interface ListedMember {
  readonly name: string;
  readonly addr: string;
  readonly port: number;
  readonly tags: Readonly<Record<string, string>>;
  readonly status: string;
  readonly protocol: { readonly max: number; readonly min: number; readonly version: number };
}

export async function membersOverRpc(client: RpcClient): Promise<ListedMember[]> {
  const { Members } = await client.request('members', undefined, rpcMembersResponse);
  return Members.map(listed);
}

export function listed({ Name, Addr, Port, Tags, Status, DelegateMax, DelegateMin, DelegateCur }: RpcMember): ListedMember {
  return {
    name: Name, addr: formatAddress({ host: ipFromBytes(Addr), port: Port }), port: Port, tags: Object.fromEntries([...Tags].sort(([a], [b]) => (a < b ? -1 : 1))), status: Status,
    protocol: { max: DelegateMax, min: DelegateMin, version: DelegateCur },
  };
}
