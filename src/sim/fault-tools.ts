/** What the faults are made with. */
import type { Prng } from '../base/prng.ts';
import type { RunningNode } from './checkers/checker.ts';
import type { SimCluster } from './sim-cluster.ts';
import type { SimWorld } from './sim-world.ts';

export interface FaultContext {
  readonly cluster: SimCluster;
  readonly world: SimWorld;
  readonly random: Prng;
  /** Nodes whose processes live and that have come up. */
  nodes(): readonly RunningNode[];
  sleep(ms: number): Promise<void>;
  trace(text: string): void;
  /** How far wall clocks may jump (ms). */
  readonly wallJumpMs: number;
  /** Everything is being mended: nothing more may be broken. */
  isOver(): boolean;
  /** Waits until the cluster is whole again; false when it took longer. */
  whole(limitMs: number): Promise<boolean>;
  /** Waits until as many vote as can, all of them live: only then may a disk be taken away for good. False when it took longer. */
  allVote(limitMs: number): Promise<boolean>;
  /** The node is about to stop by itself. */
  leaving(instance: string): void;
  /** An order of the operator's; what becomes of it is only told to the trace. */
  order(what: string, work: Promise<unknown>): void;
}

/** Plays one fault from beginning to end, however long that takes. What it broke, it mends, or the liveness phase does. */
export type Fault = (context: FaultContext) => Promise<void>;

export function pickName({ cluster, random }: FaultContext): string {
  return random.pick(cluster.names) as string;
}

export function between(random: Prng, from: number, to: number): number {
  return from + random.float() * (to - from);
}

/** Some of the names, at least one, at most all but one. */
export function someNames({ cluster, random }: FaultContext): [string[], string[]] {
  const names = random.shuffle([...cluster.names]);
  const count = 1 + random.below(Math.max(1, names.length - 1));
  return [names.slice(0, count), names.slice(count)];
}

export async function kill(context: FaultContext, name: string, downMs: number): Promise<void> {
  context.trace(`FAULT kill -9 ${name}, back in ${downMs.toFixed(0)} ms`);
  context.cluster.kill(name);
  await context.sleep(downMs);
  context.cluster.restart(name);
}

export async function withLinks(context: FaultContext, pairs: readonly (readonly [string, string])[], settings: Parameters<SimWorld['network']['links']['set']>[2], ms: number): Promise<void> {
  const { links } = context.world.network;
  const before = pairs.map(([from, to]) => links.get(from, to));
  for (const [from, to] of pairs) links.set(from, to, settings);
  await context.sleep(ms);
  // What was before may have been another fault's, and all links are mended by now.
  if (context.isOver()) return;
  pairs.forEach(([from, to], index) => {
    const old = before[index];
    if (old !== undefined) links.set(from, to, Object.fromEntries(Object.keys(settings).map((key) => [key, old[key as keyof typeof old]])));
  });
}

export function allPairs(from: readonly string[], to: readonly string[]): [string, string][] {
  return from.flatMap((a) => to.filter((b) => b !== a).map((b): [string, string] => [a, b]));
}

export async function cut(context: FaultContext, what: string, pairs: readonly (readonly [string, string])[], ms: number): Promise<void> {
  context.trace(`FAULT ${what} for ${ms.toFixed(0)} ms: ${pairs.map(([from, to]) => `${from}→${to}`).join(' ')}`);
  for (const [from, to] of pairs) context.world.network.links.set(from, to, { blocked: true });
  await context.sleep(ms);
  for (const [from, to] of pairs) context.world.network.links.set(from, to, { blocked: false });
  context.trace(`the cut is mended: ${what}`);
}

/** A node that takes orders. */
export function someNode(context: FaultContext): RunningNode | undefined {
  return context.random.pick(context.nodes().filter(({ process }) => !process.paused));
}
