import { TroupeError } from '../../base/errors.ts';
import type { Address } from '../../ports/address.ts';
import type { HttpListener, HttpServer } from '../../ports/http.ts';
import { createHttpApi } from './api.ts';
import type { HttpBackend } from './backend.ts';

export interface HttpFrontendOptions {
  readonly server: HttpServer;
  readonly backend: HttpBackend;
  readonly bind: Address;
  readonly token?: string | undefined;
  /** Serve other hosts although there is no token. */
  readonly allowWithoutToken?: boolean;
  readonly gossipPort: number;
}

/** Values may have 1 MiB; everything else is far smaller. */
const bodyBytesMax = 1024 * 1024 + 4096;

/** Serves the HTTP API. Rejects with INSECURE_HTTP when others could use it without a token, and with what `listen` says. */
export async function startHttp(options: HttpFrontendOptions): Promise<HttpListener> {
  const loopback = options.bind.host === '::1' || options.bind.host.startsWith('127.');
  if (!loopback && options.token === undefined && options.allowWithoutToken !== true) {
    throw new TroupeError('INSECURE_HTTP', `cannot serve HTTP on ${options.bind.host}: other hosts could use it without a token; set one, or bind to 127.0.0.1`, { host: options.bind.host });
  }
  const handler = createHttpApi(options.backend, { loopback, gossipPort: options.gossipPort, ...(options.token === undefined ? {} : { token: options.token }) });
  return options.server.listen(options.bind, handler, { bodyBytesMax });
}
