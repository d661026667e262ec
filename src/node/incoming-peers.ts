/**
 * Connections that other nodes have opened to this one: who they say they are is looked at first, and of each node only
 * the newest is read.
 */
import { messageOf } from '../base/errors.ts';
import { FrameReader } from '../core/wire/frame-reader.ts';
import { frameBytesMax, FrameSplitter } from '../core/wire/frame-splitter.ts';
import { FrameWriter } from '../core/wire/frame-writer.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Stream } from '../ports/streams.ts';
import { PeerFrame, peerProtocol } from './peer-frames.ts';
import type { PeerHandlers, PeersOptions } from './peer-types.ts';

const helloTimeoutMs = 5000;
const incomingMax = 4096;
/** A hello is a few names. */
const helloBytesMax = 4096;
const strangerLogEveryMs = 1000;

/** Why a connection is refused. */
interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** Whom this node itself is connected to. */
export interface KnownPeers {
  /** Where another process with this name is alive, as far as this node knows; '?' when it knows of one but not where. */
  namesakeOf(name: string, instance: string): string | undefined;
}

export class IncomingPeers {
  readonly #options: PeersOptions;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #handlers: PeerHandlers;
  readonly #known: KnownPeers;
  /** The newest connection of each node. */
  readonly #named = new Map<string, Stream>();
  readonly #anonymous = new Set<Stream>();
  #count = 0;
  #closed = false;
  /** Connections that sent what no node sends. */
  refused = 0;
  #strangerLoggedAt = Number.NEGATIVE_INFINITY;
  #strangersUnlogged = 0;

  constructor(options: PeersOptions, clock: Clock, log: Log, handlers: PeerHandlers, known: KnownPeers) {
    this.#options = options;
    this.#clock = clock;
    this.#log = log;
    this.#handlers = handlers;
    this.#known = known;
  }

  accept(stream: Stream): void {
    if (this.#count >= incomingMax || this.#closed) {
      stream.setHandler({ onData: () => {}, onClose: () => {} });
      stream.destroy();
      return;
    }
    this.#count++;
    this.#anonymous.add(stream);
    // Whoever has not said who it is may not make us hold much.
    const splitter = new FrameSplitter(helloBytesMax);
    let from: string | undefined;
    let open = true;
    const giveUp = this.#clock.at(this.#clock.now() + helloTimeoutMs, () => stream.destroy());
    const onFrame = (type: number, bytes: Uint8Array, start: number, end: number): void => {
      if (!open) return;
      if (from === undefined) {
        const name = this.#nameOf(stream, type, bytes, start, end);
        if (name === undefined) {
          open = false;
          return;
        }
        from = name;
        splitter.limit = frameBytesMax;
        giveUp.cancel();
        this.#welcome(stream, name);
        return;
      }
      if (type === PeerFrame.ping) this.#pong(stream);
      else this.#handlers.onFrame(from, type, bytes, start, end);
    };
    stream.setHandler({
      onData: (bytes) => {
        if (!open || this.#closed || (from !== undefined && this.#named.get(from) !== stream)) return;
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
        this.#count--;
        this.#anonymous.delete(stream);
        if (from !== undefined && this.#named.get(from) === stream) this.#named.delete(from);
      },
    });
  }

  /** The name of the node that a connection's first frame is from; undefined if it is refused. */
  #nameOf(stream: Stream, type: number, bytes: Uint8Array, start: number, end: number): string | undefined {
    const reader = new FrameReader();
    reader.reset(bytes, start, end);
    const name = type === PeerFrame.hello ? this.#checkHello(reader) : { code: 'NO_HELLO', message: 'the first frame is no hello: this port is for Troupe nodes only' };
    if (typeof name === 'string') return name;
    this.#refuse(stream, name);
    return undefined;
  }

  #welcome(stream: Stream, from: string): void {
    this.#anonymous.delete(stream);
    // What an older connection of this node still holds must not be taken after what comes on this one.
    const older = this.#named.get(from);
    this.#named.set(from, stream);
    older?.destroy();
    const answer = new FrameWriter(256);
    answer.begin(PeerFrame.welcome);
    answer.text(this.#options.name);
    answer.text(this.#options.instance);
    answer.text(this.#options.clusterId());
    answer.end();
    stream.write(answer.take());
    this.#handlers.onIncoming(from);
  }

  /** The peer's name, or why it is refused. */
  #checkHello(reader: FrameReader): string | Refusal {
    const protocol = reader.u16();
    const from = reader.text();
    const instance = reader.text();
    const to = reader.text();
    const clusterId = reader.text();
    const { name } = this.#options;
    if (protocol !== peerProtocol) return { code: 'PROTOCOL', message: `node ${name} speaks peer protocol ${peerProtocol}, not ${protocol}: run the same version of Troupe on both` };
    if (from === name && instance !== this.#options.instance) return { code: 'SAME_NAME', message: `the name '${from}' belongs to the node that answers here: give one of the two another name` };
    if (to !== name) return { code: 'OTHER_NODE', message: `this address belongs to node '${name}', not to '${to}'` };
    const ours = this.#options.clusterId();
    if (ours !== '' && clusterId !== '' && ours !== clusterId) {
      return { code: 'OTHER_CLUSTER', message: `node '${name}' belongs to cluster ${ours}, not to ${clusterId}: two clusters were founded apart; empty the data directory of one side's nodes` };
    }
    const namesake = this.#known.namesakeOf(from, instance);
    if (namesake === undefined) return from;
    return { code: 'NAME_TAKEN', message: `the name '${from}' belongs to a live node at ${namesake}: give one of the two another name, or stop the other one` };
  }

  #refuse(stream: Stream, { code, message }: Refusal): void {
    this.#noteStranger(stream.remote, `${code}: ${message}`);
    const answer = new FrameWriter(256);
    answer.begin(PeerFrame.refuse);
    answer.text(code);
    answer.text(message);
    answer.end();
    stream.write(answer.take());
    stream.end();
  }

  #pong(stream: Stream): void {
    const pong = new FrameWriter(8);
    pong.begin(PeerFrame.pong);
    pong.end();
    stream.write(pong.take());
  }

  /** One line a second at most: whoever sends rubbish must not fill the log as well. */
  #noteStranger(remote: Address, reason: string, peer: string = ''): void {
    this.refused++;
    const now = this.#clock.now();
    if (now - this.#strangerLoggedAt < strangerLogEveryMs) {
      this.#strangersUnlogged++;
      return;
    }
    this.#log.warn('closed a connection that sent what no node sends', { peer, address: formatAddress(remote), reason, unlogged: this.#strangersUnlogged });
    this.#strangerLoggedAt = now;
    this.#strangersUnlogged = 0;
  }

  close(): void {
    this.#closed = true;
    for (const stream of [...this.#named.values(), ...this.#anonymous]) stream.destroy();
  }
}
