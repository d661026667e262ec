import { createHash } from 'node:crypto';
import type net from 'node:net';
import tls from 'node:tls';
import { assert } from '../base/assert.ts';
import { messageOf } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import type { ConnectOptions, Listener, Stream, Streams } from '../ports/streams.ts';
import { SocketStream } from './socket-stream.ts';
import { systemCodeOf } from './socket-errors.ts';
import { connectTimeoutDefaultMs, keepAliveDelayMs, listenOn } from './tcp.ts';
import { plainHost } from './udp.ts';

export interface TlsPskOptions {
  /** Cluster keys, each of 16 bytes or more. Connections are made with the first and accepted with any, so that keys can be rotated. */
  readonly keys: readonly Uint8Array[];
  /** Told of each connection that was turned away, and why. */
  readonly onRejected?: (from: Address, detail: string) => void;
}

const handshakeTimeoutMs = 5000;
/** TLS 1.3 with a pre-shared key and an ephemeral key exchange: a key that leaks later does not open what was recorded before. */
const protocol = { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256' } as const;

export const differentKeyDetail = 'the other side has a different cluster key';
const plainPeerDetail = 'the other side does not speak TLS: it has no cluster key, or is another program';

/** Streams between nodes that share a cluster key; both ends prove that they have it. */
export class TlsPskStreams implements Streams {
  #keys: readonly PreparedKey[] = [];
  readonly #onRejected: (from: Address, detail: string) => void;

  constructor(options: TlsPskOptions) {
    this.#onRejected = options.onRejected ?? ((): void => {});
    this.setKeys(options.keys);
  }

  /** For handshakes from now on; open connections stay. */
  setKeys(keys: readonly Uint8Array[]): void {
    assert(keys.length > 0 && keys.every((key) => key.length >= 16), 'TLS needs at least one cluster key of at least 16 bytes');
    this.#keys = keys.map(prepareKey);
  }

  async listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener> {
    const socketOptions: net.ServerOpts = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs };
    const server = tls.createServer({
      ...protocol,
      ...(socketOptions as object),
      handshakeTimeout: handshakeTimeoutMs,
      pskCallback: (_socket, identity) => this.#keys.find((key) => key.identity === identity)?.key ?? null,
    });
    server.on('secureConnection', (socket) => {
      const stream = new SocketStream(remoteOf(socket), true);
      attach(stream, socket, undefined, 0);
      onStream(stream);
    });
    server.on('tlsClientError', (error, socket) => {
      this.#onRejected(remoteOf(socket), handshakeDetail(error) ?? messageOf(error));
      socket.destroy();
    });
    return listenOn(server, address);
  }

  connect(to: Address, options: ConnectOptions = {}): Stream {
    const key = this.#keys[0] as PreparedKey;
    const stream = new SocketStream(to, false);
    const connectOptions: tls.ConnectionOptions & { allowHalfOpen: boolean } = {
      ...protocol,
      host: to.host,
      port: to.port,
      allowHalfOpen: true,
      pskCallback: () => ({ psk: key.key, identity: key.identity }),
      // Certificates play no part: the key is the proof.
      checkServerIdentity: () => undefined,
    };
    const socket = tls.connect(connectOptions);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, keepAliveDelayMs);
    attach(stream, socket, 'secureConnect', options.timeoutMs ?? connectTimeoutDefaultMs);
    return stream;
  }
}

interface PreparedKey {
  readonly identity: string;
  readonly key: Buffer;
}

/** The identity names the key without giving it away, so that an accepting node knows which of its keys to use. */
function prepareKey(key: Uint8Array): PreparedKey {
  return {
    identity: createHash('sha256').update('troupe key identity').update(key).digest('hex').slice(0, 16),
    key: createHash('sha256').update('troupe tls key').update(key).digest(),
  };
}

function attach(stream: SocketStream, socket: tls.TLSSocket, openEvent: 'secureConnect' | undefined, timeoutMs: number): void {
  stream.attach(socket, openEvent, timeoutMs, handshakeDetail);
  socket.on('data', (bytes: Buffer) => stream.received(bytes.length, bytes));
}

/** What a failed handshake most likely means; undefined for anything else. */
function handshakeDetail(error: unknown): string | undefined {
  // A write that was under way fails with EPROTO, and only its text tells the alert.
  if (systemCodeOf(error) === 'EPROTO' && /alert (handshake failure|illegal parameter|unknown psk identity|decrypt error)/.test(messageOf(error))) return differentKeyDetail;
  switch (systemCodeOf(error)) {
    // Which of these comes depends on the side and on how far the two got.
    case 'ERR_SSL_BINDER_DOES_NOT_VERIFY':
    case 'ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM':
    case 'ERR_SSL_PSK_IDENTITY_NOT_FOUND':
    case 'ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE':
    case 'ERR_SSL_SSLV3_ALERT_ILLEGAL_PARAMETER':
    case 'ERR_SSL_TLSV1_ALERT_UNKNOWN_PSK_IDENTITY':
    case 'ERR_SSL_TLSV1_ALERT_DECRYPT_ERROR':
      return differentKeyDetail;
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
    case 'ERR_SSL_HTTP_REQUEST':
    case 'ERR_SSL_UNEXPECTED_MESSAGE':
      return plainPeerDetail;
    default:
      return undefined;
  }
}

function remoteOf(socket: net.Socket): Address {
  return { host: plainHost(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 };
}
