import { messageOf, TroupeError } from '../base/errors.ts';
import { consulRequest } from './consul-request.ts';
import type { ConsulOptions, ConsulPorts } from './consul-request.ts';
import { fetchWithHeaders } from './fetch-json.ts';
import { startPolling } from './polling.ts';
import type { Source } from './strategy.ts';

/** An instance whose check has failed for so long is forgotten by Consul; it takes no less than a minute. */
const forgetAfter = '10m';

/**
 * Keeps this node registered with the Consul agent of its host: an instance with a TTL check, which each beat keeps
 * passing. An agent that has forgotten it (a restart without data, an operator's hand) is told again at the next beat.
 * A node that stops in order takes itself away; one that dies turns critical after `ttlSeconds`.
 */
export class ConsulRegistration {
  readonly #options: ConsulOptions;
  readonly #ports: ConsulPorts;
  readonly #id: string;
  readonly #beats: Source;
  #registered = false;
  #troubled = false;

  constructor(options: ConsulOptions, ports: ConsulPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#id = `${options.service}-${ports.self.name}`;
    const beatMs = (options.ttlSeconds * 1000) / 3;
    const sink = { found: () => this.#well(), failed: (error: unknown) => this.#trouble(error) };
    this.#beats = startPolling({ pollMs: beatMs, timeoutMs: options.timeoutMs }, ports, sink, async (signal) => {
      await this.#beat(signal);
      return [];
    }, (signal) => this.#leave(signal));
  }

  stop(): Promise<void> {
    return this.#beats.stop();
  }

  async #beat(signal: AbortSignal): Promise<void> {
    if (!this.#registered) return await this.#register(signal);
    try {
      await this.#put(`agent/check/pass/${encodeURIComponent(`service:${this.#id}`)}`, undefined, signal);
    } catch (error) {
      // It answered, and knows nothing of us.
      if (error instanceof TroupeError && error.code === 'DISCOVERY_REFUSED') this.#registered = false;
      if (this.#registered) throw error;
      await this.#register(signal);
    }
  }

  async #register(signal: AbortSignal): Promise<void> {
    const { service, tag, ttlSeconds } = this.#options;
    const { name, address } = this.#ports.self;
    await this.#put('agent/service/register?replace-existing-checks=true', {
      ID: this.#id, Name: service, Address: address.host, Port: address.port, Tags: tag === undefined ? [] : [tag], Meta: { 'troupe-node': name },
      Check: { CheckID: `service:${this.#id}`, Name: `Troupe node ${name}`, TTL: `${ttlSeconds}s`, Status: 'passing', DeregisterCriticalServiceAfter: forgetAfter },
    }, signal);
    this.#registered = true;
  }

  async #leave(signal: AbortSignal): Promise<void> {
    // Also when the registration was cut off on its way: it may have arrived.
    await this.#put(`agent/service/deregister/${encodeURIComponent(this.#id)}`, undefined, signal);
  }

  async #put(path: string, body: unknown, signal: AbortSignal): Promise<void> {
    const { base, headers, ca } = await consulRequest(this.#options, this.#ports);
    await fetchWithHeaders(this.#ports.http, 'Consul', {
      url: `${base}/v1/${path}`, method: 'PUT', headers: { ...headers, 'content-type': 'application/json' }, ...(body === undefined ? {} : { body: JSON.stringify(body) }), ...(ca === undefined ? {} : { ca }), signal,
    });
  }

  #well(): void {
    if (this.#troubled) this.#ports.log.info('this node is registered with Consul again', { id: this.#id });
    this.#troubled = false;
  }

  /** The look at the service tells of an outage; only what concerns the registration alone is new. */
  #trouble(error: unknown): void {
    if (!this.#troubled) this.#ports.log.warn('this node cannot be registered with Consul; it is tried again', { id: this.#id, reason: messageOf(error).slice(0, 500) });
    this.#troubled = true;
  }
}
