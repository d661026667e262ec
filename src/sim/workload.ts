/** Clients of a simulated cluster: some wait for each answer, one does not. Everything they see goes into the history. */
import { TroupeError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import { encodeUtf8 } from '../base/utf8.ts';
import { hashKey, partitionOf } from '../core/store/hash.ts';
import { onlyThroughRouter, throughKeyspace, throughRouter } from './calls.ts';
import type { Tamper } from './calls.ts';
import type { RunningNode } from './checkers/checker.ts';
import { drawBasicCall, ExtendedCalls } from './draw-calls.ts';
import type { CallDraft } from './draw-calls.ts';
import { everyKey } from './history.ts';
import type { History, Operation, OperationResult } from './history.ts';
import type { SimPlan } from './plan.ts';
import type { SimProcess } from './sim-host.ts';
import type { SimScheduler } from './scheduler.ts';

const openMax = 300;

export interface WorkloadOptions {
  readonly plan: SimPlan;
  readonly random: Prng;
  readonly scheduler: SimScheduler;
  readonly history: History;
  nodes(): readonly RunningNode[];
  onReturn(operation: Operation): void;
  /** Between which bounds the wall clocks of all nodes have been so far, against true time (ms). */
  readonly walls: { readonly least: number; readonly most: number };
  readonly tamper: Tamper | undefined;
}

export class Workload {
  readonly #options: WorkloadOptions;
  readonly #extended: ExtendedCalls | undefined;
  /** Calls without an answer, with the process that was asked. */
  readonly #open = new Map<Operation, { process: SimProcess; settle: () => void }>();
  /** Versions that were read, for compareAndSet. */
  readonly #versions = new Map<string, number>();
  readonly #counts = { unique: 0, value: 0 };
  #stopped = false;

  constructor(options: WorkloadOptions) {
    this.#options = options;
    const { extras } = options.plan;
    this.#extended = extras === undefined ? undefined : new ExtendedCalls(options.plan, extras, this.#counts);
  }

  get openCount(): number {
    return this.#open.size;
  }

  openOperations(): Operation[] {
    return [...this.#open.keys()];
  }

  start(): void {
    for (let i = 0; i < this.#options.plan.closedClients; i++) void this.#closedClient();
    if (this.#options.plan.openRate > 0) this.#openClient();
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Calls on processes that died have no outcome. To be called after each event. */
  sweep(): void {
    for (const [operation, { process, settle }] of this.#open) {
      if (process.alive) continue;
      this.#open.delete(operation);
      this.#options.history.unknown(this.#options.scheduler.now, operation, 'DIED');
      this.#options.onReturn(operation);
      settle();
    }
  }

  async #closedClient(): Promise<void> {
    while (!this.#stopped) {
      await this.#sleep(-Math.log(1 - this.#options.random.float()) * this.#options.plan.thinkMs);
      if (this.#stopped) return;
      const node = this.#pickNode();
      if (node !== undefined) await this.#call(node, this.#draw());
    }
  }

  #openClient(): void {
    if (this.#stopped) return;
    const node = this.#open.size < openMax ? this.#pickNode() : undefined;
    if (node !== undefined) void this.#call(node, this.#draw());
    this.#options.scheduler.after((-Math.log(1 - this.#options.random.float()) * 1000) / this.#options.plan.openRate, () => this.#openClient());
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#options.scheduler.after(ms, resolve));
  }

  #pickNode(): RunningNode | undefined {
    return this.#options.random.pick(this.#options.nodes().filter(({ process, parts }) => process.alive && !process.paused && !parts.closed));
  }

  #draw(): CallDraft {
    const { random, plan } = this.#options;
    return this.#extended?.draw(random) ?? drawBasicCall(random, plan, this.#counts);
  }

  /** Asks and waits, also for a call that will never return. */
  async #call(running: RunningNode, draft: CallDraft): Promise<void> {
    const { scheduler, history, plan, walls, tamper = () => {} } = this.#options;
    const { keyspace, kind, key, value, ttlSeconds } = draft;
    const versionKey = `${keyspace}/${key}`;
    const version = kind === 'cas' ? (this.#versions.get(versionKey) ?? 1) : 0;
    const expiresAt = ttlSeconds === 0 ? 0 : Math.floor(running.process.clock.wallTime() / 1000) + ttlSeconds;
    const evicts = plan.extras?.keyspaces[keyspace]?.evicts === true;
    const operation = history.call(scheduler.now, { node: running.name, keyspace, kind, key, value, version, expiresAt, evicts });
    const process = running.process;
    await new Promise<void>((resolve) => {
      this.#open.set(operation, { process, settle: resolve });
      const give = (record: () => void): void => {
        // What a dead process still computes reaches nobody.
        if (!process.alive || !this.#open.delete(operation)) return;
        record();
        operation.wallFrom = (operation.calledAt + walls.least) / 1000;
        if (operation.outcome !== 'unknown') operation.wallTo = (scheduler.now + walls.most) / 1000;
        this.#options.onReturn(operation);
        resolve();
      };
      const done = (result: OperationResult): void => give(() => {
        if (result.version !== 0) this.#versions.set(versionKey, result.version);
        this.#options.history.done(this.#options.scheduler.now, operation, result);
      });
      const fail = (code: string): void => give(() => {
        if (code === 'UNKNOWN_OUTCOME') this.#options.history.unknown(this.#options.scheduler.now, operation, code);
        else this.#options.history.failed(this.#options.scheduler.now, operation, code);
      });
      if (this.#options.random.chance(0.5) || onlyThroughRouter.includes(kind)) throughRouter(running, operation, tamper, done, fail);
      else throughKeyspace(running, operation, ttlSeconds).then(done, (error: unknown) => fail(error instanceof TroupeError ? error.code : `ESCAPED ${String(error)}`));
    });
  }

  /** Reads a key on a node, as part of the history. */
  async read(running: RunningNode, { keyspace, key }: { readonly keyspace: string; readonly key: string }): Promise<void> {
    await this.#call(running, { keyspace, kind: 'get', key, value: '', ttlSeconds: 0 });
  }

  /** All keys that anything was done to. */
  keys(): { readonly keyspace: string; readonly key: string }[] {
    const found = new Map<string, { keyspace: string; key: string }>();
    for (const { keyspace, key } of this.#options.history.operations) if (key !== everyKey) found.set(`${keyspace}/${key}`, { keyspace, key });
    return [...found.values()];
  }

  /** Those of one partition. */
  keysOf(keyspace: string, partition: number, partitions: number): string[] {
    return this.keys().filter((each) => each.keyspace === keyspace && isInPartition(each.key, partition, partitions)).map(({ key }) => key);
  }
}

export function isInPartition(key: string, partition: number, partitions: number): boolean {
  const bytes = encodeUtf8(key);
  return partitionOf(hashKey(bytes, 0, bytes.length), partitions) === partition;
}
