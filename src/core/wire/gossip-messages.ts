import { MsgpackWriter } from './msgpack.ts';
import { bool, i64, optional, raw, rawOrNil, struct, text, u16, u32, u8 } from './msgpack-struct.ts';
import type { FieldCodec, StructCodec, Wire } from './msgpack-struct.ts';

/** memberlist's message types: the first byte of everything. */
export const messageType = {
  ping: 0,
  indirectPing: 1,
  ack: 2,
  suspect: 3,
  alive: 4,
  dead: 5,
  pushPull: 6,
  compound: 7,
  user: 8,
  compress: 9,
  encrypt: 10,
  nack: 11,
  checksum: 12,
  error: 13,
  label: 0xf4,
} as const;

/** Fields carry the names they have on the wire, which are those of memberlist's Go structs. */
export type Ping = Wire<typeof pingCodec>;
export type IndirectPing = Wire<typeof indirectPingCodec>;
export type Ack = Wire<typeof ackCodec>;
export type Nack = Wire<typeof nackCodec>;
export type Suspect = Wire<typeof suspectCodec>;
export type Dead = Wire<typeof deadCodec>;
export type Alive = Wire<typeof aliveCodec>;
export type PushPullHeader = Wire<typeof pushPullHeaderCodec>;
export type PushNodeState = Wire<typeof pushNodeStateCodec>;

const sourceFields = { SourceAddr: optional(raw), SourcePort: optional(u16), SourceNode: optional(text) } as const;

export const pingCodec: StructCodec<{ readonly SeqNo: number; readonly Node: string; readonly SourceAddr: Uint8Array; readonly SourcePort: number; readonly SourceNode: string }> =
  struct({ SeqNo: u32, Node: text, ...sourceFields });

export const indirectPingCodec: StructCodec<{
  readonly SeqNo: number; readonly Target: Uint8Array; readonly Port: number; readonly Node: string; readonly Nack: boolean;
  readonly SourceAddr: Uint8Array; readonly SourcePort: number; readonly SourceNode: string;
}> = struct({ SeqNo: u32, Target: raw, Port: u16, Node: text, Nack: bool, ...sourceFields });

export const ackCodec: StructCodec<{ readonly SeqNo: number; readonly Payload: Uint8Array }> = struct({ SeqNo: u32, Payload: rawOrNil });
export const nackCodec: StructCodec<{ readonly SeqNo: number }> = struct({ SeqNo: u32 });
export const suspectCodec: StructCodec<{ readonly Incarnation: number; readonly Node: string; readonly From: string }> = struct({ Incarnation: u32, Node: text, From: text });
export const deadCodec: typeof suspectCodec = suspectCodec;

export const aliveCodec: StructCodec<{
  readonly Incarnation: number; readonly Node: string; readonly Addr: Uint8Array; readonly Port: number; readonly Meta: Uint8Array;
  /** pmin pmax pcur dmin dmax dcur */
  readonly Vsn: Uint8Array;
}> = struct({ Incarnation: u32, Node: text, Addr: raw, Port: u16, Meta: rawOrNil, Vsn: raw });

export const compressCodec: StructCodec<{ readonly Algo: number; readonly Buf: Uint8Array }> = struct({ Algo: u8, Buf: raw });
export const pushPullHeaderCodec: StructCodec<{ readonly Nodes: number; readonly UserStateLen: number; readonly Join: boolean }> = struct({ Nodes: i64, UserStateLen: i64, Join: bool });

/** What `State` of a PushNodeState means. */
export const nodeStateCode = { alive: 0, suspect: 1, dead: 2, left: 3 } as const;

export const pushNodeStateCodec: StructCodec<{
  readonly Name: string; readonly Addr: Uint8Array; readonly Port: number; readonly Meta: Uint8Array;
  readonly Incarnation: number; readonly State: number; readonly Vsn: Uint8Array;
}> = struct({ Name: text, Addr: raw, Port: u16, Meta: rawOrNil, Incarnation: u32, State: i64, Vsn: raw });

export const userMessageHeaderCodec: StructCodec<{ readonly UserMsgLen: number }> = struct({ UserMsgLen: i64 });
export const errorCodec: StructCodec<{ readonly Error: string }> = struct({ Error: text });

/** A type byte, then the struct. */
export function encodeMessage<T>(type: number, codec: FieldCodec<T>, value: T): Uint8Array {
  const writer = new MsgpackWriter('old');
  writer.byte(type);
  codec.write(writer, value);
  return writer.finish();
}
