/** Clients of a simulated cluster: some wait for each answer, one does not. Everything they see goes into the history. */
import { TroupeError } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import { decodeUtf8, encodeUtf8 } from '../base/utf8.ts';
import { hashKey } from '../core/store/hash.ts';
import { Op, Status, StoreRequest } from '../core/store/request.ts';
import type { StoreReply } from '../core/store/request.ts';
import type { RunningNode } from './checkers/checker.ts';
import type { History, Operation, OperationKind, OperationResult } from './history.ts';
import type { SimPlan } from './plan.ts';
import type { SimProcess } from './sim-host.ts';
import type { SimScheduler } from './scheduler.ts';

const openMax = 300;
const keyspaceName = 'default';

export class Workload {
  readonly #plan: SimPlan;
  readonly #random: Prng;
  readonly #scheduler: SimScheduler;
  readonly #history: History;
  readonly #nodes: () => readonly RunningNode[];
  readonly #onReturn: (operation: Operation) => void;
  /** Calls without an answer, with the process that was asked. */
  readonly #open = new Map<Operation, { process: SimProcess; settle: () => void }>();
  /** Versions that were read, for compareAndSet. */
  readonly #versions = new Map<string, number>();
  #uniqueCount = 0;
  #valueCount = 0;
  #stopped = false;

  constructor(plan: SimPlan, random: Prng, scheduler: SimScheduler, history: History, nodes: () => readonly RunningNode[], onReturn: (operation: Operation) => void) {
    this.#plan = plan;
    this.#random = random;
    this.#scheduler = scheduler;
    this.#history = history;
    this.#nodes = nodes;
    this.#onReturn = onReturn;
  }

  get openCount(): number {
    return this.#open.size;
  }

  openOperations(): Operation[] {
    return [...this.#open.keys()];
  }

  start(): void {
    for (let i = 0; i < this.#plan.closedClients; i++) void this.#closedClient();
    if (this.#plan.openRate > 0) this.#openClient();
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Calls on processes that died have no outcome. To be called after each event. */
  sweep(): void {
    for (const [operation, { process, settle }] of this.#open) {
      if (process.alive) continue;
      this.#open.delete(operation);
      this.#history.unknown(this.#scheduler.now, operation, 'DIED');
      this.#onReturn(operation);
      settle();
    }
  }

  async #closedClient(): Promise<void> {
    while (!this.#stopped) {
      await this.#sleep(-Math.log(1 - this.#random.float()) * this.#plan.thinkMs);
      if (this.#stopped) return;
      const node = this.#pickNode();
      if (node !== undefined) await this.#call(node, ...this.#draw());
    }
  }

  #openClient(): void {
    if (this.#stopped) return;
    const node = this.#open.size < openMax ? this.#pickNode() : undefined;
    if (node !== undefined) void this.#call(node, ...this.#draw());
    this.#scheduler.after((-Math.log(1 - this.#random.float()) * 1000) / this.#plan.openRate, () => this.#openClient());
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#scheduler.after(ms, resolve));
  }

  #pickNode(): RunningNode | undefined {
    return this.#random.pick(this.#nodes().filter(({ process, parts }) => process.alive && !process.paused && !parts.closed));
  }

  #draw(): [kind: OperationKind, key: string, value: string] {
    const random = this.#random;
    if (random.chance(0.1)) return ['put', `unique-${this.#uniqueCount++}`, this.#value()];
    if (random.chance(0.25)) {
      const key = `count-${random.below(2)}`;
      const kind = random.pick(['increment', 'increment', 'increment', 'increment', 'get', 'create'] as const) ?? 'get';
      return [kind, key, kind === 'increment' ? String(1 + random.below(3)) : kind === 'create' ? '0' : ''];
    }
    const key = `hot-${random.below(this.#plan.hotKeys)}`;
    const kind = random.pick(['get', 'get', 'get', 'put', 'put', 'create', 'update', 'delete', 'cas', 'cas', 'append', 'touch', 'increment'] as const) ?? 'get';
    return [kind, key, kind === 'get' || kind === 'delete' || kind === 'touch' ? '' : kind === 'increment' ? '1' : this.#value()];
  }

  #value(): string {
    const size = this.#random.chance(0.05) ? 2000 : 0;
    return `v${this.#valueCount++}.${'x'.repeat(size)}`;
  }

  /** Asks and waits, also for a call that will never return. */
  async #call(running: RunningNode, kind: OperationKind, key: string, value: string): Promise<void> {
    const version = kind === 'cas' ? (this.#versions.get(key) ?? 1) : 0;
    const operation = this.#history.call(this.#scheduler.now, { node: running.name, kind, key, value, version });
    const process = running.process;
    await new Promise<void>((resolve) => {
      this.#open.set(operation, { process, settle: resolve });
      const give = (record: () => void): void => {
        // What a dead process still computes reaches nobody.
        if (!process.alive || !this.#open.delete(operation)) return;
        record();
        this.#onReturn(operation);
        resolve();
      };
      const done = (result: OperationResult): void => give(() => {
        if (result.version !== 0) this.#versions.set(key, result.version);
        this.#history.done(this.#scheduler.now, operation, result);
      });
      const fail = (code: string): void => give(() => {
        if (code === 'UNKNOWN_OUTCOME') this.#history.unknown(this.#scheduler.now, operation, code);
        else this.#history.failed(this.#scheduler.now, operation, code);
      });
      if (this.#random.chance(0.5)) throughRouter(running, operation, done, fail);
      else throughKeyspace(running, operation).then(done, (error: unknown) => fail(error instanceof TroupeError ? error.code : `ESCAPED ${String(error)}`));
    });
  }

  /** Reads a key on a node, as part of the history. */
  async read(running: RunningNode, key: string): Promise<void> {
    await this.#call(running, 'get', key, '');
  }

  keys(): string[] {
    return [...new Set(this.#history.operations.map((operation) => operation.key))];
  }
}

const answer = (status: OperationResult['status'], value = '', version = 0): OperationResult => ({ status, value, version });

async function throughKeyspace({ node }: RunningNode, { kind, key, value, version }: Operation): Promise<OperationResult> {
  const keyspace = node.keyspace(keyspaceName);
  switch (kind) {
    case 'get': {
      const entry = await keyspace.get(key);
      return entry === undefined ? answer('miss') : answer('hit', decodeUtf8(entry.value), entry.version);
    }
    case 'put': return answer('stored', '', (await keyspace.put(key, value)).version);
    case 'create': return answer((await keyspace.create(key, value)) ? 'stored' : 'notStored');
    case 'update': return answer((await keyspace.update(key, value)) ? 'stored' : 'notStored');
    case 'delete': return answer((await keyspace.delete(key)) ? 'deleted' : 'notFound');
    case 'cas': {
      const outcome = await keyspace.compareAndSet(key, value, version);
      return answer(outcome === 'stored' ? 'stored' : outcome === 'changed' ? 'exists' : 'notFound');
    }
    case 'increment':
      try {
        const counter = await keyspace.increment(key, Number(value));
        return counter === undefined ? answer('notFound') : answer('number', String(counter));
      } catch (error) {
        if (error instanceof TroupeError && error.code === 'NOT_A_NUMBER') return answer('nonNumeric');
        throw error;
      }
    case 'append': return answer((await keyspace.append(key, value)) ? 'stored' : 'notStored');
    case 'touch': return answer((await keyspace.touch(key, 1_000_000)) ? 'touched' : 'notFound');
    case 'wipe': throw new Error('nobody calls this');
  }
}

const opOf = { get: Op.get, put: Op.set, create: Op.add, update: Op.replace, delete: Op.delete, cas: Op.cas, increment: Op.incr, append: Op.append, touch: Op.touch, wipe: Op.flush } as const;

function throughRouter({ node, process }: RunningNode, operation: Operation, done: (result: OperationResult) => void, fail: (code: string) => void): void {
  const { kind, key, value, version } = operation;
  const request = new StoreRequest();
  request.op = opOf[kind];
  request.key = encodeUtf8(key);
  request.keyEnd = request.key.length;
  request.hash = hashKey(request.key, 0, request.keyEnd);
  if (kind === 'increment') request.delta = Number(value);
  else request.value = encodeUtf8(value);
  request.valueEnd = request.value.length;
  request.cas = version;
  if (kind === 'touch') request.expiresAt = Math.floor(process.clock.wallTime() / 1000) + 1_000_000;
  node.router(keyspaceName).execute(request, {
    reply: (reply) => {
      const result = resultOf(kind, reply);
      if (typeof result === 'string') fail(result);
      else done(result);
    },
  });
}

function resultOf(kind: OperationKind, reply: StoreReply): OperationResult | string {
  switch (reply.status) {
    case Status.hit: return answer('hit', decodeUtf8(reply.value.slice(reply.valueStart, reply.valueEnd)), reply.cas);
    case Status.miss: return answer('miss');
    case Status.stored: return answer('stored', '', reply.cas);
    case Status.notStored: return answer('notStored');
    case Status.exists: return answer('exists');
    case Status.notFound: return answer('notFound');
    case Status.deleted: return answer('deleted');
    case Status.touched: return answer('touched');
    case Status.number: return answer('number', String(reply.counter), 0);
    case Status.nonNumeric: return answer('nonNumeric');
    case Status.unknownOutcome: return 'UNKNOWN_OUTCOME';
    case Status.timeout: return kind === 'get' ? 'TIMEOUT' : 'UNKNOWN_OUTCOME';
    case Status.tooLarge: return 'TOO_LARGE';
    case Status.outOfMemory: return 'OUT_OF_MEMORY';
    case Status.busy: return 'BUSY';
    case Status.unavailable: return 'UNAVAILABLE';
    case Status.ok: return 'ESCAPED ok';
  }
}
