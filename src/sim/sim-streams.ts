import type { Address } from '../ports/address.ts';
import type { CloseReason, ConnectOptions, Listener, Stream, StreamHandler, Streams } from '../ports/streams.ts';
import type { HostNetwork, SimNetwork } from './sim-network.ts';
import { accepts, checkBind, clashes } from './sim-network.ts';
import type { PipeReceiver, PipeSender, Segment } from './sim-pipe.ts';
import { Pipe } from './sim-pipe.ts';
import type { Turnstile } from './turnstile.ts';

const connectTimeoutDefaultMs = 5000;
/** As Linux: the first repetition of a connection request comes after 1 s, then twice as long each time. */
const synRetryMs = 1000;
/** `write` returns false above this, as on the host. */
const highWaterMarkBytes = 256 * 1024;

/** Streams of one process on a simulated host. */
export class SimStreams implements Streams {
  readonly #network: SimNetwork;
  readonly #host: HostNetwork;
  readonly #gate: Turnstile;
  readonly #listeners = new Set<SimListener>();
  readonly #endpoints = new Set<Endpoint>();

  constructor(network: SimNetwork, host: HostNetwork, gate: Turnstile) {
    this.#network = network;
    this.#host = host;
    this.#gate = gate;
  }

  async listen(address: Address, onStream: (stream: Stream) => void): Promise<Listener> {
    const taken = (port: number): boolean => (this.#host.listeners.get(port) ?? []).some((other) => clashes(other.address.host, address.host));
    checkBind(this.#host, 'listen on TCP', address, address.port !== 0 && taken(address.port));
    const port = address.port === 0 ? this.#host.ephemeralPort(taken) : address.port;
    const listener = new SimListener(this.#host, this.#gate, { host: address.host, port }, onStream, (remote) => this.#endpoint(remote), () => this.#listeners.delete(listener));
    this.#listeners.add(listener);
    return listener;
  }

  connect(to: Address, options: ConnectOptions = {}): Stream {
    const endpoint = this.#endpoint(to);
    if (!this.#gate.shut) new Connecting(this.#network, endpoint, to, options.timeoutMs ?? connectTimeoutDefaultMs).begin();
    return endpoint;
  }

  /** The process was killed: its kernel closes what it had open. */
  severAll(): void {
    for (const listener of this.#listeners) listener.drop();
    for (const endpoint of this.#endpoints) endpoint.abandon();
  }

  /** The whole host lost power: no kernel says goodbye. */
  vanishAll(): void {
    for (const listener of this.#listeners) listener.drop();
    for (const endpoint of this.#endpoints) endpoint.vanish();
  }

  #endpoint(remote: Address): Endpoint {
    const endpoint = new Endpoint(this.#network, this.#host, this.#gate, remote, () => this.#endpoints.delete(endpoint));
    this.#endpoints.add(endpoint);
    return endpoint;
  }
}

export class SimListener implements Listener {
  readonly address: Address;
  readonly onStream: (stream: Stream) => void;
  readonly gate: Turnstile;
  /** Makes an endpoint that belongs to the listening process. */
  readonly makeEndpoint: (remote: Address) => Endpoint;
  readonly #host: HostNetwork;
  readonly #onDropped: () => void;
  closed = false;

  constructor(host: HostNetwork, gate: Turnstile, address: Address, onStream: (stream: Stream) => void, makeEndpoint: (remote: Address) => Endpoint, onDropped: () => void) {
    this.#host = host;
    this.gate = gate;
    this.address = address;
    this.onStream = onStream;
    this.makeEndpoint = makeEndpoint;
    this.#onDropped = onDropped;
    host.listeners.set(address.port, [...(host.listeners.get(address.port) ?? []), this]);
  }

  async close(): Promise<void> {
    this.drop();
  }

  drop(): void {
    if (this.closed) return;
    this.closed = true;
    const left = (this.#host.listeners.get(this.address.port) ?? []).filter((other) => other !== this);
    if (left.length === 0) this.#host.listeners.delete(this.address.port);
    else this.#host.listeners.set(this.address.port, left);
    this.#onDropped();
  }
}

/** The three-way handshake. */
class Connecting {
  readonly #network: SimNetwork;
  readonly #client: Endpoint;
  readonly #to: Address;
  readonly #timeoutMs: number;

  constructor(network: SimNetwork, client: Endpoint, to: Address, timeoutMs: number) {
    this.#network = network;
    this.#client = client;
    this.#to = to;
    this.#timeoutMs = timeoutMs;
  }

  begin(): void {
    const { scheduler } = this.#network;
    const target = this.#network.route(this.#client.host, this.#to.host);
    if (target === undefined) {
      scheduler.after(0.1, () => this.#client.fail('unreachable', `no route to ${this.#to.host}`));
      return;
    }
    const giveUp = scheduler.after(this.#timeoutMs, () => this.#client.fail('timeout', 'no answer to connect'));
    this.#client.whenSettled(() => scheduler.cancel(giveUp));
    this.#request(target, synRetryMs);
  }

  #request(target: HostNetwork, retryMs: number): void {
    if (!this.#client.connecting) return;
    const again = (): void => void this.#network.scheduler.after(retryMs, () => this.#request(target, 2 * retryMs));
    if (!this.#passes(this.#client.host, target)) again();
    else this.#after(this.#client.host, target, () => this.#requested(target, again));
  }

  #requested(target: HostNetwork, again: () => void): void {
    const client = this.#client;
    // If the answer cannot come back, the request is repeated, and only then counts.
    if (!target.up || !this.#passes(target, client.host)) return again();
    const listener = (target.listeners.get(this.#to.port) ?? []).find((each) => accepts(each.address.host, this.#to.host));
    if (listener === undefined) return this.#after(target, client.host, () => client.fail('refused', `connect ECONNREFUSED ${this.#to.host}:${this.#to.port}`));
    // A paused process still has a kernel that completes the handshake.
    const server = listener.makeEndpoint({ host: client.host === target ? '127.0.0.1' : client.host.primaryAddress, port: client.localPort });
    this.#after(target, client.host, () => this.#answered(target, listener, server));
  }

  #answered(target: HostNetwork, listener: SimListener, server: Endpoint): void {
    const client = this.#client;
    if (!client.connecting) {
      server.discard();
      return;
    }
    const acceptedAt = this.#network.scheduler.now + this.#network.latency(client.host, target);
    client.peer = server;
    server.peer = client;
    client.out.connect(server, acceptedAt);
    server.out.connect(client, acceptedAt);
    client.establish();
    server.establish();
    this.#network.scheduler.at(acceptedAt, () => {
      if (server.gone) return;
      if (listener.closed) server.abort();
      else listener.gate.enter(() => (server.gone ? undefined : listener.onStream(server)));
    });
  }

  #passes(from: HostNetwork, to: HostNetwork): boolean {
    const link = this.#network.link(from, to);
    return !link.blocked && !this.#network.random.chance(link.loss);
  }

  #after(from: HostNetwork, to: HostNetwork, run: () => void): void {
    this.#network.scheduler.after(this.#network.latency(from, to), run);
  }
}

/** One end of a stream: the process's view (`Stream`) and its kernel's. */
export class Endpoint implements Stream, PipeSender, PipeReceiver {
  readonly remote: Address;
  readonly host: HostNetwork;
  readonly localPort: number;
  /** What this end sends. */
  readonly out: Pipe;
  /** The kernel has forgotten this end. */
  gone = false;
  /** The other end; known once connected. */
  peer: Endpoint | undefined;
  /** The end that this side sends is a reset. */
  resetsPeer = false;
  #state: 'connecting' | 'open' | 'closed' = 'connecting';
  readonly #network: SimNetwork;
  readonly #gate: Turnstile;
  readonly #onGone: () => void;
  #onSettled: (() => void) | undefined;
  #handler: StreamHandler | undefined;
  #received: Segment[] = [];
  #reading = true;
  #delivering = false;
  #drainWanted = false;
  #endedHere = false;
  #endedByPeer = false;
  #endedByPeerFirst = false;

  constructor(network: SimNetwork, host: HostNetwork, gate: Turnstile, remote: Address, onGone: () => void) {
    this.#network = network;
    this.host = host;
    this.#gate = gate;
    this.remote = remote;
    this.#onGone = onGone;
    this.localPort = host.ephemeralPort(() => false);
    this.out = new Pipe(network, this);
    host.endpoints.add(this);
  }

  // The process's side.

  setHandler(handler: StreamHandler): void {
    this.#handler = handler;
  }

  write(bytes: Uint8Array): boolean {
    if (this.#state === 'closed' || this.#endedHere || this.#gate.shut) return true;
    this.out.write(bytes);
    if (this.out.queuedBytes <= highWaterMarkBytes) return true;
    this.#drainWanted = true;
    return false;
  }

  get bufferedBytes(): number {
    return this.out.queuedBytes;
  }

  pause(): void {
    this.#reading = false;
  }

  resume(): void {
    this.#reading = true;
    this.#deliver();
  }

  end(): void {
    if (this.#state === 'closed' || this.#endedHere || this.#gate.shut) return;
    this.#endedHere = true;
    this.out.end();
  }

  destroy(): void {
    if (this.#state === 'closed' || this.#gate.shut) return;
    this.abandon();
    this.#close('local');
  }

  // The kernel's side.

  get connecting(): boolean {
    return this.#state === 'connecting' && !this.gone;
  }

  /** Calls `run` once connecting has ended either way. */
  whenSettled(run: () => void): void {
    this.#onSettled = run;
  }

  establish(): void {
    this.#state = 'open';
    this.#settled();
    this.#enter(() => this.#handler?.onOpen?.());
  }

  /** Connecting failed. */
  fail(reason: CloseReason, detail: string): void {
    if (!this.connecting) return;
    this.#forget();
    this.#close(reason, detail);
  }

  receive(segment: Segment): void {
    this.#received.push(segment);
    this.#deliver();
  }

  /** The process dropped it or died. Unread bytes turn the farewell into a reset, as in any kernel. */
  abandon(): void {
    if (this.gone) return;
    this.#forget();
    if (this.#received.some((segment) => segment.bytes !== undefined)) this.#resetPeer();
    else this.out.abandon();
  }

  /** Nobody accepted it. */
  abort(): void {
    this.#forget();
    this.#state = 'closed';
    this.#resetPeer();
  }

  /** The host lost power. */
  vanish(): void {
    if (this.gone) return;
    this.#forget();
    this.out.die();
  }

  /** It never came to be. */
  discard(): void {
    this.#forget();
    this.#state = 'closed';
  }

  emptied(): void {
    if (!this.#drainWanted) return;
    this.#drainWanted = false;
    this.#network.scheduler.after(0, () => this.#enter(() => this.#handler?.onDrain?.()));
  }

  endSent(): void {
    if (this.#endedByPeer) this.#finish();
  }

  gaveUp(): void {
    this.#breakOff('timeout', 'the peer acknowledged nothing for too long');
  }

  wasReset(): void {
    this.#breakOff('reset', 'read ECONNRESET');
  }

  #resetPeer(): void {
    // On the pipe's own way, so that it does not overtake what is on the wire already.
    this.out.abandon();
    this.resetsPeer = true;
  }

  #breakOff(reason: CloseReason, detail: string): void {
    if (this.gone) return;
    this.#forget();
    this.out.die();
    this.#close(reason, detail);
  }

  /** Both directions have ended in order. */
  #finish(): void {
    if (this.gone) return;
    this.#forget();
    this.#close(this.#endedByPeerFirst ? 'end' : 'local');
  }

  #forget(): void {
    this.gone = true;
    this.host.endpoints.delete(this);
    this.#onGone();
    this.#settled();
  }

  #settled(): void {
    this.#onSettled?.();
    this.#onSettled = undefined;
  }

  #close(reason: CloseReason, detail?: string): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#received = [];
    this.#network.scheduler.after(0, () => this.#gate.enter(() => this.#handler?.onClose(reason, detail)));
  }

  /** For callbacks that must not come after onClose was decided. */
  #enter(run: () => void): void {
    this.#gate.enter(() => {
      if (this.#state !== 'closed') run();
    });
  }

  /** One segment per event, so that promises settle in between, as they do between two reads of a socket. */
  #deliver(): void {
    if (this.#delivering || !this.#reading || this.#received.length === 0) return;
    this.#delivering = true;
    this.#network.scheduler.after(0, () => {
      this.#gate.enter(() => {
        this.#delivering = false;
        if (this.#reading && this.#state === 'open') this.#deliverOne();
        this.#deliver();
      });
    });
  }

  #deliverOne(): void {
    const segment = this.#received.shift();
    if (segment === undefined) return;
    if (segment.bytes === undefined) {
      this.#peerEnded();
      return;
    }
    this.peer?.out.credit(segment.bytes.length);
    this.#handler?.onData(segment.bytes);
    // They are valid only during the call: who keeps them without a copy shall notice here, not on the host.
    segment.bytes.fill(0xdb);
  }

  #peerEnded(): void {
    if (this.peer?.resetsPeer === true) {
      this.wasReset();
      return;
    }
    this.#endedByPeer = true;
    this.#endedByPeerFirst = !this.#endedHere;
    if (this.out.endSent) this.#finish();
    else if (this.#handler?.onEnd !== undefined) this.#handler.onEnd();
    else this.end();
  }
}
