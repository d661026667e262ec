/** Child processes that must not outlive this node: each runs under a warden (see src/host/warden). */
export interface Processes {
  /** Never throws; a command that cannot be started ends with `failed`. */
  spawn(options: SpawnOptions, handler: ProcessHandler): ChildProcess;
}

export interface SpawnOptions {
  /** Program and arguments. One element with spaces is still one program: no shell is involved. */
  readonly command: readonly string[];
  /** Added to the node's own environment. */
  readonly environment: Readonly<Record<string, string>>;
  readonly directory?: string;
  /** Given to it on standard input, which then ends; default: nothing. */
  readonly input?: Uint8Array;
  /** The warden kills the whole process group when it has not been told for this long that the lease goes on (ms, counted on a monotonic clock). */
  readonly leaseMs: number;
}

export interface ProcessHandler {
  onStarted?(pid: number): void;
  onOutput?(stream: 'stdout' | 'stderr', bytes: Uint8Array): void;
  /** Exactly once, last: the group is gone. */
  onExit(exit: ProcessExit): void;
}

export type ProcessExit =
  | { readonly type: 'exited'; readonly code: number }
  | { readonly type: 'signalled'; readonly signal: string }
  | { readonly type: 'failed'; readonly error: string };

export interface ChildProcess {
  readonly pid: number | undefined;
  /** Tells the warden that the lease holds for this long from now (ms); default: the `leaseMs` it was spawned with. */
  renew(leaseMs?: number): void;
  /** SIGTERM to the group; SIGKILL after `killAfterMs`. */
  stop(killAfterMs: number): void;
  /** SIGKILL to the group now. */
  kill(): void;
}
