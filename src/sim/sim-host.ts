import type { Prng } from '../base/prng.ts';
import type { Clock } from '../ports/clock.ts';
import type { Datagrams } from '../ports/datagrams.ts';
import type { Disk } from '../ports/disk.ts';
import type { Log, LogLevel, LogLine } from '../ports/log.ts';
import type { Processes } from '../ports/processes.ts';
import type { Random } from '../ports/random.ts';
import type { Streams } from '../ports/streams.ts';
import type { SimScheduler } from './scheduler.ts';
import type { SimClockOptions } from './sim-clock.ts';
import { SimClock } from './sim-clock.ts';
import { SimDatagrams } from './sim-datagrams.ts';
import { SimDisk } from './sim-disk.ts';
import type { HostNetwork, SimNetwork } from './sim-network.ts';
import type { SimPrograms } from './sim-processes.ts';
import { SimProcesses } from './sim-processes.ts';
import { SimStreams } from './sim-streams.ts';
import { Turnstile } from './turnstile.ts';

export interface SimProcessOptions {
  /** The process's own directory on the host's disk; default its name. What it keeps there survives its restarts. */
  readonly directory?: string;
  readonly clock?: SimClockOptions;
  readonly programs?: SimPrograms;
  /** Gets each line that the process logs; default: dropped. */
  readonly onLog?: (line: LogLine) => void;
}

/** One machine: an address, a disk, and processes that come and go. */
export class SimHost {
  readonly name: string;
  readonly network: HostNetwork;
  readonly disk: SimDisk;
  readonly #scheduler: SimScheduler;
  readonly #wires: SimNetwork;
  readonly #random: Prng;
  readonly #processes = new Set<SimProcess>();

  constructor(scheduler: SimScheduler, wires: SimNetwork, random: Prng, name: string, addresses: readonly string[]) {
    this.#scheduler = scheduler;
    this.#wires = wires;
    this.#random = random;
    this.name = name;
    this.network = wires.addHost(name, addresses);
    this.disk = new SimDisk(scheduler, random.fork());
  }

  get address(): string {
    return this.network.primaryAddress;
  }

  get up(): boolean {
    return this.network.up;
  }

  /** Processes that live. */
  get processes(): readonly SimProcess[] {
    return [...this.#processes];
  }

  start(name: string, options: SimProcessOptions = {}): SimProcess {
    if (!this.network.up) throw new Error(`cannot start ${name}: the simulated host ${this.name} is down`);
    const process = new SimProcess(this.#scheduler, this.#wires, this, name, this.#random.fork(), options, () => this.#processes.delete(process));
    this.#processes.add(process);
    return process;
  }

  /** Power loss: every process ends, no connection is closed, undurable writes may be lost, then silence. */
  crash(): void {
    this.network.up = false;
    this.network.boot++;
    for (const process of this.#processes) process.vanish();
  }

  /** Power is back. Connections from before are unknown: who uses one gets a reset. */
  boot(): void {
    this.network.up = true;
  }
}

/** The ports of one simulated process, and the hand that takes it away. */
export class SimProcess {
  readonly name: string;
  readonly host: SimHost;
  readonly clock: SimClock;
  readonly random: Random & Prng;
  readonly datagrams: Datagrams;
  readonly streams: Streams;
  readonly disk: Disk;
  readonly processes: Processes;
  readonly log: Log;
  /** Commands of this process that run now. */
  readonly children: SimProcesses;
  readonly #scheduler: SimScheduler;
  readonly #gate = new Turnstile();
  readonly #datagrams: SimDatagrams;
  readonly #streams: SimStreams;
  readonly #directory: string;
  readonly #onGone: () => void;

  constructor(scheduler: SimScheduler, wires: SimNetwork, host: SimHost, name: string, random: Prng, options: SimProcessOptions, onGone: () => void) {
    this.#scheduler = scheduler;
    this.name = name;
    this.host = host;
    this.#directory = options.directory ?? name;
    this.#onGone = onGone;
    this.random = random;
    const late = random.fork();
    this.clock = new SimClock(scheduler, this.#gate, () => late.float(), options.clock);
    this.datagrams = this.#datagrams = new SimDatagrams(wires, host.network, this.#gate);
    this.streams = this.#streams = new SimStreams(wires, host.network, this.#gate);
    this.disk = host.disk.forProcess(this.#directory, this.#gate);
    this.processes = this.children = new SimProcesses(scheduler, this.#gate, options.programs ?? new Map());
    this.log = simLog(this.clock, this.#gate, options.onLog ?? ((): void => {}), { process: name });
  }

  get alive(): boolean {
    return !this.#gate.shut;
  }

  get paused(): boolean {
    return !this.#gate.shut && !this.#gate.open;
  }

  /**
   * kill -9: none of its callbacks runs again, and what code of it is still running (after an await) has no effect
   * on the world. Its kernel closes its sockets.
   */
  kill(): void {
    if (!this.alive) return;
    this.#end();
    this.#streams.severAll();
    this.children.severAll();
  }

  /** As kill, but with the host: see SimHost.crash. */
  vanish(): void {
    if (!this.alive) return;
    this.#end();
    this.#streams.vanishAll();
    this.children.vanishAll();
  }

  /** SIGSTOP: the kernel goes on (it accepts connections and buffers), the process does nothing. */
  pause(): void {
    this.#gate.hold();
  }

  /** SIGCONT: everything that waited happens now, in order. */
  resume(): void {
    for (const run of this.#gate.release()) this.#scheduler.after(0, () => this.#gate.enter(run));
  }

  #end(): void {
    this.#gate.close();
    this.#datagrams.severAll();
    this.host.disk.crash(this.#directory);
    this.#onGone();
  }
}

function simLog(clock: Clock, gate: Turnstile, onLine: (line: LogLine) => void, fields: Readonly<Record<string, unknown>>): Log {
  const write = (level: LogLevel) => (message: string, own: Readonly<Record<string, unknown>> = {}): void => {
    if (!gate.shut) onLine({ time: clock.wallTime(), level, message, fields: { ...fields, ...own } });
  };
  return { trace: write('trace'), debug: write('debug'), info: write('info'), warn: write('warn'), error: write('error'), child: (more) => simLog(clock, gate, onLine, { ...fields, ...more }) };
}
