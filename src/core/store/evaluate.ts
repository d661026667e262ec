import { copyBytes } from '../../base/copy-bytes.ts';
import { addCounter, parseCounter, parsedCounter, subtractCounter, writeCounter } from './counter-text.ts';
import { Effect, EffectKind } from './effect.ts';
import { Op, Status, StoreReply, type StoreRequest } from './request.ts';
import { entryBytes, type Table } from './table.ts';

/** Expiry that is long past: what "expired already" is stored as where the entry has to stay readable for the reply. */
const expiredLongAgo = 1;
const digitsMax = 20;

/** What {@link evaluate} found out; reused from one evaluation to the next. */
export class Evaluation {
  readonly effect: Effect = new Effect();
  readonly reply: StoreReply = new StoreReply();
  readonly maxValueBytes: number;
  /** Where values that are made here (append, prepend, incr, decr) are put together. */
  scratch: Uint8Array = new Uint8Array(64);

  /** @param maxValueBytes what append and prepend may grow a value to; set and the like are limited by the frontend */
  constructor(maxValueBytes: number) {
    this.maxValueBytes = maxValueBytes;
  }
}

/** True if the entry counts as present: not expired, not emptied by a delayed flush that has become due. */
export function isLive(table: Table, ref: number, nowSeconds: number): boolean {
  const expiresAt = table.expiresAtOf(ref);
  return (expiresAt === 0 || expiresAt > nowSeconds) && !isFlushDue(table, nowSeconds);
}

function isFlushDue(table: Table, nowSeconds: number): boolean {
  return table.flushAt !== 0 && table.flushAt <= nowSeconds;
}

/**
 * Decides a request on the primary, with memcached's semantics: fills `out.reply` and `out.effect`. Changes nothing but
 * the recency of what is read: the caller records and replicates the effect and applies it with {@link applyEffect}
 * (before the next evaluation).
 *
 * A hit's value points into the table's memory; like the effect it is valid until the next change of a table or the next
 * evaluation. Applying this very effect does not disturb them (an expiry keeps
 * the value in place), so the order of applying and replying is free.
 *
 * @param nowSeconds unix seconds
 * @param nextCas the version that the entry gets if this changes it
 */
export function evaluate(table: Table, request: StoreRequest, nowSeconds: number, nextCas: number, out: Evaluation): void {
  const { effect, reply } = out;
  effect.kind = EffectKind.none;
  effect.flushFirst = isFlushDue(table, nowSeconds);
  reply.message = undefined;
  const op = request.op;
  if (op === Op.flush) {
    effect.kind = EffectKind.flush;
    effect.expiresAt = request.expiresAt > nowSeconds ? request.expiresAt : 0;
    effect.cas = nextCas;
    reply.status = Status.ok;
    return;
  }
  const found = table.get(request.key, request.keyStart, request.keyEnd, request.hash);
  const ref = found !== 0 && isLive(table, found, nowSeconds) ? found : 0;
  if (op === Op.get) {
    readInto(table, ref, nowSeconds, reply);
    return;
  }
  effect.key = request.key;
  effect.keyStart = request.keyStart;
  effect.keyEnd = request.keyEnd;
  effect.hash = request.hash;
  effect.cas = nextCas;
  switch (op) {
    case Op.set:
      store(request, found, nowSeconds, out);
      return;
    case Op.add:
      if (ref === 0) store(request, found, nowSeconds, out);
      else {
        // memcached: a refused add counts as a use of the entry.
        table.touchLru(ref, nowSeconds);
        reply.status = Status.notStored;
      }
      return;
    case Op.replace:
      if (ref === 0) reply.status = Status.notStored;
      else store(request, found, nowSeconds, out);
      return;
    case Op.cas:
      if (ref === 0) reply.status = Status.notFound;
      else if (table.casOf(ref) !== request.cas) reply.status = Status.exists;
      else store(request, found, nowSeconds, out);
      return;
    case Op.append:
    case Op.prepend:
      join(table, request, ref, op === Op.append, out);
      return;
    case Op.incr:
    case Op.decr:
      count(table, request, ref, op === Op.incr, out);
      return;
    case Op.delete:
      reply.status = ref === 0 ? Status.notFound : Status.deleted;
      if (found !== 0) effect.kind = EffectKind.delete;
      return;
    case Op.touch:
    case Op.gat:
      if (ref === 0) {
        reply.status = op === Op.touch ? Status.notFound : Status.miss;
        return;
      }
      if (op === Op.gat) readInto(table, ref, nowSeconds, reply);
      else reply.status = Status.touched;
      effect.kind = EffectKind.expiry;
      effect.expiresAt = request.expiresAt < 0 ? expiredLongAgo : request.expiresAt;
      effect.cas = table.casOf(ref);
      return;
  }
}

/**
 * An upper bound of how much this request makes the table grow, in logical bytes: what to ask {@link evictionsFor}
 * before evaluating it. 0 for requests that store nothing.
 */
export function bytesNeeded(table: Table, request: StoreRequest): number {
  const op = request.op;
  if (op === Op.get || op > Op.decr) return 0;
  const ref = table.get(request.key, request.keyStart, request.keyEnd, request.hash);
  const keyLength = request.keyEnd - request.keyStart;
  const valueLength = request.valueEnd - request.valueStart;
  if (op === Op.incr || op === Op.decr) return ref === 0 ? 0 : Math.max(0, digitsMax - table.valueLengthOf(ref));
  if (op === Op.append || op === Op.prepend) return ref === 0 ? 0 : valueLength;
  const old = ref === 0 ? 0 : entryBytes(keyLength, table.valueLengthOf(ref));
  return Math.max(0, entryBytes(keyLength, valueLength) - old);
}

/** The same without looking at the table: never less, often more. */
export function bytesNeededAtMost(request: StoreRequest): number {
  const op = request.op;
  if (op === Op.get || op > Op.decr) return 0;
  return Math.max(digitsMax, entryBytes(request.keyEnd - request.keyStart, request.valueEnd - request.valueStart));
}

/**
 * Makes room for `bytes` more within the table's budget: gives `onEvict` one victim after the other (to replicate its
 * deletion as an effect; it may read the entry but change nothing) and deletes it. False if there is nothing left to evict
 * or `limit` evictions did not suffice.
 */
export function evictionsFor(table: Table, bytes: number, onEvict: (ref: number) => void, limit: number = Infinity): boolean {
  let left = limit;
  while (table.bytes + bytes > table.budgetBytes) {
    const ref = table.evictionCandidate();
    if (ref === 0 || left-- <= 0) return false;
    onEvict(ref);
    table.deleteEntry(ref);
  }
  return true;
}

/**
 * Carries out an effect; the same on the primary and on every replica.
 * @param nowSeconds recorded as the entry's last use, for eviction only
 * @throws TroupeError OUT_OF_MEMORY when the arena is at its limit; nothing has changed then but a flush that comes first
 */
export function applyEffect(table: Table, effect: Effect, nowSeconds = 0): void {
  if (effect.kind === EffectKind.none) return;
  if (effect.flushFirst) table.clear();
  switch (effect.kind) {
    case EffectKind.put:
      table.set(effect.key, effect.keyStart, effect.keyEnd, effect.hash, effect.value, effect.valueStart, effect.valueEnd, effect.flags, effect.expiresAt, effect.cas, nowSeconds);
      return;
    case EffectKind.delete:
      table.delete(effect.key, effect.keyStart, effect.keyEnd, effect.hash);
      return;
    case EffectKind.expiry: {
      const ref = table.get(effect.key, effect.keyStart, effect.keyEnd, effect.hash);
      if (ref === 0) return;
      table.setExpiry(ref, effect.expiresAt, effect.cas);
      table.touchLru(ref, nowSeconds);
      return;
    }
    case EffectKind.flush:
      if (effect.expiresAt === 0) table.clear();
      else table.flushAt = effect.expiresAt;
      return;
  }
}

function readInto(table: Table, ref: number, nowSeconds: number, reply: StoreReply): void {
  if (ref === 0) {
    reply.status = Status.miss;
    return;
  }
  table.touchLru(ref, nowSeconds);
  reply.status = Status.hit;
  reply.flags = table.flagsOf(ref);
  reply.cas = table.casOf(ref);
  reply.value = table.memoryOf(ref);
  reply.valueStart = table.valueStartOf(ref);
  reply.valueEnd = reply.valueStart + table.valueLengthOf(ref);
}

function store(request: StoreRequest, found: number, nowSeconds: number, out: Evaluation): void {
  const { effect, reply } = out;
  reply.status = Status.stored;
  reply.cas = effect.cas;
  if (request.expiresAt < 0 || (request.expiresAt !== 0 && request.expiresAt <= nowSeconds)) {
    // Stored and gone in the same moment.
    if (found !== 0) effect.kind = EffectKind.delete;
    return;
  }
  effect.kind = EffectKind.put;
  effect.value = request.value;
  effect.valueStart = request.valueStart;
  effect.valueEnd = request.valueEnd;
  effect.flags = request.flags;
  effect.expiresAt = request.expiresAt;
}

function join(table: Table, request: StoreRequest, ref: number, atEnd: boolean, out: Evaluation): void {
  if (ref === 0) {
    out.reply.status = Status.notStored;
    return;
  }
  const oldLength = table.valueLengthOf(ref);
  const addedLength = request.valueEnd - request.valueStart;
  const length = oldLength + addedLength;
  if (length > out.maxValueBytes) {
    out.reply.status = Status.tooLarge;
    return;
  }
  const scratch = scratchOf(out, length);
  table.copyValue(ref, scratch, atEnd ? 0 : addedLength);
  copyBytes(request.value, request.valueStart, request.valueEnd, scratch, atEnd ? oldLength : 0);
  putScratch(table, ref, length, out);
  out.reply.status = Status.stored;
  out.reply.cas = out.effect.cas;
}

function count(table: Table, request: StoreRequest, ref: number, up: boolean, out: Evaluation): void {
  const { reply } = out;
  if (ref === 0) {
    reply.status = Status.notFound;
    return;
  }
  const oldLength = table.valueLengthOf(ref);
  const start = table.valueStartOf(ref);
  if (!parseCounter(table.memoryOf(ref), start, start + oldLength)) {
    reply.status = Status.nonNumeric;
    return;
  }
  const value = up ? addCounter(parsedCounter.value, request.delta) : subtractCounter(parsedCounter.value, request.delta);
  const scratch = scratchOf(out, Math.max(oldLength, digitsMax));
  const end = writeCounter(value, scratch, 0);
  reply.status = Status.number;
  reply.counter = value;
  reply.cas = out.effect.cas;
  // memcached keeps the length of a counter that gets shorter: "10" less 1 is "9 ".
  for (let i = end; i < oldLength; i++) scratch[i] = 0x20;
  putScratch(table, ref, Math.max(end, oldLength), out);
}

/** The effect is a new value, with the flags and the expiry that the entry has. */
function putScratch(table: Table, ref: number, length: number, out: Evaluation): void {
  const { effect } = out;
  effect.kind = EffectKind.put;
  effect.value = out.scratch;
  effect.valueStart = 0;
  effect.valueEnd = length;
  effect.flags = table.flagsOf(ref);
  effect.expiresAt = table.expiresAtOf(ref);
}

function scratchOf(out: Evaluation, length: number): Uint8Array {
  if (out.scratch.length < length) out.scratch = new Uint8Array(2 ** Math.ceil(Math.log2(length)));
  return out.scratch;
}
