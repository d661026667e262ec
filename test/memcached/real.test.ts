import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LocalRouter } from '../../src/core/store/local-router.ts';
import { startMemcached, type MemcachedServer } from '../../src/frontends/memcached/server.ts';
import { HostClock } from '../../src/host/clock.ts';
import { TcpStreams } from '../../src/host/tcp.ts';
import { silentLog } from '../../src/ports/log.ts';
import { scripts, withoutCas } from './scripts.ts';

type Done<T> = (error: unknown, value: T) => void;
/** The part of the client's interface that is used here; it has no types of its own. */
interface Client {
  set(key: string, value: unknown, lifetime: number, done: Done<unknown>): void;
  get(key: string, done: Done<unknown>): void;
  getMulti(keys: string[], done: Done<unknown>): void;
  gets(key: string, done: Done<{ cas: string }>): void;
  cas(key: string, value: unknown, cas: string, lifetime: number, done: Done<unknown>): void;
  incr(key: string, by: number, done: Done<unknown>): void;
  touch(key: string, lifetime: number, done: Done<unknown>): void;
  del(key: string, done: Done<unknown>): void;
  flush(done: Done<unknown>): void;
  end(): void;
}
const Memcached = createRequire(import.meta.url)('memcached') as new (server: string) => Client;

const memcachedPath = '/usr/bin/memcached';
const capablePath = '/usr/bin/memccapable';

/** Whether the program is there; on a build server its absence is a failure, elsewhere a line. */
function present(path: string): boolean {
  if (existsSync(path)) return true;
  if (process.env['CI'] !== undefined) throw new Error(`${path} is missing: install memcached and libmemcached-tools`);
  process.stderr.write(`not compared: ${path} is missing\n`);
  return false;
}

async function startOurs(): Promise<MemcachedServer> {
  const clock = new HostClock();
  const router = new LocalRouter({ nowSeconds: () => Math.floor(clock.wallTime() / 1000), partitions: 16, maxMemoryBytes: 256 * 1024 * 1024 });
  return startMemcached({ streams: new TcpStreams(), clock, log: silentLog, address: { host: '127.0.0.1', port: 0 }, router, processId: process.pid });
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function startReal(): Promise<{ port: number; process: ChildProcess }> {
  const port = await freePort();
  const user = process.getuid?.() === 0 ? ['-u', 'root'] : [];
  // One worker and no background threads: while another thread looks at a counter, memcached writes it anew, without the blanks.
  const alone = ['-t', '1', '-o', 'no_lru_maintainer,no_lru_crawler'];
  const child = spawn(memcachedPath, ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-m', '256', ...alone, ...user], { stdio: 'ignore' });
  const deadline = Date.now() + 10_000;
  for (;;) {
    const answered = await ask(port, 'quit\r\n').then(
      () => true,
      () => false,
    );
    if (answered) return { port, process: child };
    if (Date.now() > deadline) throw new Error('memcached did not start within 10 s');
    await delay(20);
  }
}

/** All that the server answers to these bytes, up to its end of the connection. */
function ask(port: number, script: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
    socket.on('end', () => socket.end());
    socket.end(Buffer.from(script, 'latin1'));
  });
}

describe('memcached text protocol', () => {
  let ours: MemcachedServer;
  beforeAll(async () => {
    ours = await startOurs();
  });
  afterAll(() => ours.close());

  it('answers every script as memcached itself does, byte for byte', async () => {
    if (!present(memcachedPath)) return;
    const real = await startReal();
    try {
      for (const script of scripts) {
        const expected = withoutCas(await ask(real.port, script));
        const actual = withoutCas(await ask(ours.address.port, script));
        expect(actual.slice(0, 2000), JSON.stringify(script.slice(0, 300))).toBe(expected.slice(0, 2000));
        expect(actual === expected, JSON.stringify(script.slice(0, 300))).toBe(true);
      }
    } finally {
      real.process.kill();
    }
  });

  it("passes memccapable's ascii tests", async () => {
    if (!present(capablePath)) return;
    const child = spawn(capablePath, ['-a', '-h', '127.0.0.1', '-p', String(ours.address.port)]);
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
    const code = await new Promise((resolve) => child.on('close', resolve));
    const passed = output.split('\n').filter((line) => /^ascii .*\[pass\]/.test(line));
    expect(output).not.toMatch(/\[FAIL\]/i);
    expect(code, output).toBe(0);
    expect(passed.length, output).toBeGreaterThanOrEqual(20);
  });

  it('serves the npm client memcached', async () => {
    const client = new Memcached(`127.0.0.1:${ours.address.port}`);
    const call = <T>(run: (done: (error: unknown, value: T) => void) => void): Promise<T> => new Promise((resolve, reject) => run((error, value) => (error === undefined || error === null ? resolve(value) : reject(error as Error))));
    const value = 'täxt '.repeat(10_000);
    await call((done) => client.set('client-text', value, 100, done));
    expect(await call((done) => client.get('client-text', done))).toBe(value);
    await call((done) => client.set('client-object', { a: [1, 2] }, 100, done));
    expect(await call((done) => client.getMulti(['client-object', 'nonex', 'client-text'], done))).toEqual({ 'client-object': { a: [1, 2] }, 'client-text': value });
    await call((done) => client.set('client-count', 5, 100, done));
    expect(await call((done) => client.incr('client-count', 7, done))).toBe(12);
    const held = await call<{ cas: string }>((done) => client.gets('client-count', done));
    expect(await call((done) => client.cas('client-count', 20, held.cas, 100, done))).toBe(true);
    expect(await call((done) => client.cas('client-count', 21, held.cas, 100, done))).toBe(false);
    expect(await call((done) => client.touch('client-count', 100, done))).toBe(true);
    expect(await call((done) => client.del('client-count', done))).toBe(true);
    expect(await call((done) => client.get('client-count', done))).toBeUndefined();
    expect(await call((done) => client.flush(done))).toEqual([true]);
    client.end();
  });
});
