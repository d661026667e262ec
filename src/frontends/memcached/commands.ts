import { Op } from '../../core/store/request.ts';

/** How the rest of a command's line is read. */
export const Form = {
  /** command key* */
  retrieval: 1,
  /** command exptime key* */
  retrievalAndTouch: 2,
  /** command key flags exptime bytes [cas unique] [noreply], then a data block */
  storage: 3,
  /** command key delta [noreply] */
  arithmetic: 4,
  /** command key exptime [noreply] */
  touch: 5,
  /** command key [0] [noreply] */
  removal: 6,
  /** flush_all [delay] [noreply] */
  flush: 7,
  verbosity: 8,
  version: 9,
  stats: 10,
  quit: 11,
} as const;
export type Form = (typeof Form)[keyof typeof Form];

export interface Command {
  readonly name: string;
  readonly nameBytes: Uint8Array;
  readonly form: Form;
  readonly op: Op;
  /** Its hits carry the cas unique. */
  readonly withCas: boolean;
  /** How many words may follow the name; anything else is answered with ERROR. */
  readonly argumentsMin: number;
  readonly argumentsMax: number;
}

const encoder = new TextEncoder();
function command(name: string, form: Form, op: Op, argumentsMin: number, argumentsMax: number, withCas = false): Command {
  return { name, nameBytes: encoder.encode(name), form, op, withCas, argumentsMin, argumentsMax };
}

/** Every command of the text protocol that is answered with anything but ERROR. */
export const commands: readonly Command[] = [
  command('get', Form.retrieval, Op.get, 1, Infinity),
  command('bget', Form.retrieval, Op.get, 1, Infinity),
  command('gets', Form.retrieval, Op.get, 1, Infinity, true),
  command('gat', Form.retrievalAndTouch, Op.gat, 1, Infinity),
  command('gats', Form.retrievalAndTouch, Op.gat, 1, Infinity, true),
  command('set', Form.storage, Op.set, 4, 5),
  command('add', Form.storage, Op.add, 4, 5),
  command('replace', Form.storage, Op.replace, 4, 5),
  command('append', Form.storage, Op.append, 4, 5),
  command('prepend', Form.storage, Op.prepend, 4, 5),
  command('cas', Form.storage, Op.cas, 5, 6),
  command('incr', Form.arithmetic, Op.incr, 2, 3),
  command('decr', Form.arithmetic, Op.decr, 2, 3),
  command('touch', Form.touch, Op.touch, 2, 3),
  command('delete', Form.removal, Op.delete, 1, 3),
  command('flush_all', Form.flush, Op.flush, 0, 2),
  command('verbosity', Form.verbosity, Op.get, 1, 2),
  command('version', Form.version, Op.get, 0, Infinity),
  command('stats', Form.stats, Op.get, 0, Infinity),
  command('quit', Form.quit, Op.get, 0, Infinity),
];

const byFingerprint = new Map<number, Command>();
for (const each of commands) {
  const fingerprint = fingerprintOf(each.nameBytes, 0, each.nameBytes.length);
  if (byFingerprint.has(fingerprint)) throw new Error(`commands ${each.name} and ${byFingerprint.get(fingerprint)?.name ?? ''} have the same fingerprint`);
  byFingerprint.set(fingerprint, each);
}

/** The command of that name, exactly. */
export function findCommand(bytes: Uint8Array, start: number, end: number): Command | undefined {
  const found = byFingerprint.get(fingerprintOf(bytes, start, end));
  if (found === undefined || found.nameBytes.length !== end - start) return undefined;
  for (let i = 0; i < found.nameBytes.length; i++) if (found.nameBytes[i] !== bytes[start + i]) return undefined;
  return found;
}

/** Small whole numbers, distinct for all names in the table. */
function fingerprintOf(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  const first = bytes[start] as number;
  const second = length > 1 ? (bytes[start + 1] as number) : 0;
  const last = bytes[end - 1] as number;
  return (length << 24) ^ (first << 16) ^ (second << 8) ^ last;
}
