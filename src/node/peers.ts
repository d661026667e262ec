/**
 * Connections between nodes: one in each direction between any two that talk, opened by the one that sends. What a turn
 * has for a node leaves in one write. This is also where `refused` evidence comes from: an established connection
 * closed, and the kernel of that host refuses a new one or a newer instance answers there.
 */
import { messageOf } from '../base/errors.ts';
import { FrameReader } from '../core/wire/frame-reader.ts';
import { frameBytesMax, FrameSplitter } from '../core/wire/frame-splitter.ts';
import { FrameWriter } from '../core/wire/frame-writer.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { CloseReason, Listener, Stream, Streams } from '../ports/streams.ts';
import { PeerFrame, peerProtocol } from './peer-frames.ts';

export interface PeersOptions {
  readonly name: string;
  readonly instance: string;
  /** '' while unknown. Nodes of two different clusters refuse each other. */
  readonly clusterId: () => string;
}

export interface PeerHandlers {
  /** bytes[start, end) is valid only during the call. A throw closes the connection. */
  onFrame(from: string, type: number, bytes: Uint8Array, start: number, end: number): void;
  onConnected(name: string, instance: string): void;
  onDisconnected(name: string): void;
  /** The node has connected to this one: what it sent on an earlier connection may be lost. */
  onIncoming(name: string): void;
  /** The process is dead for certain. */
  onDead(name: string, instance: string): void;
  /** Before the gathered frames leave: the last chance to add some. */
  beforeFlush(): void;
}

const connectTimeoutMs = 1000;
const retryMinMs = 50;
/**
 * A dying process's sockets close one by one. An attempt that comes in between finds its listener still there, and is reset
 * with it, or is dropped without a word: so the attempts that are to prove a death wait briefly, and follow each other soon.
 */
const proofTimeoutsMs: readonly number[] = [20, 40, 80, 160, 320];
const proofPauseMs = 2;
const retryMaxMs = 1000;
const pingEveryMs = 1000;
const pongTimeoutMs = 3000;
/** A connection on which nobody has said who is there for this long is given up: its other end may have lost its power, and a kernel that expects nothing never notices. */
const welcomeTimeoutMs = 3000;
const helloTimeoutMs = 5000;
const incomingMax = 4096;
/** A hello is a few names. */
const helloBytesMax = 4096;
const strangerLogEveryMs = 1000;
/** A peer that takes this much without reading is cut off; replication and consensus start over with it. */
const bufferedBytesMax = 256 << 20;

class Outgoing {
  readonly name: string;
  address: Address | undefined;
  state: 'idle' | 'connecting' | 'open' = 'idle';
  stream: Stream | undefined;
  readonly writer = new FrameWriter();
  /** Who answered last; kept over reconnects, because evidence speaks of an instance. */
  instance: string | undefined;
  /** It was seen alive and its death has not been reported yet. */
  aliveInstance: string | undefined;
  /** Where it was seen: only what happens at this very address is evidence. */
  aliveAt: Address | undefined;
  retryMs = retryMinMs;
  /** Attempts since an established connection was cut; undefined when none was, or the answer is known. */
  proofs: number | undefined;
  retryTimer: Timer | undefined;
  lastPongAt = 0;
  lastPingAt = 0;
  connectingSince = 0;
  wanted = false;
  complained = '';

  constructor(name: string) {
    this.name = name;
  }
}

export class Peers {
  readonly #options: PeersOptions;
  readonly #streams: Streams;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #handlers: PeerHandlers;
  readonly #outgoing = new Map<string, Outgoing>();
  readonly #incoming = new Map<string, Stream>();
  #incomingCount = 0;
  readonly #anonymous = new Set<Stream>();
  #listener: Listener | undefined;
  #flushArmed = false;
  #closed = false;
  #timer: Timer | undefined;
  framesRefused = 0;
  #strangerLoggedAt = Number.NEGATIVE_INFINITY;
  #strangersUnlogged = 0;

  constructor(options: PeersOptions, streams: Streams, clock: Clock, log: Log, handlers: PeerHandlers) {
    this.#options = options;
    this.#streams = streams;
    this.#clock = clock;
    this.#log = log;
    this.#handlers = handlers;
  }

  async listen(address: Address): Promise<Address> {
    this.#listener = await this.#streams.listen(address, (stream) => this.#accept(stream));
    this.#heartbeat();
    return this.#listener.address;
  }

  // ---- who to talk to ---------------------------------------------------------------------------------------------

  /** Keeps a connection to the node from now on; a changed address is taken up at once. */
  want(name: string, address: Address): void {
    if (name === this.#options.name || this.#closed) return;
    let peer = this.#outgoing.get(name);
    if (peer === undefined) {
      peer = new Outgoing(name);
      this.#outgoing.set(name, peer);
    }
    const changed = !isSame(peer.address, address);
    peer.address = address;
    peer.wanted = true;
    if (changed && peer.state === 'connecting') peer.stream?.destroy();
    if (peer.state === 'idle' && (changed || peer.retryTimer === undefined)) this.#connect(peer);
  }

  /** There is news of the node: try again now instead of at the next retry. */
  nudge(name: string): void {
    const peer = this.#outgoing.get(name);
    if (peer?.state !== 'idle' || !peer.wanted || peer.address === undefined) return;
    peer.retryMs = retryMinMs;
    this.#connect(peer);
  }

  forget(name: string): void {
    const peer = this.#outgoing.get(name);
    if (peer === undefined) return;
    peer.wanted = false;
    peer.retryTimer?.cancel();
    peer.stream?.destroy();
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

  // ---- sending ----------------------------------------------------------------------------------------------------

  /** Where frames for the node are gathered until the end of the turn; undefined while it is not connected. */
  writer(name: string): FrameWriter | undefined {
    const peer = this.#outgoing.get(name);
    if (peer?.state !== 'open') return undefined;
    this.arm();
    return peer.writer;
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

  // ---- outgoing ---------------------------------------------------------------------------------------------------

  #connect(peer: Outgoing): void {
    peer.retryTimer?.cancel();
    peer.retryTimer = undefined;
    if (this.#closed || !peer.wanted || peer.address === undefined) return;
    peer.state = 'connecting';
    peer.connectingSince = this.#clock.now();
    const address = peer.address;
    const stream = this.#streams.connect(address, { timeoutMs: proofTimeoutsMs[peer.proofs ?? Infinity] ?? connectTimeoutMs });
    peer.stream = stream;
    const splitter = new FrameSplitter(64 << 10);
    const reader = new FrameReader();
    stream.setHandler({
      onOpen: () => {
        const hello = new FrameWriter(256);
        hello.begin(PeerFrame.hello);
        hello.u16(peerProtocol);
        hello.text(this.#options.name);
        hello.text(this.#options.instance);
        hello.text(peer.name);
        hello.text(this.#options.clusterId());
        hello.end();
        stream.write(hello.take());
        peer.lastPongAt = this.#clock.now();
      },
      onData: (bytes) => {
        if (peer.stream !== stream) return;
        try {
          splitter.push(bytes, (type, body, start, end) => {
            reader.reset(body, start, end);
            this.#onReply(peer, address, type, reader);
          });
        } catch (error) {
          this.#complain(peer, messageOf(error));
          stream.destroy();
        }
      },
      onEnd: () => {
        // A dead process's kernel has said all there is to say: not waiting for this side's own farewell saves a moment.
        if (peer.stream !== stream) return;
        this.#onClosed(peer, address, 'end', undefined);
        stream.destroy();
      },
      onClose: (reason, detail) => {
        if (peer.stream === stream) this.#onClosed(peer, address, reason, detail);
      },
    });
  }

  #onReply(peer: Outgoing, address: Address, type: number, reader: FrameReader): void {
    if (type === PeerFrame.pong) {
      peer.lastPongAt = this.#clock.now();
      return;
    }
    if (type === PeerFrame.refuse) {
      const code = reader.text();
      this.#complain(peer, `${code}: ${reader.text()}`);
      peer.stream?.destroy();
      return;
    }
    if (type !== PeerFrame.welcome || peer.state !== 'connecting') return;
    reader.text();
    const instance = reader.text();
    const before = isSame(peer.aliveAt, address) ? peer.aliveInstance : undefined;
    peer.instance = instance;
    peer.aliveInstance = instance;
    peer.aliveAt = address;
    peer.state = 'open';
    peer.retryMs = retryMinMs;
    peer.proofs = undefined;
    peer.complained = '';
    peer.lastPongAt = this.#clock.now();
    // The address answers as another instance: the one before is dead. (At another address it may be an impostor.)
    if (before !== undefined && before !== instance) this.#handlers.onDead(peer.name, before);
    this.#log.debug('connected to a node', { peer: peer.name, instance });
    this.#handlers.onConnected(peer.name, instance);
  }

  #onClosed(peer: Outgoing, address: Address, reason: CloseReason, detail: string | undefined): void {
    const wasOpen = peer.state === 'open';
    peer.state = 'idle';
    peer.stream = undefined;
    peer.writer.clear();
    if (wasOpen) {
      // The attempt that tells a dead process from a bad network is under way while the loss is dealt with.
      queueMicrotask(() => {
        if (this.#closed) return;
        this.#handlers.onDisconnected(peer.name);
        this.#log.debug('lost the connection to a node', { peer: peer.name, reason });
      });
    }
    if (this.#closed || !peer.wanted) return;
    if (reason === 'refused') this.#noteRefused(peer, address);
    else if (reason !== 'local' && !wasOpen && detail !== undefined && peer.proofs === undefined) this.#complain(peer, detail);
    const delay = this.#delayAfter(peer, reason, wasOpen);
    if (delay === 0) this.#connect(peer);
    else {
      peer.retryTimer = this.#clock.at(this.#clock.now() + delay, () => {
        peer.retryTimer = undefined;
        if (peer.state === 'idle') this.#connect(peer);
      });
    }
  }

  /** An established connection that was cut is tried again at once: the answer tells a dead process from a bad network. */
  #delayAfter(peer: Outgoing, reason: CloseReason, wasOpen: boolean): number {
    if (wasOpen && (reason === 'end' || reason === 'reset')) {
      peer.proofs = 0;
      return 0;
    }
    if (peer.proofs !== undefined && !wasOpen && reason !== 'refused' && peer.proofs + 1 < proofTimeoutsMs.length) {
      peer.proofs++;
      return reason === 'timeout' ? 0 : proofPauseMs;
    }
    peer.proofs = undefined;
    const delay = peer.retryMs;
    peer.retryMs = Math.min(retryMaxMs, delay * 2);
    return delay;
  }

  #noteRefused(peer: Outgoing, address: Address): void {
    const dead = peer.aliveInstance;
    if (dead === undefined || !isSame(peer.aliveAt, address)) return;
    peer.aliveInstance = undefined;
    this.#handlers.onDead(peer.name, dead);
  }

  #complain(peer: Outgoing, text: string): void {
    if (peer.complained === text) return;
    peer.complained = text;
    this.#log.warn('cannot talk to a node', { peer: peer.name, address: peer.address === undefined ? '' : formatAddress(peer.address), reason: text });
  }

  /** Finds connections that a cut network has silently swallowed. */
  #heartbeat(): void {
    if (this.#closed) return;
    const now = this.#clock.now();
    for (const peer of this.#outgoing.values()) {
      if (peer.state === 'connecting' && now - peer.connectingSince > welcomeTimeoutMs) {
        this.#complain(peer, `the connection was accepted, but nobody has said who is there within ${welcomeTimeoutMs} ms: trying again`);
        peer.stream?.destroy();
      }
      if (peer.state !== 'open') continue;
      // Only pings that this process had the time to see answered count.
      if (now - peer.lastPongAt > pongTimeoutMs && now - peer.lastPingAt < 2 * pingEveryMs) {
        this.#log.info('a node does not answer on its connection: trying a new one', { peer: peer.name });
        peer.stream?.destroy();
        continue;
      }
      this.#ping(peer.name);
      peer.lastPingAt = now;
    }
    this.#timer = this.#clock.at(now + pingEveryMs, () => this.#heartbeat());
  }

  // ---- incoming ---------------------------------------------------------------------------------------------------

  #accept(stream: Stream): void {
    if (this.#incomingCount >= incomingMax || this.#closed) {
      stream.setHandler({ onData: () => {}, onClose: () => {} });
      stream.destroy();
      return;
    }
    this.#incomingCount++;
    this.#anonymous.add(stream);
    // Whoever has not said who it is may not make us hold much.
    const splitter = new FrameSplitter(helloBytesMax);
    const reader = new FrameReader();
    let from: string | undefined;
    let open = true;
    const giveUp = this.#clock.at(this.#clock.now() + helloTimeoutMs, () => stream.destroy());
    const onFrame = (type: number, bytes: Uint8Array, start: number, end: number): void => {
      if (!open) return;
      if (from === undefined) {
        reader.reset(bytes, start, end);
        const refusal = type === PeerFrame.hello ? this.#checkHello(reader) : { code: 'NO_HELLO', message: 'the first frame is no hello: this port is for Troupe nodes only' };
        if (typeof refusal === 'object') {
          open = false;
          this.#noteStranger(stream.remote, `${refusal.code}: ${refusal.message}`);
          const answer = new FrameWriter(256);
          answer.begin(PeerFrame.refuse);
          answer.text(refusal.code);
          answer.text(refusal.message);
          answer.end();
          stream.write(answer.take());
          stream.end();
          return;
        }
        from = refusal;
        splitter.limit = frameBytesMax;
        giveUp.cancel();
        this.#anonymous.delete(stream);
        // What an older connection of this node still holds must not be taken after what comes on this one.
        const older = this.#incoming.get(from);
        this.#incoming.set(from, stream);
        older?.destroy();
        const answer = new FrameWriter(256);
        answer.begin(PeerFrame.welcome);
        answer.text(this.#options.name);
        answer.text(this.#options.instance);
        answer.text(this.#options.clusterId());
        answer.end();
        stream.write(answer.take());
        this.#handlers.onIncoming(from);
        return;
      }
      if (type === PeerFrame.ping) {
        const pong = new FrameWriter(8);
        pong.begin(PeerFrame.pong);
        pong.end();
        stream.write(pong.take());
        return;
      }
      this.#handlers.onFrame(from, type, bytes, start, end);
    };
    stream.setHandler({
      onData: (bytes) => {
        if (!open || this.#closed || (from !== undefined && this.#incoming.get(from) !== stream)) return;
        try {
          splitter.push(bytes, onFrame);
        } catch (error) {
          open = false;
          this.#noteStranger(stream.remote, messageOf(error), from);
          stream.destroy();
        }
      },
      onClose: () => {
        open = false;
        giveUp.cancel();
        this.#incomingCount--;
        this.#anonymous.delete(stream);
        if (from !== undefined && this.#incoming.get(from) === stream) this.#incoming.delete(from);
      },
    });
  }

  /** One line a second at most: whoever sends rubbish must not fill the log as well. */
  #noteStranger(remote: Address, reason: string, peer: string = ''): void {
    this.framesRefused++;
    const now = this.#clock.now();
    if (now - this.#strangerLoggedAt < strangerLogEveryMs) {
      this.#strangersUnlogged++;
      return;
    }
    this.#log.warn('closed a connection that sent what no node sends', { peer, address: formatAddress(remote), reason, unlogged: this.#strangersUnlogged });
    this.#strangerLoggedAt = now;
    this.#strangersUnlogged = 0;
  }

  /** The peer's name, or why it is refused. */
  #checkHello(reader: FrameReader): string | { code: string; message: string } {
    const protocol = reader.u16();
    const from = reader.text();
    const instance = reader.text();
    const to = reader.text();
    const clusterId = reader.text();
    if (protocol !== peerProtocol) return { code: 'PROTOCOL', message: `node ${this.#options.name} speaks peer protocol ${peerProtocol}, not ${protocol}: run the same version of Troupe on both` };
    if (from === this.#options.name && instance !== this.#options.instance) return { code: 'SAME_NAME', message: `the name '${from}' belongs to the node that answers here: give one of the two another name` };
    if (to !== this.#options.name) return { code: 'OTHER_NODE', message: `this address belongs to node '${this.#options.name}', not to '${to}'` };
    const ours = this.#options.clusterId();
    if (ours !== '' && clusterId !== '' && ours !== clusterId) {
      return { code: 'OTHER_CLUSTER', message: `node '${this.#options.name}' belongs to cluster ${ours}, not to ${clusterId}: two clusters were founded apart; empty the data directory of one side's nodes` };
    }
    const known = this.#outgoing.get(from);
    if (known?.state === 'open' && known.instance !== instance) {
      // If that is no more than a connection that nobody has noticed to be dead, this brings it out; the newcomer will try again.
      this.#ping(from);
      return { code: 'NAME_TAKEN', message: `the name '${from}' belongs to a live node at ${known.address === undefined ? '?' : formatAddress(known.address)}: give one of the two another name, or stop the other one` };
    }
    return from;
  }

  #ping(name: string): void {
    const writer = this.writer(name);
    writer?.begin(PeerFrame.ping);
    writer?.end();
  }

  // ---- stop -------------------------------------------------------------------------------------------------------

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    for (const peer of this.#outgoing.values()) {
      peer.retryTimer?.cancel();
      // What was said last (farewells) still leaves.
      if (peer.state === 'open' && peer.writer.size > 0) peer.stream?.write(peer.writer.take());
      if (peer.state === 'open') peer.stream?.end();
      else peer.stream?.destroy();
    }
    for (const stream of [...this.#incoming.values(), ...this.#anonymous]) stream.destroy();
    await this.#listener?.close();
  }
}

function isSame(a: Address | undefined, b: Address): boolean {
  return a !== undefined && a.host === b.host && a.port === b.port;
}
