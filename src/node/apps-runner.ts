/**
 * Makes what runs on this node agree with the map: starts, stops, hands over, restarts. Level-triggered: it compares
 * what is wanted with what is, as often as either changes, and repeats its reports until the map shows them; so a lost
 * message or a change of leader needs no special care.
 */
import { messageOf } from '../base/errors.ts';
import { packValue } from '../core/control/commands.ts';
import type { AppAction } from '../core/control/commands.ts';
import type { AppEntry, ClusterMap } from '../core/control/map.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import { AppAttempt, startCommand, startModule, within } from './app-instance.ts';
import type { CommandSurroundings, RunningApp } from './app-instance.ts';
import type { AppContext, AppStartType } from './app-types.ts';
import type { AppConfig } from './node-types.ts';

const reportEveryMs = 100;
const handoverKeptMs = 60_000;

export interface AppsSurroundings {
  readonly self: string;
  hasRights(now: number): boolean;
  report(app: string, action: AppAction): void;
  /** The state that `node` kept for the app under this epoch; undefined when it has none or cannot be asked. */
  fetchHandover(node: string, app: string, epoch: number): Promise<Uint8Array | undefined>;
  appNode(config: AppConfig, signal: () => boolean): AppContext['node'];
  readonly load: (specifier: string) => Promise<unknown>;
  readonly command: () => CommandSurroundings;
}

/** One app on this node. */
export interface AppRun {
  readonly config: AppConfig;
  readonly state: 'empty' | 'starting' | 'running' | 'stopping' | 'stopped' | 'failed';
  /** Of a command that runs. */
  readonly pid: number | undefined;
  /** In place, under the present epoch. */
  readonly restarts: number;
  readonly epoch: number;
  readonly error: string;
}

interface Slot {
  readonly config: AppConfig;
  /** The epoch that the present or last work belongs to. */
  epoch: number;
  state: 'empty' | 'starting' | 'running' | 'stopping' | 'stopped' | 'failed';
  running: RunningApp | undefined;
  /** While it starts. */
  attempt: AppAttempt | undefined;
  /** Grows with each start and each revocation: late results of an earlier one are told by it. */
  life: number;
  error: string;
  hasState: boolean;
  reportedAt: number;
  restarts: number[];
  /** Restarts in place under the present epoch. */
  restartCount: number;
  /** The end of the life before: the next one waits for it. */
  lastStop: Promise<unknown>;
  /** Settles when the start that is under way has come to an end, and what it started too late has stopped again. */
  starting: Promise<unknown>;
}

export class AppsRunner {
  readonly #slots = new Map<string, Slot>();
  readonly #handovers = new Map<string, { epoch: number; state: Uint8Array; until: number }>();
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #around: AppsSurroundings;
  #map: ClusterMap | undefined;
  #current = false;
  #timer: Timer | undefined;
  #closed = false;

  constructor(configs: readonly AppConfig[], clock: Clock, log: Log, around: AppsSurroundings) {
    this.#clock = clock;
    this.#log = log;
    this.#around = around;
    for (const config of configs) {
      this.#slots.set(config.name, { config, epoch: 0, state: 'empty', running: undefined, attempt: undefined, life: 0, error: '', hasState: false, reportedAt: Number.NEGATIVE_INFINITY, restarts: [], restartCount: 0, lastStop: Promise.resolve(), starting: Promise.resolve() });
    }
    if (configs.length > 0) this.#tick();
  }

  /** @param current the map knows this very process */
  onMap(map: ClusterMap, current: boolean): void {
    this.#map = map;
    this.#current = current;
    this.reconcile();
  }

  /** The lease was prolonged: it holds for this long from now (ms). */
  renewed(leftMs: number): void {
    for (const slot of this.#slots.values()) (slot.running ?? slot.attempt)?.renew(leftMs);
  }

  /** The lease ran out: everything ends at once, before anybody else may start it. */
  revokeAll(): void {
    for (const slot of this.#slots.values()) this.#revoke(slot);
  }

  handover(app: string, epoch: number): Uint8Array | undefined {
    const kept = this.#handovers.get(app);
    return kept !== undefined && kept.epoch === epoch ? kept.state : undefined;
  }

  /** What is configured here and how it is, for `ps`. */
  view(): AppRun[] {
    return [...this.#slots.values()].map(({ config, state, running, restartCount, epoch, error }) => ({ config, state, pid: running?.pid, restarts: restartCount, epoch, error }));
  }

  reconcile(): void {
    if (this.#map === undefined || this.#closed) return;
    const now = this.#clock.now();
    const rights = this.#current && this.#around.hasRights(now);
    for (const slot of this.#slots.values()) {
      const app = this.#map.apps[slot.config.name];
      const ours = rights && app !== undefined && app.node === this.#around.self && app.session === this.#map.nodes[this.#around.self]?.session;
      if (ours) this.#follow(now, slot, app);
      else this.#revoke(slot);
    }
  }

  #follow(now: number, slot: Slot, app: AppEntry): void {
    if (app.epoch !== slot.epoch) {
      // What ran here under an older epoch is over.
      this.#revoke(slot);
      slot.state = 'empty';
      slot.epoch = app.epoch;
      slot.error = '';
      slot.hasState = false;
      slot.restarts = [];
      slot.restartCount = 0;
      slot.reportedAt = Number.NEGATIVE_INFINITY;
    }
    switch (app.phase) {
      case 'starting':
        if (slot.state === 'empty') this.#start(slot, app, app.type);
        else if (slot.state === 'running') this.#report(now, slot, { type: 'started', epoch: app.epoch });
        else if (slot.state === 'failed') this.#report(now, slot, { type: 'failed', epoch: app.epoch, error: slot.error });
        return;
      case 'running':
        // It held the app without a break in the map, but its lease had run out in between.
        if (slot.state === 'empty') this.#start(slot, app, 'local');
        else if (slot.state === 'failed') this.#report(now, slot, { type: 'failed', epoch: app.epoch, error: slot.error });
        return;
      case 'stopping':
        if (slot.state === 'running') this.#stop(slot);
        else if (slot.state === 'empty' || slot.state === 'failed') this.#awaitEnd(slot);
        else if (slot.state === 'stopped') this.#report(now, slot, { type: 'stopped', epoch: app.epoch, hasState: slot.hasState });
        return;
      case 'idle':
      case 'waiting':
    }
  }

  #report(now: number, slot: Slot, action: AppAction): void {
    if (now - slot.reportedAt < reportEveryMs) return;
    slot.reportedAt = now;
    this.#around.report(slot.config.name, action);
  }

  #start(slot: Slot, app: AppEntry, type: AppStartType): void {
    slot.state = 'starting';
    const life = ++slot.life;
    this.#log.info('starting an app', { app: app.name, type, from: app.from, epoch: app.epoch });
    const isCurrent = (): boolean => slot.life === life;
    const attempt = new AppAttempt(() => {
      // Time has passed, and this process may have slept: its lease is looked at before anything acts on the strength of it.
      this.reconcile();
      return isCurrent();
    });
    slot.attempt = attempt;
    slot.starting = this.#run(slot, app, type, slot.lastStop, attempt, isCurrent).then(
      async (running) => {
        if (!isCurrent()) {
          running.revoke();
          await this.#stopLate(slot, running);
          return;
        }
        slot.running = running;
        slot.attempt = undefined;
        slot.state = 'running';
        slot.reportedAt = Number.NEGATIVE_INFINITY;
        void running.ended.then((reason) => this.#onEnded(slot, app, life, reason));
        this.reconcile();
      },
      (error: unknown) => this.#onFailed(slot, life, messageOf(error)),
    );
  }

  /** Modules get their chance to clean up. */
  async #stopLate(slot: Slot, running: RunningApp): Promise<void> {
    try {
      await running.stop(slot.config.stopTimeoutMs ?? 10_000);
    } catch (error) {
      this.#log.warn('an app that was taken away did not stop in order', { app: slot.config.name, error: messageOf(error) });
    }
  }

  async #run(slot: Slot, app: AppEntry, type: AppStartType, before: Promise<unknown>, attempt: AppAttempt, isCurrent: () => boolean): Promise<RunningApp> {
    const { config } = slot;
    const wanted = type !== 'local' && app.handoverEpoch !== undefined && app.handoverFrom !== undefined;
    const handover = wanted ? await this.#around.fetchHandover(app.handoverFrom as string, app.name, app.handoverEpoch as number) : undefined;
    const start = { type, from: app.from, epoch: app.epoch, handover, attempt };
    await before;
    attempt.check(app.name);
    if (config.command !== undefined) return await startCommand(config, start, this.#around.self, this.#around.command(), this.#clock, this.#log);
    return await startModule(config, start, this.#around.appNode(config, isCurrent), this.#around.load, this.#clock, this.#log.child({ app: app.name }));
  }

  #onEnded(slot: Slot, app: AppEntry, life: number, reason: string): void {
    const isOurs = (): boolean => slot.life === life && slot.state === 'running';
    // After a sleep this may run before the timer that ends the lease: whoever has no right to the app must not start it again.
    if (isOurs()) this.reconcile();
    if (!isOurs()) return;
    slot.running?.revoke();
    slot.running = undefined;
    const now = this.#clock.now();
    const { count, periodMs } = slot.config.restart ?? { count: 3, periodMs: 5000 };
    slot.restarts = slot.restarts.filter((at) => now - at < periodMs);
    if (slot.restarts.length >= count) {
      this.#onFailed(slot, life, `it failed ${count + 1} times within ${periodMs} ms; last: ${reason}`);
      return;
    }
    slot.restarts.push(now);
    slot.restartCount++;
    this.#log.warn('an app ended and is started again', { app: app.name, reason });
    this.#start(slot, app, 'local');
  }

  #onFailed(slot: Slot, life: number, error: string): void {
    if (slot.life !== life) return;
    this.#log.error('an app failed', { app: slot.config.name, error });
    slot.state = 'failed';
    slot.error = error.slice(0, 500);
    slot.running = undefined;
    slot.attempt = undefined;
    slot.reportedAt = Number.NEGATIVE_INFINITY;
    this.reconcile();
  }

  #stop(slot: Slot): void {
    const { running, config, epoch } = slot;
    if (running === undefined) return;
    this.#log.info('stopping an app', { app: config.name, epoch });
    slot.lastStop = running.stop(config.stopTimeoutMs ?? 10_000).then(
      (state) => {
        if (state === undefined || slot.epoch !== epoch) return;
        slot.hasState = true;
        this.#handovers.set(config.name, { epoch, state, until: this.#clock.now() + handoverKeptMs });
      },
      (error: unknown) => {
        this.#log.error('an app did not stop in order', { app: config.name, error: messageOf(error) });
        running.revoke();
      },
    );
    this.#awaitEnd(slot);
  }

  /** It counts as stopped once what ran here last, be it under a lease that was lost since, has come to its end. */
  #awaitEnd(slot: Slot): void {
    const { life } = slot;
    slot.state = 'stopping';
    void slot.lastStop.then(() => {
      if (slot.life !== life) return;
      slot.running = undefined;
      slot.state = 'stopped';
      slot.reportedAt = Number.NEGATIVE_INFINITY;
      this.reconcile();
    });
  }

  #revoke(slot: Slot): void {
    // That it failed or stopped may have been reported already, and the report be on its way: under this epoch it never
    // starts here again, even if the node loses its lease and gets it back before the report arrives.
    if (slot.state === 'empty' || slot.state === 'failed' || slot.state === 'stopped') return;
    slot.life++;
    const { running, attempt, config, state } = slot;
    // The next life must not begin beside one that is just beginning.
    if (state === 'starting') slot.lastStop = slot.starting;
    slot.running = undefined;
    slot.attempt = undefined;
    slot.state = 'empty';
    attempt?.revoke();
    if (running === undefined) return;
    running.revoke();
    this.#log.info('an app is taken from this node', { app: config.name, epoch: slot.epoch });
    // It is asked to stop once.
    if (state !== 'stopping') slot.lastStop = this.#stopLate(slot, running);
  }

  #tick(): void {
    if (this.#closed) return;
    const now = this.#clock.now();
    for (const [app, kept] of this.#handovers) if (kept.until < now) this.#handovers.delete(app);
    this.reconcile();
    this.#timer = this.#clock.at(now + reportEveryMs, () => this.#tick());
  }

  /** Ends whatever still runs, in order and within each app's bound. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    const stops: Promise<unknown>[] = [];
    for (const slot of this.#slots.values()) {
      slot.life++;
      const { running, attempt } = slot;
      const stopMs = slot.config.stopTimeoutMs ?? 10_000;
      slot.running = undefined;
      slot.attempt = undefined;
      if (slot.state === 'stopping') stops.push(slot.lastStop);
      else if (running !== undefined) stops.push(running.stop(stopMs).catch(() => running.revoke()));
      if (attempt === undefined) continue;
      attempt.revoke();
      stops.push(within(this.#clock, stopMs, `the start of app '${slot.config.name}'`, slot.starting).catch(() => {}));
    }
    await Promise.all(stops);
  }
}

/** Differs between nodes whose configurations of an app differ in what the cluster must agree on. */
export function appDigest(config: AppConfig): string {
  const { name, nodes, failoverTimeoutMs = 0, takeover = 'automatic' } = config;
  const bytes = packValue([name, nodes.map((tier) => (typeof tier === 'string' ? [tier] : tier)), failoverTimeoutMs, takeover]);
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
