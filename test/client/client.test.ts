import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { TroupeError } from '../../src/base/errors.ts';
import { connect } from '../../src/client/index.ts';
import type { Client } from '../../src/client/index.ts';
import { startHttp } from '../../src/frontends/http/server.ts';
import { NodeHttpServer } from '../../src/host/http-server.ts';
import type { HttpListener } from '../../src/ports/http.ts';
import { silentLog } from '../../src/ports/log.ts';
import { fakeBackend } from '../http/fake-backend.ts';
import type { FakeBackend } from '../http/fake-backend.ts';

let backend: FakeBackend;
let listener: HttpListener;
let address: string;
const clients: Client[] = [];
const servers: Server[] = [];

beforeEach(async () => {
  backend = fakeBackend();
  listener = await startHttp({ server: new NodeHttpServer(silentLog), backend, bind: { host: '127.0.0.1', port: 0 }, gossipPort: 7946, token: 'secret' });
  address = `127.0.0.1:${listener.address.port}`;
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  for (const server of servers.splice(0)) server.close();
  await listener.close(0);
});

function client(hosts: readonly string[], options: { token?: string; timeoutMs?: number } = {}): Client {
  const made = connect({ hosts, token: 'secret', timeoutMs: 3000, ...options });
  clients.push(made);
  return made;
}

/** A host that takes a request and hangs up without an answer. */
async function dyingHost(): Promise<string> {
  const server = createServer((socket) => {
    socket.on('data', () => socket.destroy());
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  servers.push(server);
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const text = (value: Uint8Array | undefined): string | undefined => (value === undefined ? undefined : new TextDecoder().decode(value));

describe('connect()', () => {
  test('offers what a keyspace offers', async () => {
    const store = client([address]).keyspace('default');
    expect(await store.get('a/b c?')).toBeUndefined();
    expect(await store.update('a', 'x')).toBe(false);
    expect(await store.create('a', '1', { ttlSeconds: 5, flags: 7 })).toBe(true);
    expect(await store.create('a', '2')).toBe(false);
    const entry = await store.get('a');
    expect({ ...entry, value: text(entry?.value) }).toEqual({ value: '1', version: 1, flags: 7, expiresAt: 1_000_005 });
    expect(await store.compareAndSet('a', '10', 1)).toBe('stored');
    expect(await store.compareAndSet('a', '11', 1)).toBe('changed');
    expect(await store.compareAndSet('none', '11', 1)).toBe('missing');
    expect(await store.increment('a', 2n ** 60n)).toBe(2n ** 60n + 10n);
    expect(await store.increment('none')).toBeUndefined();
    expect(await store.put('a', new Uint8Array([0, 255]))).toEqual({ version: 4 });
    expect((await store.get('a'))?.value).toEqual(new Uint8Array([0, 255]));
    expect(await store.delete('a')).toBe(true);
    expect(await store.delete('a')).toBe(false);
  });

  test('passes over hosts where nobody listens, for writes too', async () => {
    const store = client(['127.0.0.1:1', address]).keyspace('default');
    expect(await store.put('a', 'x')).toEqual({ version: 1 });
    expect(text((await store.get('a'))?.value)).toBe('x');
  });

  test('asks again what had no effect, until it has', async () => {
    backend.fail = new TroupeError('UNAVAILABLE', 'no primary');
    const reading = client([address]).keyspace('default').get('a');
    await expect.poll(() => backend.failures).toBeGreaterThan(1);
    backend.fail = undefined;
    expect(await reading).toBeUndefined();
  });

  test('repeats a read whose answer was lost, but leaves it to the caller for a write', async () => {
    const dying = await dyingHost();
    expect(await client([dying, address]).keyspace('default').get('a')).toBeUndefined();
    for (const write of [
      (one: Client) => one.keyspace('default').put('a', 'x'),
      (one: Client) => one.keyspace('default').increment('a'),
      (one: Client) => one.keyspace('default').delete('a'),
    ]) await expect(write(client([dying, address]))).rejects.toMatchObject({ code: 'UNKNOWN_OUTCOME' });
  });

  test('gives up when the time is over, and says what the last attempt met', async () => {
    const began = performance.now();
    await expect(client(['127.0.0.1:1'], { timeoutMs: 300 }).keyspace('default').put('a', 'x')).rejects.toMatchObject({ code: 'NO_HOST', message: expect.stringContaining('ECONNREFUSED') });
    expect(performance.now() - began).toBeLessThan(2000);
  });

  test('passes on what a node refuses, at once', async () => {
    await expect(client([address]).keyspace('nope').get('a')).rejects.toMatchObject({ code: 'NO_SUCH_KEYSPACE' });
    await expect(client([address], { token: 'wrong' }).keyspace('default').get('a')).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    expect(() => connect({ hosts: [] })).toThrow(/hosts/);
    expect(() => connect({ hosts: ['127.0.0.1:70000'] })).toThrow(TroupeError);
  });

  test('stands many calls at once', async () => {
    const store = client([address], { timeoutMs: 40_000 }).keyspace('default');
    await store.put('n', '0');
    await Promise.all(Array.from({ length: 500 }, () => store.increment('n')));
    expect(text((await store.get('n'))?.value)).toBe('500');
  });
});
