import type net from 'node:net';
import { getSystemErrorName } from 'node:util';

/**
 * Writes to a socket's handle itself. For an answer of a few bytes, and nearly every write of a busy server is one,
 * `socket.write` makes three objects and a callback on a later tick, although the kernel has taken it before it returns.
 *
 * Node does not document its handles. Where its insides differ from what is expected here, `handleOf` finds none, and the
 * socket is used as it is: slower, same behaviour.
 */
interface StreamBinding {
  readonly WriteWrap: new () => WriteRequest;
  readonly streamBaseState: ArrayLike<number>;
  readonly kLastWriteWasAsync: number;
}

/** A write that libuv has to finish later. */
interface WriteRequest {
  /** Keeps the bytes alive meanwhile. */
  buffer?: Uint8Array;
  oncomplete?: (status: number) => void;
}

export interface WriteHandle {
  writeBuffer(request: WriteRequest, bytes: Uint8Array): number;
}

const binding = findBinding();
/** Used again and again: a write that is done at once leaves no trace in it. */
let request = binding === undefined ? undefined : new binding.WriteWrap();
let unfinished: WriteRequest | undefined;

function findBinding(): StreamBinding | undefined {
  // `process.binding` is to go some day, and these versions have it without a word, unless they are asked to speak of such things.
  if (!/^v2[0-4]\./.test(process.version)) return undefined;
  const { NODE_OPTIONS = '', NODE_PENDING_DEPRECATION } = process.env;
  if (NODE_PENDING_DEPRECATION === '1' || [...process.execArgv, NODE_OPTIONS].some((text) => text.includes('pending-deprecation'))) return undefined;
  try {
    const { WriteWrap, streamBaseState, kLastWriteWasAsync } = (process as unknown as { binding(name: string): Partial<StreamBinding> }).binding('stream_wrap');
    if (WriteWrap === undefined || streamBaseState === undefined || kLastWriteWasAsync === undefined) return undefined;
    return { WriteWrap, streamBaseState, kLastWriteWasAsync };
  } catch {
    return undefined;
  }
}

/** The handle of a connected socket; undefined with TLS, whose records are not made one by one. */
export function handleOf(socket: net.Socket): WriteHandle | undefined {
  if (binding === undefined || 'encrypted' in socket) return undefined;
  const handle = (socket as unknown as { _handle?: Partial<WriteHandle> | null })._handle;
  return typeof handle?.writeBuffer === 'function' ? (handle as WriteHandle) : undefined;
}

/**
 * Writes all of `bytes`, which must not change afterwards; what was given to the handle before goes first.
 * @returns 0: it is done; 1: the kernel does not take all of it at once, {@link whenTaken} must follow; else the number of an error
 */
export function writeTo(handle: WriteHandle, bytes: Uint8Array): number {
  const { WriteWrap, streamBaseState, kLastWriteWasAsync } = binding as StreamBinding;
  const used = request as WriteRequest;
  const error = handle.writeBuffer(used, bytes);
  if (error === 0 && streamBaseState[kLastWriteWasAsync] === 0) return 0;
  // That one belongs to this write for ever.
  request = new WriteWrap();
  if (error !== 0) return error;
  used.buffer = bytes;
  unfinished = used;
  return 1;
}

/** @param taken called with 0 once the kernel has all of the last write, or with the number of an error */
export function whenTaken(taken: (status: number) => void): void {
  (unfinished as WriteRequest).oncomplete = taken;
  unfinished = undefined;
}

/** As Node words it. */
export function writeError(number: number): Error {
  const code = getSystemErrorName(number);
  return Object.assign(new Error(`write ${code}`), { code, errno: number, syscall: 'write' });
}
