import type { TimedTask } from '../base/timer-heap.ts';
import { messageOf } from '../base/errors.ts';
import type { ChildProcess, ProcessExit, ProcessHandler, Processes, SpawnOptions } from '../ports/processes.ts';
import type { SimScheduler } from './scheduler.ts';
import type { Turnstile } from './turnstile.ts';

/** How a simulated command acts. */
export interface SimProgramContext {
  readonly options: SpawnOptions;
  /** True time (ms). */
  now(): number;
  after(delayMs: number, run: () => void): void;
  output(stream: 'stdout' | 'stderr', bytes: Uint8Array): void;
  exit(code: number): void;
  /** Without a handler, SIGTERM ends the program at once. */
  onTerminate(run: () => void): void;
}

export type SimProgram = (context: SimProgramContext) => void;

/** The programs that a simulated host has, by the first element of the command. */
export type SimPrograms = ReadonlyMap<string, SimProgram>;

const startMs = 40;
/** From the agent's death, or a lease's end, to the end of its groups. */
const killMs = 5;

/**
 * Commands under simulated wardens: they die with their agent and with their lease, and as long as they run they
 * are in `running`, so that a checker sees every overlap.
 */
export class SimProcesses implements Processes {
  readonly running: Set<SimChild> = new Set();
  readonly #scheduler: SimScheduler;
  readonly #gate: Turnstile;
  readonly #programs: SimPrograms;
  #nextPid = 1000;

  constructor(scheduler: SimScheduler, gate: Turnstile, programs: SimPrograms) {
    this.#scheduler = scheduler;
    this.#gate = gate;
    this.#programs = programs;
  }

  spawn(options: SpawnOptions, handler: ProcessHandler): ChildProcess {
    return new SimChild(this.#scheduler, this.#gate, this.#programs.get(options.command[0] ?? ''), options, handler, this.running, this.#nextPid++);
  }

  /** The agent was killed: its wardens see their pipe close. */
  severAll(): void {
    for (const child of this.running) this.#scheduler.after(killMs, () => child.perish({ type: 'signalled', signal: 'SIGKILL' }));
  }

  /** The host lost power. */
  vanishAll(): void {
    for (const child of this.running) child.perish({ type: 'signalled', signal: 'SIGKILL' });
  }
}

export class SimChild implements ChildProcess {
  pid: number | undefined;
  readonly options: SpawnOptions;
  readonly #scheduler: SimScheduler;
  readonly #gate: Turnstile;
  readonly #handler: ProcessHandler;
  readonly #running: Set<SimChild>;
  readonly #ownPid: number;
  #lease: TimedTask | undefined;
  #onTerminate: (() => void) | undefined;
  #over = false;

  constructor(scheduler: SimScheduler, gate: Turnstile, program: SimProgram | undefined, options: SpawnOptions, handler: ProcessHandler, running: Set<SimChild>, nextPid: number) {
    this.#scheduler = scheduler;
    this.#gate = gate;
    this.options = options;
    this.#handler = handler;
    this.#running = running;
    this.#ownPid = nextPid;
    running.add(this);
    this.renew();
    scheduler.after(startMs, () => this.#start(program));
  }

  renew(leaseMs: number = this.options.leaseMs): void {
    if (this.#over || this.#gate.shut) return;
    if (this.#lease !== undefined) this.#scheduler.cancel(this.#lease);
    this.#lease = this.#scheduler.after(leaseMs, () => this.perish({ type: 'signalled', signal: 'SIGKILL' }));
  }

  stop(killAfterMs: number): void {
    if (this.#over || this.#gate.shut) return;
    if (this.#onTerminate === undefined) {
      this.#scheduler.after(1, () => this.perish({ type: 'signalled', signal: 'SIGTERM' }));
      return;
    }
    this.#scheduler.after(1, () => this.#over || this.#onTerminate?.());
    this.#scheduler.after(1 + killAfterMs, () => this.perish({ type: 'signalled', signal: 'SIGKILL' }));
  }

  kill(): void {
    if (!this.#gate.shut) this.#scheduler.after(1, () => this.perish({ type: 'signalled', signal: 'SIGKILL' }));
  }

  /** It is gone. Not for the agent to call. */
  perish(exit: ProcessExit): void {
    if (this.#over) return;
    this.#over = true;
    this.#running.delete(this);
    if (this.#lease !== undefined) this.#scheduler.cancel(this.#lease);
    this.#scheduler.after(0, () => this.#gate.enter(() => this.#handler.onExit(exit)));
  }

  #start(program: SimProgram | undefined): void {
    if (this.#over) return;
    if (program === undefined) return this.perish({ type: 'failed', error: `spawn ${this.options.command[0] ?? ''} ENOENT` });
    const pid = this.#ownPid;
    this.pid = pid;
    this.#gate.enter(() => this.#handler.onStarted?.(pid));
    try {
      program(this.#context());
    } catch (error) {
      this.perish({ type: 'failed', error: messageOf(error) });
    }
  }

  #context(): SimProgramContext {
    return {
      options: this.options,
      now: () => this.#scheduler.now,
      after: (delayMs, run) => void this.#scheduler.after(delayMs, () => this.#over || run()),
      output: (stream, bytes) => {
        if (!this.#over) this.#gate.enter(() => this.#over || this.#handler.onOutput?.(stream, bytes));
      },
      exit: (code) => this.perish({ type: 'exited', code }),
      onTerminate: (run) => {
        this.#onTerminate = run;
      },
    };
  }
}
