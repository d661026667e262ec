/**
 * Serf's snapshot file: lines of text, each a change since the one before, so that a crash can tear the last line only.
 * Real Serf agents read what is written here, and the other way round.
 */
export interface SnapshotState {
  /** Live members and where they are, `HOST:PORT`. */
  readonly alive: ReadonlyMap<string, string>;
  /** The newest Lamport times that were seen; 0: none. */
  readonly memberTime: number;
  readonly eventTime: number;
  readonly queryTime: number;
}

export interface SnapshotProblem {
  /** Counted from 1. */
  readonly line: number;
  readonly text: string;
  readonly what: string;
}

export interface ReadSnapshot extends SnapshotState {
  /** What could not be read and was left out, at most `snapshotProblemsMax`. */
  readonly problems: readonly SnapshotProblem[];
  /** Lines that could not be read, all counted. */
  readonly badLines: number;
  /** The file ends within a line: the process or the machine stopped while it was written. Nothing is lost but that line. */
  readonly torn: boolean;
  /** The node had left, and its knowledge was dropped with that. */
  readonly left: boolean;
}

export const snapshotProblemsMax = 16;
/** Live members that are kept of a file. */
export const snapshotMembersMax = 16_384;
const lineMax = 2048;

/**
 * Reads a snapshot. Never throws: what makes no sense is left out and reported.
 * @param rejoin a leave in it does not count: the node goes back to where it left
 */
export function readSnapshot(text: string, rejoin: boolean): ReadSnapshot {
  const alive = new Map<string, string>();
  const times = { memberTime: 0, eventTime: 0, queryTime: 0 };
  const problems: SnapshotProblem[] = [];
  let badLines = 0;
  let left = false;
  let start = 0;
  for (let number = 1; ; number++) {
    const end = text.indexOf('\n', start);
    if (end < 0) break; // what is behind the last newline was never finished
    const line = text.slice(start, end).replace(/\r$/, '');
    start = end + 1;
    const what = takeLine(line);
    if (what === undefined) continue;
    badLines++;
    if (problems.length < snapshotProblemsMax) problems.push({ line: number, text: line.slice(0, 100), what });
  }
  return { alive, ...times, problems, badLines, torn: start < text.length, left };

  /** Returns what is wrong with the line. */
  function takeLine(line: string): string | undefined {
    if (line.length > lineMax) return `longer than ${lineMax} characters`;
    if (line === '' || line.startsWith('#')) return undefined;
    if (line === 'leave') {
      if (rejoin) return undefined;
      alive.clear();
      Object.assign(times, { memberTime: 0, eventTime: 0, queryTime: 0 });
      left = true;
      return undefined;
    }
    const colon = line.indexOf(': ');
    const rest = line.slice(colon + 2);
    switch (colon < 0 ? line : line.slice(0, colon)) {
      case 'alive': {
        const space = rest.lastIndexOf(' ');
        if (space < 1) return 'a member needs a name and an address';
        if (!/:\d{1,5}$/.test(rest)) return 'the address has no port';
        const name = rest.slice(0, space);
        if (alive.size >= snapshotMembersMax && !alive.has(name)) return `more than ${snapshotMembersMax} members`;
        alive.delete(name); // the newest last
        alive.set(name, rest.slice(space + 1));
        left = false;
        return undefined;
      }
      case 'not-alive': return void alive.delete(rest);
      case 'clock': return takeTime('memberTime', rest);
      case 'event-clock': return takeTime('eventTime', rest);
      case 'query-clock': return takeTime('queryTime', rest);
      case 'coordinate': return undefined; // of old versions of Serf
      default: return 'not a line of a snapshot';
    }
  }

  function takeTime(which: keyof typeof times, digits: string): string | undefined {
    const time = /^\d{1,16}$/.test(digits) ? Number(digits) : Number.NaN;
    if (!Number.isSafeInteger(time)) return 'not a time';
    times[which] = time;
    return undefined;
  }
}

/** The lines by which a snapshot grows. Names with line ends cannot be written: undefined. */
export const snapshotLine = {
  alive: (name: string, address: string): string | undefined => (canBeWritten(name) ? `alive: ${name} ${address}\n` : undefined),
  notAlive: (name: string): string | undefined => (canBeWritten(name) ? `not-alive: ${name}\n` : undefined),
  memberTime: (time: number): string => `clock: ${time}\n`,
  eventTime: (time: number): string => `event-clock: ${time}\n`,
  queryTime: (time: number): string => `query-clock: ${time}\n`,
  leave: 'leave\n',
} as const;

/** The whole as one text, as a compaction writes it. */
export function writeSnapshot(state: SnapshotState): string {
  const lines = [...state.alive].map(([name, address]) => snapshotLine.alive(name, address) ?? '');
  return lines.join('') + snapshotLine.memberTime(state.memberTime) + snapshotLine.eventTime(state.eventTime) + snapshotLine.queryTime(state.queryTime);
}

function canBeWritten(name: string): boolean {
  return name !== '' && !/[\r\n]/.test(name);
}
