import type { Context, Hono } from 'hono';
import { TroupeError } from '../../base/errors.ts';
import type { HttpBackend, HttpEntry, HttpWriteOptions } from './backend.ts';
import { errorResponse } from './errors.ts';

const path = '/v1/kv/:keyspace/:key{.+}';

/** One entry is one resource; the key is the rest of the path, percent-encoded where need be. */
export function addKeyValueRoutes(app: Hono, backend: HttpBackend): void {
  app.get(path, async (context) => {
    const { keyspace, key } = context.req.param();
    const entry = await backend.keyspace(keyspace).get(key);
    return entry === undefined ? missing(key) : entryResponse(entry);
  });
  app.put(path, async (context) => {
    const { keyspace, key } = context.req.param();
    const store = backend.keyspace(keyspace);
    const value = await bodyBytes(context);
    const expected = context.req.header('if-match');
    if (expected === undefined) return Response.json(await store.put(key, value, writeOptions(context)));
    const outcome = await store.compareAndSet(key, value, versionOf(expected), writeOptions(context));
    if (outcome === 'missing') return missing(key);
    return outcome === 'stored' ? Response.json({ stored: true }) : errorResponse('CHANGED', `'${key}' has another version than ${expected}: read it again`, 412);
  });
  app.post(path, async (context) => {
    const { keyspace, key } = context.req.param();
    const by = context.req.query('incr');
    if (by !== undefined) return increment(backend, keyspace, key, by);
    const created = await backend.keyspace(keyspace).create(key, await bodyBytes(context), writeOptions(context));
    return created ? Response.json({ created: true }, { status: 201 }) : errorResponse('EXISTS', `'${key}' exists already`, 409);
  });
  app.patch(path, async (context) => {
    const { keyspace, key } = context.req.param();
    const updated = await backend.keyspace(keyspace).update(key, await bodyBytes(context), writeOptions(context));
    return updated ? Response.json({ updated: true }) : missing(key);
  });
  app.delete(path, async (context) => {
    const { keyspace, key } = context.req.param();
    return (await backend.keyspace(keyspace).delete(key)) ? Response.json({ deleted: true }) : missing(key);
  });
}

async function increment(backend: HttpBackend, keyspace: string, key: string, by: string): Promise<Response> {
  if (!/^-?\d{1,20}$/.test(by === '' ? '1' : by)) throw new TroupeError('BAD_REQUEST', `incr is '${by}'; it must be a whole number`);
  const value = await backend.keyspace(keyspace).increment(key, BigInt(by === '' ? '1' : by));
  // As text: JSON's numbers are exact only up to 2^53.
  return value === undefined ? missing(key) : Response.json({ value: String(value) });
}

function missing(key: string): Response {
  return errorResponse('NOT_FOUND', `there is no '${key}'`, 404);
}

function entryResponse(entry: HttpEntry): Response {
  const headers: Record<string, string> = {
    'content-type': 'application/octet-stream',
    'etag': `"${entry.version}"`,
    'x-troupe-version': String(entry.version),
    'x-troupe-flags': String(entry.flags),
    // What somebody stored must not run as a page of this server.
    'x-content-type-options': 'nosniff',
    ...(entry.expiresAt === undefined ? {} : { 'x-troupe-expires-at': String(entry.expiresAt) }),
  };
  return new Response(entry.value.slice(), { headers });
}

async function bodyBytes(context: Context): Promise<Uint8Array> {
  return new Uint8Array(await context.req.arrayBuffer());
}

function writeOptions(context: Context): HttpWriteOptions {
  return { ...wholeQuery(context, 'ttl', 'ttlSeconds', 10 * 365 * 24 * 3600), ...wholeQuery(context, 'flags', 'flags', 2 ** 32 - 1) };
}

function wholeQuery(context: Context, parameter: string, field: string, max: number): Record<string, number> {
  const text = context.req.query(parameter);
  if (text === undefined) return {};
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > max) throw new TroupeError('BAD_REQUEST', `${parameter} is '${text}'; it must be a whole number from 0 to ${max}`);
  return { [field]: value };
}

function versionOf(header: string): number {
  const match = /^(?:W\/)?"?(\d{1,16})"?$/.exec(header.trim());
  const version = Number(match?.[1]);
  if (!Number.isSafeInteger(version)) throw new TroupeError('BAD_REQUEST', `If-Match is '${header}'; it must be a version as x-troupe-version gave it`);
  return version;
}
