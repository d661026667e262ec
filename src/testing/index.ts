/**
 * `troupe/testing`: whole clusters of the shipped node code on a simulated clock, network and disk, in one process; and
 * the suite that discovery strategies, ours and yours, have to pass.
 */
export * from '../sim/index.ts';
export { strategyConformance } from './strategy-conformance.ts';
export type { ConformanceCase, StrategyRig } from './strategy-conformance.ts';
export { strategyPorts } from './strategy-ports.ts';
export { SinkRecorder } from './sink-recorder.ts';
