import { TroupeError } from '../base/errors.ts';
import { parseHostLines } from './host-lines.ts';
import { answerBytesMax, defaultGossipPort } from './limits.ts';
import { milliseconds, path, whole } from './options.ts';
import { startPolling } from './polling.ts';
import type { Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface HostsFileOptions {
  readonly file: string;
  readonly port: number;
  readonly pollMs: number;
}

/** Reads the file when its time, size or identity has changed. A file that is away or cannot be read keeps what is known. */
export const hostsFile: Strategy = defineStrategy<HostsFileOptions, 'clock' | 'random' | 'files'>({
  name: 'hosts-file',
  summary: "A file with one address per line, or Erlang's hosts file; read anew when it changes.",
  ports: ['clock', 'random', 'files'],
  options: {
    file: path('the file; what follows `#` or `%` in a line does not count'),
    port: whole(defaultGossipPort, 1, 65_535, 'port of lines that have none'),
    pollMs: milliseconds(1000, 'how often to look whether it has changed'),
  },
  start({ file, port, pollMs }, ports, sink) {
    let seen: string | undefined;
    return startPolling({ pollMs, timeoutMs: 5000 }, ports, sink, async () => {
      const revision = await ports.files.revision(file);
      if (revision !== undefined && revision === seen) return undefined;
      const text = revision === undefined ? undefined : await ports.files.read(file, answerBytesMax);
      seen = undefined;
      if (text === undefined) throw new TroupeError('FILE_UNREADABLE', `there is no file ${file}`, { path: file });
      const hosts = parseHostLines(text, port);
      // Only now: a file that was caught half written is read again.
      seen = revision;
      return hosts;
    });
  },
});
