import { TroupeError } from '../base/errors.ts';
import type { HttpClient, HttpRequestOptions } from '../ports/http-client.ts';
import { parseJson } from './json.ts';

/** Asks and reads the answer. @throws TroupeError DISCOVERY_REFUSED unless the status is 2xx, DISCOVERY_ANSWER, HTTP_… */
export async function fetchJson(http: HttpClient, what: string, options: HttpRequestOptions): Promise<unknown> {
  const { status, body } = await http.request({ ...options, headers: { accept: 'application/json', ...options.headers } });
  if (status < 200 || status > 299) {
    const said = new TextDecoder().decode(body.subarray(0, 200)).replaceAll(/[^\x20-\x7e]+/g, ' ').trim();
    throw new TroupeError('DISCOVERY_REFUSED', `${what} answered with status ${status}${said === '' ? '' : `: ${said}`}`, { what, status });
  }
  return parseJson(body, what);
}
