import { messageOf, TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import { fetchJson } from './fetch-json.ts';
import { parseHost } from './host-lines.ts';
import { listAt, textAt } from './json.ts';
import { answerBytesMax, hostsMax } from './limits.ts';
import { milliseconds, optionalPath, textOr, urls, whole } from './options.ts';
import { startPolling } from './polling.ts';
import type { DiscoveryPorts, Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface EtcdOptions {
  readonly servers: readonly string[];
  readonly prefix: string;
  readonly ttlSeconds: number;
  readonly user: string;
  readonly password: string | undefined;
  readonly ca: string | undefined;
  readonly pollMs: number;
  readonly timeoutMs: number;
}

type EtcdPorts = Pick<DiscoveryPorts, 'clock' | 'random' | 'http' | 'files' | 'self'>;

/** Keeps its own key alive with each look: a node that is gone is gone from the list one `ttlSeconds` later. */
export const etcd: Strategy = defineStrategy<EtcdOptions, 'clock' | 'random' | 'http' | 'files' | 'self'>({
  name: 'etcd',
  summary: 'Each node keeps a key with its address in an etcd 3 cluster (3.4 or later), and lists the others.',
  ports: ['clock', 'random', 'http', 'files', 'self'],
  options: {
    servers: urls('http://127.0.0.1:2379', 'client URLs; the next one is tried when one fails'),
    prefix: textOr('/troupe/nodes/', 'the keys are this with the node\'s name; another prefix is another cluster'),
    ttlSeconds: whole(15, 5, 3600, 'how long a key outlives its node (seconds)'),
    user: textOr('', 'where etcd asks who one is'),
    password: optionalPath('file with the password', 'none'),
    ca: optionalPath("file with the servers' certificate authority", "the system's"),
    pollMs: milliseconds(2000, 'time between two looks; at most a third of `ttlSeconds` is used'),
    timeoutMs: milliseconds(4000, 'a look that takes longer has failed'),
  },
  start(options, ports, sink) {
    const session = new EtcdSession(options, ports);
    const pollMs = Math.min(options.pollMs, (options.ttlSeconds * 1000) / 3);
    return startPolling({ pollMs, timeoutMs: options.timeoutMs }, ports, sink, (signal) => session.look(signal), (signal) => session.leave(signal));
  },
});

class EtcdSession {
  readonly #options: EtcdOptions;
  readonly #ports: EtcdPorts;
  #lease: string | undefined;
  /** The newest lease, registered or not: a key that was cut off on its way may yet hang on it. */
  #granted: string | undefined;
  #token: string | undefined;
  #server = 0;

  constructor(options: EtcdOptions, ports: EtcdPorts) {
    this.#options = options;
    this.#ports = ports;
  }

  async look(signal: AbortSignal): Promise<Address[]> {
    const { prefix, user } = this.#options;
    try {
      if (user !== '' && this.#token === undefined) await this.#authenticate(signal);
      await this.#keepRegistered(signal);
      const range = await this.#call('kv/range', { key: toBase64(prefix), range_end: toBase64(afterPrefix(prefix)), limit: String(hostsMax + 1) }, signal);
      const entries = listAt(range, 'kvs', 'etcd');
      // Somebody has taken our key away: the next look registers anew.
      if (!entries.some((entry) => textAt(entry, 'key') === toBase64(prefix + this.#ports.self.name))) this.#lease = undefined;
      return entries.map((entry) => parseHost(fromBase64(textAt(entry, 'value') ?? ''), 0, 'value'));
    } catch (error) {
      // Where the others are may have changed, and who we are: begin anew elsewhere.
      this.#token = undefined;
      this.#server = (this.#server + 1) % this.#options.servers.length;
      throw error;
    }
  }

  /** Takes our key away, so that nobody tries us. */
  async leave(signal: AbortSignal): Promise<void> {
    const lease = this.#granted;
    this.#lease = undefined;
    this.#granted = undefined;
    if (lease !== undefined) await this.#call('lease/revoke', { ID: lease }, signal);
  }

  async #keepRegistered(signal: AbortSignal): Promise<void> {
    const { prefix, ttlSeconds } = this.#options;
    if (this.#lease !== undefined && (await this.#renew(this.#lease, signal))) return;
    const lease = textAt(await this.#call('lease/grant', { TTL: String(ttlSeconds) }, signal), 'ID');
    if (lease === undefined) throw new TroupeError('DISCOVERY_ANSWER', 'etcd granted no lease', {});
    this.#lease = lease;
    this.#granted = lease;
    try {
      await this.#call('kv/put', { key: toBase64(prefix + this.#ports.self.name), value: toBase64(formatAddress(this.#ports.self.address)), lease }, signal);
    } catch (error) {
      // Without its key the lease is of no use, and must not be taken for a registration.
      this.#lease = undefined;
      throw error;
    }
  }

  /** False when the lease has run out. */
  async #renew(lease: string, signal: AbortSignal): Promise<boolean> {
    const answer = (await this.#call('lease/keepalive', { ID: lease }, signal)) as { result?: { TTL?: unknown } } | null;
    return Number(answer?.result?.TTL ?? 0) > 0;
  }

  async #authenticate(signal: AbortSignal): Promise<void> {
    const { user, password } = this.#options;
    const secret = password === undefined ? '' : (await this.#ports.files.read(password, 4096))?.trim();
    this.#token = textAt(await this.#call('auth/authenticate', { name: user, password: secret ?? '' }, signal), 'token');
  }

  async #call(method: string, body: Readonly<Record<string, string>>, signal: AbortSignal): Promise<unknown> {
    const { servers, ca } = this.#options;
    const server = servers[this.#server % servers.length] as string;
    return await fetchJson(this.#ports.http, `etcd at ${server}`, {
      url: `${server.replace(/\/$/, '')}/v3/${method}`,
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(this.#token === undefined ? {} : { authorization: this.#token }) },
      body: JSON.stringify(body),
      ...(ca === undefined ? {} : { ca: (await this.#ports.files.read(ca, 64 * 1024)) ?? '' }),
      bytesMax: answerBytesMax,
      signal,
    });
  }
}

/** The first key after all that begin with the prefix. */
function afterPrefix(prefix: string): string {
  return `${prefix.slice(0, -1)}${String.fromCharCode(prefix.charCodeAt(prefix.length - 1) + 1)}`;
}

function toBase64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

function fromBase64(text: string): string {
  try {
    return atob(text);
  } catch (error) {
    throw new TroupeError('DISCOVERY_ANSWER', `a value of etcd is no base64: ${messageOf(error)}`, {}, error);
  }
}
