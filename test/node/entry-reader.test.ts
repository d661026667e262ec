import { describe, expect, test } from 'vitest';
import { Status, StoreReply } from '../../src/core/store/request.ts';
import type { ReplySink, StoreRequest, StoreRouter } from '../../src/core/store/request.ts';
import { KeyspaceClient } from '../../src/node/keyspace-client.ts';
import { localRouter, StillClock } from '../memcached/support.ts';

function client(wrap: (router: StoreRouter) => StoreRouter = (router) => router, guard?: () => void): KeyspaceClient {
  return new KeyspaceClient('default', wrap(localRouter(new StillClock())), () => 1_800_000_000, guard);
}

/** Answers reads when it is told to, in the opposite order. */
class Late implements StoreRouter {
  readonly maxValueBytes = 1 << 20;
  readonly #inner: StoreRouter;
  readonly #waiting: (() => void)[] = [];

  constructor(inner: StoreRouter) {
    this.#inner = inner;
  }

  execute(request: StoreRequest, sink: ReplySink): void {
    this.#inner.execute(request, {
      reply: (reply) => {
        const kept = Object.assign(new StoreReply(), reply, { value: reply.value.slice() });
        this.#waiting.push(() => sink.reply(kept));
      },
    });
  }

  answer(): void {
    for (const each of this.#waiting.splice(0).reverse()) each();
  }

  flushAll(): void {}

  stats(): [] {
    return [];
  }
}

const text = (value: Uint8Array | undefined): string => new TextDecoder().decode(value);

describe('reads inside the process', () => {
  test('values and versions come back for plain keys and others, and stay as they were', async () => {
    const keyspace = client();
    const keys = ['k', 'a'.repeat(250), 'größe', '鍵', ...Array.from({ length: 300 }, (_, i) => `key-${i}`)];
    for (const [i, key] of keys.entries()) await keyspace.put(key, `${key}=${'v'.repeat(i * 7)}`);
    const found = await Promise.all(keys.map(async (key) => await keyspace.get(key)));
    for (const key of keys) await keyspace.put(key, 'something else');
    for (let i = 0; i < 500; i++) await keyspace.get('k');
    for (const [i, key] of keys.entries()) expect(text(found[i]?.value)).toBe(`${key}=${'v'.repeat(i * 7)}`);
    expect(found[0]?.version).toBeGreaterThan(0);
    expect(await keyspace.get('missing')).toBeUndefined();
  });

  test('what is no key is refused by a rejection, and the next read is served', async () => {
    const keyspace = client();
    await keyspace.put('k', 'v');
    for (const bad of ['', 'a b', 'a\n', '\x7f', 'x'.repeat(251), 'ö'.repeat(126)]) {
      await expect(keyspace.get(bad)).rejects.toMatchObject({ code: 'BAD_KEY' });
      expect(text((await keyspace.get('k'))?.value)).toBe('v');
    }
  });

  test('answers that come later, in another order, each find their read', async () => {
    const keyspace = localRouter(new StillClock());
    const writer = new KeyspaceClient('default', keyspace, () => 0);
    for (let i = 0; i < 50; i++) await writer.put(`key-${i}`, `value-${i}`);
    const late = new Late(keyspace);
    const reader = new KeyspaceClient('default', late, () => 0);
    const reads = Array.from({ length: 50 }, (_, i) => reader.get(`key-${i}`));
    late.answer();
    expect((await Promise.all(reads)).map((entry) => text(entry?.value))).toEqual(Array.from({ length: 50 }, (_, i) => `value-${i}`));
  });

  test('a refusal has its code, at once or later; so has a caller that may not act', async () => {
    const busy: StoreRouter = {
      maxValueBytes: 1 << 20,
      execute: (_request, sink) => sink.reply(Object.assign(new StoreReply(), { status: Status.unavailable, message: 'no primary' })),
      flushAll: () => {},
      stats: () => [],
    };
    await expect(client(() => busy).get('k')).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    const late = new Late(busy);
    const read = client(() => late).get('k');
    late.answer();
    await expect(read).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    let allowed = true;
    const guarded = client(undefined, () => {
      if (!allowed) throw new Error('not mine');
    });
    await guarded.put('k', 'v');
    allowed = false;
    await expect(guarded.get('k')).rejects.toThrow('not mine');
    allowed = true;
    expect(text((await guarded.get('k'))?.value)).toBe('v');
  });
});
