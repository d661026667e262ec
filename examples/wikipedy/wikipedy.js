/**
 * Wikipedy: prints one random entry of "on this day" every 1.5 s, on exactly one node of the cluster.
 *
 * On a takeover it goes on counting where the instance before it stopped, because stop() hands the count over.
 * After a kill there is nobody left to hand over: the count starts again from nothing.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { defineApp } from 'troupe';
import { announcement, intervalMsOf, printedBefore, randomEntry } from './entries.js';

export default defineApp({
  async start({ type, from, epoch, handover, node, signal, log }) {
    const intervalMs = intervalMsOf(node.config?.intervalMs ?? process.env.WIKIPEDY_INTERVAL_MS);
    const keyspace = node.keyspace('default');
    const get = async (key) => textOf((await keyspace.get(key))?.value);
    let printed = printedBefore(handover);

    console.log(announcement({ type, from, name: node.name }));
    log.info('Wikipedy starts.', { type, from, epoch, printed, intervalMs });

    // Two reasons to end: stop() was called, or the node lost the right to run the app (signal). Each cuts the pause short.
    const stopping = new AbortController();
    const ended = AbortSignal.any([stopping.signal, signal]);
    const running = run();

    async function run() {
      while (!ended.aborted) {
        try {
          const entry = await randomEntry(get);
          // The read may have taken longer than the right to run: what is not ours any more is not printed.
          if (ended.aborted) break;
          if (entry === undefined) log.warn('The store holds no entry for the chosen day: load them with load.js.');
          else console.log(`[${(printed += 1)}] ${entry}`);
        } catch (error) {
          log.warn('An entry could not be read; the next one is tried after the pause.', { error: String(error) });
        }
        await pause(intervalMs, undefined, { signal: ended }).catch(() => {});
      }
    }

    return {
      async stop() {
        stopping.abort();
        await running;
        return { printed };
      },
    };
  },
});

const decoder = new TextDecoder();

/** A value written through the memcached protocol comes back as bytes. */
function textOf(value) {
  return value instanceof Uint8Array ? decoder.decode(value) : value;
}
