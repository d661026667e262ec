/** What a client may ask of the memcached port. */
export interface MemcachedLimits {
  /** Open connections; the next one is told so and closed. Default 4096. */
  readonly connectionsMax: number;
  /** A command line without its newline, in bytes; default 2048, as memcached. */
  readonly lineBytesMax: number;
  /** The same for get, gets, gat and gats, which may name many keys; default 1 MiB. */
  readonly retrievalLineBytesMax: number;
  /** Requests of one connection that wait for an answer; beyond it the connection is not read. Default 1024. */
  readonly pendingMax: number;
  /** Bytes of finished answers of one connection that wait for an earlier one; beyond it the connection is not read. Default 4 MiB. */
  readonly pendingBytesMax: number;
  /**
   * Memory of requests of which only a part has come, of all connections together, without the first 16 KiB of each;
   * a value beyond it is answered with `SERVER_ERROR out of memory storing object` and swallowed. Default 128 MiB.
   */
  readonly halfSentBytesMax: number;
  /** How long close() lets requests under way finish, in ms; default 1000. */
  readonly closeGraceMs: number;
  /** How long after its end a connection may stay half open before it is cut, in ms; default 5000. */
  readonly lingerMs: number;
}

export const defaultMemcachedLimits: MemcachedLimits = {
  connectionsMax: 4096,
  lineBytesMax: 2048,
  retrievalLineBytesMax: 1024 * 1024,
  pendingMax: 1024,
  pendingBytesMax: 4 * 1024 * 1024,
  halfSentBytesMax: 128 * 1024 * 1024,
  closeGraceMs: 1000,
  lingerMs: 5000,
};

/** Keys are at most this long (bytes). */
export const keyBytesMax = 250;
/** memcached: relative times end here, larger ones are unix times. */
export const relativeSecondsMax: number = 60 * 60 * 24 * 30;
