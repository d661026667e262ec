/** What became of a write that is sent again: the log knows, or nobody does. */
import { decodeEffect } from '../store/effect-codec.ts';
import { Effect } from '../store/effect.ts';
import { Op, Status } from '../store/request.ts';
import type { StoreReply, StoreRequest } from '../store/request.ts';
import { effectStart, entryStatus, newLocation } from './log.ts';
import type { Table } from '../store/table.ts';
import type { ReplicaLog } from './log.ts';

/**
 * A retry's age is told by its sender: what a message may take on its way must not make it look younger. A stalled
 * connection is given up after 3 to 4 s (node/peers.ts); until then what it holds may still arrive.
 */
const ageMarginMs = 5000;

const location = newLocation();
const effect = new Effect();

/** The request never took effect: it may be evaluated. */
export const neverDone = -1;
/** The log does not reach back far enough any more: `reply` says so. */
export const notKnown = 0;

/**
 * Looks for what a request has done before, and words it in `reply`.
 * @param ageMs how long ago it was first sent
 * @returns the sequence number of its entry, {@link neverDone} or {@link notKnown}
 */
export function findOutcome(log: ReplicaLog, table: Table, now: number, request: StoreRequest, origin: number, id: number, ageMs: number, reply: StoreReply): number {
  const seq = log.find(origin, id);
  if (seq === 0) {
    if (log.droppedUntil < now - ageMs - ageMarginMs) return neverDone;
    reply.status = Status.unknownOutcome;
    reply.message = 'the write was retried for so long that the log no longer shows whether it took effect';
    return notKnown;
  }
  log.locate(seq, location);
  const { bytes, start, end } = location;
  decodeEffect(bytes, effectStart(start), end, effect);
  reply.status = entryStatus(bytes, start) as Status;
  reply.cas = effect.cas;
  reply.message = undefined;
  if (request.op === Op.incr || request.op === Op.decr) reply.counter = readCounter(effect);
  if (request.op === Op.gat && !readAgain(table, request, reply)) {
    reply.status = Status.unknownOutcome;
    reply.message = 'the expiry was set, but the value that was read with it is not there any more';
  }
  return seq;
}

/** What a gat has read is not in the log; but its entry is the same as long as it has the same version, expired or not. */
function readAgain(table: Table, request: StoreRequest, reply: StoreReply): boolean {
  const ref = table.get(request.key, request.keyStart, request.keyEnd, request.hash);
  if (ref === 0 || table.casOf(ref) !== reply.cas) return false;
  reply.flags = table.flagsOf(ref);
  reply.value = table.memoryOf(ref);
  reply.valueStart = table.valueStartOf(ref);
  reply.valueEnd = reply.valueStart + table.valueLengthOf(ref);
  return true;
}

/** The number that an incr or decr wrote; the value may be padded with blanks. */
function readCounter(written: Effect): number | bigint {
  let counter = 0n;
  for (let i = written.valueStart; i < written.valueEnd; i++) {
    const digit = (written.value[i] as number) - 0x30;
    if (digit < 0 || digit > 9) break;
    counter = counter * 10n + BigInt(digit);
  }
  // A bigint only where it must be, as at the first try.
  return counter <= Number.MAX_SAFE_INTEGER ? Number(counter) : counter;
}
