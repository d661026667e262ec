import type { Clock } from '../ports/clock.ts';
import type { DiscoveryPorts } from './strategy.ts';
import { Topology } from './topology.ts';
import type { TopologyEvent, TopologyHooks, TopologyOptions, TopologyView } from './topology-types.ts';

/** How waiting for others ended: another node is a member; the sources know of nobody else; the time was up; stopped. */
export type JoinOutcome = 'joined' | 'alone' | 'timeout' | 'stopped';

/** What a node knows of others besides its topologies. */
export interface OtherWays {
  /** Another node is a live member. */
  readonly hasOthers?: () => boolean;
  /** It has been told whom to join: sources that name nobody do not make it alone. */
  readonly expectsOthers?: boolean;
}

/** All topologies of a node. An error of one touches no other. */
export class Topologies {
  readonly #topologies: readonly Topology[];
  readonly #clock: Clock;
  readonly #listeners = new Set<(event: TopologyEvent) => void>();
  readonly #waiting = new Set<() => void>();
  #stopping: Promise<void> | undefined;

  /** @param hooks of all topologies, or of each by its name */
  constructor(options: readonly TopologyOptions[], ports: DiscoveryPorts, hooks: TopologyHooks | ((topology: TopologyOptions) => TopologyHooks)) {
    this.#clock = ports.clock;
    const hooksOf = typeof hooks === 'function' ? hooks : (): TopologyHooks => hooks;
    this.#topologies = options.map((each) => new Topology(each, ports, hooksOf(each), (event) => this.#tell(event)));
  }

  /** Listeners are called synchronously, in order, and must not throw. Returns the way to stop. */
  onEvent(listener: (event: TopologyEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What each topology knows. */
  views(): readonly TopologyView[] {
    return this.#topologies.map((each) => each.view());
  }

  /**
   * Resolves as soon as another node is a live member, or it is plain that there is nobody to wait for (every source
   * has answered, and none names another host), or after `timeoutMs`. Discovery goes on in any case. Never rejects.
   */
  joined(timeoutMs: number, others: OtherWays = {}): Promise<JoinOutcome> {
    return new Promise((resolve) => {
      const check = (atDeadline = false): void => {
        const outcome = this.#outcome(others) ?? (atDeadline ? 'timeout' : undefined);
        if (outcome === undefined) return;
        this.#waiting.delete(check);
        timer.cancel();
        resolve(outcome);
      };
      const timer = this.#clock.at(this.#clock.now() + timeoutMs, () => check(true));
      this.#waiting.add(check);
      check();
    });
  }

  /** Something has changed outside of discovery: whoever waits in `joined` looks again. */
  wake(): void {
    for (const wake of this.#waiting) wake();
  }

  /** Resolves when nothing of discovery runs any more. Idempotent. */
  stop(): Promise<void> {
    this.#stopping ??= Promise.all(this.#topologies.map((each) => each.stop())).then(() => {});
    this.wake();
    return this.#stopping;
  }

  #outcome({ hasOthers, expectsOthers }: OtherWays): JoinOutcome | undefined {
    if (this.#stopping !== undefined) return 'stopped';
    if (hasOthers?.() === true || this.#topologies.some((each) => each.seesOthers)) return 'joined';
    if (expectsOthers === true) return undefined;
    return this.#topologies.every((each) => each.isAlone) ? 'alone' : undefined;
  }

  #tell(event: TopologyEvent): void {
    for (const listener of this.#listeners) listener(event);
    this.wake();
  }
}
