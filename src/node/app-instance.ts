import { messageOf, TroupeError } from '../base/errors.ts';
import { packValue, unpackValue } from '../core/control/commands.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { ChildProcess, ProcessExit, Processes } from '../ports/processes.ts';
import type { AppContext, AppDefinition, AppInstance, AppStartType } from './app-types.ts';
import type { AppConfig, HandoverFiles } from './node-types.ts';

export const handoverBytesMax: number = 16 << 20;

/** One life of an app on this node. */
export interface RunningApp {
  /** The command's process; undefined for a module, which runs in the node's own. */
  readonly pid?: number | undefined;
  /** Settles when it has ended without being asked to, with the reason. */
  readonly ended: Promise<string>;
  /** The node's lease was prolonged, and holds for this long from now (ms). */
  renew(leftMs: number): void;
  /** Ends it within the bound, by force if it can; gives the packed state to hand over. */
  stop(timeoutMs: number): Promise<Uint8Array | undefined>;
  /** It must not act any more, from this moment on. */
  revoke(): void;
}

export interface StartOptions {
  readonly type: AppStartType;
  readonly from: string | undefined;
  readonly epoch: number;
  readonly handover: Uint8Array | undefined;
}

/** Rejects if `work` takes longer. */
export async function within<T>(clock: Clock, timeoutMs: number, what: string, work: Promise<T>): Promise<T> {
  return await new Promise<T>((resolve, reject) => {
    const timer = clock.at(clock.now() + timeoutMs, () => reject(new TroupeError('APP_TIMEOUT', `${what} has not finished within ${timeoutMs} ms`, { timeoutMs })));
    work.then(
      (value) => {
        timer.cancel();
        resolve(value);
      },
      (error: unknown) => {
        timer.cancel();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}

const never: Promise<string> = new Promise(() => {});

export async function startModule(
  config: AppConfig, start: StartOptions, node: AppContext['node'], load: (specifier: string) => Promise<unknown>, clock: Clock, log: Log,
): Promise<RunningApp> {
  const controller = new AbortController();
  const timeoutMs = config.startTimeoutMs ?? 30_000;
  let instance: AppInstance | void;
  try {
    instance = await within(clock, timeoutMs, `the start of app '${config.name}'`, (async () => {
      const loaded = (await load(config.module as string)) as { default?: AppDefinition };
      const definition = loaded.default;
      if (typeof definition?.start !== 'function') {
        throw new TroupeError('NOT_AN_APP', `the module '${config.module}' of app '${config.name}' does not export an app: write export default defineApp({ async start(context) { … } })`, {});
      }
      return await definition.start({
        type: start.type, from: start.from, epoch: start.epoch, node, signal: controller.signal, log,
        handover: start.handover === undefined ? undefined : unpackValue(start.handover),
      });
    })());
  } catch (error) {
    // Whatever it has begun is told to end.
    controller.abort();
    throw error;
  }
  const done = instance?.done;
  return {
    ended: done === undefined ? never : done.then(() => 'it ended by itself', (error: unknown) => messageOf(error)),
    renew: () => {},
    revoke: () => controller.abort(),
    stop: async (stopMs) => {
      try {
        const state = await within(clock, stopMs, `the stop of app '${config.name}'`, Promise.resolve(instance?.stop?.()));
        return state === undefined ? undefined : packState(config.name, state);
      } finally {
        controller.abort();
      }
    },
  };
}

function packState(app: string, state: unknown): Uint8Array {
  const packed = packValue(state);
  if (packed.length > handoverBytesMax) throw new TroupeError('HANDOVER_TOO_LARGE', `app '${app}' hands over ${packed.length} bytes; at most ${handoverBytesMax} are carried: put larger state into a keyspace`, { bytes: packed.length });
  return packed;
}

export interface CommandSurroundings {
  readonly processes: Processes;
  readonly files: HandoverFiles;
  readonly environment: Readonly<Record<string, string>>;
  readonly leaseMs: number;
}

export async function startCommand(config: AppConfig, start: StartOptions, nodeName: string, around: CommandSurroundings, clock: Clock, log: Log): Promise<RunningApp> {
  const given = start.handover === undefined ? undefined : unpackValue(start.handover);
  const path = await around.files.prepare(config.name, given instanceof Uint8Array ? given : given === undefined ? undefined : new TextEncoder().encode(JSON.stringify(given)));
  let child: ChildProcess | undefined;
  let asked = false;
  let exited: (exit: ProcessExit) => void = () => {};
  const exit = new Promise<ProcessExit>((resolve) => {
    exited = resolve;
  });
  const started = new Promise<void>((resolve, reject) => {
    child = around.processes.spawn(
      {
        command: config.command as readonly string[],
        leaseMs: around.leaseMs,
        environment: {
          ...around.environment, TROUPE_APP: config.name, TROUPE_NODE: nodeName, TROUPE_START_TYPE: start.type, TROUPE_FROM: start.from ?? '', TROUPE_EPOCH: String(start.epoch),
          TROUPE_HANDOVER: path, TROUPE_CONFIG: JSON.stringify(config.config ?? null),
        },
      },
      {
        onStarted: () => resolve(),
        onOutput: (stream, bytes) => log.info('output', { app: config.name, stream, text: new TextDecoder().decode(bytes).trimEnd() }),
        onExit: (how) => {
          exited(how);
          reject(new TroupeError('APP_NOT_STARTED', `the command of app '${config.name}' ${describeExit(how)}`, {}));
        },
      },
    );
  });
  try {
    await within(clock, config.startTimeoutMs ?? 30_000, `the start of app '${config.name}'`, started);
  } catch (error) {
    child?.kill();
    throw error;
  }
  return {
    pid: (child as ChildProcess | undefined)?.pid,
    ended: exit.then((how) => (asked ? 'it was stopped' : `its command ${describeExit(how)}`)),
    // Counted from when the node's renewal was sent: a grant that was long on its way must not keep the command alive longer than the node.
    renew: (leftMs) => child?.renew(leftMs),
    revoke: () => {
      asked = true;
      child?.kill();
    },
    stop: async (stopMs) => {
      asked = true;
      child?.stop(stopMs);
      await within(clock, stopMs + 2000, `the stop of app '${config.name}'`, exit);
      const state = await around.files.collect(config.name);
      return state === undefined ? undefined : packState(config.name, state);
    },
  };
}

function describeExit(exit: ProcessExit): string {
  if (exit.type === 'exited') return `ended with exit code ${exit.code}`;
  return exit.type === 'signalled' ? `was ended by ${exit.signal}` : `could not be started: ${exit.error}`;
}
