import type { Cipher } from '../ports/cipher.ts';
import type { Address } from '../ports/address.ts';

/**
 * The packets of the `gossip` strategy:
 *
 *     'T' 'R' 'P' version(1) flags(1: 1 = sealed) body
 *     body: kind(1) instance(8) wall time ms(8, float) counter(4) group, host (each: length(1), bytes) port(2)
 *
 * Sealed, the body is AES-GCM's nonce, ciphertext and tag, with the five bytes before it authenticated as well.
 * Numbers are big-endian.
 */
export interface Heartbeat {
  readonly kind: HeartbeatKind;
  /** 16 hexadecimal digits, drawn at each start. */
  readonly instance: string;
  readonly wallTime: number;
  /** Grows with each packet of an instance. */
  readonly counter: number;
  readonly group: string;
  readonly address: Address;
}

export const HeartbeatKind = { here: 1, bye: 2 } as const;
export type HeartbeatKind = (typeof HeartbeatKind)[keyof typeof HeartbeatKind];

const version = 1;
const headBytes = 5;
const fixedBytes = 1 + 8 + 8 + 4;
/** Longer ones are not looked at. */
export const heartbeatBytesMax: number = 1024;

export function encodeHeartbeat(heartbeat: Heartbeat, cipher: Cipher, keys: readonly Uint8Array[]): Uint8Array {
  const group = new TextEncoder().encode(heartbeat.group).subarray(0, 255);
  const host = new TextEncoder().encode(heartbeat.address.host).subarray(0, 255);
  const body = new Uint8Array(fixedBytes + 1 + group.length + 1 + host.length + 2);
  const view = new DataView(body.buffer);
  view.setUint8(0, heartbeat.kind);
  view.setUint32(1, Number.parseInt(heartbeat.instance.slice(0, 8), 16));
  view.setUint32(5, Number.parseInt(heartbeat.instance.slice(8), 16));
  view.setFloat64(9, heartbeat.wallTime);
  view.setUint32(17, heartbeat.counter);
  body[fixedBytes] = group.length;
  body.set(group, fixedBytes + 1);
  body[fixedBytes + 1 + group.length] = host.length;
  body.set(host, fixedBytes + 2 + group.length);
  view.setUint16(body.length - 2, heartbeat.address.port);
  const key = keys[0];
  const head = Uint8Array.of(0x54, 0x52, 0x50, version, key === undefined ? 0 : 1);
  const rest = key === undefined ? body : cipher.seal(key, body, head);
  const packet = new Uint8Array(headBytes + rest.length);
  packet.set(head);
  packet.set(rest, headBytes);
  return packet;
}

/** Why a packet was not taken: it is none of ours, its key is another, or what it says cannot be. */
export type HeartbeatRefusal = 'foreign' | 'key' | 'malformed';

/** With keys only sealed packets are taken, without keys only plain ones. Never throws. */
export function decodeHeartbeat(packet: Uint8Array, cipher: Cipher, keys: readonly Uint8Array[]): Heartbeat | HeartbeatRefusal {
  if (packet.length < headBytes || packet.length > heartbeatBytesMax) return 'foreign';
  if (packet[0] !== 0x54 || packet[1] !== 0x52 || packet[2] !== 0x50 || packet[3] !== version) return 'foreign';
  const rest = packet.subarray(headBytes);
  if ((packet[4] === 1) !== keys.length > 0 || (packet[4] as number) > 1) return 'key';
  if (keys.length === 0) return decodeBody(rest) ?? 'malformed';
  const head = packet.subarray(0, headBytes);
  for (const key of keys) {
    const body = cipher.open(key, rest, head);
    if (body !== undefined) return decodeBody(body) ?? 'malformed';
  }
  return 'key';
}

function decodeBody(body: Uint8Array): Heartbeat | undefined {
  if (body.length < fixedBytes + 4) return undefined;
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const kind = view.getUint8(0);
  const groupLength = view.getUint8(fixedBytes);
  const hostAt = fixedBytes + 1 + groupLength;
  if (hostAt + 3 > body.length) return undefined;
  const hostLength = view.getUint8(hostAt);
  if (hostAt + 1 + hostLength + 2 !== body.length) return undefined;
  const host = new TextDecoder().decode(body.subarray(hostAt + 1, hostAt + 1 + hostLength));
  const port = view.getUint16(body.length - 2);
  const wallTime = view.getFloat64(9);
  if ((kind !== HeartbeatKind.here && kind !== HeartbeatKind.bye) || !/^[0-9a-fA-F.:]{2,45}$/.test(host) || port === 0 || !Number.isFinite(wallTime)) return undefined;
  const hex = (offset: number): string => view.getUint32(offset).toString(16).padStart(8, '0');
  return {
    kind,
    instance: hex(1) + hex(5),
    wallTime,
    counter: view.getUint32(17),
    group: new TextDecoder().decode(body.subarray(fixedBytes + 1, hostAt)),
    address: { host, port },
  };
}
