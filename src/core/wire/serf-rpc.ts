/** Serf's RPC protocol: what goes over its TCP port. Fields carry the names they have on the wire. */
import { bool, f64, i64, list, mapOf, rawOrNil, raw, struct, text, u16, u8 } from './msgpack-struct.ts';
import type { FieldCodec, StructCodec, Wire } from './msgpack-struct.ts';
import { MsgpackWriter } from './msgpack.ts';
import type { MsgpackValue } from './msgpack.ts';
import { WireError } from './wire-error.ts';

export const rpcVersion = 1;

/** Values and nesting of one message. A list of 16,384 members is the largest. */
export const rpcLimits = { valuesMax: 2_000_000, depthMax: 8 } as const;

/** What a client numbers its requests by: any unsigned 64-bit number. */
export type RpcSequence = number | bigint;

const sequence: FieldCodec<RpcSequence> = {
  zero: 0,
  write: (writer, value) => writer.integer(value),
  read(value: MsgpackValue) {
    if ((typeof value === 'number' && Number.isInteger(value) && value >= 0) || (typeof value === 'bigint' && value >= 0n)) return value;
    throw new WireError('a sequence number that is no unsigned whole number');
  },
};

export interface RpcRequestHeader {
  readonly Command: string;
  readonly Seq: RpcSequence;
}
export const rpcRequestHeader: StructCodec<RpcRequestHeader> = struct({ Command: text, Seq: sequence });

/**
 * Serf keeps one header per connection and reads each request over it: what a message leaves out stays as it was. That
 * is how the body of a command that was refused for want of a token is answered.
 */
export function readRequestHeader(value: MsgpackValue, before: RpcRequestHeader): RpcRequestHeader {
  if (value === null) return before;
  const read = rpcRequestHeader.read(value);
  if (!(value instanceof Map)) return read;
  return { Command: value.has('Command') ? read.Command : before.Command, Seq: value.has('Seq') ? read.Seq : before.Seq };
}

export interface RpcResponseHeader {
  readonly Seq: RpcSequence;
  readonly Error: string;
}
export const rpcResponseHeader: StructCodec<RpcResponseHeader> = struct({ Seq: sequence, Error: text });

export const rpcHandshakeRequest: StructCodec<{ readonly Version: number }> = struct({ Version: i64 });
export const rpcAuthRequest: StructCodec<{ readonly AuthKey: string }> = struct({ AuthKey: text });
export const rpcEventRequest: StructCodec<{ readonly Name: string; readonly Payload: Uint8Array; readonly Coalesce: boolean }> = struct({ Name: text, Payload: rawOrNil, Coalesce: bool });
export const rpcForceLeaveRequest: StructCodec<{ readonly Node: string; readonly Prune: boolean }> = struct({ Node: text, Prune: bool });
export const rpcJoinRequest: StructCodec<{ readonly Existing: readonly string[]; readonly Replay: boolean }> = struct({ Existing: list(text, true), Replay: bool });
export const rpcJoinResponse: StructCodec<{ readonly Num: number }> = struct({ Num: i64 });
export const rpcMembersFilteredRequest: StructCodec<{ readonly Tags: ReadonlyMap<string, string>; readonly Status: string; readonly Name: string }> =
  struct({ Tags: mapOf(text), Status: text, Name: text });
export const rpcTagsRequest: StructCodec<{ readonly Tags: ReadonlyMap<string, string>; readonly DeleteTags: readonly string[] }> = struct({ Tags: mapOf(text), DeleteTags: list(text, true) });
export const rpcStreamRequest: StructCodec<{ readonly Type: string }> = struct({ Type: text });
export const rpcMonitorRequest: StructCodec<{ readonly LogLevel: string }> = struct({ LogLevel: text });
export const rpcStopRequest: StructCodec<{ readonly Stop: RpcSequence }> = struct({ Stop: sequence });
export const rpcQueryRequest: StructCodec<{
  readonly FilterNodes: readonly string[]; readonly FilterTags: ReadonlyMap<string, string>; readonly RequestAck: boolean; readonly RelayFactor: number;
  /** Nanoseconds; 0 for the default. */
  readonly Timeout: number;
  readonly Name: string; readonly Payload: Uint8Array;
}> = struct({ FilterNodes: list(text, true), FilterTags: mapOf(text), RequestAck: bool, RelayFactor: u8, Timeout: i64, Name: text, Payload: rawOrNil });
export const rpcRespondRequest: StructCodec<{ readonly ID: RpcSequence; readonly Payload: Uint8Array }> = struct({ ID: sequence, Payload: rawOrNil });
export const rpcKeyRequest: StructCodec<{ readonly Key: string }> = struct({ Key: text });
export const rpcCoordinateRequest: StructCodec<{ readonly Node: string }> = struct({ Node: text });

/** Go leaves a map that was never made nil; a made one is written even when empty. */
export function nilable<T>(codec: FieldCodec<ReadonlyMap<string, T>>): FieldCodec<ReadonlyMap<string, T> | undefined> {
  return { zero: undefined, write: (writer, value) => (value === undefined ? writer.nil() : codec.write(writer, value)), read: (value) => codec.read(value) };
}

export type RpcKeyResponse = Wire<typeof rpcKeyResponse>;
export const rpcKeyResponse: StructCodec<{
  readonly Messages: ReadonlyMap<string, string>; readonly Keys: ReadonlyMap<string, number> | undefined;
  readonly NumNodes: number; readonly NumErr: number; readonly NumResp: number;
}> = struct({ Messages: mapOf(text), Keys: nilable(mapOf(i64)), NumNodes: i64, NumErr: i64, NumResp: i64 });

export type RpcMember = Wire<typeof rpcMember>;
export const rpcMember: StructCodec<{
  readonly Name: string; readonly Addr: Uint8Array; readonly Port: number; readonly Tags: ReadonlyMap<string, string>; readonly Status: string;
  readonly ProtocolMin: number; readonly ProtocolMax: number; readonly ProtocolCur: number;
  readonly DelegateMin: number; readonly DelegateMax: number; readonly DelegateCur: number;
}> = struct({
  Name: text, Addr: raw, Port: u16, Tags: mapOf(text), Status: text,
  ProtocolMin: u8, ProtocolMax: u8, ProtocolCur: u8, DelegateMin: u8, DelegateMax: u8, DelegateCur: u8,
});
export const rpcMembersResponse: StructCodec<{ readonly Members: readonly RpcMember[] }> = struct({ Members: list(rpcMember) });

export const rpcMemberRecord: StructCodec<{ readonly Event: string; readonly Members: readonly RpcMember[] }> = struct({ Event: text, Members: list(rpcMember) });
export const rpcUserRecord: StructCodec<{ readonly Event: string; readonly LTime: number; readonly Name: string; readonly Payload: Uint8Array; readonly Coalesce: boolean }> =
  struct({ Event: text, LTime: i64, Name: text, Payload: rawOrNil, Coalesce: bool });
export const rpcQueryEventRecord: StructCodec<{ readonly Event: string; readonly ID: RpcSequence; readonly LTime: number; readonly Name: string; readonly Payload: Uint8Array }> =
  struct({ Event: text, ID: sequence, LTime: i64, Name: text, Payload: rawOrNil });

/** A record of any stream, whichever kind it is. */
export type RpcEventRecord = Wire<typeof rpcEventRecord>;
export const rpcEventRecord: StructCodec<{
  readonly Event: string; readonly Members: readonly RpcMember[]; readonly ID: RpcSequence; readonly LTime: number; readonly Name: string; readonly Payload: Uint8Array; readonly Coalesce: boolean;
}> = struct({ Event: text, Members: list(rpcMember), ID: sequence, LTime: i64, Name: text, Payload: rawOrNil, Coalesce: bool });

/** `Type` is `ack`, `response` or `done`. */
export const rpcQueryRecord: StructCodec<{ readonly Type: string; readonly From: string; readonly Payload: Uint8Array }> = struct({ Type: text, From: text, Payload: rawOrNil });
export const rpcLogRecord: StructCodec<{ readonly Log: string }> = struct({ Log: text });

export type RpcStats = ReadonlyMap<string, ReadonlyMap<string, string>>;
export const rpcStats: FieldCodec<RpcStats> = mapOf(mapOf(text));

export type RpcCoordinate = Wire<typeof rpcCoordinate>;
const rpcCoordinate: StructCodec<{ readonly Vec: readonly number[]; readonly Error: number; readonly Adjustment: number; readonly Height: number }> =
  struct({ Vec: list(f64, true), Error: f64, Adjustment: f64, Height: f64 });
export const rpcCoordinateResponse: StructCodec<{ readonly Coord: RpcCoordinate; readonly Ok: boolean }> = struct({ Coord: rpcCoordinate, Ok: bool });
export const noCoordinate: RpcCoordinate = { Vec: [], Error: 0, Adjustment: 0, Height: 0 };

/** Error texts that clients may compare. */
export const rpcError = {
  handshakeRequired: 'Handshake required',
  duplicateHandshake: 'Handshake already performed',
  unsupportedVersion: 'Unsupported IPC version',
  authRequired: 'Authentication required',
  invalidToken: 'Invalid authentication token',
  unsupportedCommand: 'Unsupported command',
  streamExists: 'Stream with given sequence exists',
  monitorExists: 'Monitor already exists',
  invalidFilter: 'Invalid event filter',
  invalidQueryId: 'No pending queries matching ID',
} as const;

/** A header, then a body if there is one: both in the new dialect, as one piece. */
export function encodeRpc<H, B>(headerCodec: FieldCodec<H>, header: H, bodyCodec?: FieldCodec<B>, body?: B): Uint8Array {
  const writer = new MsgpackWriter('new');
  headerCodec.write(writer, header);
  if (bodyCodec !== undefined) bodyCodec.write(writer, body as B);
  return writer.finish();
}
