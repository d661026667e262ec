import { TroupeError } from '../base/errors.ts';
import type { HttpClient, HttpRequestOptions } from '../ports/http-client.ts';
import { parseJson } from './json.ts';

/** Asks and reads the answer. @throws TroupeError DISCOVERY_REFUSED unless the status is 2xx, DISCOVERY_ANSWER, HTTP_… */
export async function fetchJson(http: HttpClient, what: string, options: HttpRequestOptions): Promise<unknown> {
  return (await fetchWithHeaders(http, what, options)).content;
}

/** As `fetchJson`, with the answer's headers. An answer without a body has no content. */
export async function fetchWithHeaders(http: HttpClient, what: string, options: HttpRequestOptions): Promise<{ readonly content: unknown; readonly headers: Readonly<Record<string, string>> }> {
  const { status, headers, body } = await http.request({ ...options, headers: { accept: 'application/json', ...options.headers } });
  if (status < 200 || status > 299) {
    const said = new TextDecoder().decode(body.subarray(0, 200)).replaceAll(/[^\x20-\x7e]+/g, ' ').trim();
    throw new TroupeError('DISCOVERY_REFUSED', `${what} answered with status ${status}${said === '' ? '' : `: ${said}`}`, { what, status });
  }
  return { content: body.length === 0 && options.method === 'PUT' ? undefined : parseJson(body, what), headers };
}
