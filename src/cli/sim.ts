/** `npm run sim`: plays seeds until one of them breaks what Troupe promises. */
import { fork } from 'node:child_process';
import { parseArgs } from 'node:util';
import { faultKinds } from '../sim/faults.ts';
import type { FaultKind } from '../sim/faults.ts';
import { noteUncaught, runSeed } from '../sim/run-seed.ts';
import type { RunOptions, RunResult } from '../sim/run-seed.ts';
import { addResult, emptySummary } from '../sim/summary.ts';
import type { SimSummary } from '../sim/summary.ts';

const usage = `npm run sim -- [--seeds N] [--seed S] [options]
  --seeds N         how many seeds to play (default 20)
  --seed S          the first of them; alone: only this one
  --json            print a summary as JSON as the last line
  --jobs N          processes to play in (default 1)
  --trace           print the end of the trace of each failing seed; twice: every line as it comes
  --keep-going      play on after a failing seed (the default with --seeds)
  --nodes N  --mild  --wild  --seconds N  --acks all|majority|one  --no-apps  --plain (one keyspace, simple calls)  --last-node never|on-refusal|on-silence      instead of what the seed draws
  --only KIND,…  --without KIND,…     kinds of faults: ${Object.keys(faultKinds).join(' ')}`;

interface Arguments {
  readonly first: number;
  readonly count: number;
  readonly json: boolean;
  readonly jobs: number;
  readonly trace: number;
  readonly run: Omit<RunOptions, 'seed'>;
  /** What a replay needs besides the seed. */
  readonly extra: string;
}

function readArguments(argv: string[]): Arguments {
  const { values } = parseArgs({
    args: argv,
    options: {
      'seeds': { type: 'string' }, 'seed': { type: 'string' }, 'json': { type: 'boolean' }, 'jobs': { type: 'string' }, 'trace': { type: 'boolean', multiple: true }, 'keep-going': { type: 'boolean' },
      'nodes': { type: 'string' }, 'mild': { type: 'boolean' }, 'wild': { type: 'boolean' }, 'seconds': { type: 'string' }, 'acks': { type: 'string' }, 'no-apps': { type: 'boolean' }, 'plain': { type: 'boolean' }, 'last-node': { type: 'string' },
      'only': { type: 'string' }, 'without': { type: 'string' }, 'help': { type: 'boolean' },
    },
  });
  if (values.help === true) {
    console.log(usage);
    process.exit(0);
  }
  const number = (name: 'seeds' | 'seed' | 'jobs' | 'nodes' | 'seconds', least: number): number | undefined => {
    const text = values[name];
    if (text === undefined) return undefined;
    const value = Number(text);
    if (!Number.isInteger(value) || value < least) throw new Error(`--${name} takes a whole number of at least ${least}, not '${text}'`);
    return value;
  };
  const kinds = (name: 'only' | 'without'): FaultKind[] | undefined => values[name]?.split(',').map((kind) => {
    if (!(kind in faultKinds)) throw new Error(`--${name}: there is no fault '${kind}'; there are ${Object.keys(faultKinds).join(', ')}`);
    return kind as FaultKind;
  });
  if (values.acks !== undefined && values.acks !== 'all' && values.acks !== 'majority' && values.acks !== 'one') throw new Error(`--acks takes all, majority or one, not '${values.acks}'`);
  const lastNode = values['last-node'];
  if (lastNode !== undefined && lastNode !== 'never' && lastNode !== 'on-refusal' && lastNode !== 'on-silence') throw new Error(`--last-node takes never, on-refusal or on-silence, not '${lastNode}'`);
  const seed = number('seed', 0);
  const extra = [
    ...(['nodes', 'seconds', 'acks', 'last-node', 'only', 'without'] as const).flatMap((name) => (values[name] === undefined ? [] : [`--${name} ${values[name]}`])),
    ...(['mild', 'wild', 'no-apps', 'plain'] as const).flatMap((name) => (values[name] === true ? [`--${name}`] : [])),
  ].map((part) => ` ${part}`).join('');
  return {
    first: seed ?? 1, count: number('seeds', 1) ?? (seed === undefined ? 20 : 1), json: values.json === true, jobs: number('jobs', 1) ?? 1, trace: values.trace?.length ?? 0, extra,
    run: {
      nodes: number('nodes', 1), safetySeconds: number('seconds', 1), severity: values.mild === true ? 'mild' : values.wild === true ? 'wild' : undefined, acks: values.acks as 'all' | 'majority' | 'one' | undefined,
      apps: values['no-apps'] === true ? false : undefined, extras: values.plain === true ? false : undefined, lastNode, only: kinds('only'), without: kinds('without'),
    },
  };
}

function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function playHere(args: Arguments, seeds: Iterable<number>, onResult: (result: RunResult, wallMs: number) => void): Promise<void> {
  for (const seed of seeds) {
    const start = process.hrtime.bigint();
    const result = await runSeed({ ...args.run, seed, ...(args.trace > 1 ? { onLine: (line: string) => console.log(line) } : {}) });
    onResult(result, Number((process.hrtime.bigint() - start) / 1_000_000n));
  }
}

/** Each child plays every N-th seed and sends its results. */
async function playInChildren(args: Arguments, onResult: (result: RunResult, wallMs: number) => void): Promise<void> {
  await Promise.all(Array.from({ length: args.jobs }, async (_, job) => {
    const child = fork(process.argv[1] as string, process.argv.slice(2), { env: { ...process.env, TROUPE_SIM_JOB: `${job}/${args.jobs}` }, execArgv: process.execArgv });
    child.on('message', (message) => {
      const { result, wallMs } = message as { result: RunResult; wallMs: number };
      onResult(result, wallMs);
    });
    const code = await new Promise<number | null>((resolve) => child.on('exit', resolve));
    if (code !== 0) throw new Error(`a process of the simulator ended with code ${code}`);
  }));
}

function* seedsOf(args: Arguments, job: number, jobs: number): Iterable<number> {
  for (let i = job; i < args.count; i += jobs) yield args.first + i;
}

function describe(args: Arguments, result: RunResult, wallMs: number): void {
  const { seed, plan, simulatedMs, faults, operations, unknown, failed, findings, settledMs, lossesAccepted, undecidedKeys } = result;
  const word = findings.length === 0 ? 'ok  ' : 'FAIL';
  say(`${word} seed ${seed}: ${plan.nodes} nodes ${plan.severity} acks ${plan.keyspace.acks}, ${(simulatedMs / 1000).toFixed(1)} s simulated in ${wallMs} ms, ${faults} faults, ${operations} operations (${unknown} unknown, ${failed} failed), settled in ${settledMs.toFixed(0)} ms${lossesAccepted > 0 ? `, ${lossesAccepted} losses accepted` : ''}${undecidedKeys > 0 ? `, ${undecidedKeys} keys UNDECIDED` : ''} [${result.digest}]`);
  for (const finding of findings) say(`     ${finding.checker}: ${finding.detail}`);
  if (findings.length === 0) return;
  if (args.trace > 0) for (const line of result.tail) say(`     | ${line}`);
  say(`     replay: npm run sim -- --seed ${seed}${args.extra} --trace`);
}

async function main(): Promise<void> {
  const args = readArguments(process.argv.slice(2));
  const uncaught = (error: unknown): void => {
    if (noteUncaught(error)) return;
    say(`uncaught: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    process.exit(1);
  };
  process.on('uncaughtException', uncaught);
  process.on('unhandledRejection', uncaught);
  const job = process.env['TROUPE_SIM_JOB']?.split('/').map(Number);
  if (job !== undefined) {
    await playHere(args, seedsOf(args, job[0] ?? 0, job[1] ?? 1), (result, wallMs) => void process.send?.({ result, wallMs }));
    process.disconnect();
    return;
  }
  let summary: SimSummary = emptySummary;
  const onResult = (result: RunResult, wallMs: number): void => {
    describe(args, result, wallMs);
    summary = addResult(summary, result, args.extra);
  };
  if (args.jobs > 1 && args.count > 1) await playInChildren(args, onResult);
  else await playHere(args, seedsOf(args, 0, 1), onResult);
  say(`${summary.ok ? 'ok' : 'FAILED'}: ${summary.seeds} seeds, ${summary.simulatedHours.toFixed(3)} simulated hours, ${summary.faults} faults, ${summary.operations} operations, ${summary.violations.length} violations`);
  if (args.json) console.log(JSON.stringify(summary));
  process.exitCode = summary.ok ? 0 : 1;
}

try {
  await main();
} catch (error) {
  say(error instanceof Error ? error.message : String(error));
  process.exitCode = 2;
}
