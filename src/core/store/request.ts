/** What a {@link StoreRequest} asks for. */
export const Op = {
  get: 1,
  set: 2,
  add: 3,
  replace: 4,
  append: 5,
  prepend: 6,
  cas: 7,
  incr: 8,
  decr: 9,
  delete: 10,
  touch: 11,
  /** Get and touch: the value is read and its expiry is set. */
  gat: 12,
  flush: 13,
} as const;
export type Op = (typeof Op)[keyof typeof Op];

/** How a request ended. */
export const Status = {
  /** Done, nothing more to say (flush). */
  ok: 1,
  stored: 2,
  /** The condition of add, replace, append or prepend did not hold. */
  notStored: 3,
  /** cas: the entry has another version. */
  exists: 4,
  /** cas, incr, decr, delete, touch: no such entry. */
  notFound: 5,
  /** get, gat: the reply carries value, flags and cas. */
  hit: 6,
  miss: 7,
  deleted: 8,
  touched: 9,
  /** incr, decr: the reply carries `counter`. */
  number: 10,
  /** incr, decr: the value is not a decimal number below 2^64. */
  nonNumeric: 11,
  /** The value is larger than the limit. */
  tooLarge: 12,
  /** The keyspace is full and may not evict. */
  outOfMemory: 13,
  /** Refused early because too much is waiting; nothing was done. */
  busy: 14,
  /** No primary can be reached; nothing was done. */
  unavailable: 15,
  /** The deadline passed; nothing was done. */
  timeout: 16,
  /** The deadline passed and the write may or may not have taken effect. */
  unknownOutcome: 17,
} as const;
export type Status = (typeof Status)[keyof typeof Status];

const noBytes = new Uint8Array(0);

/** One request for one key. Mutable, so that a frontend can fill the same object again and again. */
export class StoreRequest {
  op: Op = Op.get;
  key: Uint8Array = noBytes;
  keyStart = 0;
  keyEnd = 0;
  /** {@link hashKey} of the key. */
  hash = 0;
  /** Opaque to the store; unsigned 32 bits. */
  flags = 0;
  /** Unix seconds; 0 never; anything below 0 means that it has expired already. For flush: when it takes effect, 0 for now. */
  expiresAt = 0;
  value: Uint8Array = noBytes;
  valueStart = 0;
  valueEnd = 0;
  /** The version that cas compares with, up to 2^53 - 1; a client's number above that never matches and is given as -1. */
  cas = 0;
  /** incr and decr: 0 … 2^64 - 1; a bigint only where it does not fit a safe integer. */
  delta: number | bigint = 0;
  /** The client wants no answer. The sink is called all the same. */
  noreply = false;
}

/** The answer to one request. Mutable and reused: its fields are valid only during {@link ReplySink.reply}. */
export class StoreReply {
  status: Status = Status.ok;
  flags = 0;
  /** The entry's version: the cas unique of the memcached protocol. */
  cas = 0;
  value: Uint8Array = noBytes;
  valueStart = 0;
  valueEnd = 0;
  counter: number | bigint = 0;
  /** What went wrong, for people; set only with outOfMemory, busy, unavailable, timeout and unknownOutcome. */
  message: string | undefined = undefined;
}

/** Takes the answer to one request. */
export interface ReplySink {
  reply(reply: StoreReply): void;
}

/** Carries requests to where they can be answered. */
export interface StoreRouter {
  /**
   * Calls `sink.reply` exactly once per request: before returning if it can (the primary is here and nothing has to be
   * waited for), later otherwise. Copies what it keeps: the request and its buffers may be reused after the return.
   */
  execute(request: StoreRequest, sink: ReplySink): void;
  /**
   * Empties the whole keyspace, on every partition.
   * @param atSeconds unix seconds when it takes effect; 0 for now
   */
  flushAll(atSeconds: number, sink: ReplySink): void;
  /** Names and values for the memcached `stats` command, beside the frontend's own. */
  stats(): Iterable<readonly [name: string, value: string]>;
  /** The largest value that can be stored, in bytes. */
  readonly maxValueBytes: number;
}
