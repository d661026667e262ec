/** Bytes from outside that cannot be read. Never fatal: the packet or stream that carried them is dropped. */
export class WireError extends Error {
  override readonly name: string = 'WireError';
}

/** Thrown by stream readers: what is there is well formed so far, but more bytes are needed. */
export class IncompleteError extends WireError {
  override readonly name: string = 'IncompleteError';
}
