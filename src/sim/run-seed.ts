/** One seed from beginning to end: boot, safety phase (faults under load), liveness phase (all healed), then the verdicts. */
import { messageOf } from '../base/errors.ts';
import { Prng } from '../base/prng.ts';
import type { KeyspaceOptions } from '../core/control/map.ts';
import type { NodeOptions, NodePorts } from '../node/node-types.ts';
import { AppRecorder } from './app-recorder.ts';
import { microtasksDrained } from './barrier.ts';
import { BoundedMemory } from './checkers/bounded-memory.ts';
import type { Checker, RunningNode } from './checkers/checker.ts';
import { checkKeptWrites } from './checkers/kept-writes.ts';
import { LostTails } from './checkers/lost-tails.ts';
import { checkOrigins } from './checkers/origins.ts';
import { checkKey } from './checkers/linearizability.ts';
import { OnePlace } from './checkers/one-place.ts';
import { OnePrimary } from './checkers/one-primary.ts';
import { RaftInvariants } from './checkers/raft-invariants.ts';
import { ShadowMap } from './checkers/shadow-map.ts';
import type { Tamper } from './calls.ts';
import { FaultPlayer } from './fault-player.ts';
import { holdsOut } from './faults.ts';
import type { FaultKind } from './faults.ts';
import { describeOperation, History } from './history.ts';
import { unsettled } from './liveness.ts';
import { drawPlan } from './plan.ts';
import type { PlanLimits, SimPlan } from './plan.ts';
import { Population } from './population.ts';
import { SimCluster } from './sim-cluster.ts';
import { SimWorld } from './sim-world.ts';
import { Trace } from './trace.ts';
import { isInPartition, Workload } from './workload.ts';

export interface RunOptions extends PlanLimits {
  readonly seed: number;
  /** Only these kinds of fault; default all. */
  readonly only?: readonly FaultKind[] | undefined;
  readonly without?: readonly FaultKind[] | undefined;
  /** Gets every line of the trace as it comes. */
  readonly onLine?: ((line: string) => void) | undefined;
  /** The last word on what is played. */
  readonly adjustPlan?: ((plan: SimPlan) => SimPlan) | undefined;
  /** The last word on every node's options, ports and requests: for planted errors. */
  readonly adjust?: ((options: NodeOptions) => NodeOptions) | undefined;
  readonly adjustPorts?: ((ports: NodePorts) => NodePorts) | undefined;
  readonly tamper?: Tamper | undefined;
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
  /** How often the newest writes of a partition may have been lost, by the promise of its keyspace. */
  readonly tailsLost: number;
  /** Equal runs have equal digests. */
  readonly digest: string;
  readonly tail: readonly string[];
}

const bootLimitMs = 30_000;
const settleLimitMs = 30_000;
const afterHealMs = 2000;

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
  readonly #population: Population;
  readonly #lostMarks = new Map<string, number>();
  readonly #checkers: Checker[];
  readonly #raft: RaftInvariants;
  readonly #onePlace: OnePlace;
  readonly #shadow: ShadowMap;
  readonly #apps: AppRecorder;
  readonly #lostTails: LostTails;
  readonly #player: FaultPlayer;
  readonly #walls = { least: Infinity, most: -Infinity };
  #nodes: readonly RunningNode[] = [];
  #lossesAccepted = 0;
  #undecidedKeys = 0;
  #settledMs = 0;
  #pausedBefore = 0;
  #tailsLost = 0;

  constructor(options: RunOptions) {
    this.#options = options;
    const random = new Prng(options.seed ^ 0x5eed);
    const plan = drawPlan(random.fork(), new Prng(options.seed ^ 0xe87a), options);
    this.#plan = options.adjustPlan?.(plan) ?? plan;
    this.#faultRandom = random.fork();
    const workloadRandom = random.fork();
    const appRandom = random.fork();
    this.#world = new SimWorld({ seed: options.seed, network: { link: this.#plan.link } });
    const { scheduler } = this.#world;
    this.#trace = new Trace(() => scheduler.now, options.onLine);
    const report = (checker: string, detail: string): void => this.report(checker, detail);
    this.#onePlace = new OnePlace(report);
    this.#shadow = new ShadowMap(report, {
      isAlive: (instance) => this.#population.isAlive(instance),
      lost: (keyspace, partition) => {
        this.#trace.add(`partition ${keyspace}/${partition} is LOST`);
        this.#lostMarks.set(`${keyspace}/${partition}`, this.#history.mark());
      },
      lossAccepted: (keyspace, partition) => this.#wipe(keyspace, partition),
      command: (command) => {
        this.#trace.add(`map ${this.#shadow.appliedIndex} ${JSON.stringify(command)}`);
        this.#lostTails.followMap();
      },
    });
    this.#lostTails = new LostTails(this.#shadow.map, {
      promised: (keyspace) => this.#plan.extras?.keyspaces[keyspace]?.options.acks ?? this.#plan.keyspace.acks,
      mark: (keyspace, partition) => ({ place: this.#history.mark(), underWay: this.#history.underWay(keyspace, (key) => isInPartition(key, partition, this.#partitionsOf(keyspace))) }),
      lostTail: (keyspace, partition, mark) => {
        this.#trace.add(`the newest writes of partition ${keyspace}/${partition} may be lost`);
        this.#tailsLost++;
        this.#history.rolledBack(scheduler.now, keyspace, this.#keysOf(keyspace, partition), mark.place, mark.underWay, this.#plan.extras?.keyspaces[keyspace]?.expires === true);
      },
    });
    this.#raft = new RaftInvariants(report, this.#shadow);
    this.#checkers = [new OnePrimary(report), this.#raft, new BoundedMemory(report)];
    // A keyspace under weaker promises than this one is judged by them only in the extended workload.
    if (this.#plan.extras !== undefined) this.#checkers.push(this.#lostTails);
    this.#apps = new AppRecorder(appRandom, this.#plan.extras?.slowApps === true ? new Prng(options.seed ^ 0x510a) : undefined, this.#trace, this.#onePlace, (name) => this.#population.byName(name));
    this.#cluster = new SimCluster(this.#world, {
      nodes: this.#plan.nodes, keyspace: this.#plan.keyspace, keyspaces: keyspacesOf(this.#plan), zone: (index) => this.#plan.extras?.zones[index] ?? '', role: (index) => this.#plan.extras?.roles[index], apps: this.#plan.apps, healAfterMs: this.#plan.healAfterMs, lastNode: this.#plan.lastNode, lateMaxMs: this.#plan.lateMaxMs,
      drift: (index) => this.#plan.drift[index] ?? 0,
      programs: (node) => this.#apps.programs(node),
      loadModule: async (specifier, node) => await this.#apps.module(specifier, node),
      prepareFiles: async (node) => await this.#apps.linger(node),
      onLog: (node, line) => {
        const text = `${node} ${line.level} ${line.message} ${JSON.stringify(line.fields)}`;
        if (line.level === 'debug' || line.level === 'trace') this.#trace.hash(text);
        else this.#trace.add(text);
      },
      onNode: (name, node, process) => this.#population.onNode(name, node, process),
      onFailedStart: (name, error, process) => this.#population.onFailedStart(name, error, process),
      adjust: (node) => {
        const own = this.#plan.logs === undefined ? node : { ...node, logs: this.#plan.logs };
        return options.adjust?.(own) ?? own;
      },
      adjustPorts: (ports) => options.adjustPorts?.(ports) ?? ports,
    });
    this.#population = new Population(this.#cluster, scheduler, this.#trace, report);
    this.#workload = new Workload({
      plan: this.#plan, random: workloadRandom, scheduler, history: this.#history, nodes: () => this.#nodes, onReturn: (operation) => this.#trace.add(`call ${describeOperation(operation)}`),
      walls: this.#walls, tamper: options.tamper,
    });
    this.#player = new FaultPlayer({
      plan: this.#plan, cluster: this.#cluster, world: this.#world, random: this.#faultRandom, trace: this.#trace, nodes: () => this.#nodes, report,
      leaving: (instance) => this.#population.leaving(instance), unsettled: () => this.#unsettled(),
    });
  }

  report(checker: string, detail: string): void {
    if (this.#findings.some((finding) => finding.checker === checker)) return;
    this.#findings.push({ checker, detail });
    this.#trace.add(`VIOLATION of ${checker}: ${detail}`);
  }

  #wipe(keyspace: string, partition: number): void {
    this.#lossesAccepted++;
    const mark = this.#lostMarks.get(`${keyspace}/${partition}`) ?? this.#history.mark();
    const partitions = this.#partitionsOf(keyspace);
    this.#history.wiped(this.#world.scheduler.now, (key) => isInPartition(key, partition, partitions), mark, keyspace);
  }

  #keysOf(keyspace: string, partition: number): string[] {
    return this.#workload.keysOf(keyspace, partition, this.#partitionsOf(keyspace));
  }

  #partitionsOf(keyspace: string): number {
    return this.#shadow.map.keyspaces[keyspace]?.partitions.length ?? 1;
  }

  // ---- the loop ---------------------------------------------------------------------------------------------------

  #afterEvent(): void {
    const nodes: RunningNode[] = [];
    let paused = 0;
    for (const running of this.#population.all()) {
      if (!running.process.alive) continue;
      nodes.push(running);
      if (running.process.paused) paused++;
    }
    this.#nodes = nodes;
    const { now } = this.#world.scheduler;
    for (const checker of this.#checkers) checker.afterEvent(now, nodes);
    for (const { process } of nodes) {
      const ahead = process.clock.wallTime() - now;
      if (ahead < this.#walls.least) this.#walls.least = ahead;
      if (ahead > this.#walls.most) this.#walls.most = ahead;
    }
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
      why = this.#unsettled();
      return why !== undefined;
    }, limitMs);
    if (!settled) this.report(`liveness (${phase})`, `after ${limitMs} ms of simulated time ${why ?? ''}`);
    if (this.#findings.length > 0) throw new Stop();
  }

  #unsettled(): string | undefined {
    return unsettled(this.#plan.nodes, this.#nodes, this.#onePlace, this.#plan.lastNode, (name) => this.#cluster.zoneOf(name), (name) => this.#cluster.roleOf(name));
  }

  // ---- safety -----------------------------------------------------------------------------------------------------

  async #safetyPhase(): Promise<void> {
    this.#workload.start();
    const { only, without } = this.#options;
    const kinds = (only ?? [...this.#plan.faults, ...(this.#plan.extras?.faults ?? [])]).filter((kind) => without?.includes(kind) !== true && holdsOut(this.#plan, kind));
    void this.#player.operate();
    const playing = this.#player.play(kinds);
    playing.catch((error: unknown) => this.report('no-escaped-error', messageOf(error)));
    let over = false;
    void playing.then(() => (over = true));
    await this.#runWhile(() => !over, this.#plan.safetyMs + 120_000);
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
    // A node that a fault still keeps away is waited for: somebody must be there to take the orders.
    await this.#runWhile(() => this.#nodes.length < this.#cluster.names.length || this.#nodes[0]?.node.status().leader === undefined, settleLimitMs);
    // As an operator does who waits for the outcome of one order before giving the opposite one.
    await this.#runWhile(() => this.#player.hasOpenOrders, settleLimitMs);
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
    if (this.#plan.extras !== undefined) this.#player.order('end of maintenance', by.node.maintenance(false));
    for (const name of this.#cluster.names) this.#player.order('undrain', by.node.drainNode(name, false));
    for (const { name } of this.#plan.apps) {
      this.#player.order('want', by.node.app(name, { type: 'want', wanted: 'started' }));
      for (const node of this.#cluster.names) this.#player.order('permit', by.node.app(name, { type: 'permit', node, allowed: true }));
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
    const report = (checker: string, detail: string): void => this.report(checker, detail);
    checkKeptWrites(byKey, report);
    checkOrigins(byKey, report);
    for (const operations of byKey.values()) {
      const verdict = checkKey(operations);
      if (verdict.type === 'violation') this.report('linearizability', verdict.explanation);
      if (verdict.type === 'undecided') this.#undecidedKeys++;
    }
  }

  #result(): RunResult {
    const { operations } = this.#history;
    return {
      seed: this.#options.seed, plan: this.#plan, findings: this.#findings, simulatedMs: this.#world.scheduler.now, faults: this.#player.count, operations: operations.length,
      unknown: operations.filter((operation) => operation.outcome === 'unknown').length, failed: operations.filter((operation) => operation.outcome === 'failed').length,
      appStarts: this.#onePlace.startCount, events: this.#world.scheduler.eventCount, undecidedKeys: this.#undecidedKeys, settledMs: this.#settledMs,
      lossesAccepted: this.#lossesAccepted, tailsLost: this.#tailsLost, digest: this.#trace.digest, tail: this.#trace.tail,
    };
  }
}

function keyspacesOf({ extras }: SimPlan): Record<string, KeyspaceOptions> | undefined {
  return extras === undefined ? undefined : Object.fromEntries(Object.entries(extras.keyspaces).map(([name, { options }]) => [name, options]));
}
