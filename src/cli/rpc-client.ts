import type { Command } from 'commander';
import { TroupeError } from '../base/errors.ts';
import { MsgpackReader } from '../core/wire/msgpack.ts';
import { MsgpackScanner } from '../core/wire/msgpack-scanner.ts';
import type { FieldCodec } from '../core/wire/msgpack-struct.ts';
import { encodeRpc, rpcAuthRequest, rpcError, rpcHandshakeRequest, rpcLimits, rpcRequestHeader, rpcResponseHeader, rpcVersion } from '../core/wire/serf-rpc.ts';
import type { RpcSequence } from '../core/wire/serf-rpc.ts';
import { WireError } from '../core/wire/wire-error.ts';
import { TcpStreams } from '../host/tcp.ts';
import { formatAddress, parseAddress } from '../ports/address.ts';
import type { Stream } from '../ports/streams.ts';

/** A client takes larger answers than a server takes requests: the members of a whole pool. */
const answerLimits = { bytesMax: 64 * 1024 * 1024, valuesMax: rpcLimits.valuesMax };
const defaultPort = 7373;
/** For the handshake: some commands may take longer, this one not. */
const answerTimeoutMs = 10_000;

interface Waiting {
  /** Of the answer's body; undefined: it has none. */
  readonly codec: FieldCodec<unknown> | undefined;
  readonly done: (answer: { readonly error: string; readonly body: unknown }) => void;
  readonly fail: (error: Error) => void;
}

interface Records {
  readonly codec: FieldCodec<unknown>;
  readonly onRecord: (record: unknown) => void;
}

interface Body<B> {
  readonly codec: FieldCodec<B>;
  readonly body: B;
}

export interface RecordHandler<R> {
  readonly onStarted?: () => void;
  readonly onRecord: (record: R) => void;
}

/** A client of Serf's RPC: of our own agents and of Serf's. */
export class RpcClient {
  /** Resolves when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>;
  readonly #address: string;
  readonly #stream: Stream;
  readonly #scanner = new MsgpackScanner(answerLimits);
  readonly #waiting = new Map<RpcSequence, Waiting>();
  readonly #records = new Map<RpcSequence, Records>();
  #nextSequence = 0;
  /** The header whose body comes next. */
  #bodyOf: { readonly sequence: RpcSequence; readonly error: string; readonly codec: FieldCodec<unknown> } | undefined;
  #failure: Error | undefined;
  #markClosed: () => void = () => {};

  private constructor(address: string) {
    const to = parseAddress(address, defaultPort);
    this.#address = formatAddress(to);
    this.closed = new Promise((resolve) => (this.#markClosed = resolve));
    this.#stream = new TcpStreams().connect(to, { timeoutMs: 10_000 });
    this.#stream.setHandler({
      onData: (bytes) => this.#receive(bytes),
      onClose: (reason, detail) => this.#fail(this.#unreachable(reason === 'refused' ? 'nobody listens there' : (detail ?? `the connection was closed (${reason})`))),
    });
  }

  /** @throws TroupeError AGENT_UNREACHABLE, RPC_FAILED (wrong token) */
  static async connect(address: string, token: string | undefined): Promise<RpcClient> {
    const client = new RpcClient(address);
    const timer = setTimeout(() => client.#fail(client.#unreachable('it does not answer')), answerTimeoutMs);
    try {
      await client.request('handshake', { codec: rpcHandshakeRequest, body: { Version: rpcVersion } });
      if (token !== undefined) await client.request('auth', { codec: rpcAuthRequest, body: { AuthKey: token } });
    } catch (error) {
      client.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return client;
  }

  close(): void {
    this.#stream.destroy();
  }

  /** The answer's body, whether or not it is an error. */
  ask<B, A = undefined>(command: string, request?: Body<B>, answer?: FieldCodec<A>): Promise<{ readonly error: string; readonly body: A }> {
    return new Promise((resolve, reject) => {
      this.#send(command, request, { codec: answer as FieldCodec<unknown> | undefined, done: (given) => resolve(given as { error: string; body: A }), fail: reject });
    });
  }

  #send<B>(command: string, request: Body<B> | undefined, waiting: Waiting): void {
    if (this.#failure !== undefined) return waiting.fail(this.#failure);
    const sequence = this.#nextSequence++;
    this.#waiting.set(sequence, waiting);
    this.#stream.write(encodeRpc(rpcRequestHeader, { Command: command, Seq: sequence }, request?.codec, request?.body));
  }

  /** @throws TroupeError RPC_FAILED with the agent's words */
  async request<B, A = undefined>(command: string, request?: Body<B>, answer?: FieldCodec<A>): Promise<A> {
    const { error, body } = await this.ask(command, request, answer);
    if (error !== '') throw new TroupeError('RPC_FAILED', error, { command });
    return body;
  }

  /** A command that is answered by records without end. `onStarted` is called before the first of them. */
  subscribe<B, R>(command: string, request: Body<B>, records: FieldCodec<R>, handler: RecordHandler<R>): Promise<void> {
    const sequence = this.#nextSequence;
    return new Promise((resolve, reject) => {
      this.#send(command, request, {
        codec: undefined,
        done: ({ error }) => {
          if (error !== '') return reject(new TroupeError('RPC_FAILED', error, { command }));
          this.#records.set(sequence, { codec: records as FieldCodec<unknown>, onRecord: handler.onRecord as (record: unknown) => void });
          handler.onStarted?.();
          resolve();
        },
        fail: reject,
      });
    });
  }

  #receive(bytes: Uint8Array): void {
    this.#scanner.push(bytes);
    try {
      for (let value = this.#scanner.next(); value !== undefined; value = this.#scanner.next()) this.#take(new MsgpackReader(value.slice(), 0, rpcLimits));
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#fail(new TroupeError('NO_AGENT', `what answers at ${this.#address} does not speak Serf's RPC: ${error.message}`, { address: this.#address }));
    }
  }

  #take(reader: MsgpackReader): void {
    if (this.#bodyOf !== undefined) {
      const { sequence, error, codec } = this.#bodyOf;
      this.#bodyOf = undefined;
      this.#settle(sequence, error, codec.read(reader.read()));
      return;
    }
    const { Seq, Error: error } = rpcResponseHeader.read(reader.read());
    const waiting = this.#waiting.get(Seq);
    const codec = waiting === undefined ? this.#records.get(Seq)?.codec : waiting.codec;
    const bare = error === rpcError.authRequired || error === rpcError.handshakeRequired || error === rpcError.unsupportedCommand;
    if (codec === undefined || bare) this.#settle(Seq, error, undefined);
    else this.#bodyOf = { sequence: Seq, error, codec };
  }

  #settle(sequence: RpcSequence, error: string, body: unknown): void {
    const waiting = this.#waiting.get(sequence);
    if (waiting !== undefined) {
      this.#waiting.delete(sequence);
      waiting.done({ error: oneLine(error), body });
    } else this.#records.get(sequence)?.onRecord(body);
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#stream.destroy();
    for (const { fail } of this.#waiting.values()) fail(this.#failure);
    this.#waiting.clear();
    this.#markClosed();
  }

  #unreachable(why: string): TroupeError {
    return new TroupeError('AGENT_UNREACHABLE', `cannot talk to an agent's RPC at ${this.#address}: ${why}; start one with \`troupe agent\`, or say where it is with --rpc-addr ADDR:PORT`, { address: this.#address });
  }
}

/** Adds the options of the verbs that talk to an agent over Serf's RPC. */
export function withRpc(command: Command): Command {
  return command
    .option('--rpc-addr <address>', 'address of the RPC of the agent to ask, ours or Serf\'s; default 127.0.0.1:7373, or TROUPE_RPC_ADDR or SERF_RPC_ADDR')
    .option('--rpc-auth <token>', 'its token; default TROUPE_RPC_AUTH or SERF_RPC_AUTH');
}

interface RpcOptions {
  readonly rpcAddr?: string;
  readonly rpcAuth?: string;
  readonly http?: string;
  readonly token?: string;
}

function setting(...names: readonly string[]): string | undefined {
  return names.map((name) => process.env[name]).find((value) => value !== undefined && value !== '');
}

/** Of the verbs that can do either: an agent's RPC was named, and no HTTP address. */
export function asksForRpc(command: Command): boolean {
  const { rpcAddr, rpcAuth, http, token } = command.optsWithGlobals<RpcOptions>();
  if (rpcAddr !== undefined || rpcAuth !== undefined) return true;
  return setting('TROUPE_RPC_ADDR', 'SERF_RPC_ADDR') !== undefined && http === undefined && token === undefined && setting('TROUPE_HTTP') === undefined;
}

/** Connects, runs, and closes. */
export async function overRpc<T>(command: Command, run: (client: RpcClient) => Promise<T>): Promise<T> {
  const { rpcAddr, rpcAuth } = command.optsWithGlobals<RpcOptions>();
  const address = rpcAddr ?? setting('TROUPE_RPC_ADDR', 'SERF_RPC_ADDR') ?? `127.0.0.1:${defaultPort}`;
  const client = await RpcClient.connect(address, rpcAuth ?? setting('TROUPE_RPC_AUTH', 'SERF_RPC_AUTH'));
  try {
    return await run(client);
  } finally {
    client.close();
  }
}

/** Agents of Serf tell of several errors as a list over several lines. */
function oneLine(error: string): string {
  return error.trim().replaceAll(/\s*\n\s*(\* )?/g, ' ');
}
