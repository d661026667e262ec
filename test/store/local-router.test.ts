import { describe, expect, it } from 'vitest';
import { LocalRouter } from '../../src/core/store/local-router.ts';
import { Op, Status, type StoreReply } from '../../src/core/store/request.ts';
import { requestOf } from './requests.ts';

function execute(router: LocalRouter, op: Op, key: string, value = ''): Status {
  const request = requestOf(op, key, { value });
  let status: Status = Status.timeout;
  let calls = 0;
  router.execute(request, {
    reply(reply: StoreReply) {
      status = reply.status;
      calls++;
    },
  });
  expect(calls).toBe(1);
  return status;
}

describe('LocalRouter', () => {
  it('evicts within its budget', () => {
    const router = new LocalRouter({ nowSeconds: () => 1000, partitions: 4, maxMemoryBytes: 400_000 });
    for (let i = 0; i < 5000; i++) expect(execute(router, Op.set, `key-${i}`, 'v'.repeat(200))).toBe(Status.stored);
    for (const table of router.tables) {
      expect(table.bytes).toBeLessThanOrEqual(100_000);
      expect(table.bytes).toBeGreaterThan(90_000);
    }
    expect(execute(router, Op.get, 'key-4999')).toBe(Status.hit);
    expect(Number(new Map(router.stats()).get('evictions'))).toBeGreaterThan(3000);
  });

  it('refuses writes when it is full and may not evict; reads and deletes go on', () => {
    const router = new LocalRouter({ nowSeconds: () => 1000, partitions: 1, maxMemoryBytes: 10_000, eviction: 'none' });
    let stored = 0;
    while (execute(router, Op.set, `key-${stored}`, 'v'.repeat(200)) === Status.stored) stored++;
    expect(stored).toBe(Math.floor(10_000 / (200 + 56 + 6)));
    expect(execute(router, Op.get, 'key-0')).toBe(Status.hit);
    expect(execute(router, Op.set, 'key-0', 'v'.repeat(200))).toBe(Status.stored);
    expect(execute(router, Op.delete, 'key-1')).toBe(Status.deleted);
    expect(execute(router, Op.set, 'key-x', 'v'.repeat(200))).toBe(Status.stored);
  });

  it('refuses a value that could never fit', () => {
    const router = new LocalRouter({ nowSeconds: () => 1000, partitions: 1, maxMemoryBytes: 10_000 });
    expect(execute(router, Op.set, 'small', 'v')).toBe(Status.stored);
    expect(execute(router, Op.set, 'large', 'v'.repeat(20_000))).toBe(Status.outOfMemory);
    expect(execute(router, Op.get, 'small')).toBe(Status.hit);
  });
});
