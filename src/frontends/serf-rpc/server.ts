import { Seldom } from '../../base/seldom.ts';
import type { Address } from '../../ports/address.ts';
import { formatAddress } from '../../ports/address.ts';
import type { Clock, Timer } from '../../ports/clock.ts';
import type { Log, LogTail } from '../../ports/log.ts';
import type { Stream, Streams } from '../../ports/streams.ts';
import { OpenConnections } from '../open-connections.ts';
import type { SerfRpcBackend } from './backend.ts';
import { RpcConnection } from './connection.ts';
import type { ConnectionHost } from './connection.ts';
import { defaultSerfRpcLimits } from './limits.ts';
import type { SerfRpcLimits } from './limits.ts';

export interface SerfRpcOptions {
  readonly streams: Streams;
  readonly clock: Clock;
  readonly log: Log;
  readonly logTail: LogTail;
  /** Where to listen; port 0 takes any free one. */
  readonly address: Address;
  readonly backend: SerfRpcBackend;
  /** Clients must name this; default: none is asked for. */
  readonly authKey?: string | undefined;
  readonly limits?: Partial<SerfRpcLimits>;
}

export interface SerfRpcServer {
  readonly address: Address;
  readonly connections: number;
  /** Stops accepting; commands under way are answered, if they end within the grace; then all connections are closed. */
  close(): Promise<void>;
}

const dropLogMs = 10_000;
const lingerMs = 1000;

/** Serves Serf's RPC protocol. Rejects with what the port says when the address cannot be had. */
export async function startSerfRpc(options: SerfRpcOptions): Promise<SerfRpcServer> {
  const server = new Server(options);
  await server.listen();
  return server;
}

class Server implements SerfRpcServer, ConnectionHost {
  readonly backend: SerfRpcBackend;
  readonly clock: Clock;
  readonly logTail: LogTail;
  readonly limits: SerfRpcLimits;
  readonly authKey: string;
  address: Address;
  readonly #options: SerfRpcOptions;
  readonly #open: OpenConnections<RpcConnection>;
  readonly #greeting = new Map<RpcConnection, Timer>();
  #closing: Promise<void> | undefined;
  #dropped = 0;
  #dropLoggedAt = -Infinity;
  #dropLogDue = false;
  readonly #tooMany = new Seldom();
  readonly #faults = new Seldom();

  constructor(options: SerfRpcOptions) {
    this.#options = options;
    this.#open = new OpenConnections(options.clock, lingerMs);
    this.backend = options.backend;
    this.clock = options.clock;
    this.logTail = options.logTail;
    this.limits = { ...defaultSerfRpcLimits, ...options.limits };
    this.authKey = options.authKey ?? '';
    this.address = options.address;
  }

  get connections(): number {
    return this.#open.size;
  }

  async listen(): Promise<void> {
    this.address = await this.#open.listen(this.#options.streams, this.#options.address, (stream) => this.#onStream(stream));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  onMisuse(connection: RpcConnection, why: string): void {
    const fields = this.#faults.fields(this.clock.now());
    if (fields !== undefined) this.#options.log.warn(`closed an RPC connection: ${why}`, { remote: formatAddress(connection.stream.remote), ...fields });
  }

  /** Later, and rarely: the log may be what this client does not read. */
  onDropped(connection: RpcConnection, count: number): void {
    this.#dropped += count;
    if (this.#dropLogDue || this.clock.now() - this.#dropLoggedAt < dropLogMs) return;
    this.#dropLogDue = true;
    this.clock.endOfTurn(() => {
      this.#dropLogDue = false;
      this.#dropLoggedAt = this.clock.now();
      this.#options.log.warn('an RPC client reads too slowly: events or log lines for it were dropped', { remote: formatAddress(connection.stream.remote), dropped: this.#dropped });
    });
  }

  onEnded(connection: RpcConnection): void {
    this.#open.onEnded(connection);
  }

  onClosed(connection: RpcConnection): void {
    this.#greeting.get(connection)?.cancel();
    this.#greeting.delete(connection);
    this.#open.onClosed(connection);
  }

  #onStream(stream: Stream): void {
    if (this.#closing !== undefined || this.#open.size >= this.limits.connectionsMax) {
      stream.setHandler({ onData: () => {}, onClose: () => {} });
      stream.destroy();
      const fields = this.#closing === undefined ? this.#tooMany.fields(this.clock.now()) : undefined;
      if (fields !== undefined) this.#options.log.warn(`closed an RPC connection from ${formatAddress(stream.remote)}: ${this.limits.connectionsMax} are open, which is the limit`, fields);
      return;
    }
    const connection = new RpcConnection(this, stream);
    this.#open.add(connection);
    this.#greeting.set(connection, this.clock.at(this.clock.now() + this.limits.greetingMs, () => {
      this.#greeting.delete(connection);
      if (!connection.greeted) connection.end();
    }));
    stream.setHandler(connection);
  }

  async #close(): Promise<void> {
    await this.#open.stopListening();
    const end = this.clock.now() + this.limits.closeGraceMs;
    // Whoever asked this node to leave is told that it has.
    while (this.clock.now() < end && [...this.#open].some((connection) => connection.busy)) await this.#sleep(5);
    for (const connection of this.#open) connection.end();
    await this.#open.none();
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.clock.at(this.clock.now() + ms, resolve));
  }
}
