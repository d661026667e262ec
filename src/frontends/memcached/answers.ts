import { writeCounter, writeDecimal } from '../../core/store/counter-text.ts';
import { Op, Status, type StoreReply } from '../../core/store/request.ts';
import type { Counters } from './counters.ts';
import { ascii, type Output } from './output.ts';

type AnswerName =
  | 'busyConnections'
  | 'deleted'
  | 'badChunk'
  | 'badFormat'
  | 'badDelete'
  | 'badDelta'
  | 'badExptime'
  | 'lineTooLong'
  | 'end'
  | 'error'
  | 'exists'
  | 'nonNumeric'
  | 'notFound'
  | 'notStored'
  | 'ok'
  | 'outOfMemory'
  | 'outOfMemoryReading'
  | 'reset'
  | 'stored'
  | 'tooLarge'
  | 'touched';

/** The fixed answers of the text protocol, as memcached 1.6 words them. */
export const answers: Readonly<Record<AnswerName, Uint8Array>> = {
  busyConnections: ascii('ERROR Too many open connections\r\n'),
  deleted: ascii('DELETED\r\n'),
  badChunk: ascii('CLIENT_ERROR bad data chunk\r\n'),
  badFormat: ascii('CLIENT_ERROR bad command line format\r\n'),
  badDelete: ascii('CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n'),
  badDelta: ascii('CLIENT_ERROR invalid numeric delta argument\r\n'),
  badExptime: ascii('CLIENT_ERROR invalid exptime argument\r\n'),
  lineTooLong: ascii('CLIENT_ERROR line too long\r\n'),
  end: ascii('END\r\n'),
  error: ascii('ERROR\r\n'),
  exists: ascii('EXISTS\r\n'),
  nonNumeric: ascii('CLIENT_ERROR cannot increment or decrement non-numeric value\r\n'),
  notFound: ascii('NOT_FOUND\r\n'),
  notStored: ascii('NOT_STORED\r\n'),
  ok: ascii('OK\r\n'),
  outOfMemory: ascii('SERVER_ERROR out of memory storing object\r\n'),
  outOfMemoryReading: ascii('SERVER_ERROR out of memory reading request\r\n'),
  reset: ascii('RESET\r\n'),
  stored: ascii('STORED\r\n'),
  tooLarge: ascii('SERVER_ERROR object too large for cache\r\n'),
  touched: ascii('TOUCHED\r\n'),
};

const valueWord = ascii('VALUE ');

/** The longest VALUE line without its key: words, flags, length, cas, blanks and ends of lines. */
const valueLineBytesMax = 64;

/** Writes one VALUE block of a hit. */
export function writeHit(out: Output, key: Uint8Array, keyStart: number, keyEnd: number, reply: StoreReply, withCas: boolean): void {
  const length = reply.valueEnd - reply.valueStart;
  out.reserve(valueLineBytesMax + keyEnd - keyStart + length);
  const bytes = out.bytes;
  let at = out.end;
  for (let i = 0; i < 6; i++) bytes[at++] = valueWord[i] as number;
  for (let i = keyStart; i < keyEnd; i++) bytes[at++] = key[i] as number;
  bytes[at++] = 0x20;
  at = writeDecimal(reply.flags, bytes, at);
  bytes[at++] = 0x20;
  at = writeDecimal(length, bytes, at);
  if (withCas) {
    bytes[at++] = 0x20;
    at = writeDecimal(reply.cas, bytes, at);
  }
  bytes[at++] = 0x0d;
  bytes[at++] = 0x0a;
  out.end = at;
  out.writePart(reply.value, reply.valueStart, reply.valueEnd);
  at = out.end;
  bytes[at++] = 0x0d;
  bytes[at++] = 0x0a;
  out.end = at;
}

/** The answer to anything but a retrieval, where it is always the same; undefined for numbers. */
export function outcomeOf(reply: StoreReply): Uint8Array | undefined {
  switch (reply.status) {
    case Status.ok:
      return answers.ok;
    case Status.stored:
      return answers.stored;
    case Status.notStored:
    // What append or prepend would make too large is not stored, says memcached; larger data blocks never get this far.
    case Status.tooLarge:
      return answers.notStored;
    case Status.exists:
      return answers.exists;
    case Status.notFound:
    case Status.miss:
      return answers.notFound;
    case Status.deleted:
      return answers.deleted;
    case Status.touched:
      return answers.touched;
    case Status.number:
      return undefined;
    case Status.nonNumeric:
      return answers.nonNumeric;
    case Status.hit:
    case Status.outOfMemory:
    case Status.busy:
    case Status.unavailable:
    case Status.timeout:
    case Status.unknownOutcome:
      return failureOf(reply);
  }
}

/** Writes the answer to anything but a retrieval. */
export function writeOutcome(out: Output, reply: StoreReply): void {
  const outcome = outcomeOf(reply);
  if (outcome !== undefined) {
    out.write(outcome);
    return;
  }
  out.reserve(22);
  out.end = writeCounter(reply.counter, out.bytes, out.end);
  out.bytes[out.end++] = 0x0d;
  out.bytes[out.end++] = 0x0a;
}

/** The SERVER_ERROR line for what could not be done; always one line, whatever the message holds. */
export function failureOf(reply: StoreReply): Uint8Array {
  return ascii(`SERVER_ERROR ${(reply.message ?? failureText(reply.status)).replace(/[\r\n]+/g, ' ').slice(0, 400)}\r\n`);
}

function failureText(status: Status): string {
  switch (status) {
    case Status.outOfMemory:
      return 'out of memory storing object';
    case Status.busy:
      return 'busy: too many requests are waiting, nothing was done; try again later';
    case Status.unavailable:
      return 'unavailable: no primary can be reached, nothing was done';
    case Status.timeout:
      return 'timeout: nothing was done';
    case Status.unknownOutcome:
      return 'timeout: the write may or may not have taken effect';
    default:
      return 'internal error';
  }
}

/** Counts the outcome for `stats`. */
export function countOutcome(counters: Counters, op: Op, status: Status): void {
  if (status >= Status.outOfMemory) {
    counters.failures++;
    return;
  }
  switch (op) {
    case Op.get:
      counters.getCommands++;
      if (status === Status.hit) counters.getHits++;
      else counters.getMisses++;
      return;
    case Op.gat:
      counters.getCommands++;
      counters.touchCommands++;
      if (status === Status.hit) {
        counters.getHits++;
        counters.touchHits++;
      } else {
        counters.getMisses++;
        counters.touchMisses++;
      }
      return;
    case Op.touch:
      counters.touchCommands++;
      if (status === Status.touched) counters.touchHits++;
      else counters.touchMisses++;
      return;
    case Op.delete:
      if (status === Status.deleted) counters.deleteHits++;
      else counters.deleteMisses++;
      return;
    case Op.incr:
      if (status === Status.notFound) counters.incrMisses++;
      else counters.incrHits++;
      return;
    case Op.decr:
      if (status === Status.notFound) counters.decrMisses++;
      else counters.decrHits++;
      return;
    case Op.cas:
      counters.setCommands++;
      if (status === Status.stored) counters.casHits++;
      else if (status === Status.exists) counters.casBadValue++;
      else counters.casMisses++;
      return;
    case Op.flush:
      counters.flushCommands++;
      return;
    default:
      counters.setCommands++;
  }
}
