import type net from 'node:net';
import { assert } from '../base/assert.ts';
import { messageOf } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import type { CloseReason, Stream, StreamHandler } from '../ports/streams.ts';
import { handleOf, whenTaken, writeError, writeTo } from './handle-writes.ts';
import type { WriteHandle } from './handle-writes.ts';
import { SlabPool, slabBytes } from './slabs.ts';
import { systemCodeOf } from './socket-errors.ts';
import { afterEndOfTurn } from './turn.ts';

/** `write` returns false above this many bytes not yet taken by the kernel. */
export const highWaterMarkBytes: number = 256 * 1024;
/** A read of this many bytes fills the buffer: the stream then rests until the next turn. */
export const restAfterBytes: number = 64 * 1024;
/** Larger writes are handed to the kernel as they are; smaller ones are gathered. */
const gatherMaxBytes = 8 * 1024;
/** With this many streams waiting, they are flushed before the turn ends: each holds a slab. */
const dirtyCountMax = 256;

const slabs = new SlabPool();
/** Streams that wait for the turn's end. The list keeps its size: one that is cut to nothing is allocated anew each turn. */
const dirty: (SocketStream | undefined)[] = [];
let dirtyCount = 0;

function flushDirty(): void {
  const count = dirtyCount;
  dirtyCount = 0;
  // Flushing runs no user code, so the list does not grow meanwhile.
  for (let i = 0; i < count; i++) {
    (dirty[i] as SocketStream).flush();
    dirty[i] = undefined;
  }
}

/**
 * A Stream over a net or TLS socket. Everything written in one turn leaves in one system call at its end.
 */
export class SocketStream implements Stream {
  readonly remote: Address;
  #socket: net.Socket | undefined;
  #handler: StreamHandler | undefined;
  #established: boolean;
  /** Of an open connection without TLS: small writes go straight there. */
  #handle: WriteHandle | undefined;
  /** The turn's only write so far: it goes to a slab when there is another. */
  #single: Uint8Array | undefined;
  #slab: Buffer | undefined;
  #slabUsed = 0;
  /** Written in this turn and not yet given to the socket, in order. Slabs among them are in `#slabsInFlight` too. */
  readonly #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  /** Given to the handle, and not taken by the kernel yet. */
  #handleBytes = 0;
  readonly #slabsInFlight: (Buffer | undefined)[] = [];
  #dirty = false;
  #drainWanted = false;
  #endWanted = false;
  #endedByPeerFirst = false;
  #paused = false;
  /** Until the next turn. */
  #resting = false;
  #destroyed = false;
  #closed = false;
  #failure: unknown;
  #timedOut = false;
  #describe: ((failure: unknown) => string | undefined) | undefined;
  #connectTimer: NodeJS.Timeout | undefined;

  constructor(remote: Address, established: boolean) {
    this.remote = remote;
    this.#established = established;
  }

  /** Takes the socket; `openEvent` is what it emits once it can carry data, none when it already can; `describe` words the failures it knows. */
  attach(socket: net.Socket, openEvent: 'connect' | 'secureConnect' | undefined, connectTimeoutMs: number, describe: (failure: unknown) => string | undefined = () => undefined): void {
    this.#socket = socket;
    if (openEvent === undefined) this.#handle = handleOf(socket);
    this.#describe = describe;
    if (openEvent !== undefined) {
      this.#connectTimer = setTimeout(() => {
        this.#timedOut = true;
        socket.destroy();
      }, connectTimeoutMs);
      socket.once(openEvent, () => {
        clearTimeout(this.#connectTimer);
        this.#established = true;
        this.#handle = handleOf(socket);
        if (!this.#destroyed) this.#handler?.onOpen?.();
      });
    }
    socket.on('end', () => this.#peerEnded());
    socket.on('error', (error) => (this.#failure ??= error));
    socket.once('close', () => this.#finish());
  }

  setHandler(handler: StreamHandler): void {
    this.#handler = handler;
  }

  /** Called with what the socket read; false stops reading (never here: see pause). */
  received(count: number, bytes: Uint8Array): boolean {
    if (this.#destroyed) return true;
    assert(this.#handler !== undefined, 'a stream got data before setHandler: set the handler in the turn that hands it over');
    this.#handler.onData(count === bytes.length ? bytes : bytes.subarray(0, count));
    if (count >= restAfterBytes) this.#rest();
    return true;
  }

  /** Somebody sends faster than is read. The event loop would read on, up to 2 MiB of each stream, before anything else has its turn, renewals of the lease among it. */
  #rest(): void {
    if (this.#resting || this.#paused || this.#destroyed) return;
    this.#resting = true;
    this.#socket?.pause();
    setImmediate(() => {
      this.#resting = false;
      if (!this.#paused) this.resume();
    });
  }

  write(bytes: Uint8Array): boolean {
    if (this.#destroyed || this.#endWanted || this.#closed) return true;
    const length = bytes.length;
    if (length > gatherMaxBytes) {
      this.#sealSlab();
      this.#queue.push(bytes);
      this.#slabsInFlight.push(undefined);
      this.#queuedBytes += length;
    } else if (this.#isEmpty()) this.#single = bytes;
    else this.#gather(bytes, length);
    this.#markDirty();
    if (this.bufferedBytes <= highWaterMarkBytes) return true;
    this.#drainWanted = true;
    return false;
  }

  /** Nothing has been written in this turn yet. */
  #isEmpty(): boolean {
    return this.#single === undefined && this.#slab === undefined && this.#queue.length === 0;
  }

  get bufferedBytes(): number {
    return (this.#single?.length ?? 0) + this.#slabUsed + this.#queuedBytes + this.#handleBytes + (this.#socket?.writableLength ?? 0);
  }

  pause(): void {
    this.#paused = true;
    this.#socket?.pause();
  }

  resume(): void {
    this.#paused = false;
    if (!this.#destroyed && !this.#resting) this.#socket?.resume();
  }

  end(): void {
    if (this.#endWanted || this.#destroyed || this.#closed) return;
    this.#endWanted = true;
    this.#markDirty();
  }

  destroy(): void {
    if (this.#destroyed || this.#closed) return;
    this.#destroyed = true;
    this.#socket?.destroy();
  }

  /** Gives the turn's writes to the socket. Called at the end of the turn. */
  flush(): void {
    this.#dirty = false;
    const socket = this.#socket;
    if (this.#destroyed || this.#closed || socket === undefined) return;
    if (this.#queue.length === 0) this.#writePiece(socket);
    else this.#writeQueue(socket);
    if (this.#endWanted) socket.end();
  }

  /** The usual case: all of the turn is one piece. */
  #writePiece(socket: net.Socket): void {
    const slab = this.#slab;
    const bytes = this.#single ?? slab?.subarray(0, this.#slabUsed);
    if (bytes === undefined) return;
    this.#single = undefined;
    this.#slab = undefined;
    this.#slabUsed = 0;
    // What the socket itself still holds goes first; and it tells when there is room again.
    if (this.#handle === undefined || this.#drainWanted || socket.writableLength > 0) {
      this.#slabsInFlight.push(slab);
      socket.write(bytes, this.#onWritten);
      return;
    }
    const result = writeTo(this.#handle, bytes);
    if (result < 0) socket.destroy(writeError(result));
    else if (result > 0) this.#awaitTaken(bytes.length, slab);
    else if (slab !== undefined) slabs.give(slab);
  }

  #awaitTaken(length: number, slab: Buffer | undefined): void {
    this.#handleBytes += length;
    whenTaken((status) => this.#onTaken(status, length, slab));
  }

  #onTaken(status: number, length: number, slab: Buffer | undefined): void {
    this.#handleBytes -= length;
    if (status < 0) {
      this.#socket?.destroy(writeError(status));
      return;
    }
    if (slab !== undefined) slabs.give(slab);
    this.#drain();
  }

  #writeQueue(socket: net.Socket): void {
    this.#sealSlab();
    const queue = this.#queue;
    if (queue.length > 1) socket.cork();
    for (const bytes of queue) socket.write(bytes, this.#onWritten);
    if (queue.length > 1) socket.uncork();
    queue.length = 0;
    this.#queuedBytes = 0;
  }

  readonly #onWritten = (error?: Error | null): void => {
    const slab = this.#slabsInFlight.shift();
    // After a failure the kernel may still hold the bytes: the slab is left to the collector.
    if (error) return;
    if (slab !== undefined) slabs.give(slab);
    this.#drain();
  };

  #drain(): void {
    if (!this.#drainWanted || this.#destroyed || this.bufferedBytes > 0) return;
    this.#drainWanted = false;
    this.#handler?.onDrain?.();
  }

  #gather(bytes: Uint8Array, length: number): void {
    this.#moveSingle();
    if (this.#slab !== undefined && this.#slabUsed + length > slabBytes) this.#sealSlab();
    this.#append(bytes, length);
  }

  #append(bytes: Uint8Array, length: number): void {
    this.#slab ??= slabs.take();
    this.#slab.set(bytes, this.#slabUsed);
    this.#slabUsed += length;
  }

  /** It was not the only one. */
  #moveSingle(): void {
    const single = this.#single;
    if (single === undefined) return;
    this.#single = undefined;
    this.#append(single, single.length);
  }

  #sealSlab(): void {
    this.#moveSingle();
    const slab = this.#slab;
    if (slab === undefined) return;
    this.#queue.push(this.#slabUsed === slabBytes ? slab : slab.subarray(0, this.#slabUsed));
    this.#slabsInFlight.push(slab);
    this.#queuedBytes += this.#slabUsed;
    this.#slab = undefined;
    this.#slabUsed = 0;
  }

  #markDirty(): void {
    if (this.#dirty) return;
    this.#dirty = true;
    dirty[dirtyCount++] = this;
    if (dirtyCount === 1) afterEndOfTurn(flushDirty);
    else if (dirtyCount >= dirtyCountMax) flushDirty();
  }

  #peerEnded(): void {
    if (this.#destroyed) return;
    this.#endedByPeerFirst = !this.#endWanted;
    if (this.#handler?.onEnd !== undefined) this.#handler.onEnd();
    else this.end();
  }

  #finish(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#connectTimer);
    const [reason, detail] = this.#reason();
    this.#single = undefined;
    this.#slab = undefined;
    this.#slabUsed = 0;
    this.#queue.length = 0;
    this.#queuedBytes = 0;
    this.#handler?.onClose(reason, detail);
  }

  #reason(): [CloseReason, string | undefined] {
    if (this.#destroyed) return ['local', undefined];
    if (this.#timedOut) return ['timeout', 'no answer to connect'];
    if (this.#failure !== undefined) return [reasonOf(this.#failure, this.#established), this.#describe?.(this.#failure) ?? nameFailure(this.#failure) ?? messageOf(this.#failure)];
    return [this.#endedByPeerFirst ? 'end' : 'local', undefined];
  }
}

/** What the resolver says of a host name, in words. */
function nameFailure(failure: unknown): string | undefined {
  const { hostname: name = '' } = failure as { hostname?: string };
  switch (systemCodeOf(failure)) {
    case 'ENOTFOUND': return `there is no host of the name '${name}'`;
    case 'EAI_AGAIN': return `the name '${name}' could not be looked up: the name server does not answer`;
    default: return undefined;
  }
}

/** `refused` only ever says that a kernel refused a new connection: it is held as evidence that a process is dead. */
function reasonOf(failure: unknown, established: boolean): CloseReason {
  switch (systemCodeOf(failure)) {
    case 'ECONNREFUSED':
      return 'refused';
    case 'ECONNRESET':
    case 'ECONNABORTED':
    case 'EPIPE':
      return established ? 'reset' : 'error';
    case 'ETIMEDOUT':
      return 'timeout';
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'EHOSTDOWN':
    case 'ENETDOWN':
    case 'EADDRNOTAVAIL':
      return 'unreachable';
    default:
      return 'error';
  }
}
