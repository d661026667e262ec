import { messageOf } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Timer } from '../ports/clock.ts';
import { addressKey } from './canonical-host.ts';
import { checkedHosts } from './checked-hosts.ts';
import { Departures } from './departures.ts';
import type { DepartureOutcome } from './departures.ts';
import { attemptsMax } from './limits.ts';
import type { DiscoveryPorts, Sink, Source } from './strategy.ts';
import type { TopologyEvent, TopologyHooks, TopologyOptions, TopologyView } from './topology-types.ts';

export type { TopologyCounters, TopologyEvent, TopologyHooks, TopologyOptions, TopologyView } from './topology-types.ts';

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
  /** It answered, and still nobody but this node is connected: it is this node under another address. */
  ourselves: boolean;
  /** Where to begin among the addresses behind a name, if they are more than are tried at a time. */
  turn: number;
}

/** Of a name with more addresses, this many are tried at a time. */
const addressesMax = 8;
const lookEveryMs = 250;
const retryMinMs = 250;
const attemptTimeoutMs = 10_000;
/** A host that answered, but under no address that we know it by (an alias, a translated address), is asked again only this often (ms). */
const aliasRetryMs = 30_000;
/** An answer that suddenly names nobody is likelier a mistake of the source than the truth: it disconnects nobody before this time (ms). */
const emptyDoubtMs = 60_000;

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
  readonly #departures: Departures;
  readonly #counters = { connects: 0, connectFailures: 0, connectMs: 0, disconnects: 0, disconnectFailures: 0, disconnectMs: 0, sourceFailures: 0 };
  #live: ReadonlySet<string>;
  #listFailed = false;
  #answered = false;
  #failure: string | undefined;
  #timer: Timer | undefined;
  #stopping: Promise<void> | undefined;

  constructor(options: TopologyOptions, ports: DiscoveryPorts, hooks: TopologyHooks, onEvent: (event: TopologyEvent) => void) {
    this.#options = options;
    this.#hooks = hooks;
    this.#onEvent = onEvent;
    this.#ports = { ...ports, log: ports.log.child({ discovery: options.name, strategy: options.strategy.name }) };
    this.#live = new Set([addressKey(ports.self.address)]);
    this.#departures = new Departures({
      clock: ports.clock, random: ports.random, timeoutMs: attemptTimeoutMs,
      disconnect: (address, signal, reason) => hooks.disconnect?.(address, signal, reason),
      onOutcome: (outcome) => this.#departed(outcome),
    });
    this.#source = this.#startSource();
    this.#wait();
  }

  /** The source has answered, and names nobody but this node. */
  get isAlone(): boolean {
    return this.#answered && [...this.#hosts.values()].every((host) => this.#isSelf(host));
  }

  /** Somebody other than this node is connected. */
  get seesOthers(): boolean {
    const self = addressKey(this.#ports.self.address);
    return [...this.#liveKeys()].some((each) => each !== self);
  }

  view(): TopologyView {
    const { name, strategy } = this.#options;
    const hosts = [...this.#hosts.values()].map(({ address, live, attempts, lastReason }) => ({ address, live, attempts, lastReason }));
    return { name, strategy: strategy.name, failure: this.#failure, hosts, counters: { ...this.#counters } };
  }

  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      this.#timer?.cancel();
      for (const host of this.#hosts.values()) host.attempt?.abort();
      await this.#source.stop();
      await this.#departures.stop();
      await Promise.all(this.#attempts);
    })();
    return this.#stopping;
  }

  /** A strategy may speak while it starts, or fail: that is heard once everybody listens, and touches no other topology. */
  #startSource(): Source {
    const { clock } = this.#ports;
    let begun = false;
    const word = (run: () => void): void => void (begun ? run() : clock.at(clock.now(), run));
    const sink: Sink = {
      found: (hosts) => word(() => this.#found(hosts)),
      failed: (error) => word(() => this.#failed(error)),
    };
    try {
      return this.#options.strategy.start(this.#options.options, this.#ports, sink);
    } catch (error) {
      sink.failed(error);
      return { stop: async () => {} };
    } finally {
      begun = true;
    }
  }

  #found(addresses: readonly Address[]): void {
    if (this.#stopping !== undefined) return;
    let named: Map<string, Address>;
    try {
      named = checkedHosts(addresses);
    } catch (error) {
      return this.#failed(error);
    }
    const wasAnswered = this.#answered;
    this.#answered = true;
    if (this.#failure !== undefined) {
      this.#failure = undefined;
      this.#ports.log.info('the source of discovery answers again');
      this.#tell({ type: 'source-recovered' });
    }
    const namesOthers = [...named.keys()].some((key) => key !== addressKey(this.#ports.self.address));
    if (namesOthers) this.#departures.hasten();
    for (const [key, host] of this.#hosts) if (!named.has(key)) this.#lose(key, host, namesOthers ? 0 : emptyDoubtMs);
    for (const [key, address] of named) if (!this.#hosts.has(key)) this.#gain(key, address);
    if (!wasAnswered) this.#tell({ type: 'source-answered' });
    this.#look();
  }

  #gain(key: string, address: Address): void {
    this.#departures.cancel(key);
    this.#hosts.set(key, { address, resolved: [address.host], live: false, attempts: 0, nextAttemptAt: 0, lastReason: undefined, attempt: undefined, ourselves: false, turn: 0 });
    this.#ports.log.debug(`found ${key}`);
    this.#tell({ type: 'found', address });
  }

  #lose(key: string, host: Host, delayMs: number): void {
    this.#hosts.delete(key);
    host.attempt?.abort();
    this.#ports.log.debug(`${key} is not named any more`);
    this.#tell({ type: 'lost', address: host.address });
    if (this.#hooks.disconnect === undefined || this.#isSelf(host)) return;
    this.#departures.add(key, host.address, 'the source does not name it any more', delayMs);
  }

  #departed({ address, reason, durationMs, attempts, failure }: DepartureOutcome): void {
    if (this.#stopping !== undefined) return;
    const { log } = this.#ports;
    this.#counters.disconnectMs += durationMs;
    if (failure === undefined) {
      this.#counters.disconnects++;
      log.info(`disconnected from ${formatAddress(address)}`, { durationMs, reason });
      this.#tell({ type: 'disconnected', address, durationMs, reason });
    } else {
      this.#counters.disconnectFailures++;
      log[attempts === 1 ? 'info' : 'debug'](`unable to disconnect from ${formatAddress(address)}`, { durationMs, reason: failure, attempts });
      this.#tell({ type: 'disconnect-failed', address, durationMs, reason: failure, attempts });
    }
  }

  #failed(error: unknown): void {
    if (this.#stopping !== undefined) return;
    const reason = messageOf(error).slice(0, 500);
    // An outage is told once, not every few seconds.
    if (this.#failure === undefined) this.#ports.log.warn('the source of discovery gives no usable answer; what is known stays known', { reason, known: this.#hosts.size });
    else this.#ports.log.debug('the source of discovery still gives no usable answer', { reason });
    this.#failure = reason;
    this.#counters.sourceFailures++;
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
    this.#departures.look();
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

  /** Who is connected, this node always among them. While the list cannot be had, what it said last holds. */
  #liveKeys(): ReadonlySet<string> {
    try {
      this.#live = new Set([...this.#hooks.list(), this.#ports.self.address].map(addressKey));
      this.#listFailed = false;
    } catch (error) {
      if (!this.#listFailed) this.#ports.log.warn('the hook that lists who is connected failed; what it said last holds', { reason: messageOf(error).slice(0, 500) });
      this.#listFailed = true;
    }
    return this.#live;
  }

  /** The addresses behind the host that are no live members. */
  #missing({ address, resolved }: Host, live: ReadonlySet<string>): Address[] {
    return resolved.map((ip) => ({ host: ip, port: address.port })).filter((each) => !live.has(addressKey(each)));
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
      reason = await this.#connectAny(turned(missing, host), controller.signal);
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
      this.#counters.connects++;
      this.#counters.connectMs += durationMs;
      const again = host.ourselves;
      host.ourselves = !host.live && !this.seesOthers;
      log[again && host.ourselves ? 'debug' : 'info'](host.ourselves ? `${key} is this node itself` : `connected to ${key}`, { durationMs });
      this.#tell({ type: 'connected', address: host.address, durationMs, reason: 'the source names it' });
    } else {
      host.attempts++;
      this.#counters.connectFailures++;
      this.#counters.connectMs += durationMs;
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
    const results = await Promise.all(targets.map((each) => this.#hooks.connect(each, signal)));
    const failure = results.find((each) => !each.ok);
    return results.some((each) => each.ok) || failure === undefined || failure.ok ? undefined : failure.reason;
  }

  #pauseMs(attempts: number): number {
    const pauseMs = Math.min(this.#options.retryMaxMs, retryMinMs * 2 ** Math.min(attempts - 1, 20));
    return pauseMs * (0.5 + 0.5 * this.#ports.random.float());
  }

  #isSelf({ address, resolved, ourselves }: Host): boolean {
    const self = addressKey(this.#ports.self.address);
    return ourselves || [address.host, ...resolved].some((host) => addressKey({ host, port: address.port }) === self);
  }

  #tell(event: WithoutTopology): void {
    this.#onEvent({ ...event, topology: this.#options.name } as TopologyEvent);
  }
}

type WithoutTopology = TopologyEvent extends infer Event ? (Event extends TopologyEvent ? Omit<Event, 'topology'> : never) : never;

/** The next of the targets, as many as are tried at a time: none is left out for ever. */
function turned(targets: readonly Address[], host: Host): readonly Address[] {
  if (targets.length <= addressesMax) return targets;
  const from = host.turn % targets.length;
  host.turn = from + addressesMax;
  return [...targets.slice(from), ...targets.slice(0, from)].slice(0, addressesMax);
}
