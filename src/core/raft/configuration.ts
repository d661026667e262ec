import { Reader, Writer } from './bytes.ts';
import type { Configuration, ConfigurationChange, Entry, Refusal, Snapshot } from './types.ts';

export const emptyConfiguration: Configuration = { voters: [], learners: [] };

/** A group has at most this many members; a longer list from outside is refused. */
export const maxMembers = 1024;

export function writeConfiguration(writer: Writer, configuration: Configuration): void {
  writer.list(configuration.voters, (id) => writer.text(id));
  writer.list(configuration.learners, (id) => writer.text(id));
}

export function readConfiguration(reader: Reader): Configuration {
  const configuration = { voters: reader.list(1, () => reader.text()), learners: reader.list(1, () => reader.text()) };
  if (!isWellFormed(configuration)) reader.fail('a configuration names a member twice, or too many');
  return configuration;
}

export function isWellFormed(configuration: Configuration): boolean {
  const all = [...configuration.voters, ...configuration.learners];
  return all.length <= maxMembers && new Set(all).size === all.length && !all.includes('');
}

export function encodeConfiguration(configuration: Configuration): Uint8Array {
  const writer = new Writer();
  writeConfiguration(writer, configuration);
  return writer.finish();
}

/** Undefined for bytes that are no configuration with at least one voter: every member then ignores the entry alike. */
export function decodeConfiguration(data: Uint8Array): Configuration | undefined {
  try {
    const reader = new Reader(data, 'a configuration');
    const configuration = readConfiguration(reader);
    reader.end();
    return configuration.voters.length > 0 ? configuration : undefined;
  } catch {
    return undefined;
  }
}

const without = (list: readonly string[], id: string): string[] => list.filter((other) => other !== id);

/** The configuration after one change. One member at a time, so that old and new majorities overlap (thesis 4.1). */
export function changed(from: Configuration, change: ConfigurationChange): Configuration | Refusal {
  const { voters, learners } = from;
  const { id, type } = change;
  const isVoter = voters.includes(id);
  const isLearner = learners.includes(id);
  if ((type === 'demote' || type === 'remove') && isVoter && voters.length === 1) return 'last-voter';
  switch (type) {
    case 'add-learner':
      if (isVoter || isLearner || id === '' || voters.length + learners.length >= maxMembers) return 'not-applicable';
      return { voters, learners: [...learners, id] };
    case 'promote':
      return isLearner ? { voters: [...voters, id], learners: without(learners, id) } : 'not-applicable';
    case 'demote':
      return isVoter ? { voters: without(voters, id), learners: [...learners, id] } : 'not-applicable';
    case 'remove':
      return isVoter || isLearner ? { voters: without(voters, id), learners: without(learners, id) } : 'not-applicable';
  }
}

interface Epoch { readonly index: number; readonly configuration: Configuration }

/**
 * The configurations that the log holds. The latest one counts from the moment its entry is appended, committed or not
 * (thesis 4.1), so truncating the log takes it back.
 */
export class ConfigurationHistory {
  #epochs: Epoch[] = [{ index: 0, configuration: emptyConfiguration }];

  get current(): Configuration {
    return (this.#epochs.at(-1) as Epoch).configuration;
  }

  /** The index of the entry that the current configuration comes from. */
  get currentIndex(): number {
    return (this.#epochs.at(-1) as Epoch).index;
  }

  /** The configuration in force at an index. */
  at(index: number): Configuration {
    return this.#epochs.findLast((epoch) => epoch.index <= index)?.configuration ?? emptyConfiguration;
  }

  restored(snapshot: Snapshot): void {
    this.#epochs = [{ index: snapshot.index, configuration: snapshot.configuration }];
  }

  appended(entry: Entry): void {
    if (entry.type !== 'config') return;
    const configuration = decodeConfiguration(entry.data);
    if (configuration !== undefined) this.#epochs.push({ index: entry.index, configuration });
  }

  truncated(from: number): void {
    while (this.#epochs.length > 1 && (this.#epochs.at(-1) as Epoch).index >= from) this.#epochs.pop();
  }

  /** Forgets what was replaced at or before `index`. */
  compacted(index: number): void {
    while (this.#epochs.length > 1 && (this.#epochs[1] as Epoch).index <= index) this.#epochs.shift();
  }

  /** A voter in the configuration at `commit` or in any later one, which may yet be taken back. */
  mayVoteSince(commit: number, id: string): boolean {
    return this.#epochs.some((epoch, i) => {
      const next = this.#epochs[i + 1];
      return (next === undefined || next.index > commit) && epoch.configuration.voters.includes(id);
    });
  }
}
