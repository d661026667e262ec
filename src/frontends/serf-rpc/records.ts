/** Serf's types as its RPC words them. */
import type { Member, QueryRecord } from '../../core/serf/types.ts';
import { ipToBytes } from '../../core/wire/ip-address.ts';
import type { RpcMember } from '../../core/wire/serf-rpc.ts';

export function queryRecord(record: QueryRecord): { Type: string; From: string; Payload: Uint8Array } {
  return { Type: record.type, From: record.type === 'done' ? '' : record.from, Payload: record.type === 'response' ? record.payload : new Uint8Array(0) };
}

export function rpcMemberOf(member: Member): RpcMember {
  return {
    Name: member.name, Addr: ipToBytes(member.address.host) ?? new Uint8Array(4), Port: member.address.port, Tags: new Map(Object.entries(member.tags)), Status: member.status,
    ProtocolMin: member.protocol.min, ProtocolMax: member.protocol.max, ProtocolCur: member.protocol.current,
    DelegateMin: member.delegate.min, DelegateMax: member.delegate.max, DelegateCur: member.delegate.current,
  };
}
