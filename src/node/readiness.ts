import { TroupeError } from '../base/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Consensus } from './consensus.ts';
import type { SessionClient } from './session-client.ts';
import type { Stopping } from './stopping.ts';

export interface ReadinessSurroundings {
  readonly clock: Clock;
  readonly stopping: Stopping;
  /** Undefined until it has opened. */
  readonly session: SessionClient | undefined;
  readonly consensus: Consensus | undefined;
}

/** Those who wait until the node can be used: until it may act, and the keyspaces that it was configured with are there. */
export class Readiness {
  readonly #keyspaces: readonly string[];
  readonly #around: ReadinessSurroundings;
  readonly #waiters = new Set<() => void>();

  constructor(keyspaces: readonly string[], around: ReadinessSurroundings) {
    this.#keyspaces = keyspaces;
    this.#around = around;
  }

  /** Something has changed on which it may depend. */
  lookAgain(): void {
    for (const wake of this.#waiters) wake();
  }

  #isReady(): boolean {
    const { clock, session, consensus } = this.#around;
    return session?.hasRights(clock.now()) === true && this.#keyspaces.every((name) => consensus?.map.keyspaces[name] !== undefined);
  }

  /** Rejects with ABORTED, STOPPED, or with what stopped the node. */
  wait(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = (): void => {
        if (!this.#isReady()) return;
        this.#waiters.delete(check);
        resolve();
      };
      this.#waiters.add(check);
      const give = (error: Error): void => {
        this.#waiters.delete(check);
        reject(error);
      };
      signal?.addEventListener('abort', () => give(new TroupeError('ABORTED', 'gave up waiting for the node to be ready', {})), { once: true });
      void this.#around.stopping.stopped.then((error) => give(error ?? new TroupeError('STOPPED', 'the node stopped before it was ready', {})));
      check();
    });
  }
}
