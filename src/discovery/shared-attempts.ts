import type { Address } from '../ports/address.ts';
import { addressKey } from './canonical-host.ts';
import type { TopologyHooks } from './topology-types.ts';

type Outcome = Awaited<ReturnType<TopologyHooks['connect']>>;

interface Shared {
  readonly outcome: Promise<Outcome>;
  readonly controller: AbortController;
  users: number;
}

/** Several topologies may name the same host: while one tries it, the others wait for the same answer instead of trying it too. */
export function shareAttempts(connect: TopologyHooks['connect']): TopologyHooks['connect'] {
  const running = new Map<string, Shared>();
  return (address: Address, signal: AbortSignal) => {
    const key = addressKey(address);
    let shared = running.get(key);
    if (shared === undefined) {
      const controller = new AbortController();
      const outcome = connect(address, controller.signal).finally(() => running.delete(key));
      running.set(key, (shared = { outcome, controller, users: 0 }));
    }
    return waitFor(shared, signal);
  };
}

/** It ends early when all who wait have given up. */
async function waitFor(shared: Shared, signal: AbortSignal): Promise<Outcome> {
  shared.users++;
  let leave = (): void => {};
  const left = new Promise<Outcome>((resolve) => {
    leave = (): void => {
      if (--shared.users === 0) shared.controller.abort();
      resolve({ ok: false, reason: 'the attempt was given up' });
    };
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
  });
  try {
    return await Promise.race([shared.outcome, left]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
