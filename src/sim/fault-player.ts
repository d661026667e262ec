/** Plays a seed's faults: one after the other, or as they come; and the operator who sees to what they break. */
import { messageOf } from '../base/errors.ts';
import type { Prng } from '../base/prng.ts';
import type { RunningNode } from './checkers/checker.ts';
import { faultKinds } from './faults.ts';
import type { FaultKind } from './faults.ts';
import type { FaultContext } from './fault-tools.ts';
import type { SimPlan } from './plan.ts';
import type { SimCluster } from './sim-cluster.ts';
import type { SimWorld } from './sim-world.ts';
import type { Trace } from './trace.ts';

const mendLimitMs = 30_000;
/** A node carries an order to the leader for this long at the most, and a little more (ms). */
const orderLimitMs = 11_000;

export interface FaultPlayerOptions {
  readonly plan: SimPlan;
  readonly cluster: SimCluster;
  readonly world: SimWorld;
  readonly random: Prng;
  readonly trace: Trace;
  nodes(): readonly RunningNode[];
  report(checker: string, detail: string): void;
  /** The node is about to stop by itself. */
  leaving(instance: string): void;
  /** Why the cluster is not as it should be. */
  unsettled(): string | undefined;
}

export class FaultPlayer {
  readonly #options: FaultPlayerOptions;
  #count = 0;
  #isOver = false;
  /** Orders that have not been answered, with the times at which they were given. */
  readonly #openOrders = new Map<Promise<unknown>, number>();

  constructor(options: FaultPlayerOptions) {
    this.#options = options;
  }

  /** Faults played so far. */
  get count(): number {
    return this.#count;
  }

  async play(kinds: readonly FaultKind[]): Promise<void> {
    await (this.#options.plan.severity === 'mild' ? this.#playMild(kinds) : this.#playWild(kinds));
  }

  /** An order of the operator's; what becomes of it is only told to the trace. */
  order(what: string, work: Promise<unknown>): void {
    const { trace, world } = this.#options;
    this.#openOrders.set(work, world.scheduler.now);
    const over = (): void => void this.#openOrders.delete(work);
    void work.then(over, over);
    void work.then(() => trace.add(`order done: ${what}`), (error: unknown) => trace.add(`order refused: ${what}: ${messageOf(error)}`));
  }

  /** One that was given may still be carried out, after whatever is ordered next. */
  get hasOpenOrders(): boolean {
    const { now } = this.#options.world.scheduler;
    return [...this.#openOrders.values()].some((givenAt) => now - givenAt < orderLimitMs);
  }

  #context(): FaultContext {
    return {
      cluster: this.#options.cluster, world: this.#options.world, random: this.#options.random, wallJumpMs: this.#options.plan.extras?.wallJumpMs ?? 3_600_000,
      nodes: () => this.#options.nodes(),
      sleep: (ms) => this.#sleep(ms),
      trace: (text) => this.#options.trace.add(text),
      isOver: () => this.#isOver,
      whole: (limitMs) => this.#whole(limitMs),
      allVote: (limitMs) => this.#allVote(limitMs),
      leaving: (instance) => this.#options.leaving(instance),
      order: (what, work) => this.order(what, work),
    };
  }

  async #sleep(ms: number): Promise<void> {
    await new Promise<void>((resolve) => void this.#options.world.scheduler.after(ms, resolve));
  }

  async #whole(limitMs: number): Promise<boolean> {
    const deadline = this.#options.world.scheduler.now + limitMs;
    while (this.#options.world.scheduler.now < deadline) {
      await this.#sleep(50);
      if (this.#options.nodes().length === this.#options.plan.nodes && this.#options.cluster.isHealthy()) return true;
    }
    return false;
  }

  async #allVote(limitMs: number): Promise<boolean> {
    const { world, plan } = this.#options;
    const eligible = plan.extras === undefined ? plan.nodes : plan.extras.roles.filter(({ voter }) => voter).length;
    const wanted = eligible - (eligible % 2 === 0 ? 1 : 0);
    for (const deadline = world.scheduler.now + limitMs; world.scheduler.now < deadline; await this.#sleep(50)) {
      const leader = this.#options.nodes().find(({ parts }) => parts.consensus.leading);
      if (leader === undefined) continue;
      const live = Object.values(leader.node.map.nodes).filter((node) => node.live).map((node) => node.raftId);
      const { voters } = leader.parts.consensus.raft.configuration;
      if (voters.length >= wanted && voters.every((id) => live.includes(id))) return true;
    }
    return false;
  }

  async #playMild(kinds: readonly FaultKind[]): Promise<void> {
    const end = this.#options.world.scheduler.now + this.#options.plan.safetyMs;
    const context = this.#context();
    while (this.#options.world.scheduler.now < end) {
      await this.#sleep(this.#options.random.float() * 1000);
      const kind = this.#options.random.pick(kinds);
      if (kind === undefined) continue;
      this.#count++;
      await faultKinds[kind](context);
      if (!(await this.#whole(mendLimitMs))) {
        const why = this.#options.unsettled();
        this.#options.report('liveness (one fault)', `${mendLimitMs} ms after the fault ${kind} was over: ${why ?? 'unhealthy'}`);
        return;
      }
    }
  }

  async #playWild(kinds: readonly FaultKind[]): Promise<void> {
    const end = this.#options.world.scheduler.now + this.#options.plan.safetyMs;
    const context = this.#context();
    const playing = new Set<Promise<void>>();
    while (this.#options.world.scheduler.now < end) {
      await this.#sleep(-Math.log(1 - this.#options.random.float()) * this.#options.plan.faultEveryMs);
      const kind = this.#options.random.pick(kinds);
      if (kind === undefined || playing.size >= 6) continue;
      this.#count++;
      const fault = faultKinds[kind](context);
      playing.add(fault);
      void fault.then(() => playing.delete(fault));
    }
    this.#isOver = true;
  }

  /** Accepts losses as an operator would who sees them in `status`. */
  async operate(): Promise<void> {
    for (;;) {
      await this.#sleep(300 + this.#options.random.below(2000));
      const running = this.#options.random.pick(this.#options.nodes().filter(({ process, parts }) => !process.paused && !parts.closed));
      if (running === undefined || running.node.status().partitions.lost === 0) continue;
      this.#options.trace.add(`the operator accepts the loss at ${running.name}`);
      for (const name of Object.keys(this.#options.plan.extras?.keyspaces ?? { default: true })) this.order(`accept loss of ${name}`, running.node.acceptLoss(name));
    }
  }
}
