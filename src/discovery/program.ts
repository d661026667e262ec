import { TroupeError } from '../base/errors.ts';
import type { Processes, SpawnOptions } from '../ports/processes.ts';
import { parseHostLines } from './host-lines.ts';
import { answerBytesMax, defaultGossipPort } from './limits.ts';
import { command, milliseconds, whole } from './options.ts';
import { startPolling } from './polling.ts';
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
      return parseHostLines(await outputOf(ports.processes, options, signal), port);
    });
  },
});

/** What it wrote to stdout. Settles only when the process is gone. */
function outputOf(processes: Processes, options: SpawnOptions, signal: AbortSignal): Promise<string> {
  const name = options.command[0] ?? '';
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let length = 0;
    let last = '';
    const child = processes.spawn(options, {
      onStarted: () => {
        // Told to stop before it ran: there was nobody to kill then.
        if (signal.aborted) child.kill();
      },
      onOutput: (stream, bytes) => {
        if (stream === 'stderr') {
          last = new TextDecoder().decode(bytes.subarray(0, 200)).trim();
          return;
        }
        length += bytes.length;
        if (length > answerBytesMax) child.kill();
        else chunks.push(new Uint8Array(bytes));
      },
      onExit: (exit) => {
        signal.removeEventListener('abort', abort);
        if (length > answerBytesMax) return reject(new TroupeError('DISCOVERY_TOO_LARGE', `'${name}' printed more than ${answerBytesMax} bytes`, { name }));
        if (exit.type === 'exited' && exit.code === 0) return resolve(decode(chunks, length));
        const how = exit.type === 'exited' ? `ended with exit code ${exit.code}` : exit.type === 'signalled' ? `was ended by ${exit.signal}` : `could not be run: ${exit.error}`;
        reject(new TroupeError('DISCOVERY_PROGRAM', `'${name}' ${how}${last === '' ? '' : `; it said: ${last}`}`, { name }));
      },
    });
    const abort = (): void => child.kill();
    signal.addEventListener('abort', abort, { once: true });
  });
}

function decode(chunks: readonly Uint8Array[], length: number): string {
  const bytes = new Uint8Array(length);
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return new TextDecoder().decode(bytes);
}
