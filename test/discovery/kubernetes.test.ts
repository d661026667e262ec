import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Source } from '../../src/discovery/strategy.ts';
import { completeOptions } from '../../src/discovery/strategy.ts';
import { poll } from '../poll.ts';
import { hostPorts, temporaryDirectory } from './support/ports.ts';
import { Recorder } from './support/recorder.ts';
import { at, pageOf, podList, self, sliceList, strategyNamed } from './support/rigs.ts';
import { Reply, ScriptedServer } from './support/scripted-server.ts';

/** The Kubernetes API as its reference has it, replayed. */
let server: ScriptedServer;
let account: string;
let source: Source | undefined;
beforeEach(async () => {
  server = new ScriptedServer();
  await server.start();
  account = temporaryDirectory();
  writeFileSync(join(account, 'token'), 'first');
  writeFileSync(join(account, 'namespace'), 'default');
});
afterEach(async () => {
  await source?.stop();
  await server.stop();
  rmSync(account, { recursive: true, force: true });
});

function start(options: Readonly<Record<string, unknown>>): Recorder {
  const strategy = strategyNamed('kubernetes');
  const sink = new Recorder();
  source = strategy.start(completeOptions(strategy, { server: server.url, serviceAccount: account, pollMs: 20, ...options }), hostPorts('one', self), sink);
  return sink;
}

const gone = new Reply({ kind: 'Status', apiVersion: 'v1', status: 'Failure', message: 'The provided continue parameter is too old', reason: 'Expired', code: 410 }, {}, 410);

test('a list whose continuation expires on the way is begun anew; if it does again, that is an outage', async () => {
  let expire = 1;
  server.answer = ({ url }) => (url.searchParams.get('continue') === 'token-2' && expire-- > 0 ? gone : pageOf(podList([at(2), at(3), at(4)]), url.searchParams));
  const sink = start({ source: 'pods' });
  await poll(() => expect(sink.hosts).toEqual(['127.0.0.2:7946', '127.0.0.3:7946', '127.0.0.4:7946']));
  expect(sink.failures).toEqual([]);
  expect(server.asked[0]?.url.searchParams.get('limit')).toBe('500');
  expire = 2;
  await poll(() => expect(sink.failures).toContain('DISCOVERY_REFUSED'));
  expect(sink.hosts).toHaveLength(3);
});

test('pages that never end, and pages that name ever more hosts, are refused', async () => {
  server.answer = () => ({ items: [], metadata: { continue: 'again' } });
  const sink = start({ source: 'pods' });
  await poll(() => expect(sink.failures).toContain('DISCOVERY_TOO_LARGE'));
  expect(server.asked.length).toBeLessThan(100);
  sink.failures.length = 0;
  let page = 0;
  server.answer = () => ({ items: Array.from({ length: 500 }, (_, i) => ({ status: { podIP: `10.${page & 255}.${i >> 8}.${i & 255}` } })), metadata: { continue: `p${page++}` } });
  await poll(() => expect(sink.failures).toContain('DISCOVERY_TOO_LARGE'));
  expect(page).toBeLessThan(20);
});

test('slices of a service are asked for by their label, beside the selector of the user', async () => {
  server.answer = ({ url }) => {
    expect(url.pathname).toBe('/apis/discovery.k8s.io/v1/namespaces/blue/endpointslices');
    return url.searchParams.get('labelSelector') === 'tier=a,kubernetes.io/service-name=troupe' ? sliceList([at(2), at(3)]) : { items: [] };
  };
  const sink = start({ source: 'endpointslices', service: 'troupe', selector: 'tier=a', namespace: 'blue', includeNotReady: false });
  await poll(() => expect(sink.hosts).toEqual(['127.0.0.2:7946']));
});

test.each([401, 403, 404, 410, 429, 500, 503])('status %i is an outage; an exchanged token is used at the next look', async (status) => {
  server.answer = ({ headers }) => (headers.authorization === 'Bearer second' ? podList([at(2)]) : new Reply({ kind: 'Status', code: status }, {}, status));
  const sink = start({ source: 'pods' });
  await poll(() => expect(sink.failures).toContain('DISCOVERY_REFUSED'));
  expect(sink.hosts).toBeUndefined();
  writeFileSync(join(account, 'token'), 'second\n');
  await poll(() => expect(sink.hosts).toEqual(['127.0.0.2:7946']));
});
