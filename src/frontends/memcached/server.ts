import { ByteBudget } from '../../base/byte-budget.ts';
import { Seldom } from '../../base/seldom.ts';
import type { Address } from '../../ports/address.ts';
import type { Clock } from '../../ports/clock.ts';
import type { Log } from '../../ports/log.ts';
import type { Stream, Streams } from '../../ports/streams.ts';
import { formatAddress } from '../../ports/address.ts';
import type { StoreRouter } from '../../core/store/request.ts';
import { OpenConnections } from '../open-connections.ts';
import type { Answering, ConnectionHost } from './answering.ts';
import { answers } from './answers.ts';
import { Connection } from './connection.ts';
import { Counters } from './counters.ts';
import { defaultMemcachedLimits, type MemcachedLimits } from './limits.ts';
import { ascii, Output } from './output.ts';

export interface MemcachedOptions {
  readonly streams: Streams;
  readonly clock: Clock;
  readonly log: Log;
  /** Where to listen; port 0 takes any free one. */
  readonly address: Address;
  readonly router: StoreRouter;
  readonly limits?: Partial<MemcachedLimits>;
  /** What `version` answers. Clients read it as memcached's, so it begins with the version whose protocol this speaks. Default '1.6.18-troupe'. */
  readonly version?: string;
  /** The process id that `stats` reports; default 0. */
  readonly processId?: number;
}

export interface MemcachedServer {
  readonly address: Address;
  /** Open connections. */
  readonly connections: number;
  /** Stops accepting, lets requests under way finish (at most `closeGraceMs`), then closes all connections. */
  close(): Promise<void>;
}

/** Serves memcached's text protocol. */
export async function startMemcached(options: MemcachedOptions): Promise<MemcachedServer> {
  const server = new Server(options);
  await server.listen();
  return server;
}

class Server implements MemcachedServer, ConnectionHost {
  readonly router: StoreRouter;
  readonly limits: MemcachedLimits;
  readonly counters: Counters = new Counters();
  readonly halfSent: ByteBudget;
  readonly output: Output = new Output();
  readonly version: Uint8Array;
  address: Address;
  readonly #options: MemcachedOptions;
  readonly #open: OpenConnections<Answering>;
  readonly #startedMs: number;
  #waiting: Answering[] = [];
  #turnScheduled = false;
  readonly #binary = new Seldom();
  #closing = false;

  constructor(options: MemcachedOptions) {
    this.#options = options;
    this.router = options.router;
    this.limits = { ...defaultMemcachedLimits, ...options.limits };
    this.#open = new OpenConnections(options.clock, this.limits.lingerMs);
    this.halfSent = new ByteBudget(this.limits.halfSentBytesMax);
    this.version = ascii(`VERSION ${this.#versionText()}\r\n`);
    this.address = options.address;
    this.#startedMs = options.clock.now();
  }

  get connections(): number {
    return this.#open.size;
  }

  async listen(): Promise<void> {
    this.address = await this.#open.listen(this.#options.streams, this.#options.address, (stream) => this.#onStream(stream));
  }

  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    await this.#open.stopListening();
    for (const connection of this.#open) connection.finish();
    const grace = this.#options.clock.at(this.#options.clock.now() + this.limits.closeGraceMs, () => {
      for (const connection of this.#open) connection.stream.destroy();
    });
    await this.#open.none();
    grace.cancel();
  }

  nowSeconds(): number {
    return Math.floor(this.#options.clock.wallTime() / 1000);
  }

  stats(about: string): Uint8Array | undefined {
    switch (about) {
      case '':
        return lines([...this.#general(), ...this.router.stats()]);
      case 'settings':
        return lines(this.#settings());
      case 'reset':
        this.counters.reset();
        return answers.reset;
      // Slab classes and the like are not split by size here: nothing to list.
      case 'items':
      case 'slabs':
      case 'conns':
        return answers.end;
      case 'sizes':
        return lines([['sizes_status', 'disabled']]);
      default:
        return undefined;
    }
  }

  atEndOfTurn(connection: Answering): void {
    this.#waiting.push(connection);
    if (this.#turnScheduled) return;
    this.#turnScheduled = true;
    this.#options.clock.endOfTurn(() => {
      this.#turnScheduled = false;
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const each of waiting) each.flushAnswers();
    });
  }

  onBinary(connection: Answering): void {
    const fields = this.#binary.fields(this.#options.clock.now());
    if (fields !== undefined) this.#options.log.warn('a client spoke the memcached binary protocol, which is not supported: closed; let it use the text protocol', { remote: formatAddress(connection.stream.remote), ...fields });
  }

  onEnded(connection: Answering): void {
    this.#open.onEnded(connection);
  }

  onClosed(connection: Answering): void {
    this.#open.onClosed(connection);
  }

  #onStream(stream: Stream): void {
    this.counters.totalConnections++;
    if (this.#closing || this.#open.size >= this.limits.connectionsMax) {
      this.counters.rejectedConnections++;
      // An error of an ordinary command, which every client understands, rather than a connection that never answers.
      const lingering = this.#open.destroyLater(stream);
      stream.setHandler({ onData() {}, onClose: () => lingering.cancel() });
      stream.write(answers.busyConnections);
      stream.end();
      return;
    }
    const connection = new Connection(this, stream);
    this.#open.add(connection);
    stream.setHandler(connection);
  }

  #versionText(): string {
    return this.#options.version ?? '1.6.18-troupe';
  }

  *#general(): Iterable<readonly [string, string]> {
    const c = this.counters;
    const { clock } = this.#options;
    yield ['pid', String(this.#options.processId ?? 0)];
    yield ['uptime', String(Math.floor((clock.now() - this.#startedMs) / 1000))];
    yield ['time', String(this.nowSeconds())];
    yield ['version', this.#versionText()];
    yield ['pointer_size', '64'];
    yield ['max_connections', String(this.limits.connectionsMax)];
    yield ['curr_connections', String(this.#open.size)];
    yield ['total_connections', String(c.totalConnections)];
    yield ['rejected_connections', String(c.rejectedConnections)];
    yield ['cmd_get', String(c.getCommands)];
    yield ['cmd_set', String(c.setCommands)];
    yield ['cmd_flush', String(c.flushCommands)];
    yield ['cmd_touch', String(c.touchCommands)];
    yield ['get_hits', String(c.getHits)];
    yield ['get_misses', String(c.getMisses)];
    yield ['delete_misses', String(c.deleteMisses)];
    yield ['delete_hits', String(c.deleteHits)];
    yield ['incr_misses', String(c.incrMisses)];
    yield ['incr_hits', String(c.incrHits)];
    yield ['decr_misses', String(c.decrMisses)];
    yield ['decr_hits', String(c.decrHits)];
    yield ['cas_misses', String(c.casMisses)];
    yield ['cas_hits', String(c.casHits)];
    yield ['cas_badval', String(c.casBadValue)];
    yield ['touch_hits', String(c.touchHits)];
    yield ['touch_misses', String(c.touchMisses)];
    yield ['server_errors', String(c.failures)];
    yield ['bytes_read', String(c.readBytes)];
    yield ['bytes_written', String(this.output.writtenBytes)];
    yield ['threads', '1'];
  }

  *#settings(): Iterable<readonly [string, string]> {
    yield ['maxconns', String(this.limits.connectionsMax)];
    yield ['tcpport', String(this.address.port)];
    yield ['udpport', '0'];
    yield ['inter', this.address.host];
    yield ['item_size_max', String(this.router.maxValueBytes)];
    yield ['cas_enabled', 'yes'];
    yield ['binding_protocol', 'ascii'];
    yield ['num_threads', '1'];
    yield ['flush_enabled', 'yes'];
  }
}

function lines(stats: Iterable<readonly [string, string]>): Uint8Array {
  let text = '';
  for (const [name, value] of stats) text += `STAT ${name} ${value}\r\n`;
  return ascii(`${text}END\r\n`);
}
