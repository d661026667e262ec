import type { Address } from './address.ts';

/** Serves HTTP by web-standard requests and responses. */
export interface HttpServer {
  /** Rejects with a TroupeError (ADDRESS_IN_USE, …) when the address cannot be had. Port 0 asks for any free one. */
  listen(address: Address, handler: HttpHandler, options?: HttpOptions): Promise<HttpListener>;
}

/** What it throws is answered with 500 and logged. */
export type HttpHandler = (request: Request, from: Address) => Promise<Response> | Response;

export interface HttpOptions {
  /** A longer request body is answered with 413 (bytes); default 64 MiB. */
  readonly bodyBytesMax?: number;
  /** Bytes of all request bodies that are being received or handled, but for those announced with less than 16 KiB; beyond them 503. Default 128 MiB. */
  readonly bodiesBytesMax?: number;
  /** Time for a request's headers (ms), then 408; default 10,000. */
  readonly headersTimeoutMs?: number;
  /** Time for a whole request, body included (ms), then 408; default 60,000. A response may take as long as it likes. */
  readonly requestTimeoutMs?: number;
  /** More connections than this are turned away; default 4096. */
  readonly connectionCountMax?: number;
}

export interface HttpListener {
  readonly address: Address;
  /** Stops accepting, lets running requests finish for up to `graceMs` (default 1000), then cuts what is left. */
  close(graceMs?: number): Promise<void>;
}
