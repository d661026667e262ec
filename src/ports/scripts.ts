/**
 * Short programs that are told of an event and may answer: shell commands in process groups of their own. Unlike
 * `Processes` there is no warden: a script outlives an agent that is killed.
 */
export interface Scripts {
  /** Never throws; a script that cannot be started ends with `failed`. `onExit` is called exactly once, never synchronously. */
  run(options: ScriptOptions, onExit: (exit: ScriptExit) => void): RunningScript;
}

export interface ScriptOptions {
  /** For `/bin/sh -c`. */
  readonly script: string;
  /** Added to the agent's own environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Given to it on standard input, which then ends. */
  readonly input: Uint8Array;
  /** Of its output, stdout and stderr together, the last bytes are kept; at most this many. */
  readonly outputBytesMax: number;
}

export interface ScriptExit {
  readonly end: { readonly type: 'exited'; readonly code: number } | { readonly type: 'signalled'; readonly signal: string } | { readonly type: 'failed'; readonly error: string };
  /** The last of its output. */
  readonly output: Uint8Array;
  /** How much it wrote altogether. */
  readonly outputBytes: number;
}

export interface RunningScript {
  readonly pid: number | undefined;
  /** SIGTERM to the whole group. */
  terminate(): void;
  /** SIGKILL to the whole group. */
  kill(): void;
}
