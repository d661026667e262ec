import { TroupeError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import { startPolling } from '../discovery/polling.ts';
import type { Source, Strategy } from '../discovery/strategy.ts';
import { defineStrategy } from '../discovery/strategy.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock } from '../ports/clock.ts';

/** How the registry answers: the truth; an error; never; nobody; some of the truth and some inventions; what was true before. */
export const registryModes = ['well', 'error', 'mute', 'empty', 'wrong', 'stale'] as const;
export type RegistryMode = (typeof registryModes)[number];

/** A list of hosts that nodes ask for, as a service's catalog is one, and that goes wrong on demand. */
export class SimRegistry {
  mode: RegistryMode = 'well';
  /** All hosts that there are. */
  hosts: readonly Address[] = [];
  /** What `stale` answers. */
  before: readonly Address[] = [];
  /** Hosts that an answer which named others has left out: these may be taken for gone. */
  readonly leftOut: Set<string> = new Set();
  asked = 0;
  readonly #random: Prng;

  constructor(random: Prng) {
    this.#random = random;
  }

  strategy(): Strategy {
    return defineStrategy<{ pollMs: number }, 'clock' | 'random'>({
      name: 'registry', summary: 'The simulated registry.', ports: ['clock', 'random'],
      options: { pollMs: { kind: { type: 'milliseconds', min: 1, max: 1e9 }, help: '', fallback: 1000, required: false, fallbackText: undefined } },
      start: ({ pollMs }, { clock, random }, sink): Source => startPolling({ pollMs, timeoutMs: 800 }, { clock, random }, sink, (signal) => this.#look(clock, signal)),
    });
  }

  async #look(clock: Clock, signal: AbortSignal): Promise<readonly Address[]> {
    this.asked++;
    const { mode } = this;
    await new Promise<void>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(new TroupeError('ABORTED', 'gave up', {})), { once: true });
      if (mode !== 'mute') clock.at(clock.now() + 1 + this.#random.float() * 40, resolve);
    });
    switch (mode) {
      case 'error':
      case 'mute': throw new TroupeError('DISCOVERY_REFUSED', 'the registry answered with status 503', {});
      case 'empty': return [];
      case 'wrong': return this.#told([...this.hosts.filter(() => this.#random.chance(0.5)), { host: `10.9.9.${1 + this.#random.below(200)}`, port: 7946 }]);
      case 'stale': return this.#told([...this.before, ...this.before]);
      case 'well': return this.#told(this.hosts);
    }
  }

  #told(answer: readonly Address[]): readonly Address[] {
    const named = new Set(answer.map(formatAddress));
    if (answer.length > 0) for (const each of this.hosts) if (!named.has(formatAddress(each))) this.leftOut.add(formatAddress(each));
    return answer;
  }
}
