import net from 'node:net';
import type { Address } from '../ports/address.ts';
import type { ConnectOptions, Listener, Stream, Streams } from '../ports/streams.ts';
import { bindError } from './socket-errors.ts';
import { restAfterBytes, SocketStream } from './socket-stream.ts';
import { plainHost } from './udp.ts';

export const connectTimeoutDefaultMs: number = 5000;
/** An idle connection is probed after this long (ms), so that a vanished peer's socket is found in the end. */
export const keepAliveDelayMs: number = 10_000;
/**
 * One read buffer for all connections: `onData` bytes are valid only during the call, and reads never nest.
 * Node's default is a fresh 64 KiB allocation per read. A plain Uint8Array, since `slice` of a Buffer would not copy.
 */
const readBuffer = new Uint8Array(restAfterBytes);

/** Plain TCP. */
export class TcpStreams implements Streams {
  async listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener> {
    const server = net.createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs, pauseOnConnect: true },
      (accepted) => {
        const remote = { host: plainHost(accepted.remoteAddress ?? ''), port: accepted.remotePort ?? 0 };
        onStream(adopt(accepted, remote));
      },
    );
    return listenOn(server, address);
  }

  connect(to: Address, options: ConnectOptions = {}): Stream {
    const stream = new SocketStream(to, false);
    const socket = net.connect({
      host: to.host,
      port: to.port,
      allowHalfOpen: true,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: keepAliveDelayMs,
      onread: { buffer: readBuffer, callback: (count, bytes) => stream.received(count, bytes) },
    });
    stream.attach(socket, 'connect', options.timeoutMs ?? connectTimeoutDefaultMs);
    return stream;
  }
}

/** Binds the server and wraps it as a Listener; also used by TLS. */
export async function listenOn(server: net.Server, address: Address): Promise<Listener> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(bindError('listen on TCP', address, error)));
    server.listen({ host: address.host, port: address.port, exclusive: true, backlog: 1024 }, () => {
      server.removeAllListeners('error');
      // After listen only accept can fail (out of file descriptors): the next connection tries again.
      server.on('error', () => {});
      resolve();
    });
  });
  const bound = server.address() as net.AddressInfo;
  let closed: Promise<void> | undefined;
  return {
    address: { host: bound.address, port: bound.port },
    close(): Promise<void> {
      // The port is free once close() returns; its callback would wait for connections, which live on.
      closed ??= new Promise((resolve) => {
        server.close();
        setImmediate(resolve);
      });
      return closed;
    },
  };
}

interface HandleWithUserBuffer {
  useUserBuffer?(buffer: Uint8Array): void;
}

/**
 * net.Server offers no way to read accepted sockets into a buffer of one's own, as connect does with `onread`.
 * So the connection's handle moves to a socket made with that option. Where Node's insides differ from what is
 * expected here, the accepted socket is used as it is: slower, same behaviour.
 */
function adopt(accepted: net.Socket, remote: Address): SocketStream {
  const stream = new SocketStream(remote, true);
  const inside = accepted as unknown as { _handle: HandleWithUserBuffer | null };
  const handle = inside._handle;
  if (typeof handle?.useUserBuffer !== 'function') {
    stream.attach(accepted, undefined, 0);
    accepted.on('data', (bytes: Buffer) => stream.received(bytes.length, bytes));
    accepted.resume();
    return stream;
  }
  inside._handle = null;
  accepted.destroy();
  const options = { handle, allowHalfOpen: true, onread: { buffer: readBuffer, callback: (count: number, bytes: Uint8Array) => stream.received(count, bytes) } };
  stream.attach(new net.Socket(options as net.SocketConstructorOpts), undefined, 0);
  return stream;
}
