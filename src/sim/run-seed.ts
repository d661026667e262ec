/** One seed from beginning to end: boot, safety phase (faults under load), liveness phase (all healed), then the verdicts. */
import { messageOf, TroupeError } from '../base/errors.ts';
import { Prng } from '../base/prng.ts';
import { encodeUtf8 } from '../base/utf8.ts';
import { hashKey, partitionOf } from '../core/store/hash.ts';
import type { NodeParts } from '../node/node-parts.ts';
import type { Node, NodeOptions } from '../node/node-types.ts';
import { AppRecorder } from './app-recorder.ts';
import { microtasksDrained } from './barrier.ts';
import { BoundedMemory } from './checkers/bounded-memory.ts';
import type { Checker, RunningNode } from './checkers/checker.ts';
import { checkKeptWrites } from './checkers/kept-writes.ts';
import { checkKey } from './checkers/linearizability.ts';
import { OnePlace } from './checkers/one-place.ts';
import { OnePrimary } from './checkers/one-primary.ts';
import { RaftInvariants } from './checkers/raft-invariants.ts';
import { ShadowMap } from './checkers/shadow-map.ts';
import { faultKinds } from './faults.ts';
import type { FaultContext, FaultKind } from './faults.ts';
import { describeOperation, History } from './history.ts';
import { unsettled } from './liveness.ts';
import { drawPlan } from './plan.ts';
import type { PlanLimits, SimPlan } from './plan.ts';
import { SimCluster } from './sim-cluster.ts';
import type { SimProcess } from './sim-host.ts';
import { SimWorld } from './sim-world.ts';
import { Trace } from './trace.ts';
import { Workload } from './workload.ts';

export interface RunOptions extends PlanLimits {
  readonly seed: number;
  /** Only these kinds of fault; default all. */
  readonly only?: readonly FaultKind[] | undefined;
  readonly without?: readonly FaultKind[] | undefined;
  /** Gets every line of the trace as it comes. */
  readonly onLine?: ((line: string) => void) | undefined;
  /** The last word on every node's options: for planted errors. */
  readonly adjust?: ((options: NodeOptions) => NodeOptions) | undefined;
}

export interface Finding {
  readonly checker: string;
  readonly detail: string;
}

export interface RunResult {
  readonly seed: number;
  readonly plan: SimPlan;
  readonly findings: readonly Finding[];
  readonly simulatedMs: number;
  readonly faults: number;
  readonly operations: number;
  readonly unknown: number;
  readonly failed: number;
  readonly appStarts: number;
  readonly events: number;
  /** Keys on which the search for an order was given up. */
  readonly undecidedKeys: number;
  /** How long the healed cluster took to settle (simulated ms). */
  readonly settledMs: number;
  readonly lossesAccepted: number;
  /** Equal runs have equal digests. */
  readonly digest: string;
  readonly tail: readonly string[];
}

const bootLimitMs = 30_000;
const settleLimitMs = 30_000;
const afterHealMs = 2000;
const mendLimitMs = 30_000;

/** What an operator would see as the reason why a node stopped, and expect. */
const diskCodes = ['DISK_FULL', 'DISK_UNWRITABLE', 'DISK_CLOSED'];

let present: Run | undefined;

/** For whoever hosts the simulator: an error that nobody caught, in the run that is going on. */
export function noteUncaught(error: unknown): boolean {
  present?.report('no-escaped-error', error instanceof Error ? (error.stack ?? error.message) : String(error));
  return present !== undefined;
}

export async function runSeed(options: RunOptions): Promise<RunResult> {
  const run = new Run(options);
  present = run;
  try {
    return await run.play();
  } finally {
    present = undefined;
  }
}

class Stop extends Error {}

class Run {
  readonly #options: RunOptions;
  readonly #plan: SimPlan;
  readonly #world: SimWorld;
  readonly #cluster: SimCluster;
  readonly #trace: Trace;
  readonly #history = new History();
  readonly #workload: Workload;
  readonly #findings: Finding[] = [];
  readonly #faultRandom: Prng;
  readonly #running = new Map<string, RunningNode>();
  readonly #instances = new Map<string, RunningNode>();
  readonly #leaving = new Set<string>();
  readonly #lostMarks = new Map<string, number>();
  readonly #checkers: Checker[];
  readonly #raft: RaftInvariants;
  readonly #onePlace: OnePlace;
  readonly #shadow: ShadowMap;
  readonly #apps: AppRecorder;
  #nodes: readonly RunningNode[] = [];
  #faults = 0;
  #lossesAccepted = 0;
  #faultsOver = false;
  #undecidedKeys = 0;
  #settledMs = 0;
  #pausedBefore = 0;

  constructor(options: RunOptions) {
    this.#options = options;
    const random = new Prng(options.seed ^ 0x5eed);
    this.#plan = drawPlan(random.fork(), options);
    this.#faultRandom = random.fork();
    const workloadRandom = random.fork();
    const appRandom = random.fork();
    this.#world = new SimWorld({ seed: options.seed, network: { link: this.#plan.link } });
    const { scheduler } = this.#world;
    this.#trace = new Trace(() => scheduler.now, options.onLine);
    const report = (checker: string, detail: string): void => this.report(checker, detail);
    this.#onePlace = new OnePlace(report);
    this.#shadow = new ShadowMap(report, {
      isAlive: (instance) => this.#isAlive(instance),
      lost: (keyspace, partition) => {
        this.#trace.add(`partition ${keyspace}/${partition} is LOST`);
        this.#lostMarks.set(`${keyspace}/${partition}`, this.#history.mark());
      },
      lossAccepted: (keyspace, partition) => this.#wipe(keyspace, partition),
      command: (command) => this.#trace.add(`map ${this.#shadow.appliedIndex} ${JSON.stringify(command)}`),
    });
    this.#raft = new RaftInvariants(report, this.#shadow);
    this.#checkers = [new OnePrimary(report), this.#raft, new BoundedMemory(report)];
    this.#apps = new AppRecorder(appRandom, this.#trace, this.#onePlace, (name) => this.#byName(name));
    this.#cluster = new SimCluster(this.#world, {
      nodes: this.#plan.nodes, keyspace: this.#plan.keyspace, apps: this.#plan.apps, healAfterMs: this.#plan.healAfterMs, lastNode: this.#plan.lastNode, lateMaxMs: this.#plan.lateMaxMs,
      drift: (index) => this.#plan.drift[index] ?? 0,
      programs: (node) => this.#apps.programs(node),
      loadModule: async (specifier, node) => this.#apps.module(specifier, node),
      onLog: (node, line) => {
        const text = `${node} ${line.level} ${line.message} ${JSON.stringify(line.fields)}`;
        if (line.level === 'debug' || line.level === 'trace') this.#trace.hash(text);
        else this.#trace.add(text);
      },
      onNode: (name, node, process) => this.#onNode(name, node, process),
      onFailedStart: (name, error, process) => this.#onFailedStart(name, error, process),
      adjust: (node) => {
        const own = this.#plan.logs === undefined ? node : { ...node, logs: this.#plan.logs };
        return options.adjust?.(own) ?? own;
      },
    });
    this.#workload = new Workload(this.#plan, workloadRandom, scheduler, this.#history, () => this.#nodes, (operation) => this.#trace.add(`call ${describeOperation(operation)}`));
  }

  report(checker: string, detail: string): void {
    if (this.#findings.some((finding) => finding.checker === checker)) return;
    this.#findings.push({ checker, detail });
    this.#trace.add(`VIOLATION of ${checker}: ${detail}`);
  }

  // ---- nodes ------------------------------------------------------------------------------------------------------

  /** Also one that is just coming up. */
  #byName(name: string): RunningNode | undefined {
    const running = this.#running.get(name);
    return running?.process.alive === true ? running : undefined;
  }

  #onNode(name: string, node: Node, process: SimProcess): void {
    const parts = new LiveParts(node as Node & { inspect(): NodeParts });
    const running: RunningNode = { name, node, process, parts };
    this.#running.set(name, running);
    this.#instances.set(parts.instance, running);
    this.#trace.add(`${name} has come up as ${parts.instance}`);
    void node.stopped.then((error) => this.#onStopped(running, error));
  }

  /** As an agent does: when its node has stopped, the process ends; if it had to, something starts it again. */
  #onStopped(running: RunningNode, error: Error | undefined): void {
    if (!running.process.alive) return;
    this.#trace.add(`${running.name} has stopped: ${error === undefined ? 'in order' : messageOf(error)}`);
    running.process.kill();
    if (error === undefined) return;
    if (!isExpected(error)) this.report('no-escaped-error', `${running.name} stopped by itself: ${error.stack ?? error.message}`);
    this.#superviseRestart(running.name);
  }

  #onFailedStart(name: string, error: unknown, process: SimProcess): void {
    this.#trace.add(`${name} did not start: ${messageOf(error)}`);
    process.kill();
    if (!isExpected(error)) this.report('no-escaped-error', `${name} did not start: ${error instanceof Error ? (error.stack ?? '') : messageOf(error)}`);
    this.#superviseRestart(name);
  }

  #superviseRestart(name: string): void {
    this.#world.scheduler.after(1000, () => {
      if (this.#cluster.host(name).up && this.#cluster.process(name) === undefined) this.#cluster.restart(name);
    });
  }

  #isAlive(instance: string): boolean {
    const running = this.#instances.get(instance);
    if (running === undefined) return this.#cluster.names.some((name) => this.#cluster.process(name) !== undefined && !this.#running.has(name));
    return running.process.alive && !running.parts.closed && !this.#leaving.has(instance);
  }

  #wipe(keyspace: string, partition: number): void {
    this.#lossesAccepted++;
    const mark = this.#lostMarks.get(`${keyspace}/${partition}`) ?? this.#history.mark();
    const isThere = (key: string): boolean => {
      const bytes = encodeUtf8(key);
      return partitionOf(hashKey(bytes, 0, bytes.length), this.#plan.keyspace.partitions) === partition;
    };
    this.#history.wiped(this.#world.scheduler.now, this.#workload.keys().filter(isThere), mark);
  }

  // ---- the loop ---------------------------------------------------------------------------------------------------

  #afterEvent(): void {
    const nodes: RunningNode[] = [];
    let paused = 0;
    for (const running of this.#running.values()) {
      if (!running.process.alive) continue;
      nodes.push(running);
      if (running.process.paused) paused++;
    }
    this.#nodes = nodes;
    const { now } = this.#world.scheduler;
    for (const checker of this.#checkers) checker.afterEvent(now, nodes);
    // Whoever was resumed a moment ago has seen by now what it missed.
    if (paused < this.#pausedBefore) this.#world.scheduler.after(0.001, () => this.#onePlace.checkAll());
    this.#pausedBefore = paused;
    if (this.#workload.openCount > 0) this.#workload.sweep();
    if (this.#findings.length > 0) throw new Stop();
  }

  async #runWhile(condition: () => boolean, limitMs: number): Promise<boolean> {
    const { scheduler } = this.#world;
    const until = scheduler.now + limitMs;
    await microtasksDrained();
    while (condition()) {
      if (!scheduler.step(until)) {
        await scheduler.runUntil(until);
        return !condition();
      }
      await microtasksDrained();
      this.#afterEvent();
    }
    return true;
  }

  async play(): Promise<RunResult> {
    try {
      await this.#boot();
      await this.#safetyPhase();
      await this.#livenessPhase();
    } catch (error) {
      if (!(error instanceof Stop)) this.report('no-escaped-error', error instanceof Error ? (error.stack ?? error.message) : String(error));
    }
    for (const { node, error } of this.#cluster.errors) this.report('no-escaped-error', `${node}: ${messageOf(error)}`);
    this.#judgeHistory();
    return this.#result();
  }

  async #boot(): Promise<void> {
    const { scheduler } = this.#world;
    this.#trace.add(`seed ${this.#options.seed}: ${JSON.stringify(this.#plan)}`);
    const together = this.#faultRandom.chance(0.5);
    for (const name of this.#cluster.names) scheduler.after(together ? 0 : this.#faultRandom.float() * 3000, () => this.#cluster.start(name));
    await this.#settle('boot', bootLimitMs);
    this.#trace.add('the cluster has come up');
  }

  /** Runs until the cluster is as it should be; a violation if that takes too long. */
  async #settle(phase: string, limitMs: number): Promise<void> {
    let why: string | undefined = 'nothing has happened';
    let nextLook = 0;
    const { scheduler } = this.#world;
    const settled = await this.#runWhile(() => {
      if (scheduler.now < nextLook) return true;
      nextLook = scheduler.now + 20;
      why = unsettled(this.#plan.nodes, this.#nodes, this.#onePlace, this.#plan.lastNode);
      return why !== undefined;
    }, limitMs);
    if (!settled) this.report(`liveness (${phase})`, `after ${limitMs} ms of simulated time ${why ?? ''}`);
    if (this.#findings.length > 0) throw new Stop();
  }

  // ---- safety -----------------------------------------------------------------------------------------------------

  async #safetyPhase(): Promise<void> {
    this.#workload.start();
    const { only, without } = this.#options;
    const mild = this.#plan.severity === 'mild';
    const kinds = (only ?? this.#plan.faults).filter((kind) => without?.includes(kind) !== true);
    const operator = this.#operator();
    const playing = mild ? this.#playMild(kinds) : this.#playWild(kinds);
    playing.catch((error: unknown) => this.report('no-escaped-error', messageOf(error)));
    let over = false;
    void playing.then(() => (over = true));
    await this.#runWhile(() => !over, this.#plan.safetyMs + 120_000);
    void operator;
  }

  #context(): FaultContext {
    return {
      cluster: this.#cluster, world: this.#world, random: this.#faultRandom,
      nodes: () => this.#nodes,
      sleep: (ms) => this.#sleep(ms),
      trace: (text) => this.#trace.add(text),
      isOver: () => this.#faultsOver,
      whole: (limitMs) => this.#whole(limitMs),
      leaving: (instance) => this.#leaving.add(instance),
      order: (what, work) => void work.then(() => this.#trace.add(`order done: ${what}`), (error: unknown) => this.#trace.add(`order refused: ${what}: ${messageOf(error)}`)),
    };
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => void this.#world.scheduler.after(ms, resolve));
  }

  async #whole(limitMs: number): Promise<boolean> {
    const deadline = this.#world.scheduler.now + limitMs;
    while (this.#world.scheduler.now < deadline) {
      await this.#sleep(50);
      if (this.#nodes.length === this.#plan.nodes && this.#cluster.isHealthy()) return true;
    }
    return false;
  }

  async #playMild(kinds: readonly FaultKind[]): Promise<void> {
    const end = this.#world.scheduler.now + this.#plan.safetyMs;
    const context = this.#context();
    while (this.#world.scheduler.now < end) {
      await this.#sleep(this.#faultRandom.float() * 1000);
      const kind = this.#faultRandom.pick(kinds);
      if (kind === undefined) continue;
      this.#faults++;
      await faultKinds[kind](context);
      if (!(await this.#whole(mendLimitMs))) {
        const why = unsettled(this.#plan.nodes, this.#nodes, this.#onePlace, this.#plan.lastNode);
        this.report('liveness (one fault)', `${mendLimitMs} ms after the fault ${kind} was over: ${why ?? 'unhealthy'}`);
        return;
      }
    }
  }

  async #playWild(kinds: readonly FaultKind[]): Promise<void> {
    const end = this.#world.scheduler.now + this.#plan.safetyMs;
    const context = this.#context();
    const playing = new Set<Promise<void>>();
    while (this.#world.scheduler.now < end) {
      await this.#sleep(-Math.log(1 - this.#faultRandom.float()) * this.#plan.faultEveryMs);
      const kind = this.#faultRandom.pick(kinds);
      if (kind === undefined || playing.size >= 6) continue;
      this.#faults++;
      const fault = faultKinds[kind](context);
      playing.add(fault);
      void fault.then(() => playing.delete(fault));
    }
    this.#faultsOver = true;
  }

  /** Accepts losses as an operator would who sees them in `status`. */
  async #operator(): Promise<void> {
    for (;;) {
      await this.#sleep(300 + this.#faultRandom.below(2000));
      const running = this.#faultRandom.pick(this.#nodes.filter(({ process, parts }) => !process.paused && !parts.closed));
      if (running === undefined || running.node.status().partitions.lost === 0) continue;
      this.#trace.add(`the operator accepts the loss at ${running.name}`);
      this.#context().order('accept loss', running.node.acceptLoss('default'));
    }
  }

  // ---- liveness ---------------------------------------------------------------------------------------------------

  async #livenessPhase(): Promise<void> {
    const { scheduler, network } = this.#world;
    this.#trace.add('HEAL everything');
    const healedAt = scheduler.now;
    this.#apps.failing = false;
    for (const name of this.#cluster.names) this.#mend(name);
    network.links.reset();
    // Faults that were under way may still end what they began; mend once more after the longest of them.
    await this.#runWhile(() => true, afterHealMs);
    this.#undoOrders();
    await this.#settle('healed', settleLimitMs);
    this.#settledMs = scheduler.now - healedAt;
    this.#trace.add(`settled after ${this.#settledMs.toFixed(0)} ms`);
    this.#workload.stop();
    const answered = await this.#runWhile(() => this.#workload.openCount > 0, 11_000);
    if (!answered) this.report('liveness (answers)', `calls are still open: ${this.#workload.openOperations().slice(0, 3).map(describeOperation).join('; ')}`);
    await this.#readBack();
    await this.#settle('read back', settleLimitMs);
  }

  #mend(name: string): void {
    const host = this.#cluster.host(name);
    host.disk.faults.full = false;
    host.disk.faults.delayMinMs = 0.2;
    host.disk.faults.delayMaxMs = 1;
    const process = this.#cluster.process(name);
    if (process?.paused === true) process.resume();
    if (process === undefined) this.#cluster.restart(name);
  }

  #undoOrders(): void {
    const by = this.#nodes[0];
    if (by === undefined) return;
    for (const name of this.#cluster.names) this.#context().order('undrain', by.node.drainNode(name, false));
    for (const { name } of this.#plan.apps) {
      this.#context().order('want', by.node.app(name, { type: 'want', wanted: 'started' }));
      for (const node of this.#cluster.names) this.#context().order('permit', by.node.app(name, { type: 'permit', node, allowed: true }));
    }
  }

  async #readBack(): Promise<void> {
    const keys = this.#workload.keys();
    let open = 0;
    for (const key of keys) {
      const node = this.#faultRandom.pick(this.#nodes);
      if (node === undefined) return;
      open++;
      void this.#workload.read(node, key).then(() => open--);
      if (open >= 50) await this.#runWhile(() => open >= 50, 15_000);
    }
    await this.#runWhile(() => open > 0, 15_000);
    const reads = this.#history.operations.slice(-keys.length);
    const bad = reads.find((operation) => operation.kind === 'get' && operation.outcome !== 'done');
    if (bad !== undefined) this.report('liveness (read back)', `a key of a healthy cluster cannot be read: ${describeOperation(bad)}`);
  }

  // ---- verdicts ---------------------------------------------------------------------------------------------------

  #judgeHistory(): void {
    // A gap in what was seen of the agreed log would switch the checks of the map off.
    if (this.#findings.length === 0 && this.#shadow.appliedIndex < this.#raft.committedCount) this.report('simulator', `of ${this.#raft.committedCount} committed entries only ${this.#shadow.appliedIndex} were followed`);
    const { now } = this.#world.scheduler;
    for (const operation of this.#workload.openOperations()) this.#history.unknown(now, operation, 'END');
    const escaped = this.#history.operations.find((operation) => operation.code.startsWith('ESCAPED'));
    if (escaped !== undefined) this.report('no-escaped-error', describeOperation(escaped));
    const byKey = this.#history.byKey();
    checkKeptWrites(byKey, (checker, detail) => this.report(checker, detail));
    for (const operations of byKey.values()) {
      const verdict = checkKey(operations);
      if (verdict.type === 'violation') this.report('linearizability', verdict.explanation);
      if (verdict.type === 'undecided') this.#undecidedKeys++;
    }
  }

  #result(): RunResult {
    const { operations } = this.#history;
    return {
      seed: this.#options.seed, plan: this.#plan, findings: this.#findings, simulatedMs: this.#world.scheduler.now, faults: this.#faults, operations: operations.length,
      unknown: operations.filter((operation) => operation.outcome === 'unknown').length, failed: operations.filter((operation) => operation.outcome === 'failed').length,
      appStarts: this.#onePlace.startCount, events: this.#world.scheduler.eventCount, undecidedKeys: this.#undecidedKeys, settledMs: this.#settledMs,
      lossesAccepted: this.#lossesAccepted, digest: this.#trace.digest, tail: this.#trace.tail,
    };
  }
}

function isExpected(error: unknown): boolean {
  return error instanceof TroupeError && diskCodes.includes(error.code);
}

/** The parts as they are at the time of asking; those that never change are asked for once. */
class LiveParts implements NodeParts {
  readonly #node: { inspect(): NodeParts };
  readonly instance: string;
  readonly consensus: NodeParts['consensus'];
  readonly session: NodeParts['session'];
  readonly store: NodeParts['store'];
  readonly requests: NodeParts['requests'];

  constructor(node: { inspect(): NodeParts }) {
    this.#node = node;
    const { instance, consensus, session, store, requests } = node.inspect();
    this.instance = instance;
    this.consensus = consensus;
    this.session = session;
    this.store = store;
    this.requests = requests;
  }

  get closed(): boolean {
    return this.#node.inspect().closed;
  }
}
