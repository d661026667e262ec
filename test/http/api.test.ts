import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { TroupeError } from '../../src/base/errors.ts';
import { sameSecret } from '../../src/frontends/http/access.ts';
import { createHttpApi } from '../../src/frontends/http/api.ts';
import { startHttp } from '../../src/frontends/http/server.ts';
import { NodeHttpServer } from '../../src/host/http-server.ts';
import { silentLog } from '../../src/ports/log.ts';
import { fakeBackend } from './fake-backend.ts';
import type { FakeBackend } from './fake-backend.ts';

let backend: FakeBackend;
let api: (request: Request) => Promise<Response>;

beforeEach(() => {
  backend = fakeBackend();
  api = createHttpApi(backend, { loopback: true, gossipPort: 7946 });
});

const origin = 'http://127.0.0.1:7380';

async function ask(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<{ status: number; json: unknown; text: string; headers: Headers }> {
  const response = await api(new Request(origin + path, { method, headers: { host: '127.0.0.1:7380', ...headers }, ...(body === undefined ? {} : { body }) }));
  const text = await response.text();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: response.status, json, text, headers: response.headers };
}

describe('what it tells', () => {
  test('members come in the form that `serf members -format json` has', async () => {
    expect((await ask('GET', '/v1/members')).json).toEqual({ members: [
      { name: 'one', addr: '127.0.0.1:7946', port: 7946, tags: { zone: 'a' }, status: 'alive', protocol: { max: 5, min: 2, version: 4 } },
      { name: 'two', addr: '127.0.0.1:7946', port: 7946, tags: {}, status: 'failed', protocol: { max: 5, min: 2, version: 4 } },
    ] });
  });

  test('health is 200 when ready and 503 when not', async () => {
    expect(await ask('GET', '/v1/health')).toMatchObject({ status: 200, json: { ready: true } });
    backend.ready = false;
    expect(await ask('GET', '/v1/health')).toMatchObject({ status: 503, json: { ready: false } });
  });

  test('status, nodes, voters, apps, partitions and version are there', async () => {
    expect((await ask('GET', '/v1/version')).json).toEqual({ name: 'one', version: '1.2.3' });
    expect((await ask('GET', '/v1/status')).json).toMatchObject({ leader: 'one' });
    expect((await ask('GET', '/v1/nodes')).json).toEqual({ nodes: [{ name: 'one' }] });
    expect((await ask('GET', '/v1/voters')).json).toEqual({ leader: 'one', term: 3, voters: ['one'], quorum: true });
    expect((await ask('GET', '/v1/apps')).json).toEqual({ apps: [{ name: 'wikipedy' }] });
    expect((await ask('GET', '/v1/partitions?keyspace=other')).json).toEqual({ partitions: [{ keyspace: 'other' }] });
  });

  test('ps looks into this node, or the one that is named', async () => {
    expect(await ask('GET', '/v1/discovery')).toMatchObject({ status: 200, json: { topologies: [{ name: 'home' }] } });
    expect((await ask('GET', '/v1/ps')).json).toMatchObject({ node: 'one', processes: [{ name: 'one' }] });
    expect((await ask('GET', '/v1/ps?node=t%20wo')).json).toMatchObject({ node: 't wo' });
    expect(backend.calls.slice(-2)).toEqual([['ps', 'one'], ['ps', 't wo']]);
    backend.fail = new TroupeError('NO_SUCH_NODE', 'there is no node');
    expect(await ask('GET', '/v1/ps?node=x')).toMatchObject({ status: 404, json: { error: { code: 'NO_SUCH_NODE' } } });
    backend.fail = new TroupeError('CALL_TIMEOUT', 'no answer');
    expect(await ask('GET', '/v1/ps?node=x')).toMatchObject({ status: 504, json: { error: { code: 'CALL_TIMEOUT' } } });
  });

  test('what is not there is 404 in the one form of errors', async () => {
    expect(await ask('GET', '/v2/nothing')).toMatchObject({ status: 404, json: { error: { code: 'NOT_FOUND' } } });
  });
});

describe('what it does', () => {
  test.each([
    ['/v1/join', { addresses: ['10.0.0.1', '[::1]:5'] }, ['join', [{ host: '10.0.0.1', port: 7946 }, { host: '::1', port: 5 }]]],
    ['/v1/leave', {}, ['leave']],
    ['/v1/force-leave', { name: 'two', prune: true }, ['forceLeave', 'two', true]],
    ['/v1/nodes/two/drain', {}, ['drainNode', 'two', true]],
    ['/v1/nodes/two/drain', { on: false }, ['drainNode', 'two', false]],
    ['/v1/maintenance', { on: true }, ['maintenance', true]],
    ['/v1/partitions/accept-loss', { keyspace: 'default', partitions: [3] }, ['acceptLoss', 'default', [3]]],
    ['/v1/voters/transfer', { to: 'two' }, ['transferLeadership', 'two']],
    ['/v1/apps/wikipedy/start', {}, ['app', 'wikipedy', { type: 'want', wanted: 'started' }]],
    ['/v1/apps/wikipedy/stop', {}, ['app', 'wikipedy', { type: 'want', wanted: 'stopped' }]],
    ['/v1/apps/wikipedy/takeover', {}, ['app', 'wikipedy', { type: 'move', to: 'one' }]],
    ['/v1/apps/wikipedy/move', { node: 'two' }, ['app', 'wikipedy', { type: 'move', to: 'two' }]],
    ['/v1/apps/wikipedy/permit', { node: 'two' }, ['app', 'wikipedy', { type: 'permit', node: 'two', allowed: true }]],
    ['/v1/apps/wikipedy/forbid', { node: 'two' }, ['app', 'wikipedy', { type: 'permit', node: 'two', allowed: false }]],
  ])('POST %s %j', async (path, body, call) => {
    expect((await ask('POST', path, JSON.stringify(body))).status).toBe(200);
    expect(backend.calls).toEqual([call]);
  });

  test.each([
    ['/v1/join', '{}'],
    ['/v1/join', '{"addresses":[]}'],
    ['/v1/join', '{"addresses":["1.2.3.4:99999"]}'],
    ['/v1/join', 'no json'],
    ['/v1/maintenance', '{}'],
    ['/v1/maintenance', '{"on":"yes"}'],
    ['/v1/maintenance', '{"on":true,"off":false}'],
    ['/v1/apps/wikipedy/move', '{}'],
    ['/v1/apps/wikipedy/started', '{}'],
    ['/v1/apps/wikipedy/constructor', '{}'],
    ['/v1/partitions/accept-loss', '{"keyspace":"default","partitions":[-1]}'],
  ])('refuses POST %s %s with 400, and does nothing', async (path, body) => {
    const answer = await ask('POST', path, body);
    expect(answer.status, answer.text).toBe(400);
    expect(answer.json).toMatchObject({ error: { code: expect.stringMatching(/^BAD_/), message: expect.any(String) } });
    expect(backend.calls).toEqual([]);
  });

  test('a member that nobody knows cannot be made to leave', async () => {
    expect(await ask('POST', '/v1/force-leave', '{"name":"nobody"}')).toMatchObject({ status: 404, json: { error: { code: 'NO_SUCH_MEMBER' } } });
  });

  test.each([
    ['NO_SUCH_APP', 404], ['UNAVAILABLE', 503], ['BUSY', 503], ['TIMEOUT', 504], ['UNKNOWN_OUTCOME', 504], ['OUT_OF_MEMORY', 507], ['BAD_KEY', 400], ['NOT_PERMITTED', 409], ['toString', 409],
  ])('an error %s of the node is HTTP %i', async (code, status) => {
    backend.fail = new TroupeError(code, 'so it is');
    expect(await ask('POST', '/v1/apps/wikipedy/stop', '')).toMatchObject({ status, json: { error: { code, message: 'so it is' } } });
  });
});

describe('entries', () => {
  const path = '/v1/kv/default/a%2Fb';

  test('are created, read, written, updated, counted and deleted', async () => {
    expect(await ask('GET', path)).toMatchObject({ status: 404, json: { error: { code: 'NOT_FOUND' } } });
    expect((await ask('PATCH', path, '1')).status).toBe(404);
    expect((await ask('POST', path, '1')).status).toBe(201);
    expect(await ask('POST', path, '2')).toMatchObject({ status: 409, json: { error: { code: 'EXISTS' } } });
    expect((await ask('PUT', `${path}?ttl=5&flags=7`, '41')).json).toEqual({ version: 2 });
    const read = await ask('GET', path);
    expect(read.text).toBe('41');
    expect(Object.fromEntries(read.headers)).toMatchObject({ 'x-troupe-version': '2', 'x-troupe-flags': '7', 'x-troupe-expires-at': '1000005', etag: '"2"', 'x-content-type-options': 'nosniff' });
    expect(backend.calls.at(-1)).toEqual(['get', 'a/b']);
    expect((await ask('POST', `${path}?incr=1`)).json).toEqual({ value: '42' });
    expect((await ask('POST', `${path}?incr=`)).json).toEqual({ value: '43' });
    expect((await ask('PATCH', path, '5')).status).toBe(200);
    expect((await ask('DELETE', path)).status).toBe(200);
    expect((await ask('DELETE', path)).status).toBe(404);
    expect((await ask('POST', `${path}?incr=1`)).status).toBe(404);
  });

  test('If-Match compares versions', async () => {
    expect((await ask('PUT', path, 'x', { 'if-match': '"1"' })).status).toBe(404);
    await ask('PUT', path, 'x');
    expect((await ask('PUT', path, 'y', { 'if-match': '"1"' })).status).toBe(200);
    expect(await ask('PUT', path, 'z', { 'if-match': '1' })).toMatchObject({ status: 412, json: { error: { code: 'CHANGED' } } });
    expect((await ask('PUT', path, 'z', { 'if-match': 'newest' })).status).toBe(400);
  });

  test.each(['?ttl=-1', '?ttl=x', '?flags=4294967296', '?ttl=1e3'])('refuses %s', async (query) => {
    expect((await ask('PUT', path + query, 'x')).status).toBe(400);
  });

  test('increments beyond what a double holds are exact', async () => {
    await ask('PUT', path, '9007199254740993');
    expect((await ask('POST', `${path}?incr=2`)).json).toEqual({ value: '9007199254740995' });
  });

  test('an unknown keyspace is 404', async () => {
    expect(await ask('GET', '/v1/kv/nope/a')).toMatchObject({ status: 404, json: { error: { code: 'NO_SUCH_KEYSPACE' } } });
  });
});

describe('who may ask', () => {
  test('with a token, only who brings it', async () => {
    api = createHttpApi(backend, { loopback: false, gossipPort: 7946, token: 'secret' });
    for (const authorization of [undefined, '', 'Bearer', 'Bearer wrong', 'Bearer secre', 'Bearer secrett', 'Basic secret', 'secret']) {
      const answer = await ask('GET', '/v1/members', undefined, authorization === undefined ? {} : { authorization });
      expect(answer, authorization).toMatchObject({ status: 401, json: { error: { code: 'UNAUTHORIZED' } } });
    }
    expect((await ask('GET', '/v1/members', undefined, { authorization: 'Bearer secret' })).status).toBe(200);
  });

  test('without a token, web pages are kept out', async () => {
    expect((await ask('POST', '/v1/leave', '', { origin: 'https://evil.example' })).status).toBe(403);
    expect((await ask('POST', '/v1/leave', '', { origin: 'null' })).status).toBe(403);
    expect((await ask('GET', '/v1/members', undefined, { host: 'evil.example:7380' })).status).toBe(403);
    expect(backend.calls).toEqual([]);
    for (const host of ['localhost:7380', '127.0.0.1:7380', '[::1]:7380', '127.0.0.1']) expect((await ask('GET', '/v1/members', undefined, { host })).status, host).toBe(200);
    expect((await ask('GET', '/v1/members', undefined, { origin: 'http://127.0.0.1:7380' })).status).toBe(200);
  });

  test('sameSecret() is equality', () => {
    fc.assert(fc.property(fc.string(), fc.string(), (a, b) => sameSecret(a, b) === (a === b)));
    fc.assert(fc.property(fc.string(), (a) => sameSecret(a, a)));
    expect(sameSecret('', 'x')).toBe(false);
    expect(sameSecret('xx', 'x')).toBe(false);
    expect(sameSecret('x', '')).toBe(false);
  });

  test('other hosts are not served without a token', async () => {
    const options = { server: new NodeHttpServer(silentLog), backend, bind: { host: '0.0.0.0', port: 0 }, gossipPort: 7946 };
    await expect(startHttp(options)).rejects.toMatchObject({ code: 'INSECURE_HTTP' });
    for (const allowed of [{ token: 'x' }, { allowWithoutToken: true }]) await (await startHttp({ ...options, ...allowed })).close(0);
  });
});

describe('over a socket', () => {
  test('a body that is too large is refused, declared or not, and the server lives on', async () => {
    const listener = await startHttp({ server: new NodeHttpServer(silentLog), backend, bind: { host: '127.0.0.1', port: 0 }, gossipPort: 7946 });
    try {
      const url = `http://127.0.0.1:${listener.address.port}/v1/kv/default/big`;
      const big = new Uint8Array(3 * 1024 * 1024);
      expect((await fetch(url, { method: 'PUT', body: big })).status).toBe(413);
      const chunks = new ReadableStream({
        start(controller) {
          for (let i = 0; i < 48; i++) controller.enqueue(new Uint8Array(64 * 1024));
          controller.close();
        },
      });
      const streamed = await fetch(url, { method: 'PUT', body: chunks, duplex: 'half' } as RequestInit).then((response) => response.status, () => 'cut');
      expect([413, 'cut']).toContain(streamed);
      expect((await fetch(url, { method: 'PUT', body: 'small' })).status).toBe(200);
      expect(await (await fetch(url)).text()).toBe('small');
    } finally {
      await listener.close(0);
    }
  });

  test('whatever path, body and headers come, the answer is an answer', async () => {
    const piece = fc.constantFrom('v1', 'kv', 'apps', 'default', 'members', '%', '%2F', '%00', '..', 'start', 'a b', '__proto__', 'constructor', '?incr=', '?ttl=5', '𝕏');
    await fc.assert(fc.asyncProperty(fc.constantFrom('GET', 'PUT', 'POST', 'PATCH', 'DELETE'), fc.array(piece, { maxLength: 6 }), fc.string({ maxLength: 40 }), async (method, pieces, body) => {
      const answer = await ask(method, `/${pieces.join('/')}`, method === 'GET' ? undefined : body);
      expect(answer.status).toBeLessThan(500);
    }), { numRuns: 400 });
  });
});
