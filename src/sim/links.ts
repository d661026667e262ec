import type { Prng } from '../base/prng.ts';

/** How packets fare one way between two hosts. */
export interface LinkSettings {
  /** Least one-way delay (ms). */
  readonly latencyMinMs: number;
  /** Mean of the one-way delay (ms): what is over the least is spread exponentially. */
  readonly latencyMeanMs: number;
  /** No delay is longer (ms). */
  readonly latencyMaxMs: number;
  /** Probability that a packet is lost. A stream makes up for it with a retransmission. */
  readonly loss: number;
  /** Probability that a datagram arrives twice. */
  readonly duplicate: number;
  /** Probability that a datagram is held back for up to `reorderMs` more, so that later ones overtake it. */
  readonly reorder: number;
  readonly reorderMs: number;
  /** Bytes per ms that a stream may carry; Infinity for no limit. */
  readonly bytesPerMs: number;
  /** Nothing passes. */
  readonly blocked: boolean;
}

/** A quiet local network. */
export const lanLink: LinkSettings = {
  latencyMinMs: 0.1,
  latencyMeanMs: 0.25,
  latencyMaxMs: 20,
  loss: 0,
  duplicate: 0,
  reorder: 0,
  reorderMs: 5,
  bytesPerMs: Infinity,
  blocked: false,
};

/** Within one host. */
export const loopbackLink: LinkSettings = { ...lanLink, latencyMinMs: 0.01, latencyMeanMs: 0.02, latencyMaxMs: 1 };

/** Settings of every directed pair of hosts. */
export class Links {
  readonly #random: Prng;
  #standard: LinkSettings;
  readonly #own = new Map<string, LinkSettings>();

  constructor(random: Prng, standard: Partial<LinkSettings> = {}) {
    this.#random = random;
    this.#standard = { ...lanLink, ...standard };
  }

  /** For all pairs that have no settings of their own. */
  setStandard(settings: Partial<LinkSettings>): void {
    this.#standard = { ...this.#standard, ...settings };
  }

  /** One direction; what is not given stays as it is. */
  set(from: string, to: string, settings: Partial<LinkSettings>): void {
    this.#own.set(linkKey(from, to), { ...this.get(from, to), ...settings });
  }

  get(from: string, to: string): LinkSettings {
    return this.#own.get(linkKey(from, to)) ?? (from === to ? loopbackLink : this.#standard);
  }

  /** Forgets every pair's own settings: blocks, delays, losses. */
  reset(): void {
    this.#own.clear();
  }

  /** Lifts every block; other settings stay. */
  unblockAll(): void {
    for (const [key, settings] of this.#own) if (settings.blocked) this.#own.set(key, { ...settings, blocked: false });
  }

  latency(link: LinkSettings): number {
    const spread = link.latencyMeanMs - link.latencyMinMs;
    const over = spread <= 0 ? 0 : -Math.log(1 - this.#random.float()) * spread;
    return Math.min(link.latencyMinMs + over, Math.max(link.latencyMaxMs, link.latencyMinMs));
  }
}

function linkKey(from: string, to: string): string {
  return `${from}\n${to}`;
}
