import { TroupeError } from '../base/errors.ts';
import { hashKey } from '../core/store/hash.ts';
import { Op, Status, StoreRequest } from '../core/store/request.ts';
import type { ReplySink, StoreReply, StoreRouter } from '../core/store/request.ts';
import type { StoreEntry } from './node-types.ts';

/** Values up to this size are cut from common buffers, as those of `Buffer.from` are: a buffer of its own costs each more than reading it. */
const pooledBytesMax = 2048;
const poolBytes = 16 * 1024;

/**
 * Reads for programs in this process. Where the copy is here, its answer comes during the call: then one promise, the
 * entry and the view of its value are all that is allocated.
 */
export class EntryReader {
  readonly #router: StoreRouter;
  readonly #guard: () => void;
  readonly #failure: (reply: StoreReply, key: string) => TroupeError;
  readonly #request = new StoreRequest();
  readonly #keyBuffer = new Uint8Array(256);
  /** Of an answer that came at once; free again when the call returns. */
  #spare: Read | undefined;
  #pool = new Uint8Array(0);
  #pooled = 0;

  constructor(router: StoreRouter, guard: () => void, failure: (reply: StoreReply, key: string) => TroupeError) {
    this.#router = router;
    this.#guard = guard;
    this.#failure = failure;
  }

  /** @param checked encodes keys that are not plain ASCII, and refuses what is no key */
  get(key: string, checked: (key: string) => Uint8Array): Promise<StoreEntry | undefined> {
    const read = this.#spare ?? new Read(this);
    this.#spare = undefined;
    try {
      this.#guard();
      this.#prepare(key, checked);
      read.key = key;
      this.#router.execute(this.#request, read);
    } catch (error) {
      return Promise.reject(error as Error);
    }
    if (!read.done) return read.later();
    const { entry, error } = read;
    read.done = false;
    read.entry = undefined;
    read.error = undefined;
    this.#spare = read;
    return error === undefined ? Promise.resolve(entry) : Promise.reject(error);
  }

  /** For a read that has its answer. @throws TroupeError */
  entryOf(reply: StoreReply, key: string): StoreEntry | undefined {
    this.#guard();
    if (reply.status === Status.miss) return undefined;
    if (reply.status !== Status.hit) throw this.#failure(reply, key);
    return { value: this.#copyOf(reply), version: reply.cas, flags: reply.flags, expiresAt: undefined };
  }

  #prepare(key: string, checked: (key: string) => Uint8Array): void {
    const request = this.#request;
    const bytes = this.#keyBuffer;
    request.op = Op.get;
    const { length } = key;
    let at = 0;
    if (length <= bytes.length) {
      for (; at < length; at++) {
        const code = key.charCodeAt(at);
        if (code <= 0x20 || code >= 0x7f) break;
        bytes[at] = code;
      }
    }
    // The router copies what it keeps, so the buffer is free again after the call.
    request.key = at === length && length > 0 && length <= 250 ? bytes : checked(key);
    request.keyEnd = request.key === bytes ? length : request.key.length;
    request.hash = hashKey(request.key, 0, request.keyEnd);
  }

  #copyOf(reply: StoreReply): Uint8Array {
    const length = reply.valueEnd - reply.valueStart;
    if (length > pooledBytesMax) return reply.value.slice(reply.valueStart, reply.valueEnd);
    if (this.#pool.length - this.#pooled < length) {
      this.#pool = new Uint8Array(poolBytes);
      this.#pooled = 0;
    }
    const value = this.#pool.subarray(this.#pooled, this.#pooled + length);
    // Each value begins at a multiple of 8, for whoever looks at it as numbers.
    this.#pooled += (length + 7) & ~7;
    const { value: source } = reply;
    for (let i = 0, from = reply.valueStart; i < length; i++, from++) value[i] = source[from] as number;
    return value;
  }
}

/** One read until it is answered. */
class Read implements ReplySink {
  readonly #reader: EntryReader;
  key = '';
  done = false;
  entry: StoreEntry | undefined;
  error: Error | undefined;
  #resolve: ((entry: StoreEntry | undefined) => void) | undefined;
  #reject: ((error: Error) => void) | undefined;

  constructor(reader: EntryReader) {
    this.#reader = reader;
  }

  reply(reply: StoreReply): void {
    this.done = true;
    try {
      this.entry = this.#reader.entryOf(reply, this.key);
      this.#resolve?.(this.entry);
    } catch (error) {
      this.error = error as Error;
      this.#reject?.(this.error);
    }
  }

  later(): Promise<StoreEntry | undefined> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }
}
