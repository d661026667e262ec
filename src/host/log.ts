import { createRequire } from 'node:module';
import { pino } from 'pino';
import { LogSink } from './log-sink.ts';
import type { Log, LogLevel, LogLine, LogTail } from '../ports/log.ts';
import { logLevels } from '../ports/log.ts';

export interface LogOptions {
  /** Least level that is written to stderr; default `info`. */
  readonly level?: LogLevel;
  /** Lines for people instead of JSON; default: whether stderr is a terminal. */
  readonly pretty?: boolean;
  /** On every line. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

export interface HostLog extends Log, LogTail {
  setLevel(level: LogLevel): void;
}

/** How many lines `recent` keeps. */
const recentCountMax = 512;

/** Logs to stderr through pino, and keeps the last 512 lines (of at least `debug`) for `monitor`. */
export function createLog(options: LogOptions = {}): HostLog {
  const pretty = options.pretty ?? process.stderr.isTTY === true;
  const target = pino({ level: options.level ?? 'info', base: null, timestamp: pino.stdTimeFunctions.isoTime, formatters: { level: (label) => ({ level: label }) } }, destination(pretty));
  const tail = new Tail();
  return Object.assign(new PinoLog(target, tail, options.fields ?? {}), {
    setLevel: (level: LogLevel): void => {
      target.level = level;
    },
    recent: () => tail.recent(),
    follow: (onLine: (line: LogLine) => void) => tail.follow(onLine),
  });
}

function destination(pretty: boolean): pino.DestinationStream {
  const sink = new LogSink();
  if (!pretty) return sink;
  // Loaded only where someone reads along: it costs 20 ms of start.
  const { prettyFactory } = createRequire(import.meta.url)('pino-pretty') as { prettyFactory: (options: object) => (line: string) => string };
  const forPeople = prettyFactory({ colorize: true, ignore: 'pid,hostname', translateTime: 'SYS:HH:MM:ss.l' });
  return { write: (line) => sink.write(forPeople(line)) };
}

class Tail implements LogTail {
  readonly #lines: LogLine[] = [];
  #next = 0;
  readonly #followers = new Set<(line: LogLine) => void>();

  add(line: LogLine): void {
    this.#lines[this.#next] = line;
    this.#next = (this.#next + 1) % recentCountMax;
    for (const onLine of this.#followers) onLine(line);
  }

  recent(): readonly LogLine[] {
    return [...this.#lines.slice(this.#next), ...this.#lines.slice(0, this.#next)];
  }

  follow(onLine: (line: LogLine) => void): () => void {
    this.#followers.add(onLine);
    return () => void this.#followers.delete(onLine);
  }
}

class PinoLog implements Log {
  readonly #target: pino.Logger;
  readonly #tail: Tail;
  readonly #fields: Readonly<Record<string, unknown>>;

  constructor(target: pino.Logger, tail: Tail, fields: Readonly<Record<string, unknown>>) {
    this.#target = target;
    this.#tail = tail;
    this.#fields = fields;
  }

  trace(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write('trace', message, fields);
  }

  debug(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write('debug', message, fields);
  }

  info(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write('info', message, fields);
  }

  warn(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write('warn', message, fields);
  }

  error(message: string, fields?: Readonly<Record<string, unknown>>): void {
    this.#write('error', message, fields);
  }

  child(fields: Readonly<Record<string, unknown>>): Log {
    return new PinoLog(this.#target, this.#tail, { ...this.#fields, ...fields });
  }

  #write(level: LogLevel, message: string, own?: Readonly<Record<string, unknown>>): void {
    // `trace` is for a developer's eyes: only written where asked for, and not worth a place in the ring.
    if (level === 'trace' && !this.#target.isLevelEnabled('trace')) return;
    const fields = own === undefined ? this.#fields : { ...this.#fields, ...own };
    if (logLevels.indexOf(level) >= 1) this.#tail.add({ time: Date.now(), level, message, fields });
    this.#target[level](fields, message);
  }
}
