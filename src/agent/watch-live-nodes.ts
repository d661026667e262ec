import { resolve } from 'node:path';
import { FileWatch } from '../host/file-watch.ts';
import { textFiles } from '../host/text-files.ts';
import { liveNodesBytesMax, parseLiveNodes } from '../node/live-nodes.ts';
import type { LiveNode } from '../node/live-nodes.ts';

/** A node to count on while the agent has not spoken: its name, or more about it. */
export type ExpectedNode = string | (Pick<LiveNode, 'name'> & Partial<Pick<LiveNode, 'address' | 'port' | 'tags'>>);

export interface WatchLiveNodesOptions {
  /** These count as live as long as there is no list: before the agent has first written it, and when it is gone or cannot be read. Default none. */
  readonly expected?: readonly ExpectedNode[];
  /** Ends the iteration. */
  readonly signal?: AbortSignal;
  /** How often the file is looked at where the system does not tell of changes (ms); default 200. */
  readonly pollMs?: number;
  /** So long a file that vanishes or makes no sense may be about to be replaced: the last list holds on (ms); default 1000. */
  readonly graceMs?: number;
}

/**
 * The live nodes as an agent beside this program tells them in its file (`liveNodes.file`), now and after each change. Nothing
 * but the file is shared with the agent, and neither needs the other to run. Of several changes between two turns of the
 * loop only the last is given. Never throws because of the file: a half written, unreadable or missing one leaves the last
 * list for `graceMs`, then `expected`.
 *
 *     for await (const nodes of watchLiveNodes('./live-nodes.json', { expected: ['a', 'b'] })) targets = nodes;
 */
export async function* watchLiveNodes(file: string, options: WatchLiveNodesOptions = {}): AsyncGenerator<readonly LiveNode[], void, void> {
  const { signal, pollMs = 200, graceMs = 1000 } = options;
  const expected = (options.expected ?? []).map(expectedNode);
  const path = resolve(file);
  const watch = new FileWatch(path);
  let given: string | undefined;
  let revision: string | undefined;
  let unreadableSince: number | undefined;
  try {
    while (signal?.aborted !== true) {
      const seen = await textFiles.revision(path).catch(() => undefined);
      // What could not be read is looked at again even if it seems unchanged: the clock of file systems is coarse.
      let nodes = seen !== undefined && (seen !== revision || unreadableSince !== undefined) ? await read(path) : undefined;
      if (nodes !== undefined) {
        revision = seen;
        unreadableSince = undefined;
      } else if (seen === undefined || seen !== revision || unreadableSince !== undefined) {
        unreadableSince ??= performance.now();
        if (given === undefined || performance.now() - unreadableSince >= graceMs) nodes = expected;
      }
      const text = nodes === undefined ? given : JSON.stringify(nodes);
      if (nodes !== undefined && text !== given) {
        given = text;
        yield nodes;
        // Whoever took long over the last list gets the newest next.
        continue;
      }
      // Two replacements within a tick of the file system's clock may look the same: what the system told is believed.
      if (await watch.next(unreadableSince === undefined ? pollMs : Math.min(pollMs, 50), signal)) revision = undefined;
    }
  } finally {
    watch.close();
  }
}

async function read(path: string): Promise<readonly LiveNode[] | undefined> {
  try {
    const text = await textFiles.read(path, liveNodesBytesMax);
    return text === undefined ? undefined : parseLiveNodes(text).nodes;
  } catch {
    return undefined;
  }
}

function expectedNode(node: ExpectedNode): LiveNode {
  const given = typeof node === 'string' ? { name: node } : node;
  return { name: given.name, address: given.address ?? '', port: given.port ?? 0, tags: given.tags ?? {}, status: 'expected' };
}
