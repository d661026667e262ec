/** The remote client: a keyspace from outside the cluster, over the HTTP API of any of its nodes. */
import { TroupeError } from '../base/errors.ts';
import { HostClock } from '../host/clock.ts';
import { KeptHttp } from '../host/kept-http.ts';
import { parseAddress } from '../ports/address.ts';
import { Hosts } from './hosts.ts';
import { RemoteKeyspace } from './remote-keyspace.ts';

export { TroupeError } from '../base/errors.ts';
export type { RemoteEntry, RemoteKeyspace, RemoteWriteOptions } from './remote-keyspace.ts';

export interface ConnectOptions {
  /** HTTP addresses of nodes, `HOST[:PORT]`, default port 7380; any of them will do, more of them outlive more failures. */
  readonly hosts: readonly string[];
  /** The nodes' `http.token`. Default: none. */
  readonly token?: string | undefined;
  /** Longest time that one call may take, all attempts included (ms). Default 15000: longer than a node waits for a fail-over. */
  readonly timeoutMs?: number;
  /** Connections to one node; further calls wait. Default 64. */
  readonly connectionCountMax?: number;
}

export interface Client {
  keyspace(name: string): RemoteKeyspace;
  /** What `troupe status --json` prints. */
  status(): Promise<unknown>;
  close(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * A client of the cluster. Connects when it is first used. A host that does not answer is passed over for the next one;
 * a request that certainly had no effect is made again until `timeoutMs`. A write whose answer was lost (the very node that
 * it was talking to died in the middle) rejects with UNKNOWN_OUTCOME: only the caller can know whether to repeat it.
 *
 * @throws TroupeError BAD_ADDRESS
 */
export function connect(options: ConnectOptions): Client {
  if (options.hosts.length === 0) throw new TroupeError('BAD_ADDRESS', 'cannot connect: `hosts` is empty; name at least one node, for example 127.0.0.1:7380');
  const http = new KeptHttp(options.connectionCountMax ?? 64);
  const hosts = new Hosts({
    addresses: options.hosts.map((text) => parseAddress(text, 7380)),
    http,
    clock: new HostClock(),
    timeoutMs: options.timeoutMs ?? 15_000,
    ...(options.token === undefined ? {} : { token: options.token }),
  });
  return {
    keyspace: (name) => new RemoteKeyspace(name, hosts),
    async status() {
      const answer = await hosts.ask({ method: 'GET', path: '/v1/status', repeatable: true });
      return JSON.parse(new TextDecoder().decode(answer.body)) as unknown;
    },
    close: () => http.close(),
    async [Symbol.asyncDispose]() {
      http.close();
    },
  };
}
