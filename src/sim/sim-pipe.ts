import type { TimedTask } from '../base/timer-heap.ts';
import type { HostNetwork, SimNetwork } from './sim-network.ts';

/** What a pipe carries: bytes, or the sender's end. `sequence` keeps their order. */
export interface Segment {
  readonly sequence: number;
  readonly bytes: Uint8Array | undefined;
}

/** The two ends, as a pipe sees them. */
export interface PipeSender {
  readonly host: HostNetwork;
  /** All queued bytes have been taken by the kernel. */
  emptied(): void;
  /** The end has been sent after all bytes. */
  endSent(): void;
  /** The kernel gave up: nothing was acknowledged for too long. */
  gaveUp(): void;
  /** The other kernel does not know this connection. */
  wasReset(): void;
}

export interface PipeReceiver {
  readonly host: HostNetwork;
  /** The kernel has forgotten this end: what comes for it is answered with a reset. */
  readonly gone: boolean;
  receive(segment: Segment): void;
}

/** What the two kernels hold for one direction (bytes). */
const windowBytes = 256 * 1024;
const segmentMaxBytes = 64 * 1024;

/**
 * One direction of a stream: in order, without loss, as TCP makes it. What cannot pass is tried again with growing
 * pauses, so that after a partition heals it still takes until the next retransmission; after `giveUpMs` without
 * acknowledgement the sender's kernel gives up. A pipe outlives its sender: what the kernel has taken is sent even
 * if the process dies.
 */
export class Pipe {
  readonly #network: SimNetwork;
  readonly #sender: PipeSender;
  readonly #boot: number;
  #receiver: PipeReceiver | undefined;
  #queue: Uint8Array[] = [];
  #queuedBytes = 0;
  #endQueued = false;
  #endSent = false;
  #dead = false;
  #sequence = 0;
  #windowUsed = 0;
  #pumpPlanned = false;
  /** Earliest moment at which the next segment may arrive: keeps the order. */
  #lastArrival = 0;
  #wireFreeAt = 0;
  #stalled: Segment[] = [];
  /** Read by the peer, but its acknowledgement cannot come back. */
  #unacknowledgedBytes = 0;
  #retry: TimedTask | undefined;
  #retryMs = 0;
  #stalledSince = 0;

  constructor(network: SimNetwork, sender: PipeSender) {
    this.#network = network;
    this.#sender = sender;
    this.#boot = sender.host.boot;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  get endQueued(): boolean {
    return this.#endQueued;
  }

  get endSent(): boolean {
    return this.#endSent;
  }

  /** The connection stands; nothing arrives before `notBefore`. */
  connect(receiver: PipeReceiver, notBefore: number): void {
    this.#receiver = receiver;
    this.#lastArrival = notBefore;
    this.#planPump();
  }

  write(bytes: Uint8Array): void {
    if (this.#dead || this.#endQueued || bytes.length === 0) return;
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    this.#planPump();
  }

  end(): void {
    this.#endQueued = true;
    this.#planPump();
  }

  /** The sending process is gone: what only it held is lost, what the kernel has taken goes on, then the end. */
  abandon(): void {
    this.#queue = [];
    this.#queuedBytes = 0;
    this.end();
  }

  /** The sending kernel is gone (power loss) or has reset the connection: only what is on the wire still arrives. */
  die(): void {
    this.#dead = true;
    this.#queue = [];
    this.#queuedBytes = 0;
    this.#stalled = [];
    if (this.#retry !== undefined) this.#network.scheduler.cancel(this.#retry);
    this.#retry = undefined;
  }

  /** The receiving process has read this much. */
  credit(bytes: number): void {
    const receiver = this.#receiver;
    if (receiver === undefined || this.#dead) return;
    if (!this.#network.open(receiver.host, this.#sender.host)) {
      this.#unacknowledgedBytes += bytes;
      this.#startRetry();
      return;
    }
    this.#windowUsed -= bytes;
    if (this.#queue.length > 0) this.#network.scheduler.after(this.#network.latency(receiver.host, this.#sender.host), () => this.#pump());
  }

  /** What is written in one turn leaves together, at its end. */
  #planPump(): void {
    if (this.#pumpPlanned || this.#receiver === undefined) return;
    this.#pumpPlanned = true;
    this.#network.scheduler.after(0, () => {
      this.#pumpPlanned = false;
      this.#pump();
    });
  }

  #pump(): void {
    if (this.#dead || this.#boot !== this.#sender.host.boot) return;
    const hadBytes = this.#queuedBytes > 0;
    while (this.#queuedBytes > 0 && this.#windowUsed < windowBytes) {
      const bytes = this.#takeSegment(Math.min(segmentMaxBytes, windowBytes - this.#windowUsed));
      this.#windowUsed += bytes.length;
      this.#network.counters.streamBytes += bytes.length;
      this.#send({ sequence: this.#sequence++, bytes });
    }
    if (this.#queuedBytes > 0) return;
    if (hadBytes) this.#sender.emptied();
    if (this.#endQueued && !this.#endSent) {
      this.#endSent = true;
      this.#send({ sequence: this.#sequence++, bytes: undefined });
      this.#sender.endSent();
    }
  }

  /** TCP knows no message borders: joins what is queued, and now and then cuts it anywhere. */
  #takeSegment(most: number): Uint8Array {
    let length = Math.min(most, this.#queuedBytes);
    const { random, options } = this.#network;
    if (length > 1 && random.chance(options.fragment)) length = 1 + random.below(length - 1);
    const segment = new Uint8Array(length);
    let used = 0;
    let first = 0;
    while (used < length) {
      const head = this.#queue[first] as Uint8Array;
      const part = head.subarray(0, length - used);
      segment.set(part, used);
      used += part.length;
      if (part.length === head.length) first++;
      else this.#queue[first] = head.subarray(part.length);
    }
    this.#queue.splice(0, first);
    this.#queuedBytes -= length;
    return segment;
  }

  #send(segment: Segment): void {
    const receiver = this.#receiver as PipeReceiver;
    if (this.#stalled.length > 0 || !this.#network.open(this.#sender.host, receiver.host)) this.#stall(segment);
    else this.#launch(segment);
  }

  #stall(segment: Segment): void {
    if (this.#dead) return;
    this.#stalled.push(segment);
    this.#stalled.sort((a, b) => a.sequence - b.sequence);
    this.#startRetry();
  }

  #launch(segment: Segment): void {
    const { scheduler, random, options } = this.#network;
    const receiver = this.#receiver as PipeReceiver;
    const link = this.#network.link(this.#sender.host, receiver.host);
    const lost = random.chance(link.loss) ? options.retransmitMinMs : 0;
    this.#wireFreeAt = Math.max(this.#wireFreeAt, scheduler.now) + (segment.bytes?.length ?? 0) / link.bytesPerMs;
    const arrival = Math.max(this.#lastArrival, this.#wireFreeAt + this.#network.links.latency(link) + lost);
    this.#lastArrival = arrival;
    scheduler.at(arrival, () => this.#arrive(segment, receiver));
  }

  #arrive(segment: Segment, receiver: PipeReceiver): void {
    if (!receiver.host.up) {
      this.#stall(segment);
      return;
    }
    if (!receiver.gone) {
      receiver.receive(segment);
      return;
    }
    const network = this.#network;
    if (network.open(receiver.host, this.#sender.host)) network.scheduler.after(network.latency(receiver.host, this.#sender.host), () => this.#sender.wasReset());
    else this.#stall(segment);
  }

  #startRetry(): void {
    if (this.#retry !== undefined || this.#dead) return;
    this.#retryMs = this.#network.options.retransmitMinMs;
    this.#stalledSince = this.#network.scheduler.now;
    this.#planRetry();
  }

  #planRetry(): void {
    this.#retry = this.#network.scheduler.after(this.#retryMs, () => this.#tryAgain());
  }

  #tryAgain(): void {
    this.#retry = undefined;
    if (this.#boot !== this.#sender.host.boot) return this.die();
    const { scheduler, options } = this.#network;
    const receiver = this.#receiver as PipeReceiver;
    const there = receiver.host.up && this.#network.open(this.#sender.host, receiver.host);
    const back = receiver.host.up && this.#network.open(receiver.host, this.#sender.host);
    if (there) {
      const stalled = this.#stalled;
      this.#stalled = [];
      for (const segment of stalled) this.#launch(segment);
    }
    if (there && back) {
      this.#windowUsed -= this.#unacknowledgedBytes;
      this.#unacknowledgedBytes = 0;
      this.#pump();
    } else if (scheduler.now - this.#stalledSince >= options.giveUpMs) {
      this.die();
      this.#sender.gaveUp();
    } else {
      this.#retryMs = Math.min(2 * this.#retryMs, options.retransmitMaxMs);
      this.#planRetry();
    }
  }
}
