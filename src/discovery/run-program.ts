import { TroupeError } from '../base/errors.ts';
import type { Processes, SpawnOptions } from '../ports/processes.ts';
import { answerBytesMax } from './limits.ts';

/**
 * Runs a program to its end and gives what it wrote to stdout. Settles only when the process is gone; it is killed,
 * with all its children, when the signal aborts.
 * @throws TroupeError DISCOVERY_PROGRAM unless it ended with exit code 0, with the last that it wrote to stderr; DISCOVERY_TOO_LARGE
 */
export function runProgram(processes: Processes, options: SpawnOptions, signal: AbortSignal): Promise<string> {
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
