import net from 'node:net';
import { afterEach, expect, it } from 'vitest';
import type { HttpHandler, HttpListener, HttpOptions } from '../../src/ports/http.ts';
import type { Log } from '../../src/ports/log.ts';
import { silentLog } from '../../src/ports/log.ts';
import { NodeHttpServer } from '../../src/host/http-server.ts';

const listeners: HttpListener[] = [];
afterEach(() => Promise.all(listeners.splice(0).map((listener) => listener.close(0))));

async function serve(handler: HttpHandler, options?: HttpOptions, log: Log = silentLog): Promise<string> {
  const listener = await new NodeHttpServer(log).listen({ host: '127.0.0.1', port: 0 }, handler, options);
  listeners.push(listener);
  return `http://127.0.0.1:${listener.address.port}`;
}

/** Sends bytes as they are and gives all that comes back until the connection ends. */
function raw(url: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(text));
    let answer = '';
    socket.on('data', (bytes) => (answer += bytes.toString()));
    socket.on('error', reject);
    socket.on('close', () => resolve(answer));
  });
}

it('hands over requests with the peer\'s address and sends responses', async () => {
  const url = await serve(async (request, from) => Response.json({ path: new URL(request.url).pathname, method: request.method, body: await request.text(), from: from.host }));
  const response = await fetch(`${url}/a/b?c=d`, { method: 'PUT', body: 'hello' });
  expect(await response.json()).toEqual({ path: '/a/b', method: 'PUT', body: 'hello', from: '127.0.0.1' });
});

it('streams a response as it comes, and notices that the client has gone', async () => {
  let cancelled = false;
  const url = await serve(() => new Response(new ReadableStream({
    start(controller) {
      controller.enqueue(new TextEncoder().encode('first\n'));
    },
    cancel() {
      cancelled = true;
    },
  })));
  const abort = new AbortController();
  const response = await fetch(url, { signal: abort.signal });
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  expect(Buffer.from((await reader.read()).value as Uint8Array).toString()).toBe('first\n');
  abort.abort();
  await expect.poll(() => cancelled, { timeout: 3000 }).toBe(true);
});

it('answers 413 to a body over the limit, declared or not', async () => {
  let called = 0;
  const url = await serve(async (request) => {
    called++;
    return new Response(`${(await request.arrayBuffer()).byteLength}`);
  }, { bodyBytesMax: 1000 });
  expect((await fetch(url, { method: 'POST', body: 'x'.repeat(1001) })).status).toBe(413);
  expect(called).toBe(0);
  const chunked = (bytes: number): RequestInit => ({ method: 'POST', duplex: 'half', body: new Blob(['x'.repeat(bytes)]).stream() }) as RequestInit;
  const fits = await fetch(url, chunked(1000));
  expect([fits.status, await fits.text()]).toEqual([200, '1000']);
  const over = await fetch(url, chunked(1001));
  expect([over.status, ((await over.json()) as { error: { code: string } }).error.code]).toEqual([413, 'BODY_TOO_LARGE']);
});

it('answers 503 to bodies that are too much together, serves what fits, and takes as much again afterwards', async () => {
  const url = await serve(async (request) => new Response(`${(await request.arrayBuffer()).byteLength}`), { bodiesBytesMax: 100_000 });
  const { hostname, port } = new URL(url);
  for (let round = 0; round < 3; round++) {
    // Half a body that stays half for now.
    const slow = net.connect(Number(port), hostname);
    let answer = '';
    slow.setEncoding('latin1').on('data', (text: string) => (answer += text)).on('error', () => {});
    slow.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n${'x'.repeat(60_000)}`);
    const post = async (bytes: number): Promise<number> => (await fetch(url, { method: 'POST', body: 'x'.repeat(bytes) }).catch(() => undefined))?.status ?? 0;
    await expect.poll(async () => await post(60_000), { timeout: 5000 }).toBe(503);
    expect(await post(10_000)).toBe(200);
    expect(await post(30_000)).toBe(200);
    if (round === 1) slow.destroy();
    else {
      slow.write('x'.repeat(30_000));
      await expect.poll(() => answer, { timeout: 5000 }).toContain('90000');
      slow.destroy();
    }
    await expect.poll(async () => await post(90_000), { timeout: 5000 }).toBe(200);
  }
});

it('answers 500 to what the handler throws, logs it, and goes on', async () => {
  const errors: string[] = [];
  let calls = 0;
  const url = await serve(() => {
    if (++calls === 1) throw new Error('secret detail');
    return new Response('ok');
  }, {}, { ...silentLog, error: (_message, fields) => errors.push(String(fields?.['error'])) });
  const failed = await fetch(url);
  expect(failed.status).toBe(500);
  expect(await failed.text()).not.toContain('secret');
  expect(errors).toEqual(['secret detail']);
  expect(await (await fetch(url)).text()).toBe('ok');
});

it('answers 408 to headers and bodies that do not come in time', async () => {
  const url = await serve(async (request) => new Response(await request.text()), { headersTimeoutMs: 100, requestTimeoutMs: 200 });
  expect(await raw(url, 'GET / HTTP/1.1\r\nHost: x\r\n')).toContain('408');
  expect(await raw(url, 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc')).toContain('408');
});

it('answers 400 to what is not HTTP', async () => {
  const url = await serve(() => new Response('never'));
  expect(await raw(url, 'set a 0 0 1\r\nx\r\n')).toContain('400');
});

it('rejects a taken port with ADDRESS_IN_USE', async () => {
  const url = await serve(() => new Response('x'));
  await expect(new NodeHttpServer(silentLog).listen({ host: '127.0.0.1', port: Number(new URL(url).port) }, () => new Response('y'))).rejects.toMatchObject({ code: 'ADDRESS_IN_USE' });
});

it('lets running requests finish before close resolves, and cuts those that outlast the grace', async () => {
  let finish = (): void => {};
  let started = 0;
  const handler: HttpHandler = async () => {
    started++;
    await new Promise<void>((resolve) => (finish = resolve));
    return new Response('done');
  };
  const server = new NodeHttpServer(silentLog);
  const first = await server.listen({ host: '127.0.0.1', port: 0 }, handler);
  const response = fetch(`http://127.0.0.1:${first.address.port}`);
  await expect.poll(() => started).toBe(1);
  const closed = first.close(5000);
  finish();
  expect(await (await response).text()).toBe('done');
  await closed;
  const second = await server.listen({ host: '127.0.0.1', port: 0 }, handler);
  const cut = fetch(`http://127.0.0.1:${second.address.port}`).then(() => 'answered', () => 'cut');
  await expect.poll(() => started).toBe(2);
  await second.close(10);
  expect(await cut).toBe('cut');
});
