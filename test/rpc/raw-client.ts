import net from 'node:net';
import { MsgpackReader } from '../../src/core/wire/msgpack.ts';
import type { MsgpackValue } from '../../src/core/wire/msgpack.ts';
import { MsgpackScanner } from '../../src/core/wire/msgpack-scanner.ts';
import { encodeRpc, rpcAuthRequest, rpcHandshakeRequest, rpcRequestHeader } from '../../src/core/wire/serf-rpc.ts';
import type { FieldCodec } from '../../src/core/wire/msgpack-struct.ts';
import type { Address } from '../../src/ports/address.ts';
import { poll } from '../poll.ts';

/** Plain data: text for byte strings that are UTF-8, objects for maps. */
export function plain(value: MsgpackValue): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString();
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, each]) => [key, plain(each)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

export function encodeRequest<B>(Command: string, Seq: number | bigint, codec?: FieldCodec<B>, body?: B): Uint8Array {
  return encodeRpc(rpcRequestHeader, { Command, Seq }, codec, body);
}

/** A client that keeps every value it is sent, undecoded. */
export class RawClient {
  readonly values: unknown[] = [];
  readonly bytes: Buffer[] = [];
  closed = false;
  readonly socket: net.Socket;

  private constructor(socket: net.Socket) {
    this.socket = socket;
    const scanner = new MsgpackScanner({ bytesMax: 100_000_000, valuesMax: 1_000_000 });
    socket.on('data', (bytes) => {
      this.bytes.push(Buffer.from(bytes));
      scanner.push(bytes);
      for (let value = scanner.next(); value !== undefined; value = scanner.next()) this.values.push(plain(new MsgpackReader(value.slice()).read()));
    });
    socket.on('error', () => {});
    socket.on('close', () => (this.closed = true));
  }

  static async connect({ host, port }: Address): Promise<RawClient> {
    const socket = net.connect(port, host);
    const client = new RawClient(socket);
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return client;
  }

  static async ready(address: Address, token?: string): Promise<RawClient> {
    const client = await RawClient.connect(address);
    client.send('handshake', 1000, rpcHandshakeRequest, { Version: 1 });
    if (token !== undefined) client.send('auth', 1001, rpcAuthRequest, { AuthKey: token });
    await client.count(token === undefined ? 1 : 2);
    client.values.length = 0;
    return client;
  }

  send<B>(command: string, sequence: number | bigint, codec?: FieldCodec<B>, body?: B): void {
    this.socket.write(encodeRequest(command, sequence, codec, body));
  }

  /** Waits for so many values altogether. */
  async count(wanted: number, deadlineMs?: number): Promise<unknown[]> {
    await poll(() => {
      if (this.values.length < wanted) throw new Error(`${this.values.length} of ${wanted} values have come: ${JSON.stringify(this.values)}`);
    }, deadlineMs);
    return this.values;
  }

  async end(): Promise<void> {
    this.socket.destroy();
    await poll(() => {
      if (!this.closed) throw new Error('not closed');
    });
  }
}
