import type { Address } from '../ports/address.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Stream, Streams } from '../ports/streams.ts';

/** The connections that a stream frontend has open: from listening until the last one has closed. */
export class OpenConnections<C extends { readonly stream: Stream }> {
  readonly #clock: Clock;
  readonly #lingerMs: number;
  readonly #open = new Set<C>();
  readonly #lingering = new Map<C, Timer>();
  #stopListening: (() => Promise<void>) | undefined;
  #onNone: (() => void) | undefined;

  /** @param lingerMs for how long a peer may take to end its side after ours has ended (ms) */
  constructor(clock: Clock, lingerMs: number) {
    this.#clock = clock;
    this.#lingerMs = lingerMs;
  }

  get size(): number {
    return this.#open.size;
  }

  [Symbol.iterator](): IterableIterator<C> {
    return this.#open.values();
  }

  /** Resolves with the address that was taken; rejects with what the port says when it cannot be had. */
  async listen(streams: Streams, address: Address, onStream: (stream: Stream) => void): Promise<Address> {
    const listener = await streams.listen(address, onStream);
    this.#stopListening = () => listener.close();
    return listener.address;
  }

  async stopListening(): Promise<void> {
    await this.#stopListening?.();
  }

  add(connection: C): void {
    this.#open.add(connection);
  }

  /** Our side has ended. */
  onEnded(connection: C): void {
    this.#lingering.set(connection, this.destroyLater(connection.stream));
  }

  onClosed(connection: C): void {
    this.#lingering.get(connection)?.cancel();
    this.#lingering.delete(connection);
    this.#open.delete(connection);
    if (this.#open.size === 0) this.#onNone?.();
  }

  /** A peer that does not end its side would keep the connection for ever. */
  destroyLater(stream: Stream): Timer {
    return this.#clock.at(this.#clock.now() + this.#lingerMs, () => stream.destroy());
  }

  /** Resolves once all are closed; to be called once. */
  async none(): Promise<void> {
    if (this.#open.size > 0) await new Promise<void>((resolve) => (this.#onNone = resolve));
  }
}
