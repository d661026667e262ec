import http from 'node:http';
import https from 'node:https';
import { TroupeError, messageOf } from '../base/errors.ts';
import type { HttpAnswer, HttpClient, HttpRequestOptions } from '../ports/http-client.ts';
import { systemCodeOf } from './socket-errors.ts';

const bytesMaxDefault = 1024 * 1024;

/** One connection for each request, closed after it: nothing is left when the request is over. */
export class HostHttpClient implements HttpClient {
  request(options: HttpRequestOptions): Promise<HttpAnswer> {
    return new Promise((resolve, reject) => {
      const { url, signal, bytesMax = bytesMaxDefault } = options;
      const unreachable = (cause: unknown): TroupeError => new TroupeError('HTTP_UNREACHABLE', `cannot reach ${shown(url)}: ${systemCodeOf(cause) || messageOf(cause)}`, { url: shown(url) }, cause);
      const aborted = (): TroupeError => new TroupeError('ABORTED', `gave up waiting for ${shown(url)}`, { url: shown(url) });
      if (signal?.aborted === true) return reject(aborted());
      let request: http.ClientRequest;
      try {
        request = start(options);
      } catch (error) {
        return reject(unreachable(error));
      }
      const settle = (end: () => void): void => {
        signal?.removeEventListener('abort', abort);
        end();
        request.destroy();
      };
      const abort = (): void => settle(() => reject(aborted()));
      signal?.addEventListener('abort', abort, { once: true });
      request.on('error', (error) => settle(() => reject(unreachable(error))));
      request.on('response', (response) => {
        const chunks: Buffer[] = [];
        let length = 0;
        response.on('error', (error) => settle(() => reject(unreachable(error))));
        response.on('data', (chunk: Buffer) => {
          length += chunk.length;
          chunks.push(chunk);
          if (length > bytesMax) settle(() => reject(new TroupeError('HTTP_TOO_LARGE', `the answer of ${shown(url)} has more than ${bytesMax} bytes; it is not read`, { url: shown(url), bytesMax })));
        });
        response.on('end', () => settle(() => resolve({ status: response.statusCode ?? 0, headers: plainHeaders(response.headers), body: Buffer.concat(chunks) })));
        response.on('close', () => settle(() => reject(unreachable(new Error('the connection broke off')))));
      });
      request.end(options.body);
    });
  }
}

function start({ url, method = 'GET', headers, ca }: HttpRequestOptions): http.ClientRequest {
  const options = { method, headers: { ...headers }, agent: false as const };
  return url.startsWith('https:') ? https.request(url, ca === undefined ? options : { ...options, ca }) : http.request(url, options);
}

function plainHeaders(headers: http.IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : (value ?? '')]));
}

/** Without what may be secret: the user's part and the query. */
function shown(url: string): string {
  try {
    const { protocol, host, pathname } = new URL(url);
    return `${protocol}//${host}${pathname}`;
  } catch {
    return 'the URL';
  }
}
