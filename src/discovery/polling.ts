import { messageOf, TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Random } from '../ports/random.ts';
import { hostsMax } from './limits.ts';
import type { Sink, Source } from './strategy.ts';

export interface PollingOptions {
  /** Time between two looks (ms), give or take a tenth, so that many nodes do not ask at the same moment. */
  readonly pollMs: number;
  /** A look that takes longer has failed (ms). */
  readonly timeoutMs: number;
  /** The pause after a look that succeeded, where the source itself holds answers back until something changes (ms). Default `pollMs`. */
  readonly pauseMs?: (() => number) | undefined;
}

/** One look at the source. It must end soon after the signal; undefined: nothing has changed. */
export type Look = (signal: AbortSignal) => Promise<readonly Address[] | undefined>;

/** Looks at once, and then again and again; never two looks at a time. `onStop` runs after the last look has ended. */
export function startPolling(options: PollingOptions, ports: { readonly clock: Clock; readonly random: Random }, sink: Sink, look: Look, onStop?: (signal: AbortSignal) => Promise<void>): Source {
  const { clock, random } = ports;
  let timer: Timer | undefined;
  let running: Promise<void> = Promise.resolve();
  let cancel: AbortController | undefined;
  let stopping: Promise<void> | undefined;

  const lookOnce = async (): Promise<void> => {
    let pauseMs = options.pollMs;
    try {
      const hosts = await withTimeout(clock, options.timeoutMs, (controller) => (cancel = controller), look);
      if (hosts !== undefined && hosts.length > hostsMax) throw new TroupeError('DISCOVERY_TOO_LARGE', `the source names ${hosts.length} hosts; at most ${hostsMax} are taken`, { hosts: hosts.length, hostsMax });
      if (hosts !== undefined) sink.found(hosts);
      pauseMs = options.pauseMs?.() ?? pauseMs;
    } catch (error) {
      // Looks of users' strategies may throw anything; what is told has a code.
      sink.failed(error instanceof TroupeError ? error : new TroupeError('DISCOVERY_FAILED', messageOf(error), {}, error));
    }
    if (stopping === undefined) wait(pauseMs * (0.9 + 0.2 * random.float()));
  };
  const wait = (delayMs: number): void => {
    timer = clock.at(clock.now() + delayMs, () => (running = lookOnce()));
  };
  wait(0);
  return {
    stop() {
      stopping ??= (async () => {
        timer?.cancel();
        cancel?.abort();
        await running;
        if (onStop !== undefined) await withTimeout(clock, options.timeoutMs, () => {}, onStop).catch(() => {});
      })();
      return stopping;
    },
  };
}

/** A look that does not heed its signal (a file system that hangs) is left to itself after this time (ms). */
const graceMs = 2000;

/** Aborts the signal after the time; the error then says so, whatever `run` makes of the signal. */
async function withTimeout<T>(clock: Clock, timeoutMs: number, onController: (controller: AbortController) => void, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  onController(controller);
  let timedOut = false;
  const timer = clock.at(clock.now() + timeoutMs, () => {
    timedOut = true;
    controller.abort();
  });
  let grace: Timer | undefined;
  let abandon = (): void => {};
  const abandoned = new Promise<never>((_resolve, reject) => {
    abandon = (): void => {
      grace = clock.at(clock.now() + graceMs, () => reject(new TroupeError('ABORTED', 'the source does not stop', {})));
    };
    controller.signal.addEventListener('abort', abandon, { once: true });
  });
  try {
    const result = await Promise.race([run(controller.signal), abandoned]);
    if (!controller.signal.aborted) return result;
  } catch (error) {
    if (!controller.signal.aborted) throw error;
  } finally {
    timer.cancel();
    grace?.cancel();
    controller.signal.removeEventListener('abort', abandon);
  }
  throw new TroupeError(timedOut ? 'DISCOVERY_TIMEOUT' : 'ABORTED', timedOut ? `the source gave no answer within ${timeoutMs} ms` : 'discovery has been stopped', { timeoutMs });
}
