import { parseHostLines } from './host-lines.ts';
import { defaultGossipPort } from './limits.ts';
import { command, milliseconds, whole } from './options.ts';
import { startPolling } from './polling.ts';
import { runProgram } from './run-program.ts';
import type { Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface ProgramOptions {
  readonly command: readonly string[];
  readonly port: number;
  readonly pollMs: number;
  readonly timeoutMs: number;
}

/** Only the output of a program that ended with exit code 0 counts. */
export const programOutput: Strategy = defineStrategy<ProgramOptions, 'clock' | 'random' | 'processes' | 'self'>({
  name: 'program',
  summary: 'What a program prints: one address per line. For everything that has no strategy of its own.',
  ports: ['clock', 'random', 'processes', 'self'],
  options: {
    command: command('the program and its arguments; no shell. `TROUPE_NODE` names the node that asks'),
    port: whole(defaultGossipPort, 1, 65_535, 'port of lines that have none'),
    pollMs: milliseconds(5000, 'time between two runs'),
    timeoutMs: milliseconds(10_000, 'a run that takes longer is killed, with all its children'),
  },
  start({ command: program, port, ...timing }, ports, sink) {
    return startPolling(timing, ports, sink, async (signal) => {
      // The warden ends it too, should this process die: its lease is as long as a run may take.
      const options = { command: program, environment: { TROUPE_NODE: ports.self.name }, leaseMs: timing.timeoutMs + 1000 };
      return parseHostLines(await runProgram(ports.processes, options, signal), port);
    });
  },
});
