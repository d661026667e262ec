import type { ChildProcess as NodeChildProcess } from 'node:child_process';
import { spawn } from 'node:child_process';
import { basename } from 'node:path';
import { statSync } from 'node:fs';
import type { ChildProcess, ProcessExit, ProcessHandler, Processes, SpawnOptions } from '../ports/processes.ts';
import { messageOf } from '../base/errors.ts';
import type { FromWarden, ToWarden } from './warden/messages.ts';
import { wardenProgram } from './warden/program.ts';

/** After the group has gone, output that is still in the pipes gets this long (ms). */
const outputGraceMs = 250;
/** A warden does next to nothing: a small heap and no helper threads keep it at about 22 MB of its own. */
const wardenFlags = ['--v8-pool-size=0', '--max-old-space-size=16'];

/**
 * Commands under wardens: see warden/program.ts. A warden takes about 40 ms to start. Output goes through sockets, as
 * Node's pipes are: a script writes to `>&2`, not to /dev/stderr, which the system cannot open for a socket.
 */
export class HostProcesses implements Processes {
  spawn(options: SpawnOptions, handler: ProcessHandler): ChildProcess {
    return new WardedProcess(options, handler);
  }
}

class WardedProcess implements ChildProcess {
  pid: number | undefined;
  readonly #options: SpawnOptions;
  readonly #handler: ProcessHandler;
  readonly #warden: NodeChildProcess | undefined;
  #exit: ProcessExit | undefined;
  #over = false;
  #openPipes = 2;

  constructor(options: SpawnOptions, handler: ProcessHandler) {
    this.#options = options;
    this.#handler = handler;
    const problem = problemWith(options);
    if (problem !== undefined) {
      setImmediate(() => this.#finish({ type: 'failed', error: problem }));
      return;
    }
    try {
      this.#warden = this.#startWarden();
    } catch (error) {
      setImmediate(() => this.#finish({ type: 'failed', error: `the warden could not be started: ${messageOf(error)}` }));
    }
  }

  renew(leaseMs: number = this.#options.leaseMs): void {
    this.#tell({ type: 'lease', until: monotonicMs() + leaseMs });
  }

  stop(killAfterMs: number): void {
    this.#tell({ type: 'stop', killAfterMs });
  }

  kill(): void {
    this.#tell({ type: 'kill' });
  }

  #startWarden(): NodeChildProcess {
    const options = this.#options;
    // Stamped before the warden starts: its own start counts against the lease.
    const leaseUntil = monotonicMs() + options.leaseMs;
    const warden = spawn(process.execPath, [...wardenFlags, '-e', `(${wardenProgram.toString()})()`], {
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe', 'ipc'],
      // In a session of its own: a Ctrl-C at the agent's terminal is the agent's to act on.
      detached: true,
      // Nothing of ours: NODE_OPTIONS (a debugger, a loader) is meant for the agent, or for the command.
      env: {},
    });
    warden.on('message', (message) => this.#told(message as FromWarden));
    warden.on('error', (error) => this.#settle({ type: 'failed', error: `the warden could not be started: ${error.message}` }));
    warden.on('exit', () => this.#wardenGone());
    this.#watchEnd(warden, 'stdout');
    this.#watchEnd(warden, 'stderr');
    const name = options.environment['TROUPE_APP'] ?? basename(options.command[0] ?? '');
    const start: ToWarden = {
      type: 'start',
      title: `troupe-warden ${name}`,
      command: options.command,
      environment: { ...process.env, ...options.environment },
      directory: options.directory ?? process.cwd(),
      leaseUntil,
    };
    warden.send(start, ignoreError);
    // The command may end without reading all of it.
    warden.stdin?.on('error', ignoreError);
    warden.stdin?.end(options.input);
    return warden;
  }

  /** Only once it has started: what a quick command writes can be here before the warden's word that it runs. */
  #forward(name: 'stdout' | 'stderr'): void {
    this.#warden?.[name]?.on('data', (bytes: Buffer) => {
      if (!this.#over) this.#handler.onOutput?.(name, bytes);
    });
  }

  #watchEnd(warden: NodeChildProcess, name: 'stdout' | 'stderr'): void {
    const pipe = warden[name];
    pipe?.on('error', ignoreError);
    pipe?.once('close', () => {
      this.#openPipes--;
      if (this.#openPipes === 0 && this.#exit !== undefined) this.#finish(this.#exit);
    });
  }

  #told(message: FromWarden): void {
    switch (message.type) {
      case 'started':
        this.pid = message.pid;
        this.#handler.onStarted?.(message.pid);
        this.#forward('stdout');
        this.#forward('stderr');
        break;
      case 'failed':
        this.#settle({ type: 'failed', error: message.error });
        break;
      case 'exited':
        this.#settle(message.signal === null ? { type: 'exited', code: message.code ?? 0 } : { type: 'signalled', signal: message.signal });
        break;
    }
  }

  /** The group is gone; what it wrote last may still be in the pipes. */
  #settle(exit: ProcessExit): void {
    if (this.#exit !== undefined) return;
    this.#exit = exit;
    // Where it never started nobody reads the pipes, and unread they do not close.
    this.#warden?.stdout?.resume();
    this.#warden?.stderr?.resume();
    if (this.#openPipes === 0) this.#finish(exit);
    else setTimeout(() => this.#finish(exit), outputGraceMs);
  }

  /** Someone killed the warden: its work is ours now. */
  #wardenGone(): void {
    if (this.#exit !== undefined) return;
    const group = this.pid;
    const exit: ProcessExit = { type: 'failed', error: 'the warden of this command was killed' };
    if (group === undefined) return this.#settle(exit);
    const poll = (triesLeft: number): void => {
      try {
        process.kill(-group, 'SIGKILL');
      } catch {
        triesLeft = 0;
      }
      // After SIGKILL only zombies can be left for long, where nobody reaps them.
      if (triesLeft === 0) this.#settle(exit);
      else setTimeout(poll, 5, triesLeft - 1);
    };
    poll(200);
  }

  #finish(exit: ProcessExit): void {
    if (this.#over) return;
    this.#over = true;
    // A process that left the group may hold the pipes open; it gets no reader any more.
    this.#warden?.stdin?.destroy();
    this.#warden?.stdout?.destroy();
    this.#warden?.stderr?.destroy();
    this.#handler.onExit(exit);
  }

  #tell(message: ToWarden): void {
    if (this.#warden?.connected === true) this.#warden.send(message, ignoreError);
  }
}

/** The clock that the warden reads too: CLOCK_MONOTONIC is one for the whole machine. */
function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** A missing directory would be reported as a missing program. */
function problemWith(options: SpawnOptions): string | undefined {
  if (options.command[0] === undefined || options.command[0] === '') return 'the command is empty: give a program and its arguments';
  if (options.directory === undefined) return undefined;
  try {
    return statSync(options.directory).isDirectory() ? undefined : `the working directory ${options.directory} is not a directory`;
  } catch {
    return `the working directory ${options.directory} does not exist`;
  }
}

function ignoreError(): void {}
