import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { fetchJson } from './fetch-json.ts';
import { parseHost } from './host-lines.ts';
import { isRecord, member, textAt } from './json.ts';
import { answerBytesMax, defaultGossipPort, hostsMax } from './limits.ts';
import { labels, milliseconds, optionalPath, textOr, url, whole } from './options.ts';
import { startPolling } from './polling.ts';
import type { Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface HttpOptions {
  readonly url: string;
  readonly path: string;
  readonly port: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly ca: string | undefined;
  readonly pollMs: number;
  readonly timeoutMs: number;
}

export const http: Strategy = defineStrategy<HttpOptions, 'clock' | 'random' | 'http' | 'files'>({
  name: 'http',
  summary: 'A JSON document that names the hosts.',
  ports: ['clock', 'random', 'http', 'files'],
  options: {
    url: url(undefined, 'where the document is'),
    path: textOr('', 'where in it the hosts are: keys with dots between, `*` for each element of a list, for example `nodes.*.address`; empty: the document itself'),
    port: whole(defaultGossipPort, 1, 65_535, 'port of hosts that come without'),
    headers: labels('sent with each request, for example `authorization`'),
    ca: optionalPath("file with the server's certificate authority", "the system's"),
    pollMs: milliseconds(5000, 'time between two looks'),
    timeoutMs: milliseconds(4000, 'a look that takes longer has failed'),
  },
  start({ url: address, path, port, headers, ca, ...timing }, { clock, random, http: client, files }, sink) {
    return startPolling(timing, { clock, random }, sink, async (signal) => {
      const authority = ca === undefined ? undefined : await files.read(ca, 64 * 1024);
      const document = await fetchJson(client, 'the discovery URL', { url: address, headers, bytesMax: answerBytesMax, signal, ...(authority === undefined ? {} : { ca: authority }) });
      return hostsAt(document, path, port);
    });
  },
});

/**
 * The hosts of a document: texts (`host`, `host:port`), objects with `host`, `address` or `ip`, and perhaps `port`, and
 * lists of these.
 * @throws TroupeError DISCOVERY_ANSWER when the path leads nowhere or to something else
 */
export function hostsAt(document: unknown, path: string, defaultPort: number): Address[] {
  let found: readonly unknown[] = [document];
  for (const key of path === '' ? [] : path.split('.')) {
    found = found.flatMap((each) => {
      if (key === '*') {
        if (!Array.isArray(each)) throw leadsNowhere(path, key);
        return each;
      }
      const next: unknown = Array.isArray(each) ? each[Number(key)] : member(each, key);
      if (next === undefined) throw leadsNowhere(path, key);
      return [next];
    });
    // A document can name the same list over and over, but only as often as it has bytes.
    if (found.length > hostsMax * 16) throw new TroupeError('DISCOVERY_TOO_LARGE', `'${path}' leads to more than ${hostsMax * 16} places`, { path });
  }
  return found.flatMap((each) => (Array.isArray(each) ? each.map((host) => hostOf(host, path, defaultPort)) : [hostOf(each, path, defaultPort)]));
}

function hostOf(value: unknown, path: string, defaultPort: number): Address {
  const host = typeof value === 'string' ? value : (textAt(value, 'host') ?? textAt(value, 'address') ?? textAt(value, 'ip'));
  if (host === undefined) throw new TroupeError('DISCOVERY_ANSWER', `${path === '' ? 'the document' : `'${path}'`} holds something that is neither a host nor a list of hosts`, { path });
  const port = isRecord(value) ? Number(member(value, 'port') ?? defaultPort) : defaultPort;
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new TroupeError('DISCOVERY_ANSWER', `the host '${host.slice(0, 80)}' has no usable port`, { path });
  return parseHost(host, port, 'host');
}

function leadsNowhere(path: string, key: string): TroupeError {
  return new TroupeError('DISCOVERY_ANSWER', `the document has nothing at '${path}' (there is no '${key}')`, { path, key });
}
