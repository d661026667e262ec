import { openPayload, sealPayload } from './encryption.ts';
import type { PayloadCipher } from './encryption.ts';
import {
  ackCodec, encodeMessage, errorCodec, messageType, pingCodec, pushNodeStateCodec, pushPullHeaderCodec, userMessageHeaderCodec,
} from './gossip-messages.ts';
import type { Ack, Ping, PushNodeState } from './gossip-messages.ts';
import { MsgpackReader, MsgpackWriter } from './msgpack.ts';
import { compressMessage, decompressMessage } from './packet.ts';
import { IncompleteError, WireError } from './wire-error.ts';

export type StreamFault = 'REMOTE_ENCRYPTED' | 'REMOTE_PLAINTEXT' | 'WRONG_KEY' | 'BAD_STATE';

/** A stream that cannot be read; `code` tells the cases apart that an operator can do something about. */
export class StreamError extends WireError {
  override readonly name: string = 'StreamError';
  readonly code: StreamFault;

  constructor(code: StreamFault, message: string) {
    super(message);
    this.code = code;
  }
}

/** One side's whole state in a push/pull. */
export interface PushPullState {
  readonly join: boolean;
  readonly nodes: readonly PushNodeState[];
  readonly userState: Uint8Array;
}

export type StreamMessage =
  | { readonly type: 'ping'; readonly ping: Ping }
  | { readonly type: 'ack'; readonly ack: Ack }
  | { readonly type: 'push-pull'; readonly state: PushPullState }
  | { readonly type: 'user'; readonly message: Uint8Array }
  | { readonly type: 'error'; readonly text: string };

export function encodePushPull(state: PushPullState): Uint8Array {
  const writer = new MsgpackWriter('old', 1024 + state.userState.length);
  writer.byte(messageType.pushPull);
  pushPullHeaderCodec.write(writer, { Nodes: state.nodes.length, UserStateLen: state.userState.length, Join: state.join });
  for (const node of state.nodes) pushNodeStateCodec.write(writer, node);
  writer.splice(state.userState);
  return writer.finish();
}

export function encodeStreamError(text: string): Uint8Array {
  return encodeMessage(messageType.error, errorCodec, { Error: text });
}

export interface StreamSecurity {
  readonly cipher: PayloadCipher;
  /** Primary first; empty: plain text. */
  readonly keys: readonly Uint8Array[];
}

const frameHeader = 5;

/** A message as it goes over a stream: compressed (whether or not that is shorter), then encrypted. */
export function wrapStreamMessage(message: Uint8Array, options: StreamSecurity & { readonly compress: boolean }): Uint8Array {
  const inner = options.compress ? compressMessage(message) : message;
  const key = options.keys[0];
  if (key === undefined) return inner;
  const header = new Uint8Array(frameHeader);
  header[0] = messageType.encrypt;
  new DataView(header.buffer).setUint32(1, inner.length + 29);
  const payload = sealPayload(options.cipher, key, inner, header);
  const out = new Uint8Array(frameHeader + payload.length);
  out.set(header);
  out.set(payload, frameHeader);
  return out;
}

export interface StreamLimits {
  /** Bytes of one stream as they arrive; default 20 MiB and some (memberlist's own limit). */
  readonly bytesMax?: number;
  /** Bytes after decompression; default 40 MiB. */
  readonly unfoldedMax?: number;
  /** Nodes in one push/pull; default 65,536. */
  readonly nodesMax?: number;
  /** Bytes of Serf's part of a push/pull; default 20 MiB. */
  readonly userStateMax?: number;
}

const mebibyte = 1024 * 1024;

/**
 * Reads the one message that each direction of a memberlist stream carries. Feed it what arrives. What it holds is
 * bounded by the bytes that really came, never by a length that somebody announced.
 */
export class StreamAssembler {
  readonly #security: StreamSecurity;
  readonly #limits: Required<StreamLimits>;
  #bytes: Uint8Array = new Uint8Array(0);
  #length = 0;
  /** The message with encryption and compression taken off; undefined until that can be done. */
  #plain: Uint8Array | undefined;
  #whole = false; // no more bytes can follow in #plain
  // How far a push/pull in plain text has been read, so that each chunk costs only itself.
  #join = false;
  #nodesWanted = -1;
  #userStateLength = 0;
  #nodes: PushNodeState[] = [];
  #offset = 1;

  constructor(security: StreamSecurity, limits: StreamLimits = {}) {
    this.#security = security;
    this.#limits = {
      bytesMax: limits.bytesMax ?? 20 * mebibyte + frameHeader + 64,
      unfoldedMax: limits.unfoldedMax ?? 40 * mebibyte,
      nodesMax: limits.nodesMax ?? 65_536,
      userStateMax: limits.userStateMax ?? 20 * mebibyte,
    };
  }

  /** Bytes held. */
  get buffered(): number {
    return this.#length;
  }

  /**
   * Takes bytes (copied) and gives the message once it is whole. Bytes after it are ignored.
   * @throws StreamError
   */
  push(chunk: Uint8Array): StreamMessage | undefined {
    this.#append(chunk);
    if (this.#length === 0) return undefined;
    try {
      if (!this.#whole) this.#plain = this.#unwrap();
      return this.#plain === undefined ? undefined : this.#parse(this.#plain);
    } catch (error) {
      if (error instanceof StreamError) throw error;
      if (error instanceof IncompleteError && !this.#whole) return undefined;
      if (error instanceof WireError) throw new StreamError('BAD_STATE', `cannot read what the remote sent: ${error.message}`);
      throw error;
    }
  }

  #append(chunk: Uint8Array): void {
    const needed = this.#length + chunk.length;
    if (needed > this.#limits.bytesMax) throw new StreamError('BAD_STATE', `the remote sent more than ${this.#limits.bytesMax} bytes`);
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.min(this.#limits.bytesMax, Math.max(needed, this.#bytes.length * 2, 2048)));
      grown.set(this.#bytes.subarray(0, this.#length));
      this.#bytes = grown;
    }
    this.#bytes.set(chunk, this.#length);
    this.#length = needed;
  }

  #unwrap(): Uint8Array | undefined {
    let inner: Uint8Array | undefined = this.#bytes.subarray(0, this.#length);
    const { keys } = this.#security;
    if (inner[0] === messageType.encrypt) {
      if (keys.length === 0) throw new StreamError('REMOTE_ENCRYPTED', 'Remote state is encrypted and encryption is not configured');
      inner = this.#decrypt(inner);
      if (inner === undefined) return undefined;
      this.#whole = true;
    } else if (keys.length > 0) {
      throw new StreamError('REMOTE_PLAINTEXT', 'Encryption is configured but remote state is not encrypted');
    }
    if (inner[0] === messageType.compress) {
      inner = decompressMessage(inner, this.#limits.unfoldedMax);
      this.#whole = true;
    }
    return inner;
  }

  #decrypt(frame: Uint8Array): Uint8Array | undefined {
    if (frame.length < frameHeader) return undefined;
    const length = new DataView(frame.buffer, frame.byteOffset).getUint32(1);
    if (length > 20 * mebibyte) throw new StreamError('BAD_STATE', `the remote announces ${length} encrypted bytes; at most ${20 * mebibyte} are read`);
    if (frame.length < frameHeader + length) return undefined;
    const payload = frame.subarray(frameHeader, frameHeader + length);
    const plain = openPayload(this.#security.cipher, this.#security.keys, payload, frame.subarray(0, frameHeader));
    if (plain === undefined) throw new StreamError('WRONG_KEY', 'No installed keys could decrypt the message');
    return plain;
  }

  #parse(plain: Uint8Array): StreamMessage | undefined {
    const reader = (valuesMax: number): MsgpackReader => new MsgpackReader(plain, 1, { valuesMax, depthMax: 8 });
    switch (plain[0]) {
      case messageType.ping: return { type: 'ping', ping: pingCodec.decodeFrom(reader(64)) };
      case messageType.ack: return { type: 'ack', ack: ackCodec.decodeFrom(reader(64)) };
      case messageType.error: return { type: 'error', text: errorCodec.decodeFrom(reader(64)).Error };
      case messageType.user: return this.#parseUser(reader(64));
      case messageType.pushPull: return this.#parsePushPull(plain);
      case undefined: throw new WireError('an empty message');
      default: throw new WireError(`a message of type ${plain[0]} does not belong on a stream`);
    }
  }

  #parseUser(reader: MsgpackReader): StreamMessage | undefined {
    const { UserMsgLen } = userMessageHeaderCodec.decodeFrom(reader);
    if (UserMsgLen < 0 || UserMsgLen > this.#limits.userStateMax) throw new WireError(`it announces a user message of ${UserMsgLen} bytes`);
    return { type: 'user', message: take(reader, UserMsgLen) };
  }

  #parsePushPull(plain: Uint8Array): StreamMessage {
    const reader = new MsgpackReader(plain, this.#offset, { valuesMax: 256, depthMax: 8 });
    if (this.#nodesWanted < 0) {
      const header = pushPullHeaderCodec.decodeFrom(reader);
      if (header.Nodes < 0 || header.Nodes > this.#limits.nodesMax) throw new WireError(`it announces ${header.Nodes} nodes; at most ${this.#limits.nodesMax} are read`);
      if (header.UserStateLen < 0 || header.UserStateLen > this.#limits.userStateMax) {
        throw new WireError(`it announces ${header.UserStateLen} bytes of user state; at most ${this.#limits.userStateMax} are read`);
      }
      this.#nodesWanted = header.Nodes;
      this.#userStateLength = header.UserStateLen;
      this.#join = header.Join;
      this.#offset = reader.offset;
    }
    while (this.#nodes.length < this.#nodesWanted) {
      this.#nodes.push(pushNodeStateCodec.decodeFrom(reader));
      this.#offset = reader.offset;
    }
    const userState = take(reader, this.#userStateLength);
    return { type: 'push-pull', state: { join: this.#join, nodes: this.#nodes, userState } };
  }
}

function take(reader: MsgpackReader, length: number): Uint8Array {
  if (reader.offset + length > reader.bytes.length) throw new IncompleteError('the user state is not all there');
  return reader.bytes.subarray(reader.offset, reader.offset + length);
}
