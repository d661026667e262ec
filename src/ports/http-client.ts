export interface HttpRequestOptions {
  /** `http:` or `https:`. */
  readonly url: string;
  /** Default GET. */
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Certificates to trust, in PEM, instead of the system's. */
  readonly ca?: string;
  /** An answer with a longer body is dropped (bytes); default 1 MiB. */
  readonly bytesMax?: number;
  /** Bounds the whole request. */
  readonly signal?: AbortSignal;
}

export interface HttpAnswer {
  readonly status: number;
  /** Names in small letters; of a header that came more than once the values, with commas between. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

/** Asks other servers by HTTP. Follows no redirects, keeps no connections, decompresses nothing. */
export interface HttpClient {
  /**
   * Any status is an answer. Rejects with a TroupeError: HTTP_UNREACHABLE (no connection, or it broke, or no HTTP was
   * spoken), HTTP_TOO_LARGE, ABORTED (the signal).
   */
  request(options: HttpRequestOptions): Promise<HttpAnswer>;
}
