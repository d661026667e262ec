/** Bounds of Serf's RPC; docs/LIMITS.md. */
export interface SerfRpcLimits {
  /** Connections at one time; further ones are closed. Default 256. */
  readonly connectionsMax: number;
  /** Time for the handshake, and for the token where one is asked for (ms). Default 10,000. */
  readonly greetingMs: number;
  /** One header or body (bytes); a larger one closes the connection. Default 1 MiB. */
  readonly messageBytesMax: number;
  /** Values in one message, each key and element counted. Default 20,000. */
  readonly messageValuesMax: number;
  /** Streams of events on one connection. Default 64. */
  readonly streamsMax: number;
  /** Queries on one connection whose records are still to come. Default 256. */
  readonly queriesMax: number;
  /** Records that wait for a slow client, of each stream; further ones are dropped. Default 512, as in Serf. */
  readonly recordsMax: number;
  /** ... and their bytes, of all streams of a connection. Default 1 MiB. */
  readonly recordBytesMax: number;
  /** Queries that a stream has told of and that may still be answered. Default 1024; the oldest goes first. */
  readonly answerableMax: number;
  /** After `close`, how long commands under way and their answers have (ms). Default 1000. */
  readonly closeGraceMs: number;
}

export const defaultSerfRpcLimits: SerfRpcLimits = {
  connectionsMax: 256, greetingMs: 10_000, messageBytesMax: 1024 * 1024, messageValuesMax: 20_000, streamsMax: 64, queriesMax: 256, recordsMax: 512, recordBytesMax: 1024 * 1024, answerableMax: 1024, closeGraceMs: 1000,
};
