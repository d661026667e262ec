export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';

/** From least to most important. */
export const logLevels: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error'];

/** Structured logging. The message is a plain sentence; facts go into fields. */
export interface Log {
  trace(message: string, fields?: Readonly<Record<string, unknown>>): void;
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
  /** A log whose every line carries these fields too. */
  child(fields: Readonly<Record<string, unknown>>): Log;
}

/** One line as it was logged. */
export interface LogLine {
  /** Milliseconds since 1970. */
  readonly time: number;
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** The latest lines, for those who watch from outside (`monitor`). */
export interface LogTail {
  /** At most the last 512 lines of level `debug` and up, oldest first. */
  recent(): readonly LogLine[];
  /** Calls `onLine` for each line from now on; the result stops it. `onLine` must not log. */
  follow(onLine: (line: LogLine) => void): () => void;
}

const nothing = (): void => {};

/** Drops everything. */
export const silentLog: Log = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => silentLog };
