import { messageOf } from '../base/errors.ts';
import type { Log } from '../ports/log.ts';
import { handoverBytesMax } from './app-instance.ts';
import type { Calls } from './calls.ts';

const timeoutMs = 5000;

/** The state that an app's old instance left at another node; undefined when it cannot be had: the app then starts without it. */
export async function fetchHandover(calls: Calls, log: Log, node: string, app: string, epoch: number): Promise<Uint8Array | undefined> {
  try {
    const state = await calls.call(node, 'handover', [app, epoch], timeoutMs);
    return state instanceof Uint8Array && state.length <= handoverBytesMax ? state : undefined;
  } catch (error) {
    log.warn('the state of the old instance could not be fetched: the app starts without it', { app, from: node, reason: messageOf(error) });
    return undefined;
  }
}
