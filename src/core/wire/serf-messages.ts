import { MsgpackReader, MsgpackWriter } from './msgpack.ts';
import { bool, f64, i64, list, mapOf, nullable, raw, rawOrNil, struct, text, u16, u32, u64, u8 } from './msgpack-struct.ts';
import type { FieldCodec, StructCodec, Wire } from './msgpack-struct.ts';
import { WireError } from './wire-error.ts';

/** Serf's message types: the byte after memberlist's `user`. */
export const serfType = {
  leave: 0,
  join: 1,
  pushPull: 2,
  userEvent: 3,
  query: 4,
  queryResponse: 5,
  conflictResponse: 6,
  keyRequest: 7,
  keyResponse: 8,
  relay: 9,
} as const;

/** Fields carry the names they have on the wire. */
export type SerfJoin = Wire<typeof serfJoinCodec>;
export type SerfLeave = Wire<typeof serfLeaveCodec>;
export type SerfPushPull = Wire<typeof serfPushPullCodec>;
export type SerfUserEvent = Wire<typeof serfUserEventCodec>;
export type SerfQuery = Wire<typeof serfQueryCodec>;
export type SerfQueryResponse = Wire<typeof serfQueryResponseCodec>;
export type SerfConflictMember = Wire<typeof serfConflictMemberCodec>;

export const serfJoinCodec: StructCodec<{ readonly LTime: number; readonly Node: string }> = struct({ LTime: u64, Node: text });
export const serfLeaveCodec: StructCodec<{ readonly LTime: number; readonly Node: string; readonly Prune: boolean }> = struct({ LTime: u64, Node: text, Prune: bool });

export const serfUserEventCodec: StructCodec<{ readonly LTime: number; readonly Name: string; readonly Payload: Uint8Array; readonly CC: boolean }> =
  struct({ LTime: u64, Name: text, Payload: rawOrNil, CC: bool });

const pastEventCodec: StructCodec<{ readonly Name: string; readonly Payload: Uint8Array }> = struct({ Name: text, Payload: rawOrNil });
const pastEventsCodec: StructCodec<{ readonly LTime: number; readonly Events: readonly { readonly Name: string; readonly Payload: Uint8Array }[] }> =
  struct({ LTime: u64, Events: list(pastEventCodec) });

export const serfPushPullCodec: StructCodec<{
  readonly LTime: number;
  readonly StatusLTimes: ReadonlyMap<string, number>;
  readonly LeftMembers: readonly string[];
  readonly EventLTime: number;
  readonly Events: readonly (Wire<typeof pastEventsCodec> | undefined)[];
  readonly QueryLTime: number;
}> = struct({
  LTime: u64, StatusLTimes: mapOf(u64), LeftMembers: list(text), EventLTime: u64, Events: list(nullable(pastEventsCodec)), QueryLTime: u64,
});

/** Bits of a query's Flags. */
export const queryFlag = { acknowledge: 1, noBroadcast: 2 } as const;

export const serfQueryCodec: StructCodec<{
  readonly LTime: number; readonly ID: number; readonly Addr: Uint8Array; readonly Port: number; readonly SourceNode: string;
  readonly Filters: readonly Uint8Array[]; readonly Flags: number; readonly RelayFactor: number;
  /** Nanoseconds. */
  readonly Timeout: number;
  readonly Name: string; readonly Payload: Uint8Array;
}> = struct({
  LTime: u64, ID: u32, Addr: raw, Port: u16, SourceNode: text, Filters: list(raw, true), Flags: u32, RelayFactor: u8, Timeout: i64, Name: text, Payload: rawOrNil,
});

/** Bit of a response's Flags: an acknowledgement, not an answer. */
export const responseFlag = { acknowledge: 1 } as const;

export const serfQueryResponseCodec: StructCodec<{ readonly LTime: number; readonly ID: number; readonly From: string; readonly Flags: number; readonly Payload: Uint8Array }> =
  struct({ LTime: u64, ID: u32, From: text, Flags: u32, Payload: rawOrNil });

export const serfConflictMemberCodec: StructCodec<{
  readonly Name: string; readonly Addr: Uint8Array; readonly Port: number; readonly Tags: ReadonlyMap<string, string>; readonly Status: number;
  readonly ProtocolMin: number; readonly ProtocolMax: number; readonly ProtocolCur: number;
  readonly DelegateMin: number; readonly DelegateMax: number; readonly DelegateCur: number;
}> = struct({
  Name: text, Addr: raw, Port: u16, Tags: mapOf(text), Status: i64,
  ProtocolMin: u8, ProtocolMax: u8, ProtocolCur: u8, DelegateMin: u8, DelegateMax: u8, DelegateCur: u8,
});

/** Behind the version byte 1 this is the payload of an acknowledgement. */
export const serfCoordinateCodec: StructCodec<{ readonly Vec: readonly number[]; readonly Error: number; readonly Adjustment: number; readonly Height: number }> =
  struct({ Vec: list(f64), Error: f64, Adjustment: f64, Height: f64 });
export const coordinateVersion = 1;
export type SerfCoordinate = Wire<typeof serfCoordinateCodec>;

export const serfKeyRequestCodec: StructCodec<{ readonly Key: Uint8Array }> = struct({ Key: raw });
export const serfKeyResponseCodec: StructCodec<{ readonly Result: boolean; readonly Message: string; readonly Keys: readonly string[]; readonly PrimaryKey: string }> =
  struct({ Result: bool, Message: text, Keys: list(text, true), PrimaryKey: text });

const udpAddressCodec: StructCodec<{ readonly IP: Uint8Array; readonly Port: number; readonly Zone: string }> = struct({ IP: raw, Port: i64, Zone: text });
export const serfRelayHeaderCodec: StructCodec<{ readonly DestAddr: { readonly IP: Uint8Array; readonly Port: number; readonly Zone: string }; readonly DestName: string }> =
  struct({ DestAddr: udpAddressCodec, DestName: text });

/** Serf's type byte, then the struct. The byte `user` of memberlist comes before it on the wire. */
export function encodeSerfMessage<T>(type: number, codec: FieldCodec<T>, value: T): Uint8Array {
  const writer = new MsgpackWriter('old');
  writer.byte(type);
  codec.write(writer, value);
  return writer.finish();
}

/** A relay: its header, then the message that is to be forwarded, type byte and all. */
export function encodeRelay(to: { readonly ip: Uint8Array; readonly port: number; readonly name: string }, inner: Uint8Array): Uint8Array {
  const writer = new MsgpackWriter('old');
  writer.byte(serfType.relay);
  serfRelayHeaderCodec.write(writer, { DestAddr: { IP: to.ip, Port: to.port, Zone: '' }, DestName: to.name });
  writer.splice(inner);
  return writer.finish();
}

/** `bytes` starts behind the type byte. */
export function decodeRelay(bytes: Uint8Array): { readonly ip: Uint8Array; readonly port: number; readonly name: string; readonly inner: Uint8Array } {
  const reader = new MsgpackReader(bytes, 0, { valuesMax: 64, depthMax: 8 });
  const header = serfRelayHeaderCodec.decodeFrom(reader);
  const port = header.DestAddr.Port;
  if (port < 1 || port > 65_535) throw new WireError(`a relay to port ${port}`);
  return { ip: header.DestAddr.IP, port, name: header.DestName, inner: bytes.subarray(reader.offset) };
}

export type QueryFilter =
  | { readonly type: 'nodes'; readonly names: readonly string[] }
  | { readonly type: 'tag'; readonly tag: string; readonly expression: string };

const filterNodes = 0;
const filterTag = 1;
const nodeNamesCodec = list(text);
const tagFilterCodec: StructCodec<{ readonly Tag: string; readonly Expr: string }> = struct({ Tag: text, Expr: text });

export function encodeFilter(filter: QueryFilter): Uint8Array {
  return filter.type === 'nodes'
    ? encodeSerfMessage(filterNodes, nodeNamesCodec, filter.names)
    : encodeSerfMessage(filterTag, tagFilterCodec, { Tag: filter.tag, Expr: filter.expression });
}

/** @throws WireError, also for a kind of filter that is not known: it must not match by accident */
export function decodeFilter(bytes: Uint8Array): QueryFilter {
  const reader = new MsgpackReader(bytes, 1, { valuesMax: 4096, depthMax: 4 });
  if (bytes[0] === filterNodes) return { type: 'nodes', names: nodeNamesCodec.read(reader.read()) };
  if (bytes[0] !== filterTag) throw new WireError(`a query filter of kind ${bytes[0]} is not known`);
  const { Tag, Expr } = tagFilterCodec.decodeFrom(reader);
  return { type: 'tag', tag: Tag, expression: Expr };
}
