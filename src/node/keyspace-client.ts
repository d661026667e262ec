import { TroupeError } from '../base/errors.ts';
import { encodeUtf8 } from '../base/utf8.ts';
import { hashKey } from '../core/store/hash.ts';
import { Op, Status, StoreRequest } from '../core/store/request.ts';
import type { StoreReply, StoreRouter } from '../core/store/request.ts';
import { EntryReader } from './entry-reader.ts';
import type { Keyspace, StoreEntry, WriteOptions } from './node-types.ts';

/** The programs' view of a keyspace, over whatever routes its requests. */
export class KeyspaceClient implements Keyspace {
  readonly name: string;
  readonly #router: StoreRouter;
  readonly #nowSeconds: () => number;
  /** Throws when the caller must not act any more; asked before and after each request. */
  readonly #guard: () => void;
  readonly #reader: EntryReader;

  constructor(name: string, router: StoreRouter, nowSeconds: () => number, guard: () => void = () => {}) {
    this.name = name;
    this.#router = router;
    this.#nowSeconds = nowSeconds;
    this.#guard = guard;
    this.#reader = new EntryReader(router, guard, (reply, key) => failure(reply, name, key));
  }

  get(key: string): Promise<StoreEntry | undefined> {
    return this.#reader.get(key, checkedKey);
  }

  async put(key: string, value: Uint8Array | string, options: WriteOptions = {}): Promise<{ version: number }> {
    return await this.#send(Op.set, key, value, options, (reply) => ({ version: reply.cas }), [Status.stored]);
  }

  async create(key: string, value: Uint8Array | string, options: WriteOptions = {}): Promise<boolean> {
    return await this.#send(Op.add, key, value, options, (reply) => reply.status === Status.stored, [Status.stored, Status.notStored]);
  }

  async update(key: string, value: Uint8Array | string, options: WriteOptions = {}): Promise<boolean> {
    return await this.#send(Op.replace, key, value, options, (reply) => reply.status === Status.stored, [Status.stored, Status.notStored]);
  }

  async delete(key: string): Promise<boolean> {
    return await this.#send(Op.delete, key, undefined, {}, (reply) => reply.status === Status.deleted, [Status.deleted, Status.notFound]);
  }

  async compareAndSet(key: string, value: Uint8Array | string, version: number, options: WriteOptions = {}): Promise<'stored' | 'changed' | 'missing'> {
    return await this.#send(Op.cas, key, value, options, (reply) => (reply.status === Status.stored ? 'stored' : reply.status === Status.exists ? 'changed' : 'missing'), [Status.stored, Status.exists, Status.notFound], (request) => {
      request.cas = version;
    });
  }

  async increment(key: string, by: number | bigint = 1): Promise<bigint | undefined> {
    const negative = by < 0;
    return await this.#send(negative ? Op.decr : Op.incr, key, undefined, {}, (reply) => (reply.status === Status.number ? BigInt(reply.counter) : undefined), [Status.number, Status.notFound], (request) => {
      const size = negative ? -by : by;
      request.delta = typeof size === 'bigint' && size <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(size) : size;
    });
  }

  async append(key: string, value: Uint8Array | string): Promise<boolean> {
    return await this.#send(Op.append, key, value, {}, (reply) => reply.status === Status.stored, [Status.stored, Status.notStored]);
  }

  async touch(key: string, ttlSeconds: number): Promise<boolean> {
    return await this.#send(Op.touch, key, undefined, { ttlSeconds }, (reply) => reply.status === Status.touched, [Status.touched, Status.notFound]);
  }

  #send<T>(op: Op, key: string, value: Uint8Array | string | undefined, options: WriteOptions, read: (reply: StoreReply) => T, expected: readonly Status[], change?: (request: StoreRequest) => void): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#guard();
      const request = new StoreRequest();
      request.op = op;
      request.key = checkedKey(key);
      request.keyEnd = request.key.length;
      request.hash = hashKey(request.key, 0, request.keyEnd);
      if (value !== undefined) {
        request.value = typeof value === 'string' ? encodeUtf8(value) : value;
        request.valueEnd = request.value.length;
        if (request.valueEnd > this.#router.maxValueBytes) throw new TroupeError('TOO_LARGE', `cannot store ${request.valueEnd} bytes under '${key}': a value has at most ${this.#router.maxValueBytes}`, { key, bytes: request.valueEnd });
      }
      if (options.flags !== undefined) request.flags = options.flags;
      if (options.ttlSeconds !== undefined) request.expiresAt = this.#nowSeconds() + Math.max(0, Math.ceil(options.ttlSeconds));
      change?.(request);
      this.#router.execute(request, {
        reply: (reply) => {
          try {
            this.#guard();
            if (!expected.includes(reply.status)) throw failure(reply, this.name, key);
            resolve(read(reply));
          } catch (error) {
            reject(error as Error);
          }
        },
      });
    });
  }
}

function checkedKey(key: string): Uint8Array {
  const bytes = encodeUtf8(key);
  if (bytes.length === 0 || bytes.length > 250) throw new TroupeError('BAD_KEY', `cannot use a key of ${bytes.length} bytes: 1 to 250 are allowed`, { bytes: bytes.length });
  for (const byte of bytes) if (byte <= 0x20 || byte === 0x7f) throw new TroupeError('BAD_KEY', `cannot use the key ${JSON.stringify(key)}: blanks and control characters are not allowed`, { key });
  return bytes;
}

function failure(reply: StoreReply, keyspace: string, key: string): TroupeError {
  const why = reply.message ?? '';
  const say = (code: string, text: string): TroupeError => new TroupeError(code, `${text}${why === '' ? '' : `: ${why}`} (keyspace '${keyspace}', key '${key}')`, { keyspace, key });
  switch (reply.status) {
    case Status.nonNumeric: return say('NOT_A_NUMBER', 'cannot count: the value is no decimal number below 2^64');
    case Status.tooLarge: return say('TOO_LARGE', 'the value would get too large');
    case Status.outOfMemory: return say('OUT_OF_MEMORY', 'there is no room for it in its partition: raise maxMemory (which the partitions share evenly), allow eviction: lru, or delete entries');
    case Status.busy: return say('BUSY', 'refused, nothing was done: too much is waiting');
    case Status.unavailable: return say('UNAVAILABLE', 'refused, nothing was done');
    case Status.timeout: return say('TIMEOUT', 'no answer in time');
    case Status.unknownOutcome: return say('UNKNOWN_OUTCOME', 'the write may or may not have taken effect');
    default: return say('UNEXPECTED_REPLY', `the primary answered with status ${reply.status}`);
  }
}
