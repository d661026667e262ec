import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import type { HttpBindings } from '@hono/node-server';
import { messageOf } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import type { HttpHandler, HttpListener, HttpOptions, HttpServer } from '../ports/http.ts';
import type { Log } from '../ports/log.ts';
import { listenOn } from './tcp.ts';
import { plainHost } from './udp.ts';

const bodyBytesMaxDefault = 64 * 1024 * 1024;

/** HTTP/1.1 over node:http, with @hono/node-server between its objects and the web's. */
export class NodeHttpServer implements HttpServer {
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  async listen(address: Address, handler: HttpHandler, options: HttpOptions = {}): Promise<HttpListener> {
    const bodyBytesMax = options.bodyBytesMax ?? bodyBytesMaxDefault;
    const answer = getRequestListener(
      (request, bindings) => this.#answer(request, (bindings as HttpBindings).incoming, handler, bodyBytesMax),
      { overrideGlobalObjects: false, errorHandler: (error) => this.#failed(error) },
    );
    const server = createServer({
      headersTimeout: options.headersTimeoutMs ?? 10_000,
      requestTimeout: options.requestTimeoutMs ?? 60_000,
      connectionsCheckingInterval: 1000,
      keepAliveTimeout: 30_000,
      noDelay: true,
    }, (incoming, outgoing) => void answer(incoming, outgoing));
    server.maxConnections = options.connectionCountMax ?? 4096;
    const listener = await listenOn(server, address);
    let closed: Promise<void> | undefined;
    return {
      address: listener.address,
      close(graceMs = 1000): Promise<void> {
        closed ??= new Promise((resolve) => {
          const cut = setTimeout(() => server.closeAllConnections(), graceMs);
          server.close(() => {
            clearTimeout(cut);
            resolve();
          });
          server.closeIdleConnections();
        });
        return closed;
      },
    };
  }

  async #answer(request: Request, incoming: IncomingMessage, handler: HttpHandler, bodyBytesMax: number): Promise<Response> {
    const declared = Number(incoming.headers['content-length'] ?? 0);
    if (declared > bodyBytesMax) return tooLarge(bodyBytesMax);
    const from: Address = { host: plainHost(incoming.socket.remoteAddress ?? ''), port: incoming.socket.remotePort ?? 0 };
    if (incoming.headers['transfer-encoding'] === undefined) return handler(request, from);
    // Without a declared length the bytes are counted as they come.
    const meter = new Meter(bodyBytesMax);
    try {
      const response = await handler(meter.wrap(request), from);
      return meter.exceeded ? tooLarge(bodyBytesMax) : response;
    } catch (error) {
      if (meter.exceeded) return tooLarge(bodyBytesMax);
      throw error;
    }
  }

  #failed(error: unknown): Response {
    this.#log.error('an HTTP request failed', { error: messageOf(error), ...(error instanceof Error ? { stack: error.stack } : {}) });
    return Response.json({ error: { code: 'INTERNAL', message: 'the request failed inside; the log says more' } }, { status: 500 });
  }
}

class Meter {
  readonly #max: number;
  #count = 0;
  exceeded = false;

  constructor(max: number) {
    this.#max = max;
  }

  wrap(request: Request): Request {
    if (request.body === null) return request;
    const body = request.body.pipeThrough(new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        this.#count += chunk.length;
        this.exceeded ||= this.#count > this.#max;
        if (this.exceeded) controller.error(new Error(`the request body has more than ${this.#max} bytes`));
        else controller.enqueue(chunk);
      },
    }));
    return new Request(request.url, { method: request.method, headers: request.headers, signal: request.signal, body, duplex: 'half' } as RequestInit);
  }
}

function tooLarge(bodyBytesMax: number): Response {
  // The rest of the body is not read, so the connection cannot go on.
  return Response.json({ error: { code: 'BODY_TOO_LARGE', message: `the request body is too large: at most ${bodyBytesMax} bytes are taken; send less at a time` } }, { status: 413, headers: { connection: 'close' } });
}
