import { messageOf, TroupeError } from '../base/errors.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import { handoverBytesMax } from './app-instance.ts';
import type { Calls } from './calls.ts';

const timeoutMs = 5000;
const retryMs = 50;

export interface HandoverSource {
  readonly node: string;
  readonly app: string;
  readonly epoch: number;
  /** Its process may still answer: a dead one keeps no state. */
  isLive(): boolean;
}

/**
 * The state that an app's old instance left at another node; undefined when it cannot be had: the app then starts without
 * it. Just after a takeover the connection may still be coming up, or be cut: asking twice does no harm.
 */
export async function fetchHandover(calls: Pick<Calls, 'call'>, clock: Clock, log: Log, from: HandoverSource): Promise<Uint8Array | undefined> {
  const { node, app, epoch } = from;
  const deadline = clock.now() + timeoutMs;
  for (;;) {
    try {
      const state = await calls.call(node, 'handover', [app, epoch], deadline - clock.now());
      return state instanceof Uint8Array && state.length <= handoverBytesMax ? state : undefined;
    } catch (error) {
      const isPassing = error instanceof TroupeError && (error.code === 'NOT_CONNECTED' || error.code === 'DISCONNECTED');
      if (!isPassing || !from.isLive() || clock.now() + retryMs >= deadline) {
        log.warn('the state of the old instance could not be fetched: the app starts without it', { app, from: node, reason: messageOf(error) });
        return undefined;
      }
    }
    await new Promise<void>((resolve) => void clock.at(clock.now() + retryMs, resolve));
  }
}
