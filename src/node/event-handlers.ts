import { TroupeError } from '../base/errors.ts';
import type { AgentEvent } from '../core/serf/agent-event.ts';
import { matchesEvent, parseEventFilters } from '../core/serf/event-filter.ts';
import type { EventFilter } from '../core/serf/event-filter.ts';
import type { Member } from '../core/serf/types.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { RunningScript, ScriptExit, Scripts } from '../ports/scripts.ts';
import { environmentOf, inputOf } from './event-invocation.ts';

/** A script, and the events it is run for. */
export interface EventHandler {
  readonly filters: readonly EventFilter[];
  readonly script: string;
  /** Only on the node that leads the cluster when the event comes. */
  readonly leaderOnly: boolean;
}

export interface HandlerLimits {
  /** Scripts that run at one time; default 8. */
  readonly runningMax: number;
  /** Events that wait for their script; past it the oldest of the longest row is dropped, with a warning. Default 1024. */
  readonly waitingMax: number;
  /** A script that runs longer gets SIGTERM (ms); default 60,000. */
  readonly timeoutMs: number;
  /** ... and this much later SIGKILL (ms); default 5000. */
  readonly killAfterMs: number;
  /** Of a script's output the last bytes are kept; default 8192, as in Serf. */
  readonly outputBytesMax: number;
}

export const defaultHandlerLimits: HandlerLimits = { runningMax: 8, waitingMax: 1024, timeoutMs: 60_000, killAfterMs: 5000, outputBytesMax: 8192 };

export interface HandlerPorts {
  readonly scripts: Scripts;
  readonly clock: Clock;
  readonly log: Log;
  /** This node, as of now. */
  readonly self: () => Member;
  /** This node leads the cluster, as of now. */
  readonly leads: () => boolean;
  /** What scripts find in their environment besides what they are told of the event; default: nothing. */
  readonly environment?: () => Readonly<Record<string, string>>;
}

/** What dropping is logged at most once in (ms). */
const dropLogMs = 10_000;

/**
 * Reads Serf's form of a handler, `[leader:][EVENT[,EVENT…]=]SCRIPT`. Events: `*` (the default), member-join, member-leave,
 * member-failed, member-update, member-reap, user, user:NAME, query, query:NAME.
 * @throws TroupeError BAD_HANDLER
 */
export function parseHandler(text: string): EventHandler {
  const leaderOnly = text.startsWith('leader:');
  const rest = leaderOnly ? text.slice('leader:'.length) : text;
  const equals = rest.indexOf('=');
  const script = rest.slice(equals + 1);
  const filters = parseEventFilters(equals < 0 ? '' : rest.slice(0, equals));
  if (filters === undefined) {
    throw new TroupeError('BAD_HANDLER', `cannot read the handler '${text}': before the '=' stand events, which are *, member-join, member-leave, member-failed, member-update, member-reap, user, user:NAME, query or query:NAME; put '*=' before a script that has a '=' of its own`, { text });
  }
  if (script.trim() === '') throw new TroupeError('BAD_HANDLER', `the handler '${text}' names no script: write [EVENT=]SCRIPT`, { text });
  return { filters, script, leaderOnly };
}

interface Invocation {
  readonly script: string;
  readonly event: AgentEvent;
  readonly environment: Readonly<Record<string, string>>;
}

/** Events for one script that must be told in order. */
interface Row {
  readonly key: string;
  readonly waiting: Invocation[];
  running: boolean;
}

/** A script that is or was a handler. */
export interface HandlerView {
  readonly script: string;
  /** Of all its handlers; none when it is one no more and only ends what it was given. */
  readonly filters: readonly EventFilter[];
  readonly pids: readonly number[];
  /** Events that wait for it. */
  readonly waiting: number;
  /** Runs that did not end with exit code 0. */
  readonly failures: number;
}

interface Run {
  readonly name: string;
  readonly script: RunningScript;
  readonly timers: Timer[];
}

/**
 * Runs scripts for events. Several at a time, but in order where order counts: one script is told of member events one
 * after the other, and likewise of the user events and queries of each name. A slow script holds up only its own row.
 */
export class EventHandlers {
  readonly #ports: HandlerPorts;
  readonly #limits: HandlerLimits;
  #handlers: readonly EventHandler[];
  readonly #rows = new Map<string, Row>();
  /** Rows whose first could be started. */
  readonly #ready: Row[] = [];
  readonly #running = new Set<Run>();
  /** By script; of the handlers of today only. */
  readonly #failures = new Map<string, number>();
  #waiting = 0;
  #dropped = 0;
  #dropLoggedAt = -Infinity;
  #closed = false;
  #onIdle: (() => void) | undefined;

  constructor(handlers: readonly EventHandler[], ports: HandlerPorts, limits: Partial<HandlerLimits> = {}) {
    this.#handlers = handlers;
    this.#ports = ports;
    this.#limits = { ...defaultHandlerLimits, ...limits };
  }

  get handlers(): readonly EventHandler[] {
    return this.#handlers;
  }

  /** Events from now on go to these; what waits already is still told to the old ones. */
  setHandlers(handlers: readonly EventHandler[]): void {
    this.#handlers = handlers;
    for (const script of this.#failures.keys()) if (!handlers.some((handler) => handler.script === script)) this.#failures.delete(script);
  }

  /** Scripts that run, events that wait, and events that were dropped since the start. */
  get counts(): { readonly running: number; readonly waiting: number; readonly dropped: number } {
    return { running: this.#running.size, waiting: this.#waiting, dropped: this.#dropped };
  }

  /** Each script once: what runs of it and what waits for it, for `ps`. */
  view(): HandlerView[] {
    const scripts = new Map<string, { script: string; filters: EventFilter[]; pids: number[]; waiting: number; failures: number }>();
    const of = (script: string) => {
      let entry = scripts.get(script);
      if (entry === undefined) scripts.set(script, (entry = { script, filters: [], pids: [], waiting: 0, failures: this.#failures.get(script) ?? 0 }));
      return entry;
    };
    for (const { script, filters } of this.#handlers) of(script).filters.push(...filters);
    for (const { name, script } of this.#running) if (script.pid !== undefined) of(name).pids.push(script.pid);
    for (const row of this.#rows.values()) for (const { script } of row.waiting) of(script).waiting++;
    return [...scripts.values()];
  }

  handle(event: AgentEvent): void {
    if (this.#closed || this.#handlers.length === 0) return;
    let leads: boolean | undefined;
    let environment: Readonly<Record<string, string>> | undefined;
    for (const handler of this.#handlers) {
      if (!handler.filters.some((filter) => matchesEvent(filter, event))) continue;
      if (handler.leaderOnly && !(leads ??= this.#ports.leads())) continue;
      this.#enqueue({ script: handler.script, event, environment: (environment ??= { ...this.#ports.environment?.(), ...environmentOf(event, this.#ports.self()) }) });
    }
    this.#start();
  }

  /** Takes no more events; lets what runs and waits end for so long (ms), then terminates it. */
  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    if (this.#isIdle) return;
    const { clock, log } = this.#ports;
    await new Promise<void>((resolve) => {
      let kill: Timer | undefined;
      const terminate = clock.at(clock.now() + graceMs, () => {
        log.warn('the node stops: event handlers that still run are ended', { running: this.#running.size, waiting: this.#waiting });
        this.#rows.clear();
        this.#ready.length = 0;
        this.#waiting = 0;
        for (const { script } of this.#running) script.terminate();
        kill = clock.at(clock.now() + 1000, () => {
          for (const { script } of this.#running) script.kill();
        });
        if (this.#isIdle) this.#onIdle?.();
      });
      this.#onIdle = () => {
        terminate.cancel();
        kill?.cancel();
        resolve();
      };
    });
  }

  get #isIdle(): boolean {
    return this.#running.size === 0 && this.#waiting === 0;
  }

  #enqueue(invocation: Invocation): void {
    const key = rowKey(invocation);
    let row = this.#rows.get(key);
    if (row === undefined) this.#rows.set(key, (row = { key, waiting: [], running: false }));
    row.waiting.push(invocation);
    this.#waiting++;
    if (row.waiting.length === 1 && !row.running) this.#ready.push(row);
    if (this.#waiting > this.#limits.waitingMax) this.#drop();
  }

  /** The longest row has the least need of its oldest: what is newest is nearest to the truth. */
  #drop(): void {
    let longest: Row | undefined;
    for (const row of this.#rows.values()) if (longest === undefined || row.waiting.length > longest.waiting.length) longest = row;
    const dropped = longest?.waiting.shift();
    if (longest === undefined || dropped === undefined) return;
    this.#waiting--;
    this.#dropped++;
    if (longest.waiting.length === 0 && !longest.running) this.#forget(longest);
    const now = this.#ports.clock.now();
    if (now - this.#dropLoggedAt < dropLogMs) return;
    this.#dropLoggedAt = now;
    this.#ports.log.warn(`event handlers are too slow: more than ${this.#limits.waitingMax} events wait, and the oldest are dropped`, { script: dropped.script, event: dropped.event.type, dropped: this.#dropped });
  }

  #forget(row: Row): void {
    this.#rows.delete(row.key);
    const at = this.#ready.indexOf(row);
    if (at >= 0) this.#ready.splice(at, 1);
  }

  #start(): void {
    while (this.#running.size < this.#limits.runningMax) {
      const row = this.#ready.shift();
      if (row === undefined) return;
      const invocation = row.waiting.shift() as Invocation;
      this.#waiting--;
      row.running = true;
      this.#run(invocation, () => this.#next(row));
    }
  }

  #next(row: Row): void {
    row.running = false;
    if (this.#rows.get(row.key) === row) {
      if (row.waiting.length > 0) this.#ready.push(row);
      else this.#rows.delete(row.key);
    }
    this.#start();
    if (this.#isIdle) this.#onIdle?.();
  }

  #run({ script, event, environment }: Invocation, done: () => void): void {
    const { clock, log, scripts } = this.#ports;
    const { timeoutMs, killAfterMs, outputBytesMax } = this.#limits;
    if (event.type === 'query' && clock.now() > event.deadline) {
      log.warn('a query was not handled: its time was over before the handlers before it had ended', { script, query: event.name });
      return done();
    }
    const startedAt = clock.now();
    const run: Run = {
      name: script,
      script: scripts.run({ script, environment, input: inputOf(event), outputBytesMax }, (exit) => {
        for (const timer of run.timers) timer.cancel();
        this.#running.delete(run);
        this.#ended(script, event, exit, clock.now() - startedAt);
        done();
      }),
      timers: [],
    };
    this.#running.add(run);
    run.timers.push(clock.at(startedAt + timeoutMs, () => {
      log.warn(`an event handler has run for ${timeoutMs} ms: it is terminated`, { script, event: event.type });
      run.script.terminate();
      run.timers.push(clock.at(clock.now() + killAfterMs, () => run.script.kill()));
    }));
  }

  #ended(script: string, event: AgentEvent, { end, output, outputBytes }: ScriptExit, tookMs: number): void {
    const { log } = this.#ports;
    if (outputBytes > output.length) log.warn(`the output of an event handler was cut to its last ${output.length} of ${outputBytes} bytes`, { script, event: event.type });
    if (end.type !== 'exited' || end.code !== 0) {
      if (this.#handlers.some((handler) => handler.script === script)) this.#failures.set(script, (this.#failures.get(script) ?? 0) + 1);
      const how = end.type === 'exited' ? `exit code ${end.code}` : end.type === 'signalled' ? `signal ${end.signal}` : end.error;
      log.error(`an event handler failed: ${how}`, { script, event: event.type, output: textOf(output) });
      return;
    }
    log.debug('an event handler ended', { script, event: event.type, tookMs: Math.round(tookMs), output: textOf(output) });
    if (event.type === 'query' && outputBytes > 0 && !event.respond(output)) {
      log.warn('the answer to a query was not sent: it came too late, is too long, or another handler has answered', { script, query: event.name, bytes: output.length });
    }
  }
}

function rowKey({ script, event }: Invocation): string {
  return event.type === 'user' || event.type === 'query' ? `${event.type}:${event.name}\0${script}` : `member\0${script}`;
}

function textOf(output: Uint8Array): string {
  return new TextDecoder().decode(output);
}
