import http from 'node:http';
import type { AddressInfo } from 'node:net';

export interface Asked {
  readonly method: string;
  readonly url: URL;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/** An answer with a status and headers of its own. */
export class Reply {
  readonly content: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly status: number;

  constructor(content: unknown, headers: Readonly<Record<string, string>> = {}, status: number = 200) {
    this.content = content;
    this.headers = headers;
    this.status = status;
  }
}

export type Trouble = 'none' | '500' | '403' | 'garbage' | 'truncated' | 'huge' | 'slow' | 'cut' | 'wrong-shape' | 'not-utf8';

/** An HTTP server that answers as it is told, and makes trouble on demand. */
export class ScriptedServer {
  trouble: Trouble = 'none';
  readonly asked: Asked[] = [];
  /** Gives the JSON to answer with, or a `Reply`, at once or later; what it throws with a `status` becomes that status. */
  answer: (asked: Asked) => unknown = () => ({});
  readonly #server: http.Server;
  port = 0;

  constructor() {
    this.#server = http.createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => (body += String(chunk)));
      request.on('end', () => void this.#respond({ method: request.method ?? '', url: new URL(request.url ?? '/', 'http://x'), headers: request.headers, body }, response));
      // Whoever gave up has closed the connection.
      response.on('error', () => {});
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  get connections(): Promise<number> {
    return new Promise((resolve) => this.#server.getConnections((_error, count) => resolve(count)));
  }

  async start(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.port, '127.0.0.1', resolve));
    this.port = (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #respond(asked: Asked, response: http.ServerResponse): Promise<void> {
    this.asked.push(asked);
    switch (this.trouble) {
      case '500': return void response.writeHead(500).end('{"kind":"Status","message":"etcdserver: request timed out"}');
      case '403': return void response.writeHead(403).end('{"kind":"Status","status":"Failure","message":"forbidden","reason":"Forbidden","code":403}');
      case 'garbage': return void response.writeHead(200).end('<html>captive portal</html>');
      case 'not-utf8': return void response.writeHead(200).end(Buffer.from([0x7b, 0xff, 0xfe, 0x7d]));
      case 'wrong-shape': return void response.writeHead(200).end('{"items":{"a":1},"nodes":7,"kvs":"x"}');
      case 'slow': return;
      case 'cut':
        response.writeHead(200, { 'content-length': '1000' });
        response.write('{"items":[');
        setTimeout(() => response.destroy(), 5);
        return;
      case 'huge': return this.#flood(response);
      case 'none':
      case 'truncated': break;
    }
    try {
      const said = await this.answer(asked);
      const { content, headers, status } = said instanceof Reply ? said : new Reply(said);
      const text = content === undefined ? '' : JSON.stringify(content);
      response.writeHead(status, { ...headers }).end(this.trouble === 'truncated' ? text.slice(0, -5) : text);
    } catch (error) {
      response.writeHead((error as { status?: number }).status ?? 500).end(String(error));
    }
  }

  #flood(response: http.ServerResponse): void {
    response.writeHead(200);
    const chunk = Buffer.alloc(256 * 1024, '[');
    const write = (): void => {
      while (!response.destroyed && response.write(chunk));
      if (!response.destroyed) response.once('drain', write);
    };
    write();
  }
}
