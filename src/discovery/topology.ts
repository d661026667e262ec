import { messageOf } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Timer } from '../ports/clock.ts';
import { attemptsMax } from './limits.ts';
import type { DiscoveryPorts, Source, Strategy } from './strategy.ts';

/** A named way to find other nodes. */
export interface TopologyOptions {
  readonly name: string;
  readonly strategy: Strategy;
  /** Complete: see `completeOptions`. */
  readonly options: Readonly<Record<string, unknown>>;
  /** Longest time between two attempts to reach a host that is no live member (ms). */
  readonly retryMaxMs: number;
}

/** What the topology works on: by default the gossip pool. */
export interface TopologyHooks {
  /** The gossip addresses of all live members, our own among them. */
  list(): readonly Address[];
  /** Says how it went; must end soon after the signal. */
  connect(address: Address, signal: AbortSignal): Promise<{ readonly ok: true } | { readonly ok: false; readonly reason: string }>;
  /**
   * The source gave a good answer that does not name this host any more. Never called because of an outage. Without
   * this hook membership is left to failure detection.
   */
  disconnect?(address: Address): void;
}

export type TopologyEvent = { readonly topology: string } & (
  | { readonly type: 'found' | 'lost'; readonly address: Address }
  | { readonly type: 'connected'; readonly address: Address; /** Of the attempt (ms). */ readonly durationMs: number }
  | { readonly type: 'connect-failed'; readonly address: Address; readonly durationMs: number; readonly reason: string; /** In a row. */ readonly attempts: number }
  | { readonly type: 'disconnected'; readonly address: Address }
  | { readonly type: 'source-failed'; readonly reason: string }
  | { readonly type: 'source-recovered' }
  | { readonly type: 'source-answered' }
);

export interface TopologyView {
  readonly name: string;
  readonly strategy: string;
  /** Why the source gives no answer at the moment; undefined when it does, or has not been asked yet. */
  readonly failure: string | undefined;
  readonly hosts: readonly { readonly address: Address; readonly live: boolean; readonly attempts: number; readonly lastReason: string | undefined }[];
}

interface Host {
  readonly address: Address;
  /** The last known IP addresses behind a name. */
  resolved: readonly string[];
  live: boolean;
  /** Failed ones since it was last live. */
  attempts: number;
  nextAttemptAt: number;
  lastReason: string | undefined;
  attempt: AbortController | undefined;
}

/** Of a name with more addresses, this many are tried at a time. */
const addressesMax = 8;
const lookEveryMs = 250;
const retryMinMs = 250;
const attemptTimeoutMs = 10_000;
/** A host that answered, but under no address that we know it by (an alias, a translated address), is asked again only this often (ms). */
const aliasRetryMs = 30_000;

/**
 * Keeps the hosts that one source names connected: whoever of them is no live member is tried again, for as long as
 * the source names it, with pauses that double from 250 ms to `retryMaxMs`, each shortened by up to half at random.
 * Nobody is dropped because the source fails: what it named last holds.
 */
export class Topology {
  readonly #options: TopologyOptions;
  readonly #ports: DiscoveryPorts;
  readonly #hooks: TopologyHooks;
  readonly #onEvent: (event: TopologyEvent) => void;
  readonly #source: Source;
  readonly #hosts = new Map<string, Host>();
  readonly #attempts = new Set<Promise<void>>();
  #answered = false;
  #failure: string | undefined;
  #timer: Timer | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: TopologyOptions, ports: DiscoveryPorts, hooks: TopologyHooks, onEvent: (event: TopologyEvent) => void) {
    this.#options = options;
    this.#hooks = hooks;
    this.#onEvent = onEvent;
    this.#ports = { ...ports, log: ports.log.child({ discovery: options.name, strategy: options.strategy.name }) };
    this.#source = options.strategy.start(options.options, this.#ports, {
      found: (hosts) => this.#found(hosts),
      failed: (error) => this.#failed(error),
    });
    this.#wait();
  }

  /** The source has answered, and names nobody but this node. */
  get isAlone(): boolean {
    return this.#answered && [...this.#hosts.values()].every((host) => this.#isSelf(host));
  }

  view(): TopologyView {
    const { name, strategy } = this.#options;
    const hosts = [...this.#hosts.values()].map(({ address, live, attempts, lastReason }) => ({ address, live, attempts, lastReason }));
    return { name, strategy: strategy.name, failure: this.#failure, hosts };
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#timer?.cancel();
      for (const host of this.#hosts.values()) host.attempt?.abort();
      await this.#source.stop();
      await Promise.all(this.#attempts);
    })();
    return this.#stopping;
  }

  #found(addresses: readonly Address[]): void {
    if (this.#stopping !== undefined) return;
    const wasAnswered = this.#answered;
    this.#answered = true;
    if (this.#failure !== undefined) {
      this.#failure = undefined;
      this.#ports.log.info('the source of discovery answers again');
      this.#tell({ type: 'source-recovered' });
    }
    const named = new Map(addresses.map((address) => [formatAddress(address), address]));
    for (const [key, host] of this.#hosts) if (!named.has(key)) this.#lose(key, host);
    for (const [key, address] of named) if (!this.#hosts.has(key)) this.#gain(key, address);
    if (!wasAnswered) this.#tell({ type: 'source-answered' });
    this.#look();
  }

  #gain(key: string, address: Address): void {
    this.#hosts.set(key, { address, resolved: [address.host], live: false, attempts: 0, nextAttemptAt: 0, lastReason: undefined, attempt: undefined });
    this.#ports.log.debug(`found ${key}`);
    this.#tell({ type: 'found', address });
  }

  #lose(key: string, host: Host): void {
    this.#hosts.delete(key);
    host.attempt?.abort();
    this.#ports.log.debug(`${key} is not named any more`);
    this.#tell({ type: 'lost', address: host.address });
    if (this.#hooks.disconnect === undefined || this.#isSelf(host)) return;
    this.#hooks.disconnect(host.address);
    this.#ports.log.info(`disconnected from ${key}`);
    this.#tell({ type: 'disconnected', address: host.address });
  }

  #failed(error: unknown): void {
    if (this.#stopping !== undefined) return;
    const reason = messageOf(error).slice(0, 500);
    // An outage is told once, not every few seconds.
    if (this.#failure === undefined) this.#ports.log.warn('the source of discovery gives no usable answer; what is known stays known', { reason, known: this.#hosts.size });
    else this.#ports.log.debug('the source of discovery still gives no usable answer', { reason });
    this.#failure = reason;
    this.#tell({ type: 'source-failed', reason });
  }

  #wait(): void {
    const { clock, random } = this.#ports;
    this.#timer = clock.at(clock.now() + lookEveryMs * (0.75 + 0.5 * random.float()), () => {
      this.#look();
      this.#wait();
    });
  }

  /** Tries whoever is due and no live member. */
  #look(): void {
    const now = this.#ports.clock.now();
    const live = this.#liveKeys();
    for (const [key, host] of this.#hosts) {
      if (this.#missing(host, live).length === 0) {
        host.live = true;
        host.attempts = 0;
        host.nextAttemptAt = 0;
        continue;
      }
      host.live = false;
      if (host.attempt === undefined && now >= host.nextAttemptAt && this.#attempts.size < attemptsMax) this.#start(key, host);
    }
  }

  #liveKeys(): ReadonlySet<string> {
    return new Set(this.#hooks.list().map(formatAddress));
  }

  /** The addresses behind the host that are no live members. */
  #missing({ address, resolved }: Host, live: ReadonlySet<string>): Address[] {
    return resolved.map((ip) => ({ host: ip, port: address.port })).filter((each) => !live.has(formatAddress(each)));
  }

  #start(key: string, host: Host): void {
    const controller = new AbortController();
    host.attempt = controller;
    const attempt = this.#attempt(key, host, controller).finally(() => {
      this.#attempts.delete(attempt);
      host.attempt = undefined;
      // Others may have waited for a free place.
      if (this.#stopping === undefined && this.#attempts.size === attemptsMax - 1) this.#look();
    });
    this.#attempts.add(attempt);
  }

  async #attempt(key: string, host: Host, controller: AbortController): Promise<void> {
    const { clock, log } = this.#ports;
    const begun = clock.now();
    const timer = clock.at(begun + attemptTimeoutMs, () => controller.abort());
    let reason: string | undefined;
    let partly = false;
    try {
      host.resolved = await this.#ports.dns.lookup(host.address.host, controller.signal);
      const missing = this.#missing(host, this.#liveKeys());
      partly = missing.length < host.resolved.length;
      if (missing.length === 0 && partly) return;
      reason = await this.#connectAny(missing, controller.signal);
    } catch (error) {
      reason = messageOf(error);
    } finally {
      timer.cancel();
    }
    if (this.#stopping !== undefined || this.#hosts.get(key) !== host) return;
    const now = clock.now();
    const durationMs = Math.round((now - begun) * 10) / 10;
    host.lastReason = reason;
    if (reason === undefined) {
      host.attempts = 0;
      host.live = this.#missing(host, this.#liveKeys()).length === 0;
      host.nextAttemptAt = host.live ? 0 : now + aliasRetryMs;
      log.info(`connected to ${key}`, { durationMs });
      this.#tell({ type: 'connected', address: host.address, durationMs });
    } else {
      host.attempts++;
      // A name that stands for several addresses may have some that nobody listens at: IPv6 beside IPv4, say.
      host.nextAttemptAt = now + (partly ? aliasRetryMs : this.#pauseMs(host.attempts));
      // Told once; a host that stays away should not fill the log.
      log[host.attempts === 1 && !partly ? 'info' : 'debug'](`unable to connect to ${key}`, { durationMs, reason, attempts: host.attempts });
      this.#tell({ type: 'connect-failed', address: host.address, durationMs, reason, attempts: host.attempts });
    }
  }

  /** A name may stand for several addresses of one host, or of many. Undefined: at least one answered. */
  async #connectAny(targets: readonly Address[], signal: AbortSignal): Promise<string | undefined> {
    if (targets.length === 0) return 'the name has no address';
    const results = await Promise.all(targets.slice(0, addressesMax).map((each) => this.#hooks.connect(each, signal)));
    const failure = results.find((each) => !each.ok);
    return results.some((each) => each.ok) || failure === undefined || failure.ok ? undefined : failure.reason;
  }

  #pauseMs(attempts: number): number {
    const pauseMs = Math.min(this.#options.retryMaxMs, retryMinMs * 2 ** Math.min(attempts - 1, 20));
    return pauseMs * (0.5 + 0.5 * this.#ports.random.float());
  }

  #isSelf({ address, resolved }: Host): boolean {
    const self = formatAddress(this.#ports.self.address);
    return [address.host, ...resolved].some((host) => formatAddress({ host, port: address.port }) === self);
  }

  #tell(event: WithoutTopology): void {
    this.#onEvent({ ...event, topology: this.#options.name } as TopologyEvent);
  }
}

type WithoutTopology = TopologyEvent extends infer Event ? (Event extends TopologyEvent ? Omit<Event, 'topology'> : never) : never;
