import { copyBytes } from '../../base/copy-bytes.ts';
import { parseCounter, parsedCounter } from '../../core/store/counter-text.ts';
import { hashKey } from '../../core/store/hash.ts';
import { Op, Status, StoreRequest, type StoreReply, type StoreRouter } from '../../core/store/request.ts';
import type { CloseReason, Stream, StreamHandler } from '../../ports/streams.ts';
import { answers, countOutcome, failureOf, writeHit, writeOutcome } from './answers.ts';
import { findCommand, Form, type Command } from './commands.ts';
import type { Counters } from './counters.ts';
import { keyBytesMax, relativeSecondsMax, type MemcachedLimits } from './limits.ts';
import { parseCas, parsed, parseFlags, parseInt32 } from './numbers.ts';
import type { Output } from './output.ts';
import { Slot, type Retrieval } from './slot.ts';

/** What all connections of one server share. */
export interface ConnectionHost {
  readonly router: StoreRouter;
  readonly limits: MemcachedLimits;
  readonly counters: Counters;
  /** The one output in which the connection that is being handled puts its answers together. */
  readonly output: Output;
  readonly version: Uint8Array;
  /** Unix seconds. */
  nowSeconds(): number;
  /** The answer to `stats` and what follows it, up to its last line; undefined for what there is not. */
  stats(about: string): Uint8Array | undefined;
  /** Calls flushLater's connection back at the end of the turn. */
  atEndOfTurn(connection: Connection): void;
  onBinary(connection: Connection): void;
  /** This side has ended; the peer may take its time. */
  onEnded(connection: Connection): void;
  onClosed(connection: Connection): void;
}

/** What the next bytes are. */
const Expect = {
  line: 0,
  /** The rest of a retrieval's line, from its next key on. */
  keys: 1,
  /** The rest of a data block that came in pieces. */
  data: 2,
  /** The rest of a data block that nobody wants. */
  swallow: 3,
} as const;
type Expect = (typeof Expect)[keyof typeof Expect];

const newline = 0x0a;
const carriageReturn = 0x0d;
const blank = 0x20;
const binaryMagic = 0x80;
const wordsMax = 8;
const noBytes = new Uint8Array(0);
/** A data block that comes in pieces gets its memory as it comes: a mere announcement costs no more than this. */
const dataFirstBytes = 16 * 1024;
const noreplyWord = new TextEncoder().encode('noreply');
const decoder = new TextDecoder('latin1');

/** Where the words of the line in hand begin and end; filled by Connection.#scan, used before the next line is scanned. */
const wordStarts = new Int32Array(wordsMax);
const wordEnds = new Int32Array(wordsMax);

/**
 * One client. Parses requests in place, in whatever chunks they arrive: only what is cut by a chunk's end is copied.
 * A request that the router answers at once costs no allocation: its answer goes straight to the shared output.
 *
 * Not reading is the only brake: while too many requests or answers wait, the stream is paused and the rest of the chunk
 * in hand is kept.
 */
export class Connection implements StreamHandler {
  readonly stream: Stream;
  readonly counters: Counters;
  readonly #host: ConnectionHost;
  readonly #router: StoreRouter;
  readonly #out: Output;
  readonly #request: StoreRequest = new StoreRequest();
  readonly #queue: Slot[] = [];
  #slot: Slot;
  #expect: Expect = Expect.line;
  #noreply = false;
  #withCas = false;
  #wordCount = 0;
  #lineEnd = 0;
  /** A line that has begun in earlier chunks. */
  #carry: Uint8Array = noBytes;
  #carried = 0;
  #data: Uint8Array = noBytes;
  #dataFilled = 0;
  #dataLength = 0;
  #key: Uint8Array = noBytes;
  #swallowLeft = 0;
  /** Where a retrieval that had to wait goes on, in the line's buffer. */
  #keysAt = 0;
  #retrieval: Retrieval | undefined = undefined;
  #failure: Uint8Array | undefined = undefined;
  /** Input that could not be handled yet; the stream is paused while there is any. */
  #held: Uint8Array = noBytes;
  #heldAt = 0;
  #heldDone = 0;
  /** Finished answers in the queue, without the literals of its last slot. */
  #waitingBytes = 0;
  #writable = true;
  #inputPaused = false;
  #working = false;
  #first = true;
  #ending = false;
  #ended = false;
  #inputEnded = false;
  #flushScheduled = false;

  constructor(host: ConnectionHost, stream: Stream) {
    this.#host = host;
    this.#router = host.router;
    this.#out = host.output;
    this.counters = host.counters;
    this.stream = stream;
    this.#slot = new Slot(this);
  }

  /** Requests that wait for their answers. */
  get pending(): number {
    return this.#queue.length;
  }

  /** Takes no more requests; ends the stream once those under way are answered. */
  finish(): void {
    this.#ending = true;
    this.#maybeEnd();
  }

  onData(bytes: Uint8Array): void {
    if (this.#ending) return;
    this.counters.readBytes += bytes.length;
    if (this.#heldAt < this.#heldDone) {
      this.#hold(bytes, 0, bytes.length);
      return;
    }
    this.#work(bytes, 0, bytes.length);
  }

  onDrain(): void {
    this.#writable = true;
    this.#resume();
  }

  /** The peer has said all it had to say; what it asked for is still answered. */
  onEnd(): void {
    this.#inputEnded = true;
    if (this.#heldAt === this.#heldDone) this.finish();
  }

  onClose(_reason: CloseReason): void {
    this.#ending = true;
    this.#ended = true;
    this.#queue.length = 0;
    this.#held = noBytes;
    this.#heldAt = this.#heldDone = 0;
    this.#data = noBytes;
    this.#carry = noBytes;
    this.#host.onClosed(this);
  }

  /** Called by a slot whose answer came later than the call. */
  slotDone(slot: Slot): void {
    this.#waitingBytes += slot.answerBytes;
    if (this.#ended || this.#flushScheduled) return;
    this.#flushScheduled = true;
    this.#host.atEndOfTurn(this);
  }

  /** Writes the answers at the head of the queue that are there, and goes on reading if that made room. */
  flushAnswers(): void {
    this.#flushScheduled = false;
    if (this.#ended) return;
    const queue = this.#queue;
    let count = 0;
    this.#out.begin(this.stream);
    while (count < queue.length && (queue[count] as Slot).done) {
      (queue[count] as Slot).writeTo(this.#out, answers.end);
      count++;
    }
    if (count > 0) {
      // A client that waits for each answer has one at a time: that needs no list of what was taken.
      if (count === 1) queue.shift();
      else queue.splice(0, count);
      this.#waitingBytes = 0;
      for (let i = 0; i < queue.length; i++) this.#waitingBytes += (queue[i] as Slot).answerBytes + (i < queue.length - 1 ? (queue[i] as Slot).literalBytes : 0);
    }
    this.#flushOut();
    this.#maybeEnd();
    this.#resume();
  }

  /** Writes the answer to the request that is being executed. */
  answerNow(reply: StoreReply): void {
    const request = this.#request;
    countOutcome(this.counters, request.op, reply.status);
    if (request.op === Op.get || request.op === Op.gat) {
      if (reply.status === Status.hit) writeHit(this.#output(), request.key, request.keyStart, request.keyEnd, reply, this.#withCas);
      else if (reply.status !== Status.miss) this.#failure ??= failureOf(reply);
      return;
    }
    if (!this.#noreply) writeOutcome(this.#output(), reply);
  }

  #work(bytes: Uint8Array, start: number, end: number): void {
    if (this.#ended) return;
    this.#out.begin(this.stream);
    this.#working = true;
    const stopped = this.#process(bytes, start, end);
    this.#working = false;
    this.#flushOut();
    if (bytes === this.#held) this.#heldAt = stopped;
    else if (stopped < end && !this.#ending) this.#hold(bytes, stopped, end);
    if (this.#heldAt === this.#heldDone) this.#held = noBytes;
    if (this.#isBlocked() && !this.#inputPaused && !this.#ending) {
      this.#inputPaused = true;
      this.stream.pause();
    }
    this.#maybeEnd();
  }

  #flushOut(): void {
    if (!this.#out.flush()) this.#writable = false;
    // The output is shared: what this stream refused must not block another connection.
    this.#out.writable = true;
  }

  #resume(): void {
    if (!this.#inputPaused || this.#working || this.#ended || this.#ending || this.#isBlocked()) return;
    if (this.#heldAt < this.#heldDone) this.#work(this.#held, this.#heldAt, this.#heldDone);
    if (this.#isBlocked() || this.#heldAt < this.#heldDone || this.#ended) return;
    if (this.#inputEnded) {
      this.finish();
      return;
    }
    this.#inputPaused = false;
    this.stream.resume();
  }

  #isBlocked(): boolean {
    if (!this.#writable || !this.#out.writable) return true;
    const waiting = this.#queue.length;
    if (waiting === 0) return false;
    if (waiting >= this.#host.limits.pendingMax) return true;
    return this.#waitingBytes + (this.#queue[waiting - 1] as Slot).literalBytes > this.#host.limits.pendingBytesMax;
  }

  /** Keeps what cannot be handled now: a chunk is only valid during the call that brings it. */
  #hold(bytes: Uint8Array, start: number, end: number): void {
    const left = this.#heldDone - this.#heldAt;
    // The rest of a retrieval's line moves with the bytes it lies in.
    if (this.#expect === Expect.keys) this.#lineEnd -= left > 0 ? this.#heldAt : start;
    const joined = new Uint8Array(left + end - start);
    joined.set(this.#held.subarray(this.#heldAt, this.#heldDone));
    joined.set(bytes.subarray(start, end), left);
    this.#held = joined;
    this.#heldAt = 0;
    this.#heldDone = joined.length;
  }

  /** Handles bytes[start, end) as far as it can; returns where it stopped, which is `end` unless answers are waiting. */
  #process(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && !this.#ending) {
      if (this.#isBlocked()) return at;
      switch (this.#expect) {
        case Expect.line:
          at = this.#line(bytes, at, end);
          break;
        case Expect.keys:
          at = this.#keys(bytes, at);
          break;
        case Expect.data:
          at = this.#fillData(bytes, at, end);
          break;
        case Expect.swallow:
          at = this.#swallow(at, end);
          break;
      }
    }
    return at;
  }

  #line(bytes: Uint8Array, start: number, end: number): number {
    if (this.#carried > 0) return this.#lineInCarry(bytes, start, end);
    if (this.#first) {
      this.#first = false;
      if (bytes[start] === binaryMagic) {
        this.#host.onBinary(this);
        this.#ending = true;
        return end;
      }
    }
    const lineEnd = this.#scan(bytes, start, end);
    if (lineEnd < 0) {
      this.#carryOn(bytes, start, end);
      return end;
    }
    if (lineEnd - start > this.#host.limits.lineBytesMax && this.#isTooLong(bytes, start, lineEnd)) return end;
    return this.#dispatch(bytes, start, bytes, lineEnd + 1, end);
  }

  /** The line began in an earlier chunk: completes the copy and handles it there. */
  #lineInCarry(bytes: Uint8Array, start: number, end: number): number {
    const found = bytes.indexOf(newline, start);
    const stop = found < 0 || found >= end ? end : found + 1;
    this.#carryOn(bytes, start, stop);
    if (this.#ending || stop === end && (found < 0 || found >= end)) return stop;
    const length = this.#carried;
    this.#carried = 0;
    const carry = this.#carry;
    if (carry.length > dataFirstBytes) this.#carry = noBytes;
    this.#scan(carry, 0, length);
    const next = this.#dispatch(carry, 0, bytes, stop, end);
    if (this.#expect !== Expect.keys || this.#ending) return next;
    // The retrieval was stopped on its way: what is left of its line comes before the rest of the chunk.
    const left = length - this.#keysAt;
    const joined = new Uint8Array(left + end - next);
    joined.set(carry.subarray(this.#keysAt, length));
    joined.set(bytes.subarray(next, end), left);
    this.#held = joined;
    this.#heldAt = 0;
    this.#heldDone = joined.length;
    this.#lineEnd -= this.#keysAt;
    return end;
  }

  #carryOn(bytes: Uint8Array, start: number, end: number): void {
    const length = this.#carried + end - start;
    if (this.#carry.length < length) {
      const larger = new Uint8Array(Math.max(256, 2 ** Math.ceil(Math.log2(length))));
      larger.set(this.#carry.subarray(0, this.#carried));
      this.#carry = larger;
    }
    copyBytes(bytes, start, end, this.#carry, this.#carried);
    this.#carried = length;
    const lineLength = this.#carry[length - 1] === newline ? length - 1 : length;
    if (lineLength > this.#host.limits.lineBytesMax) this.#isTooLong(this.#carry, 0, lineLength);
  }

  /** Says so and ends, unless it is a retrieval, which may be longer. */
  #isTooLong(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start;
    while (at < end && bytes[at] === blank) at++;
    let wordEnd = at;
    while (wordEnd < end && bytes[wordEnd] !== blank && wordEnd - at < 8) wordEnd++;
    const form = wordEnd === at ? undefined : findCommand(bytes, at, wordEnd)?.form;
    const retrieval = form === Form.retrieval || form === Form.retrievalAndTouch;
    if (retrieval && end - start <= this.#host.limits.retrievalLineBytesMax) return false;
    this.#output().write(answers.lineTooLong);
    this.#ending = true;
    return true;
  }

  /**
   * Finds the words of the line that begins at `start`; returns where its newline is, or -1 when it is not there yet.
   * As in memcached only blanks part words, one carriage return before the newline belongs to it, and a NUL ends what counts.
   */
  #scan(bytes: Uint8Array, start: number, end: number): number {
    let count = 0;
    let at = start;
    for (;;) {
      while (at < end && bytes[at] === blank) at++;
      if (at === end) return -1;
      let byte = bytes[at] as number;
      if (byte === newline) break;
      if (byte === 0) {
        this.#wordCount = count;
        this.#lineEnd = at;
        const found = bytes.indexOf(newline, at);
        return found >= end ? -1 : found;
      }
      const wordStart = at;
      do {
        at++;
        if (at === end) return -1;
        byte = bytes[at] as number;
      } while (byte > blank || (byte !== blank && byte !== newline && byte !== 0));
      if (count < wordsMax) {
        wordStarts[count] = wordStart;
        wordEnds[count] = at;
      }
      count++;
    }
    let contentEnd = at;
    if (at - start > 1 && bytes[at - 1] === carriageReturn) {
      contentEnd--;
      if (count <= wordsMax && wordEnds[count - 1] === at) {
        wordEnds[count - 1] = contentEnd;
        if (wordStarts[count - 1] === contentEnd) count--;
      }
    }
    this.#wordCount = count;
    this.#lineEnd = contentEnd;
    return at;
  }

  /** Handles the line that begins at `start` and was scanned; what follows it is rest[at, end). Returns where in `rest` it stopped. */
  #dispatch(bytes: Uint8Array, start: number, rest: Uint8Array, at: number, end: number): number {
    const args = this.#wordCount - 1;
    const command = args < 0 ? undefined : findCommand(bytes, wordStarts[0] as number, wordEnds[0] as number);
    this.#noreply = false;
    if (command === undefined || args < command.argumentsMin || args > command.argumentsMax) {
      this.#output().write(answers.error);
      return at;
    }
    switch (command.form) {
      case Form.retrieval:
      case Form.retrievalAndTouch:
        return this.#retrieve(bytes, command, rest, at);
      case Form.storage:
        return this.#store(bytes, command, rest, at, end);
      case Form.arithmetic:
        this.#count(bytes, command);
        return at;
      case Form.touch:
        this.#touch(bytes, command);
        return at;
      case Form.removal:
        this.#remove(bytes, command, args);
        return at;
      case Form.flush:
        this.#flushAll(bytes, args);
        return at;
      case Form.verbosity:
        this.#noreply = this.#lastIsNoreply(bytes);
        this.#say(parseFlags(bytes, wordStarts[1] as number, wordEnds[1] as number) ? answers.ok : answers.badFormat);
        return at;
      case Form.version:
        this.#output().write(this.#host.version);
        return at;
      case Form.stats:
        this.#stats(bytes, start);
        return at;
      case Form.quit:
        this.#ending = true;
        return end;
    }
  }

  /** get, gets, gat, gats: one request per key. */
  #retrieve(bytes: Uint8Array, command: Command, rest: Uint8Array, at: number): number {
    const request = this.#request;
    request.op = command.op;
    request.expiresAt = 0;
    this.#withCas = command.withCas;
    let firstKey = 1;
    if (command.form === Form.retrievalAndTouch) {
      if (!parseInt32(bytes, wordStarts[1] as number, wordEnds[1] as number)) {
        this.#output().write(answers.badExptime);
        return at;
      }
      request.expiresAt = this.#expiry(parsed.value);
      firstKey = 2;
    }
    this.#failure = undefined;
    this.#retrieval = undefined;
    if (this.#wordCount === firstKey + 1) {
      const keyStart = wordStarts[firstKey] as number;
      const keyEnd = wordEnds[firstKey] as number;
      if (keyEnd - keyStart > keyBytesMax) this.#output().write(answers.badFormat);
      else {
        this.#keyed(bytes, keyStart, keyEnd);
        this.#execute();
        this.#endRetrieval();
      }
      return at;
    }
    const keysStart = this.#wordCount > firstKey ? (wordStarts[firstKey] as number) : this.#lineEnd;
    if (!this.#keysFit(bytes, keysStart)) {
      this.#output().write(answers.badFormat);
      return at;
    }
    this.#expect = Expect.keys;
    const stopped = this.#keys(bytes, keysStart);
    if (this.#expect !== Expect.keys) return at;
    this.#keysAt = stopped;
    // In place, the rest of the line is simply what comes next; in the carry buffer, lineInCarry sees to it.
    return bytes === rest ? stopped : at;
  }

  #keysFit(bytes: Uint8Array, start: number): boolean {
    let length = 0;
    for (let at = start; at < this.#lineEnd; at++) {
      length = bytes[at] === blank ? 0 : length + 1;
      if (length > keyBytesMax) return false;
    }
    return true;
  }

  /** Goes through the keys of a retrieval's line from `start` on; stops early, with Expect.keys, while answers are waiting. */
  #keys(bytes: Uint8Array, start: number): number {
    const end = this.#lineEnd;
    let at = start;
    for (;;) {
      while (at < end && bytes[at] === blank) at++;
      if (at >= end) break;
      if (this.#isBlocked()) return at;
      const keyStart = at;
      while (at < end && bytes[at] !== blank) at++;
      this.#keyed(bytes, keyStart, at);
      this.#execute();
    }
    this.#expect = Expect.line;
    this.#endRetrieval();
    while (bytes[at] !== newline) at++;
    return at + 1;
  }

  #endRetrieval(): void {
    const retrieval = this.#retrieval;
    // Nothing left to wait for: a slot without a request would never be flushed.
    if (retrieval === undefined || this.#queue.length === 0) {
      this.#output().write(retrieval?.failure ?? this.#failure ?? answers.end);
      return;
    }
    retrieval.failure ??= this.#failure;
    const slot = new Slot(this);
    slot.done = true;
    slot.endRetrieval(retrieval);
    this.#enqueue(slot);
  }

  #store(bytes: Uint8Array, command: Command, rest: Uint8Array, at: number, end: number): number {
    this.#noreply = this.#lastIsNoreply(bytes);
    const request = this.#request;
    const keyStart = wordStarts[1] as number;
    const keyEnd = wordEnds[1] as number;
    if (keyEnd - keyStart > keyBytesMax || !parseFlags(bytes, wordStarts[2] as number, wordEnds[2] as number)) return this.#sayAndGoOn(answers.badFormat, at);
    request.flags = parsed.value;
    if (!parseInt32(bytes, wordStarts[3] as number, wordEnds[3] as number)) return this.#sayAndGoOn(answers.badFormat, at);
    request.expiresAt = this.#expiry(parsed.value);
    if (!parseInt32(bytes, wordStarts[4] as number, wordEnds[4] as number)) return this.#sayAndGoOn(answers.badFormat, at);
    const length = parsed.value;
    request.cas = 0;
    if (command.op === Op.cas) {
      if (!parseCas(bytes, wordStarts[5] as number, wordEnds[5] as number)) return this.#sayAndGoOn(answers.badFormat, at);
      request.cas = parsed.value;
    }
    if (length < 0 || length > 0x7fff_ffff - 2) return this.#sayAndGoOn(answers.badFormat, at);
    request.op = command.op;
    if (length > this.#router.maxValueBytes) {
      this.#keepKey(bytes, keyStart, keyEnd);
      this.#swallowLeft = length + 2;
      this.#expect = Expect.swallow;
      return at;
    }
    if (end - at >= length + 2) {
      this.#keyed(bytes, keyStart, keyEnd);
      this.#storeData(rest, at, at + length);
      return at + length + 2;
    }
    this.#keepKey(bytes, keyStart, keyEnd);
    this.#dataLength = length;
    this.#dataFilled = 0;
    this.#expect = Expect.data;
    return at;
  }

  #storeData(data: Uint8Array, start: number, end: number): void {
    if (data[end] !== carriageReturn || data[end + 1] !== newline) {
      this.#say(answers.badChunk);
      return;
    }
    const request = this.#request;
    request.value = data;
    request.valueStart = start;
    request.valueEnd = end;
    this.#execute();
  }

  #fillData(bytes: Uint8Array, start: number, end: number): number {
    const whole = this.#dataLength + 2;
    const take = Math.min(whole - this.#dataFilled, end - start);
    const needed = this.#dataFilled + take;
    if (this.#data.length < needed) {
      const larger = new Uint8Array(Math.min(whole, Math.max(needed, this.#data.length * 2, dataFirstBytes)));
      larger.set(this.#data.subarray(0, this.#dataFilled));
      this.#data = larger;
    }
    copyBytes(bytes, start, start + take, this.#data, this.#dataFilled);
    this.#dataFilled = needed;
    if (needed < whole) return start + take;
    this.#expect = Expect.line;
    const data = this.#data;
    if (data.length > dataFirstBytes) this.#data = noBytes;
    this.#storeData(data, 0, this.#dataLength);
    return start + take;
  }

  #swallow(start: number, end: number): number {
    const take = Math.min(this.#swallowLeft, end - start);
    this.#swallowLeft -= take;
    if (this.#swallowLeft > 0) return start + take;
    this.#expect = Expect.line;
    const silent = this.#noreply;
    if (this.#request.op === Op.set) {
      // What is stored under the key is out of date now, as memcached sees it.
      this.#noreply = true;
      this.#request.op = Op.delete;
      this.#execute();
    }
    if (!silent) this.#output().write(answers.tooLarge);
    return start + take;
  }

  #count(bytes: Uint8Array, command: Command): void {
    this.#noreply = this.#lastIsNoreply(bytes);
    if (!this.#keyWord(bytes)) return;
    if (!parseCounter(bytes, wordStarts[2] as number, wordEnds[2] as number)) {
      this.#say(answers.badDelta);
      return;
    }
    this.#request.op = command.op;
    this.#request.delta = parsedCounter.value;
    this.#execute();
  }

  #touch(bytes: Uint8Array, command: Command): void {
    this.#noreply = this.#lastIsNoreply(bytes);
    if (!this.#keyWord(bytes)) return;
    if (!parseInt32(bytes, wordStarts[2] as number, wordEnds[2] as number)) {
      this.#say(answers.badExptime);
      return;
    }
    this.#request.op = command.op;
    this.#request.expiresAt = this.#expiry(parsed.value);
    this.#execute();
  }

  #remove(bytes: Uint8Array, command: Command, args: number): void {
    if (args > 1) {
      // Old clients send a time of 0; any other was never supported.
      this.#noreply = this.#lastIsNoreply(bytes);
      const zero = (wordEnds[2] as number) - (wordStarts[2] as number) === 1 && bytes[wordStarts[2] as number] === 0x30;
      if (args === 2 ? !zero && !this.#noreply : !zero || !this.#noreply) {
        this.#say(answers.badDelete);
        return;
      }
    }
    if (!this.#keyWord(bytes)) return;
    this.#request.op = command.op;
    this.#execute();
  }

  #flushAll(bytes: Uint8Array, args: number): void {
    this.#noreply = args > 0 && this.#lastIsNoreply(bytes);
    let delay = 0;
    if (args > 0 && !(args === 1 && this.#noreply)) {
      if (!parseInt32(bytes, wordStarts[1] as number, wordEnds[1] as number)) {
        this.#say(answers.badExptime);
        return;
      }
      delay = parsed.value;
    }
    this.#request.op = Op.flush;
    const slot = this.#slot;
    this.#router.flushAll(delay <= 0 ? 0 : this.#expiry(delay), slot);
    this.#settle(slot);
  }

  #stats(bytes: Uint8Array, start: number): void {
    const words = decoder.decode(bytes.subarray(start, this.#lineEnd)).trim().split(/ +/).slice(1);
    this.#output().write(this.#host.stats(words[0] ?? '') ?? answers.error);
  }

  /** Takes the first argument as the request's key; says so and returns false if it is too long. */
  #keyWord(bytes: Uint8Array): boolean {
    const keyStart = wordStarts[1] as number;
    const keyEnd = wordEnds[1] as number;
    if (keyEnd - keyStart > keyBytesMax) {
      this.#say(answers.badFormat);
      return false;
    }
    this.#keyed(bytes, keyStart, keyEnd);
    return true;
  }

  #keyed(bytes: Uint8Array, start: number, end: number): void {
    const request = this.#request;
    request.key = bytes;
    request.keyStart = start;
    request.keyEnd = end;
    request.hash = hashKey(bytes, start, end);
  }

  /** The key has to outlive the chunk. */
  #keepKey(bytes: Uint8Array, start: number, end: number): void {
    if (this.#key.length === 0) this.#key = new Uint8Array(keyBytesMax);
    copyBytes(bytes, start, end, this.#key, 0);
    this.#keyed(this.#key, 0, end - start);
  }

  #execute(): void {
    const slot = this.#slot;
    this.#request.noreply = this.#noreply;
    this.#router.execute(this.#request, slot);
    this.#settle(slot);
  }

  /** After the router took the request: the slot is free again, or takes its place in the queue. */
  #settle(slot: Slot): void {
    if (slot.done) {
      slot.done = false;
      return;
    }
    const request = this.#request;
    const retrieving = request.op === Op.get || request.op === Op.gat;
    if (retrieving) this.#retrieval ??= { failure: undefined };
    slot.enqueue(request.op, retrieving ? request.key.slice(request.keyStart, request.keyEnd) : undefined, this.#withCas, this.#noreply, retrieving ? this.#retrieval : undefined);
    this.#enqueue(slot);
    this.#slot = new Slot(this);
  }

  #enqueue(slot: Slot): void {
    const last = this.#queue.at(-1);
    if (last !== undefined) this.#waitingBytes += last.literalBytes;
    this.#queue.push(slot);
  }

  /** Where what is known now has to go: straight out, or behind the answers that are waited for. */
  #output(): Output {
    return this.#queue.length === 0 ? this.#out : (this.#queue[this.#queue.length - 1] as Slot).literal();
  }

  #say(answer: Uint8Array): void {
    if (!this.#noreply) this.#output().write(answer);
  }

  #sayAndGoOn(answer: Uint8Array, at: number): number {
    this.#say(answer);
    return at;
  }

  #lastIsNoreply(bytes: Uint8Array): boolean {
    const start = wordStarts[this.#wordCount - 1] as number;
    if ((wordEnds[this.#wordCount - 1] as number) - start !== noreplyWord.length) return false;
    for (let i = 0; i < noreplyWord.length; i++) if (bytes[start + i] !== noreplyWord[i]) return false;
    return true;
  }

  /** memcached's exptime as the store wants it: 0 never, below 0 gone already, up to 30 days from now, else unix seconds. */
  #expiry(exptime: number): number {
    return exptime > 0 && exptime <= relativeSecondsMax ? this.#host.nowSeconds() + exptime : exptime;
  }

  #maybeEnd(): void {
    if (!this.#ending || this.#ended || this.#queue.length > 0 || this.#working) return;
    this.#ended = true;
    this.stream.end();
    this.#host.onEnded(this);
  }
}
