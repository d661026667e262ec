/**
 * The connection that this node opens to one other, kept up for as long as the other is wanted. This is where evidence comes
 * from: an established connection closed, and the kernel of that host refuses a new one or a newer instance answers there.
 */
import { messageOf } from '../base/errors.ts';
import { FrameReader } from '../core/wire/frame-reader.ts';
import { FrameSplitter } from '../core/wire/frame-splitter.ts';
import { FrameWriter } from '../core/wire/frame-writer.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { CloseReason, Stream, Streams } from '../ports/streams.ts';
import { PeerFrame, peerProtocol } from './peer-frames.ts';
import type { PeerHandlers, PeersOptions } from './peer-types.ts';

const connectTimeoutMs = 1000;
const retryMinMs = 50;
/**
 * A dying process's sockets close one by one. An attempt that comes in between finds its listener still there, and is reset
 * with it, or is dropped without a word: so the attempts that are to prove a death wait briefly, and follow each other soon.
 */
const proofTimeoutsMs: readonly number[] = [20, 40, 80, 160, 320];
const proofPauseMs = 2;
const retryMaxMs = 1000;
const pongTimeoutMs = 3000;
/** A connection on which nobody has said who is there for this long is given up: its other end may have lost its power, and a kernel that expects nothing never notices. */
const welcomeTimeoutMs = 3000;
/** What answers are held to: a welcome or a refusal, and pongs. */
const answerBytesMax = 64 << 10;
/** How often all of them are looked after, see {@link OutgoingPeer.lookAfter}. */
export const pingEveryMs: number = 1000;

/** What all of them share. */
export interface OutgoingSurroundings {
  readonly options: PeersOptions;
  readonly streams: Streams;
  readonly clock: Clock;
  readonly log: Log;
  readonly handlers: PeerHandlers;
  isClosed(): boolean;
}

export class OutgoingPeer {
  readonly name: string;
  readonly #around: OutgoingSurroundings;
  address: Address | undefined;
  state: 'idle' | 'connecting' | 'open' = 'idle';
  stream: Stream | undefined;
  readonly writer: FrameWriter = new FrameWriter();
  /** Who answered last; kept over reconnects, because evidence speaks of an instance. */
  instance: string | undefined;
  lastPongAt = 0;
  #wanted = false;
  /** It was seen alive and its death has not been reported yet. */
  #aliveInstance: string | undefined;
  /** Where it was seen: only what happens at this very address is evidence. */
  #aliveAt: Address | undefined;
  #retryMs = retryMinMs;
  /** Attempts since an established connection was cut; undefined when none was, or the answer is known. */
  #proofs: number | undefined;
  #retryTimer: Timer | undefined;
  #lastPingAt = 0;
  #connectingSince = 0;
  #complained = '';

  constructor(name: string, around: OutgoingSurroundings) {
    this.name = name;
    this.#around = around;
  }

  // ---- what is wanted ---------------------------------------------------------------------------------------------

  /** Keeps a connection from now on; a changed address is taken up at once. */
  want(address: Address): void {
    const changed = !isSame(this.address, address);
    this.address = address;
    this.#wanted = true;
    if (changed && this.state === 'connecting') this.stream?.destroy();
    if (this.state === 'idle' && (changed || this.#retryTimer === undefined)) this.#connect();
  }

  /** There is news of the node: try again now instead of at the next retry. */
  nudge(): void {
    if (this.state !== 'idle' || !this.#wanted || this.address === undefined) return;
    this.#retryMs = retryMinMs;
    this.#connect();
  }

  forget(): void {
    this.#wanted = false;
    this.#retryTimer?.cancel();
    this.stream?.destroy();
  }

  /** This node ends: what was said last (farewells) still leaves. */
  close(): void {
    this.#retryTimer?.cancel();
    if (this.state !== 'open') {
      this.stream?.destroy();
      return;
    }
    if (this.writer.size > 0) this.stream?.write(this.writer.take());
    this.stream?.end();
  }

  // ---- connecting -------------------------------------------------------------------------------------------------

  #connect(): void {
    this.#retryTimer?.cancel();
    this.#retryTimer = undefined;
    const { address } = this;
    const { clock, streams } = this.#around;
    if (this.#around.isClosed() || !this.#wanted || address === undefined) return;
    this.state = 'connecting';
    this.#connectingSince = clock.now();
    const stream = streams.connect(address, { timeoutMs: proofTimeoutsMs[this.#proofs ?? Infinity] ?? connectTimeoutMs });
    this.stream = stream;
    const splitter = new FrameSplitter(answerBytesMax);
    const reader = new FrameReader();
    stream.setHandler({
      onOpen: () => {
        this.#greet(stream);
        this.lastPongAt = clock.now();
      },
      onData: (bytes) => {
        if (this.stream !== stream) return;
        try {
          splitter.push(bytes, (type, body, start, end) => {
            reader.reset(body, start, end);
            this.#onReply(address, type, reader);
          });
        } catch (error) {
          this.#complain(messageOf(error));
          stream.destroy();
        }
      },
      onEnd: () => {
        // A dead process's kernel has said all there is to say: not waiting for this side's own farewell saves a moment.
        if (this.stream !== stream) return;
        this.#onClosed(address, 'end', undefined);
        stream.destroy();
      },
      onClose: (reason, detail) => {
        if (this.stream === stream) this.#onClosed(address, reason, detail);
      },
    });
  }

  #greet(stream: Stream): void {
    const { options } = this.#around;
    const hello = new FrameWriter(256);
    hello.begin(PeerFrame.hello);
    hello.u16(peerProtocol);
    hello.text(options.name);
    hello.text(options.instance);
    hello.text(this.name);
    hello.text(options.clusterId());
    hello.end();
    stream.write(hello.take());
  }

  #onReply(address: Address, type: number, reader: FrameReader): void {
    const { clock, log, handlers } = this.#around;
    if (type === PeerFrame.pong) {
      this.lastPongAt = clock.now();
      return;
    }
    if (type === PeerFrame.refuse) {
      const code = reader.text();
      this.#complain(`${code}: ${reader.text()}`);
      this.stream?.destroy();
      return;
    }
    if (type !== PeerFrame.welcome || this.state !== 'connecting') return;
    reader.text();
    const instance = reader.text();
    const before = isSame(this.#aliveAt, address) ? this.#aliveInstance : undefined;
    this.instance = instance;
    this.#aliveInstance = instance;
    this.#aliveAt = address;
    this.state = 'open';
    this.#retryMs = retryMinMs;
    this.#proofs = undefined;
    this.#complained = '';
    this.lastPongAt = clock.now();
    // The address answers as another instance: the one before is dead. (At another address it may be an impostor.)
    if (before !== undefined && before !== instance) handlers.onDead(this.name, before);
    log.debug('connected to a node', { peer: this.name, instance });
    handlers.onConnected(this.name, instance);
  }

  // ---- the end of a connection ------------------------------------------------------------------------------------

  #onClosed(address: Address, reason: CloseReason, detail: string | undefined): void {
    const { clock, log, handlers } = this.#around;
    const wasOpen = this.state === 'open';
    this.state = 'idle';
    this.stream = undefined;
    this.writer.clear();
    if (wasOpen) {
      // The attempt that tells a dead process from a bad network is under way while the loss is dealt with.
      queueMicrotask(() => {
        if (this.#around.isClosed()) return;
        handlers.onDisconnected(this.name);
        log.debug('lost the connection to a node', { peer: this.name, reason });
      });
    }
    if (this.#around.isClosed() || !this.#wanted) return;
    if (reason === 'refused') this.#noteRefused(address);
    else if (reason !== 'local' && !wasOpen && detail !== undefined && this.#proofs === undefined) this.#complain(detail);
    const delay = this.#delayAfter(reason, wasOpen);
    if (delay === 0) this.#connect();
    else {
      this.#retryTimer = clock.at(clock.now() + delay, () => {
        this.#retryTimer = undefined;
        if (this.state === 'idle') this.#connect();
      });
    }
  }

  /** An established connection that was cut is tried again at once: the answer tells a dead process from a bad network. */
  #delayAfter(reason: CloseReason, wasOpen: boolean): number {
    if (wasOpen && (reason === 'end' || reason === 'reset')) {
      this.#proofs = 0;
      return 0;
    }
    if (this.#proofs !== undefined && !wasOpen && reason !== 'refused' && this.#proofs + 1 < proofTimeoutsMs.length) {
      this.#proofs++;
      return reason === 'timeout' ? 0 : proofPauseMs;
    }
    this.#proofs = undefined;
    const delay = this.#retryMs;
    this.#retryMs = Math.min(retryMaxMs, delay * 2);
    return delay;
  }

  #noteRefused(address: Address): void {
    const dead = this.#aliveInstance;
    if (dead === undefined || !isSame(this.#aliveAt, address)) return;
    this.#aliveInstance = undefined;
    this.#around.handlers.onDead(this.name, dead);
  }

  #complain(text: string): void {
    if (this.#complained === text) return;
    this.#complained = text;
    this.#around.log.warn('cannot talk to a node', { peer: this.name, address: this.address === undefined ? '' : formatAddress(this.address), reason: text });
  }

  // ---- cut networks -----------------------------------------------------------------------------------------------

  /** Gives up a connection that a cut network has silently swallowed. True if it is to be asked for a sign of life with {@link ping}. */
  lookAfter(now: number): boolean {
    if (this.state === 'connecting' && now - this.#connectingSince > welcomeTimeoutMs) {
      this.#complain(`the connection was accepted, but nobody has said who is there within ${welcomeTimeoutMs} ms: trying again`);
      this.stream?.destroy();
    }
    if (this.state !== 'open') return false;
    // Only pings that this process had the time to see answered count.
    if (now - this.lastPongAt > pongTimeoutMs && now - this.#lastPingAt < 2 * pingEveryMs) {
      this.#around.log.info('a node does not answer on its connection: trying a new one', { peer: this.name });
      this.stream?.destroy();
      return false;
    }
    this.#lastPingAt = now;
    return true;
  }

  /** Where a turn's frames gather; in the same memory as the last turn's, once the kernel has those. */
  gathering(): FrameWriter {
    if (this.writer.size === 0 && this.stream?.bufferedBytes === 0) this.writer.rewind();
    return this.writer;
  }

  /** Leaves with what else there is to send. */
  ping(): void {
    const writer = this.gathering();
    writer.begin(PeerFrame.ping);
    writer.end();
  }
}

function isSame(a: Address | undefined, b: Address): boolean {
  return a !== undefined && a.host === b.host && a.port === b.port;
}
