import type { Address } from './address.ts';

/** Reliable byte streams (TCP, or TLS over it). */
export interface Streams {
  /** Rejects with a TroupeError (ADDRESS_IN_USE, …) when the address cannot be had. Port 0 asks for any free one. */
  listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener>;
  /**
   * Begins to connect; never throws. `onOpen` or `onClose` of the handler follows, never synchronously.
   * Bytes written before it opens are sent once it has.
   */
  connect(to: Address, options?: ConnectOptions): Stream;
}

export interface ConnectOptions {
  /** Give up after this long (ms); default 5000. The close reason is then `timeout`. */
  readonly timeoutMs?: number;
}

export interface Listener {
  readonly address: Address;
  /** Stops accepting; open streams live on. */
  close(): Promise<void>;
}

/**
 * Why a stream ended:
 * `local` this side destroyed or ended it first; `end` the peer ended it in order; `reset` an established connection was cut by
 * the peer's kernel; `refused` nobody listens there: the peer's kernel said so at connect; `unreachable` no route,
 * host down; `timeout` no answer to connect; `error` anything else (TLS failure, …; see detail).
 */
export type CloseReason = 'local' | 'end' | 'reset' | 'refused' | 'unreachable' | 'timeout' | 'error';

export interface StreamHandler {
  onOpen?(): void;
  /** `bytes` is valid only during the call. */
  onData(bytes: Uint8Array): void;
  /** The write buffer has emptied after `write` returned false. */
  onDrain?(): void;
  /**
   * The peer will send no more, but may still read: answer what is open, then call `end`.
   * A handler without this method ends its own side at once (after what is queued), and `onClose('end')` follows.
   */
  onEnd?(): void;
  /** Called exactly once, last. */
  onClose(reason: CloseReason, detail?: string): void;
}

export interface Stream {
  readonly remote: Address;
  /** Must be set in the same turn in which the stream was handed over; bytes are not delivered before. */
  setHandler(handler: StreamHandler): void;
  /** Queues bytes, in order; copies nothing: do not change `bytes` until `bufferedBytes` is 0. False when the buffer is over its high-water mark. */
  write(bytes: Uint8Array): boolean;
  /** Bytes written and not yet taken by the kernel. */
  readonly bufferedBytes: number;
  /** Stops and starts reading (backpressure). */
  pause(): void;
  resume(): void;
  /** Sends what is queued, then ends this direction; `onData` goes on until the peer ends too, then `onClose` comes. */
  end(): void;
  /** Drops it at once. onClose('local') follows, never synchronously. */
  destroy(): void;
}
