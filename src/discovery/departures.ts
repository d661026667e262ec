import { messageOf } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import type { Clock } from '../ports/clock.ts';
import type { Random } from '../ports/random.ts';
import { attemptsMax, hostsMax } from './limits.ts';

export interface DepartureOutcome {
  readonly address: Address;
  readonly reason: string;
  readonly durationMs: number;
  readonly attempts: number;
  /** Why it failed; undefined: it did not. */
  readonly failure: string | undefined;
}

export interface DeparturesOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** May throw or reject; must end soon after the signal. */
  readonly disconnect: (address: Address, signal: AbortSignal, reason: string) => void | Promise<void>;
  readonly onOutcome: (outcome: DepartureOutcome) => void;
  /** Longest time that a call may take (ms). */
  readonly timeoutMs: number;
}

interface Departure {
  readonly address: Address;
  readonly reason: string;
  attempts: number;
  dueAt: number;
  running: AbortController | undefined;
}

const attemptsEach = 8;
const retryMinMs = 250;
const retryMaxMs = 5000;

/** The hosts that are to be disconnected because their source names them no more: once each, again after a failure. */
export class Departures {
  readonly #options: DeparturesOptions;
  readonly #waiting = new Map<string, Departure>();
  readonly #running = new Set<Promise<void>>();

  constructor(options: DeparturesOptions) {
    this.#options = options;
  }

  add(key: string, address: Address, reason: string, delayMs: number): void {
    if (this.#waiting.has(key)) return;
    // Hooks that never succeed give up after some seconds: only a source that names others each time comes to this.
    if (this.#waiting.size >= hostsMax) return this.#options.onOutcome({ address, reason, durationMs: 0, attempts: 0, failure: `more than ${hostsMax} hosts wait to be disconnected` });
    this.#waiting.set(key, { address, reason, attempts: 0, dueAt: this.#options.clock.now() + delayMs, running: undefined });
  }

  /** It is named again. */
  cancel(key: string): void {
    this.#waiting.get(key)?.running?.abort();
    this.#waiting.delete(key);
  }

  /** Makes those wait no longer whose answer is believed now. */
  hasten(): void {
    const now = this.#options.clock.now();
    for (const each of this.#waiting.values()) if (each.attempts === 0) each.dueAt = Math.min(each.dueAt, now);
  }

  look(): void {
    const now = this.#options.clock.now();
    for (const [key, each] of this.#waiting) {
      if (each.running === undefined && now >= each.dueAt && this.#running.size < attemptsMax) this.#start(key, each);
    }
  }

  async stop(): Promise<void> {
    for (const each of this.#waiting.values()) each.running?.abort();
    this.#waiting.clear();
    await Promise.all(this.#running);
  }

  #start(key: string, departure: Departure): void {
    const { clock, disconnect, timeoutMs } = this.#options;
    const controller = new AbortController();
    departure.running = controller;
    const begun = clock.now();
    const timer = clock.at(begun + timeoutMs, () => controller.abort());
    const end = (failure: string | undefined): void => {
      timer.cancel();
      this.#ended(key, departure, Math.round((clock.now() - begun) * 10) / 10, failure);
    };
    try {
      const result = disconnect(departure.address, controller.signal, departure.reason);
      if (result === undefined) return end(undefined);
      const running: Promise<void> = result.then(() => end(undefined), (error: unknown) => end(messageOf(error))).finally(() => this.#running.delete(running));
      this.#running.add(running);
    } catch (error) {
      end(messageOf(error));
    }
  }

  #ended(key: string, departure: Departure, durationMs: number, failure: string | undefined): void {
    const { clock, random, onOutcome } = this.#options;
    departure.running = undefined;
    if (this.#waiting.get(key) !== departure) return;
    departure.attempts++;
    if (failure === undefined || departure.attempts >= attemptsEach) this.#waiting.delete(key);
    else departure.dueAt = clock.now() + Math.min(retryMaxMs, retryMinMs * 2 ** (departure.attempts - 1)) * (0.5 + 0.5 * random.float());
    onOutcome({ address: departure.address, reason: departure.reason, durationMs, attempts: departure.attempts, failure });
  }
}
