import { TroupeError } from '../base/errors.ts';
import type { KeptAnswer } from '../host/kept-http.ts';
import type { Hosts } from './hosts.ts';

export interface RemoteEntry {
  readonly value: Uint8Array;
  /** Grows with every write of the entry. */
  readonly version: number;
  /** Unix seconds; undefined: never. */
  readonly expiresAt: number | undefined;
  readonly flags: number;
}

export interface RemoteWriteOptions {
  /** Seconds to live; default for ever. */
  readonly ttlSeconds?: number;
  readonly flags?: number;
}

const encoder = new TextEncoder();

/** The same methods as a node's own keyspace, from outside. Keys are strings of 1 to 250 bytes, values at most 1 MiB. */
export class RemoteKeyspace {
  readonly name: string;
  readonly #hosts: Hosts;

  constructor(name: string, hosts: Hosts) {
    this.name = name;
    this.#hosts = hosts;
  }

  async get(key: string): Promise<RemoteEntry | undefined> {
    const answer = await unless('NOT_FOUND', undefined, this.#hosts.ask({ method: 'GET', path: this.#path(key), repeatable: true }));
    if (answer === undefined) return undefined;
    const number = (header: string): number | undefined => (answer.headers[header] === undefined ? undefined : Number(answer.headers[header]));
    return { value: answer.body, version: number('x-troupe-version') ?? 0, flags: number('x-troupe-flags') ?? 0, expiresAt: number('x-troupe-expires-at') };
  }

  async put(key: string, value: Uint8Array | string, options: RemoteWriteOptions = {}): Promise<{ version: number }> {
    return jsonOf(await this.#write('PUT', key, value, options)) as { version: number };
  }

  /** False when the key exists. */
  async create(key: string, value: Uint8Array | string, options: RemoteWriteOptions = {}): Promise<boolean> {
    return unless('EXISTS', false, this.#write('POST', key, value, options).then(() => true));
  }

  /** False when the key does not exist. */
  async update(key: string, value: Uint8Array | string, options: RemoteWriteOptions = {}): Promise<boolean> {
    return unless('NOT_FOUND', false, this.#write('PATCH', key, value, options).then(() => true));
  }

  async delete(key: string): Promise<boolean> {
    return unless('NOT_FOUND', false, this.#hosts.ask({ method: 'DELETE', path: this.#path(key), repeatable: false }).then(() => true));
  }

  async compareAndSet(key: string, value: Uint8Array | string, version: number, options: RemoteWriteOptions = {}): Promise<'stored' | 'changed' | 'missing'> {
    const written = this.#write('PUT', key, value, options, { 'if-match': String(version) }).then(() => 'stored' as const);
    return unless('NOT_FOUND', 'missing' as const, unless('CHANGED', 'changed' as const, written));
  }

  /** Undefined when the key does not exist. Negative numbers subtract, but never below 0. */
  async increment(key: string, by: number | bigint = 1): Promise<bigint | undefined> {
    const answer = await unless('NOT_FOUND', undefined, this.#hosts.ask({ method: 'POST', path: `${this.#path(key)}?incr=${by}`, repeatable: false }));
    return answer === undefined ? undefined : BigInt((jsonOf(answer) as { value: string }).value);
  }

  #write(method: string, key: string, value: Uint8Array | string, options: RemoteWriteOptions, headers: Record<string, string> = {}): Promise<KeptAnswer> {
    const query = [options.ttlSeconds === undefined ? '' : `ttl=${options.ttlSeconds}`, options.flags === undefined ? '' : `flags=${options.flags}`].filter((part) => part !== '').join('&');
    return this.#hosts.ask({ method, path: `${this.#path(key)}${query === '' ? '' : `?${query}`}`, headers, body: typeof value === 'string' ? encoder.encode(value) : value, repeatable: false });
  }

  #path(key: string): string {
    return `/v1/kv/${encodeURIComponent(this.name)}/${encodeURIComponent(key)}`;
  }
}

/** Turns an error with this code into an answer. */
async function unless<T, U>(code: string, instead: U, work: Promise<T>): Promise<T | U> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof TroupeError && error.code === code) return instead;
    throw error;
  }
}

function jsonOf(answer: KeptAnswer): unknown {
  return JSON.parse(new TextDecoder().decode(answer.body));
}
