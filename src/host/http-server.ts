import type { IncomingMessage } from 'node:http';
import { createServer } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import type { HttpBindings } from '@hono/node-server';
import { ByteBudget } from '../base/byte-budget.ts';
import { messageOf } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import type { HttpHandler, HttpListener, HttpOptions, HttpServer } from '../ports/http.ts';
import type { Log } from '../ports/log.ts';
import { listenOn } from './tcp.ts';
import { plainHost } from './udp.ts';

const bodyBytesMaxDefault = 64 * 1024 * 1024;
const bodiesBytesMaxDefault = 128 * 1024 * 1024;
/** A body that is announced with less is not counted: so many connections as there may be cannot make much of it. */
const countedBytesMin = 16 * 1024;

interface BodyLimits {
  readonly bytesMax: number;
  /** For all bodies together. */
  readonly budget: ByteBudget;
}

/** HTTP/1.1 over node:http, with @hono/node-server between its objects and the web's. */
export class NodeHttpServer implements HttpServer {
  readonly #log: Log;

  constructor(log: Log) {
    this.#log = log;
  }

  async listen(address: Address, handler: HttpHandler, options: HttpOptions = {}): Promise<HttpListener> {
    const limits = { bytesMax: options.bodyBytesMax ?? bodyBytesMaxDefault, budget: new ByteBudget(options.bodiesBytesMax ?? bodiesBytesMaxDefault) };
    const answer = getRequestListener(
      (request, bindings) => this.#answer(request, (bindings as HttpBindings).incoming, handler, limits),
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

  async #answer(request: Request, incoming: IncomingMessage, handler: HttpHandler, limits: BodyLimits): Promise<Response> {
    const declared = Number(incoming.headers['content-length'] ?? 0);
    if (declared > limits.bytesMax) return tooLarge(limits.bytesMax);
    const from: Address = { host: plainHost(incoming.socket.remoteAddress ?? ''), port: incoming.socket.remotePort ?? 0 };
    if (incoming.headers['transfer-encoding'] === undefined && declared < countedBytesMin) return handler(request, from);
    // The bytes are counted as they come: an announcement takes no memory yet, and need not be true.
    const meter = new Meter(limits);
    try {
      const response = await handler(meter.wrap(request), from);
      return meter.refusal?.() ?? response;
    } catch (error) {
      if (meter.refusal !== undefined) return meter.refusal();
      throw error;
    } finally {
      meter.close();
    }
  }

  #failed(error: unknown): Response {
    this.#log.error('an HTTP request failed', { error: messageOf(error), ...(error instanceof Error ? { stack: error.stack } : {}) });
    return Response.json({ error: { code: 'INTERNAL', message: 'the request failed inside; the log says more' } }, { status: 500 });
  }
}

class Meter {
  readonly #limits: BodyLimits;
  #count = 0;
  #closed = false;
  /** The answer where the body was too much. */
  refusal: (() => Response) | undefined;

  constructor(limits: BodyLimits) {
    this.#limits = limits;
  }

  wrap(request: Request): Request {
    if (request.body === null) return request;
    const body = request.body.pipeThrough(new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, controller) => {
        if (this.#take(chunk.length)) controller.enqueue(chunk);
        else controller.error(new Error('the request body is refused'));
      },
    }));
    return new Request(request.url, { method: request.method, headers: request.headers, signal: request.signal, body, duplex: 'half' } as RequestInit);
  }

  #take(bytes: number): boolean {
    const { bytesMax, budget } = this.#limits;
    if (this.refusal !== undefined || this.#closed) return false;
    if (this.#count + bytes > bytesMax) this.refusal = () => tooLarge(bytesMax);
    else if (!budget.take(bytes)) this.refusal = () => tooMuch(budget);
    else this.#count += bytes;
    return this.refusal === undefined;
  }

  /** Nobody holds the body any more. */
  close(): void {
    this.#closed = true;
    this.#limits.budget.give(this.#count);
    this.#count = 0;
  }
}

function tooMuch(budget: ByteBudget): Response {
  return Response.json({ error: { code: 'BUSY', message: `the request is refused, nothing was done: bodies of ${budget.usedBytes} bytes are being received, of at most ${budget.limitBytes} together; try again later` } }, { status: 503, headers: { connection: 'close' } });
}

function tooLarge(bodyBytesMax: number): Response {
  // The rest of the body is not read, so the connection cannot go on.
  return Response.json({ error: { code: 'BODY_TOO_LARGE', message: `the request body is too large: at most ${bodyBytesMax} bytes are taken; send less at a time` } }, { status: 413, headers: { connection: 'close' } });
}
