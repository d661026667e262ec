import type { RunResult } from './run-seed.ts';

export interface SimViolation {
  readonly seed: number;
  readonly checker: string;
  /** The command that plays it again. */
  readonly replay: string;
  readonly detail: string;
}

export interface SimSummary {
  readonly ok: boolean;
  readonly seeds: number;
  readonly simulatedHours: number;
  readonly faults: number;
  readonly operations: number;
  readonly violations: readonly SimViolation[];
}

export const emptySummary: SimSummary = { ok: true, seeds: 0, simulatedHours: 0, faults: 0, operations: 0, violations: [] };

/** @param extra options besides the seed that a replay needs */
export function addResult(summary: SimSummary, result: RunResult, extra: string = ''): SimSummary {
  const violations = result.findings.map(({ checker, detail }) => ({ seed: result.seed, checker, replay: `npm run sim -- --seed ${result.seed}${extra}`, detail }));
  return {
    ok: summary.ok && violations.length === 0,
    seeds: summary.seeds + 1,
    simulatedHours: summary.simulatedHours + result.simulatedMs / 3_600_000,
    faults: summary.faults + result.faults,
    operations: summary.operations + result.operations,
    violations: [...summary.violations, ...violations],
  };
}
