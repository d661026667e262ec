/**
 * `troupe/testing`: whole clusters of the shipped node code on a simulated clock, network and disk, in one process.
 * Equal seeds give equal runs.
 */
import { runSeed } from './run-seed.ts';
import type { RunOptions, RunResult } from './run-seed.ts';
import { addResult, emptySummary } from './summary.ts';
import type { SimSummary } from './summary.ts';

export interface SimulateOptions extends Omit<RunOptions, 'seed'> {
  /** The first seed; default 1. */
  readonly seed?: number;
  /** How many seeds to play, one after the other; default 1. */
  readonly seeds?: number;
  /** Called after each seed. */
  readonly onResult?: (result: RunResult) => void;
}

/** Plays clusters through faults under load and checks what Troupe promises. Takes about a second per seed. */
export async function simulate(options: SimulateOptions = {}): Promise<SimSummary> {
  const { seed = 1, seeds = 1, onResult, ...run } = options;
  let summary = emptySummary;
  for (let i = 0; i < seeds; i++) {
    const result = await runSeed({ ...run, seed: seed + i });
    onResult?.(result);
    summary = addResult(summary, result);
  }
  return summary;
}

export type { RunResult, SimSummary };
export type { Finding, RunOptions } from './run-seed.ts';
export type { PlanLimits, SimPlan } from './plan.ts';
export type { FaultKind } from './faults.ts';
export { faultKinds } from './faults.ts';
export type { LinkSettings } from './links.ts';
export type { SimClusterOptions } from './sim-cluster.ts';
export { SimCluster, simKeyspace } from './sim-cluster.ts';
export type { SimWorldOptions } from './sim-world.ts';
export { SimWorld } from './sim-world.ts';
