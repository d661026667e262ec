import { messageOf, TroupeError } from '../base/errors.ts';
import { packValue, unpackValue } from '../core/control/commands.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { ChildProcess, ProcessExit, Processes } from '../ports/processes.ts';
import type { AppContext, AppDefinition, AppInstance, AppStartType } from './app-types.ts';
import type { AppConfig, HandoverFiles } from './node-types.ts';

/** A command that was killed is gone by then, or will never be (ms). */
const killMs = 2000;

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
  readonly attempt: AppAttempt;
}

/** One life of an app from the moment at which its start is decided on: it can be taken away before it runs. */
export class AppAttempt {
  readonly #controller = new AbortController();
  readonly #isHeld: () => boolean;
  /** Of a command, as soon as there is one. */
  child: ChildProcess | undefined;

  /** @param isHeld looks at the clock afresh: this node holds the app, now */
  constructor(isHeld: () => boolean) {
    this.#isHeld = isHeld;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The node's lease was prolonged. */
  renew(leftMs: number): void {
    this.child?.renew(leftMs);
  }

  /** The app must not act any more, from this moment on, nor begin to. */
  revoke(): void {
    this.#controller.abort();
    this.child?.kill();
  }

  /** To be asked after each wait, right before anything begins to act: the process may have slept. @throws TroupeError LEASE_LOST */
  check(app: string): void {
    if (!this.signal.aborted && this.#isHeld()) return;
    throw new TroupeError('LEASE_LOST', `this node does not hold the app '${app}' any more: it was taken away before it had started`, { app });
  }
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
  const { attempt } = start;
  const timeoutMs = config.startTimeoutMs ?? 30_000;
  const begin = async (): Promise<AppInstance | void> => {
    const loaded = (await load(config.module as string)) as { default?: AppDefinition };
    const definition = loaded.default;
    if (typeof definition?.start !== 'function') {
      throw new TroupeError('NOT_AN_APP', `the module '${config.module}' of app '${config.name}' does not export an app: write export default defineApp({ async start(context) { … } })`, {});
    }
    attempt.check(config.name);
    return await definition.start({
      type: start.type, from: start.from, epoch: start.epoch, node, signal: attempt.signal, log,
      handover: start.handover === undefined ? undefined : unpackValue(start.handover),
    });
  };
  const begun = begin();
  let instance: AppInstance | void;
  try {
    instance = await within(clock, timeoutMs, `the start of app '${config.name}'`, begun);
  } catch (error) {
    // Whatever it has begun is told to end.
    attempt.revoke();
    // One that comes up too late gets its chance to clean up all the same.
    begun.then(async (late) => void (await late?.stop?.())).catch(() => {});
    throw error;
  }
  const done = instance?.done;
  return {
    ended: done === undefined ? never : done.then(() => 'it ended by itself', (error: unknown) => messageOf(error)),
    renew: () => {},
    revoke: () => attempt.revoke(),
    stop: async (stopMs) => {
      try {
        const state = await within(clock, stopMs, `the stop of app '${config.name}'`, Promise.resolve(instance?.stop?.()));
        return state === undefined ? undefined : packState(config.name, state);
      } finally {
        attempt.revoke();
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
  /** What is left of the node's lease (ms). */
  leaseLeftMs(): number;
}

export async function startCommand(config: AppConfig, start: StartOptions, nodeName: string, around: CommandSurroundings, clock: Clock, log: Log): Promise<RunningApp> {
  const given = start.handover === undefined ? undefined : unpackValue(start.handover);
  const path = await around.files.prepare(config.name, given instanceof Uint8Array ? given : given === undefined ? undefined : new TextEncoder().encode(JSON.stringify(given)));
  const { attempt } = start;
  attempt.check(config.name);
  let asked = false;
  let exited: (exit: ProcessExit) => void = () => {};
  const exit = new Promise<ProcessExit>((resolve) => {
    exited = resolve;
  });
  const started = new Promise<void>((resolve, reject) => {
    attempt.child = around.processes.spawn(
      {
        command: config.command as readonly string[],
        // Not a whole lease: the command must not live longer than the node, should this process sleep from now on.
        leaseMs: around.leaseLeftMs(),
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
    attempt.revoke();
    // It may be started elsewhere as soon as this is known: first it has to be gone.
    await within(clock, killMs, 'its end', exit).catch(() => {});
    throw error;
  }
  return {
    pid: attempt.child?.pid,
    ended: exit.then((how) => (asked ? 'it was stopped' : `its command ${describeExit(how)}`)),
    // Counted from when the node's renewal was sent: a grant that was long on its way must not keep the command alive longer than the node.
    renew: (leftMs) => attempt.renew(leftMs),
    revoke: () => {
      asked = true;
      attempt.revoke();
    },
    stop: async (stopMs) => {
      asked = true;
      attempt.child?.stop(stopMs);
      await within(clock, stopMs + killMs, `the stop of app '${config.name}'`, exit);
      const state = await around.files.collect(config.name);
      return state === undefined ? undefined : packState(config.name, state);
    },
  };
}

function describeExit(exit: ProcessExit): string {
  if (exit.type === 'exited') return `ended with exit code ${exit.code}`;
  return exit.type === 'signalled' ? `was ended by ${exit.signal}` : `could not be started: ${exit.error}`;
}
