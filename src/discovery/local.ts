import { TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import { parseHost } from './host-lines.ts';
import { hostsMax } from './limits.ts';
import { member, parseJson, textAt } from './json.ts';
import { milliseconds, optionalPath, textOr } from './options.ts';
import { startPolling } from './polling.ts';
import type { DiscoveryPorts, Strategy } from './strategy.ts';
import { defineStrategy } from './strategy.ts';

export interface LocalOptions {
  readonly directory: string | undefined;
  readonly group: string;
  readonly pollMs: number;
}

interface Entry {
  readonly address: Address;
  readonly pid: number;
  readonly identity: string;
}

const entryBytesMax = 4096;

/**
 * The nodes of one user on one host, each in a file of a directory that only this user may write to. A file whose
 * process is gone (or whose pid belongs to another process by now) does not count, and is removed.
 */
export const local: Strategy = defineStrategy<LocalOptions, 'clock' | 'random' | 'files' | 'processTable' | 'self' | 'log'>({
  name: 'local',
  summary: 'The other nodes of this user on this host: for development and tests.',
  ports: ['clock', 'random', 'files', 'processTable', 'self', 'log'],
  options: {
    directory: optionalPath('where each node puts a file with its address; only this user may write there', '`$XDG_RUNTIME_DIR/troupe`, or `/tmp/troupe-UID`'),
    group: textOr('default', 'nodes of other groups are not seen'),
    pollMs: milliseconds(500, 'how often to look'),
  },
  start({ directory, group, pollMs }, ports, sink) {
    const base = directory ?? ports.self.runtimeDirectory;
    const place = `${base}/nodes-${encodeURIComponent(group)}`;
    const own = `${place}/${encodeURIComponent(ports.self.name)}.${ports.processTable.pid}.json`;
    let made = false;
    return startPolling({ pollMs, timeoutMs: 5000 }, ports, sink, async () => {
      if (!made) {
        await ports.files.makePrivate(base);
        await ports.files.makePrivate(place);
        made = true;
      }
      // Whoever cleans directories for temporary files may have taken it away.
      if ((await ports.files.revision(own)) === undefined) await ports.files.write(own, ownEntry(ports));
      return await readAll(place, own, ports);
    }, () => ports.files.remove(own));
  },
});

function ownEntry({ self, processTable }: Pick<DiscoveryPorts, 'self' | 'processTable'>): string {
  return `${JSON.stringify({ name: self.name, address: formatAddress(self.address), pid: processTable.pid, identity: processTable.identity(processTable.pid) ?? '' })}\n`;
}

async function readAll(place: string, own: string, { files, processTable, log }: Pick<DiscoveryPorts, 'files' | 'processTable' | 'log'>): Promise<Address[]> {
  const names = await files.list(place, hostsMax * 4);
  if (names.length >= hostsMax * 4) throw new TroupeError('DISCOVERY_TOO_LARGE', `${place} has more than ${hostsMax * 4} files: remove what does not belong there`, { path: place });
  const hosts: Address[] = [];
  for (const name of names) {
    const file = `${place}/${name}`;
    // Drafts of files that are just being written end otherwise.
    if (!name.endsWith('.json') || file === own) continue;
    let entry: Entry | undefined;
    try {
      const text = await files.read(file, entryBytesMax);
      entry = text === undefined ? undefined : parseEntry(text);
    } catch (error) {
      // One node's broken file must not hide the others.
      log.debug('a file of a local node cannot be read', { file, error: String(error) });
    }
    if (entry === undefined) continue;
    if (processTable.identity(entry.pid) === entry.identity) hosts.push(entry.address);
    else await files.remove(file).catch(() => {});
  }
  return hosts;
}

/** @throws TroupeError DISCOVERY_ANSWER */
export function parseEntry(text: string): Entry {
  const content = parseJson(new TextEncoder().encode(text), 'a local node');
  const pid = member(content, 'pid');
  const identity = member(content, 'identity');
  const address = textAt(content, 'address');
  if (address === undefined || typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid < 1 || typeof identity !== 'string') {
    throw new TroupeError('DISCOVERY_ANSWER', 'a local node\'s file lacks its address or process', {});
  }
  return { address: parseHost(address, 0, 'address'), pid, identity };
}
