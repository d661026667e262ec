import { Seldom } from '../base/seldom.ts';
import { encodeStreamError, StreamAssembler, StreamError, wrapStreamMessage } from '../core/wire/stream-frames.ts';
import type { StreamMessage } from '../core/wire/stream-frames.ts';
import { WireError } from '../core/wire/wire-error.ts';
import type { DialOutcome } from '../core/swim/types.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { CloseReason, Stream, Streams } from '../ports/streams.ts';
import type { GossipSecurity } from './gossip-security.ts';

export interface GossipStreamsOptions {
  readonly streams: Streams;
  readonly clock: Clock;
  readonly log: Log;
  readonly security: GossipSecurity;
  readonly compression: boolean;
  readonly timeoutMs: number;
  readonly streamsMax: number;
  readonly streamBytesMax: number;
  /** What came over a stream that somebody else opened; returns the answer. @throws WireError */
  readonly onMessage: (message: StreamMessage, from: Address) => Uint8Array | undefined;
}

/** Each stream carries one message each way, and ends. */
export class GossipStreams {
  readonly #options: GossipStreamsOptions;
  /** Every open stream, and how to end it. */
  readonly #open = new Map<Stream, () => void>();
  #incoming = 0;
  #incomingBytes = 0;
  #refused = 0;
  readonly #tooMany = new Seldom();
  readonly #refusals: Record<string, Seldom> = {};

  constructor(options: GossipStreamsOptions) {
    this.#options = options;
  }

  get refused(): number {
    return this.#refused;
  }

  /** Somebody opened a stream to us. */
  accept(stream: Stream): void {
    const { streamsMax, streamBytesMax, clock, log, security, timeoutMs } = this.#options;
    if (this.#incoming >= streamsMax) {
      this.#refused++;
      const fields = this.#tooMany.fields(clock.now());
      if (fields !== undefined) log.warn(`closed a gossip stream from ${formatAddress(stream.remote)}: ${streamsMax} are open, which is the limit`, fields);
      stream.setHandler({ onData: () => {}, onClose: () => {} });
      stream.destroy();
      return;
    }
    this.#incoming++;
    const assembler = new StreamAssembler(security.forStreams);
    let done = false;
    let held = 0;
    const release = (): void => {
      this.#incomingBytes -= held;
      held = 0;
    };
    const timer = clock.at(clock.now() + timeoutMs, () => stream.destroy());
    const refuse = (error: WireError): void => {
      done = true;
      this.#refused++;
      const code = error instanceof StreamError ? error.code : 'BAD_STATE';
      const fields = (this.#refusals[code] ??= new Seldom()).fields(clock.now());
      if (fields !== undefined) log.warn(refusal(error, stream.remote), { remote: formatAddress(stream.remote), code, ...fields });
      this.#reply(stream, encodeStreamError(error.message));
    };
    stream.setHandler({
      onData: (bytes) => {
        if (done) return;
        held += bytes.length;
        this.#incomingBytes += bytes.length;
        try {
          if (this.#incomingBytes > streamBytesMax) throw new WireError(`all gossip streams together hold more than ${streamBytesMax} bytes`);
          const message = assembler.push(bytes);
          if (message === undefined) return;
          done = true;
          const reply = this.#options.onMessage(message, stream.remote);
          if (reply === undefined) stream.end();
          else this.#reply(stream, reply);
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
          refuse(error);
        } finally {
          if (done) release();
        }
      },
      onClose: () => {
        timer.cancel();
        this.#open.delete(stream);
        this.#incoming--;
        release();
      },
    });
    this.#open.set(stream, () => stream.destroy());
  }

  /** Opens a stream, sends, and waits for the one message that answers. `done` is called once, never synchronously. */
  exchange(to: Address, message: Uint8Array, timeoutMs: number, done: (outcome: DialOutcome) => void): void {
    const { streams, clock, security, compression } = this.#options;
    const assembler = new StreamAssembler(security.forStreams);
    const stream = streams.connect(to, { timeoutMs });
    let outcome: DialOutcome = failed('CLOSED', 'this node was closed');
    let decided = false;
    const decide = (what: DialOutcome): void => {
      if (decided) return;
      decided = true;
      outcome = what;
      stream.destroy(); // onClose follows in a later turn, and reports
    };
    const timer = clock.at(clock.now() + timeoutMs, () => decide(failed('TIMEOUT', `${formatAddress(to)} did not answer within ${Math.round(timeoutMs)} ms`)));
    stream.setHandler({
      onData: (bytes) => {
        if (decided) return;
        try {
          const reply = assembler.push(bytes);
          if (reply !== undefined) decide({ type: 'reply', message: reply });
        } catch (error) {
          if (!(error instanceof WireError)) throw error;
          decide(failed(error instanceof StreamError ? error.code : 'BAD_STATE', error.message));
        }
      },
      onClose: (reason, detail) => {
        timer.cancel();
        this.#open.delete(stream);
        done(decided || reason === 'local' ? outcome : closed(reason, detail, to));
      },
    });
    this.#open.set(stream, () => stream.destroy());
    stream.write(wrapStreamMessage(message, { ...security.forStreams, compress: compression }));
  }

  /** Drops all. */
  close(): void {
    for (const destroy of this.#open.values()) destroy();
  }

  #reply(stream: Stream, message: Uint8Array): void {
    stream.write(wrapStreamMessage(message, { ...this.#options.security.forStreams, compress: this.#options.compression }));
    stream.end();
  }
}

function failed(code: string, message: string): DialOutcome {
  return { type: 'failed', code, message };
}

function closed(reason: CloseReason, detail: string | undefined, to: Address): DialOutcome {
  const where = formatAddress(to);
  switch (reason) {
    case 'refused': return failed('REFUSED', `nobody listens at ${where}: is the node running there, and is this its gossip port?`);
    case 'unreachable': return failed('UNREACHABLE', `there is no way to ${where}${detail === undefined ? '' : ` (${detail})`}`);
    case 'timeout': return failed('TIMEOUT', `${where} did not answer the connection: is the host up, and TCP port ${to.port} let through?`);
    case 'end':
    case 'reset': return failed('CLOSED', `${where} closed the stream without an answer: is it a gossip port?`);
    case 'local':
    case 'error': return failed('UNREACHABLE', `the stream to ${where} failed${detail === undefined ? '' : `: ${detail}`}`);
  }
}

function refusal(error: WireError, remote: Address): string {
  const from = `refused the state of ${formatAddress(remote)}: ${error.message}`;
  if (!(error instanceof StreamError)) return from;
  switch (error.code) {
    case 'REMOTE_ENCRYPTED': return `${from}; give this node the pool's key, or that one none`;
    case 'REMOTE_PLAINTEXT': return `${from}; give that node the pool's key`;
    case 'WRONG_KEY': return `${from}; both nodes need a key in common`;
    case 'BAD_STATE': return from;
  }
}
