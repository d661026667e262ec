/**
 * Connections between nodes: one in each direction between any two that talk, opened by the one that sends. What a turn
 * has for a node leaves in one write. The two directions: outgoing-peer.ts, incoming-peers.ts.
 */
import type { FrameWriter } from '../core/wire/frame-writer.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Listener, Stream, Streams } from '../ports/streams.ts';
import { IncomingPeers } from './incoming-peers.ts';
import type { KnownPeers } from './incoming-peers.ts';
import { OutgoingPeer, pingEveryMs } from './outgoing-peer.ts';
import type { OutgoingSurroundings } from './outgoing-peer.ts';
import type { PeerHandlers, PeersOptions } from './peer-types.ts';

/** A peer that takes this much without reading is cut off; replication and consensus start over with it. */
const bufferedBytesMax = 256 << 20;

export class Peers implements KnownPeers {
  readonly #name: string;
  readonly #streams: Streams;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #handlers: PeerHandlers;
  readonly #around: OutgoingSurroundings;
  readonly #outgoing = new Map<string, OutgoingPeer>();
  readonly #incoming: IncomingPeers;
  #listener: Listener | undefined;
  #flushArmed = false;
  #closed = false;
  #timer: Timer | undefined;

  constructor(options: PeersOptions, streams: Streams, clock: Clock, log: Log, handlers: PeerHandlers) {
    this.#name = options.name;
    this.#streams = streams;
    this.#clock = clock;
    this.#log = log;
    this.#handlers = handlers;
    this.#around = { options, streams, clock, log, handlers, isClosed: () => this.#closed };
    this.#incoming = new IncomingPeers(options, clock, log, handlers, this);
  }

  async listen(address: Address): Promise<Address> {
    this.#listener = await this.#streams.listen(address, (stream) => this.#incoming.accept(stream));
    this.#heartbeat();
    return this.#listener.address;
  }

  get framesRefused(): number {
    return this.#incoming.refused;
  }

  // ---- who to talk to ---------------------------------------------------------------------------------------------

  /** Keeps a connection to the node from now on; a changed address is taken up at once. */
  want(name: string, address: Address): void {
    if (name === this.#name || this.#closed) return;
    let peer = this.#outgoing.get(name);
    if (peer === undefined) {
      peer = new OutgoingPeer(name, this.#around);
      this.#outgoing.set(name, peer);
    }
    peer.want(address);
  }

  /** There is news of the node: try again now instead of at the next retry. */
  nudge(name: string): void {
    this.#outgoing.get(name)?.nudge();
  }

  forget(name: string): void {
    this.#outgoing.get(name)?.forget();
    this.#outgoing.delete(name);
  }

  isConnected(name: string): boolean {
    return this.#outgoing.get(name)?.state === 'open';
  }

  /** How long ago the node last answered on its connection (ms); Infinity when there is none. */
  silentForMs(name: string, now: number): number {
    const peer = this.#outgoing.get(name);
    return peer?.state === 'open' ? now - peer.lastPongAt : Number.POSITIVE_INFINITY;
  }

  instanceOf(name: string): string | undefined {
    return this.#outgoing.get(name)?.instance;
  }

  addressOf(name: string): Address | undefined {
    return this.#outgoing.get(name)?.address;
  }

  connectedNames(): string[] {
    return [...this.#outgoing.values()].filter((peer) => peer.state === 'open').map((peer) => peer.name);
  }

  namesakeOf(name: string, instance: string): string | undefined {
    const known = this.#outgoing.get(name);
    if (known?.state !== 'open' || known.instance === instance) return undefined;
    // If that is no more than a connection that nobody has noticed to be dead, this brings it out; the newcomer will try again.
    this.#ping(known);
    return known.address === undefined ? '?' : formatAddress(known.address);
  }

  // ---- sending ----------------------------------------------------------------------------------------------------

  /** Where frames for the node are gathered until the end of the turn; undefined while it is not connected. */
  writer(name: string): FrameWriter | undefined {
    const peer = this.#outgoing.get(name);
    if (peer?.state !== 'open') return undefined;
    this.arm();
    return peer.gathering();
  }

  /** Makes sure that `beforeFlush` is called and everything sent at the end of this turn. */
  arm(): void {
    if (this.#flushArmed) return;
    this.#flushArmed = true;
    this.#clock.endOfTurn(this.#flush);
  }

  readonly #flush = (): void => {
    if (this.#closed) return;
    // Stays armed while the last frames are added, so that they join this flush.
    this.#handlers.beforeFlush();
    this.#flushArmed = false;
    for (const peer of this.#outgoing.values()) {
      if (peer.state !== 'open' || peer.writer.size === 0) continue;
      const stream = peer.stream as Stream;
      stream.write(peer.writer.take());
      if (stream.bufferedBytes > bufferedBytesMax) {
        this.#log.warn('a node takes no data: its connection is cut and made anew', { peer: peer.name, bufferedBytes: stream.bufferedBytes });
        stream.destroy();
      }
    }
  };

  /** Finds connections that a cut network has silently swallowed. */
  #heartbeat(): void {
    if (this.#closed) return;
    const now = this.#clock.now();
    for (const peer of this.#outgoing.values()) if (peer.lookAfter(now)) this.#ping(peer);
    this.#timer = this.#clock.at(now + pingEveryMs, () => this.#heartbeat());
  }

  #ping(peer: OutgoingPeer): void {
    peer.ping();
    this.arm();
  }

  // ---- stop -------------------------------------------------------------------------------------------------------

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    for (const peer of this.#outgoing.values()) peer.close();
    this.#incoming.close();
    await this.#listener?.close();
  }
}
