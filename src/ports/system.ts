/** What the system tells about processes of this host. */
export interface System {
  /** This process. */
  readonly pid: number;
  /** Undefined when there is no such process, or the system does not tell. Reads a few small files: not for hot paths. */
  process(pid: number): ProcessFacts | undefined;
  /** The processes that it has started and that have not ended, their own not among them; none where the system does not tell. */
  children(pid: number): readonly number[];
}

export interface ProcessFacts {
  /** Memory that it has in RAM, shared pages among it (bytes). */
  readonly residentBytes: number;
  /** Processor time since its start, in user and system mode (ms). */
  readonly cpuMs: number;
  /** Since its start (ms). */
  readonly uptimeMs: number;
  /** Program and arguments, cut to 200 characters. */
  readonly command: string;
  /** What it does at the moment. */
  readonly state: 'running' | 'sleeping' | 'waiting for a disk' | 'stopped';
}

/** Knows nothing: for simulations, and systems that tell nothing. */
export const unknownSystem: System = { pid: 0, process: () => undefined, children: () => [] };
