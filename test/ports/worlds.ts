import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../src/ports/clock.ts';
import type { Datagrams } from '../../src/ports/datagrams.ts';
import type { Disk } from '../../src/ports/disk.ts';
import { MemoryDisk } from '../../src/ports/memory-disk.ts';
import type { Processes } from '../../src/ports/processes.ts';
import type { Streams } from '../../src/ports/streams.ts';
import { HostClock } from '../../src/host/clock.ts';
import { LmdbDisk } from '../../src/host/lmdb-disk.ts';
import { HostProcesses } from '../../src/host/processes.ts';
import { TcpStreams } from '../../src/host/tcp.ts';
import { TlsPskStreams } from '../../src/host/tls-psk.ts';
import { UdpDatagrams } from '../../src/host/udp.ts';
import type { SimPrograms } from '../../src/sim/sim-processes.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';

/** What a conformance suite needs of an implementation: its ports, and a way to let time pass in it. */
export interface PortWorld {
  readonly clock: Clock;
  readonly datagrams: Datagrams;
  readonly streams: Streams;
  readonly disk: Disk;
  readonly processes: Processes;
  readonly commands: Commands;
  /** Whether dropping a stream with unread bytes resets it (TCP); TLS has read them already, so the peer sees an end. */
  readonly dropResets: boolean;
  /** Waits until the condition holds; throws when it does not within 5 s of the world's time. */
  until(condition: () => boolean): Promise<void>;
  /** Waits for a promise of the ports. */
  settle<T>(promise: Promise<T>): Promise<T>;
  /** Lets this much time pass (ms): only for showing that something does not happen. */
  pass(durationMs: number): Promise<void>;
  /** Closes the disk and gives it anew, as after a restart. */
  reopenDisk(): Promise<Disk>;
  /** Ends the world. */
  end(): Promise<void>;
}

/** Commands that act alike in every world. */
export interface Commands {
  /** Writes `out` to stdout and `err` to stderr, then exits with code 3. */
  readonly speak: readonly string[];
  /** Writes `up`, runs on until it is ended, and does not mind how. */
  readonly idle: readonly string[];
  /** Writes `up`; on SIGTERM writes `bye` and exits with code 7. */
  readonly polite: readonly string[];
  /** Writes `up` and ignores SIGTERM. */
  readonly stubborn: readonly string[];
  readonly missing: readonly string[];
}

const hostCommands: Commands = {
  speak: ['sh', '-c', 'echo out; echo err >&2; exit 3'],
  idle: ['sh', '-c', 'echo up; exec sleep 1000'],
  polite: ['sh', '-c', 'trap "echo bye; exit 7" TERM; echo up; while :; do sleep 0.02; done'],
  stubborn: ['sh', '-c', 'trap "" TERM; echo up; while :; do sleep 0.02; done'],
  missing: ['/no/such/program'],
};

const simCommands: Commands = { speak: ['speak'], idle: ['idle'], polite: ['polite'], stubborn: ['stubborn'], missing: ['/no/such/program'] };

const simPrograms: SimPrograms = new Map([
  ['speak', (context) => {
    context.output('stdout', Buffer.from('out\n'));
    context.output('stderr', Buffer.from('err\n'));
    context.exit(3);
  }],
  ['idle', (context) => context.output('stdout', Buffer.from('up\n'))],
  ['polite', (context) => {
    context.output('stdout', Buffer.from('up\n'));
    context.onTerminate(() => {
      context.output('stdout', Buffer.from('bye\n'));
      context.exit(7);
    });
  }],
  ['stubborn', (context) => {
    context.output('stdout', Buffer.from('up\n'));
    context.onTerminate(() => {});
  }],
]);

export type WorldFactory = () => PortWorld;

export function hostWorld(streams: Streams = new TcpStreams()): PortWorld {
  const directory = mkdtempSync(join(tmpdir(), 'troupe-ports-'));
  let disk = new LmdbDisk(directory);
  const pass = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  return {
    clock: new HostClock(),
    datagrams: new UdpDatagrams(),
    streams,
    processes: new HostProcesses(),
    commands: hostCommands,
    dropResets: streams instanceof TcpStreams,
    get disk() {
      return disk;
    },
    async until(condition) {
      const deadline = performance.now() + 5000;
      while (!condition()) {
        if (performance.now() > deadline) throw new Error(`not within 5 s: ${condition.toString()}`);
        await pass(1);
      }
    },
    settle: (promise) => promise,
    pass,
    async reopenDisk() {
      await disk.close();
      return (disk = new LmdbDisk(directory));
    },
    async end() {
      await disk.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export function simWorld(seed: number): PortWorld {
  const world = new SimWorld({ seed });
  const host = world.addHost('one');
  const { scheduler } = world;
  let process = host.start('test', { programs: simPrograms });
  const { clock, datagrams, streams, processes } = process;
  return {
    clock,
    datagrams,
    streams,
    processes,
    commands: simCommands,
    dropResets: true,
    get disk() {
      return process.disk;
    },
    async until(condition) {
      if (!(await scheduler.runWhile(() => !condition(), 5000))) throw new Error(`not within 5 s of virtual time (seed ${seed}): ${condition.toString()}`);
    },
    settle: (promise) => scheduler.settle(promise),
    pass: (ms) => scheduler.runFor(ms),
    async reopenDisk() {
      process.kill();
      process = host.start('test');
      return process.disk;
    },
    async end() {
      process.kill();
    },
  };
}

/** Every implementation that the suites run against. */
export const worlds: readonly (readonly [name: string, make: WorldFactory])[] = [
  ['the host', () => hostWorld()],
  ['the host over TLS', () => hostWorld(new TlsPskStreams({ keys: [Buffer.alloc(32, 1)] }))],
  ['the simulator', () => simWorld(1)],
  ['the simulator, seed 2', () => simWorld(2)],
];

/** The host with a disk that is only memory; here it outlives `reopenDisk`, as the object does. */
function memoryDiskWorld(): PortWorld {
  const disk = new MemoryDisk();
  return Object.defineProperties(hostWorld(), { disk: { value: disk }, reopenDisk: { value: async () => disk } });
}

/** The suite of Disk runs against one more. */
export const diskWorlds: typeof worlds = [...worlds, ['memory', memoryDiskWorld]];

/** Collects what a stream's handler is told. */
export class Recorder {
  readonly events: string[] = [];
  readonly chunks: Uint8Array[] = [];
  closed: string | undefined;
  detail: string | undefined;
  closeCount = 0;
  opened = false;
  drained = 0;
  ended = false;

  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }

  get text(): string {
    return this.bytes.toString('latin1');
  }

  onOpen = (): void => {
    this.opened = true;
    this.events.push('open');
  };

  onData = (bytes: Uint8Array): void => {
    this.chunks.push(Buffer.from(bytes));
    this.events.push('data');
  };

  onDrain = (): void => {
    this.drained++;
    this.events.push('drain');
  };

  onClose = (reason: string, detail?: string): void => {
    this.closed = reason;
    this.detail = detail;
    this.closeCount++;
    this.events.push(`close ${reason}`);
  };
}

/** As Recorder, but keeps its side open when the peer has ended. */
export class HalfOpenRecorder extends Recorder {
  onEnd = (): void => {
    this.ended = true;
    this.events.push('end');
  };
}
