import { copyBytes } from '../../base/copy-bytes.ts';
import { parseCounter, parsedCounter } from '../../core/store/counter-text.ts';
import { Op } from '../../core/store/request.ts';
import { Answering } from './answering.ts';
import { answers } from './answers.ts';
import { findCommand, Form, type Command } from './commands.ts';
import { keyBytesMax, relativeSecondsMax } from './limits.ts';
import { wordEnds, wordStarts } from './line-scanner.ts';
import { parseCas, parsed, parseFlags, parseInt32 } from './numbers.ts';

/** What the next bytes are. */
export const Expect = {
  line: 0,
  /** The rest of a retrieval's line, from its next key on. */
  keys: 1,
  /** The rest of a data block that came in pieces. */
  data: 2,
  /** The rest of a data block that nobody wants. */
  swallow: 3,
} as const;
export type Expect = (typeof Expect)[keyof typeof Expect];

const newline = 0x0a;
const carriageReturn = 0x0d;
const blank = 0x20;
const noBytes = new Uint8Array(0);
const noreplyWord = new TextEncoder().encode('noreply');
const decoder = new TextDecoder('latin1');

/** The understanding half of a connection: what each command's line asks for, word by word as memcached reads it. */
export abstract class TextCommands extends Answering {
  protected expect: Expect = Expect.line;
  /** Of the line that was scanned last: how many words it has, and where what counts of it ends. */
  protected wordCount = 0;
  protected lineEnd = 0;
  /** Where a retrieval that had to wait goes on, in the line's buffer. */
  protected keysAt = 0;
  /** The data block that comes next: what its command announced. */
  protected dataLength = 0;
  protected swallowLeft = 0;
  /** What is said once the rest has been swallowed. */
  protected swallowAnswer: Uint8Array = answers.tooLarge;
  /** Takes no more requests. */
  protected ending = false;
  #key: Uint8Array = noBytes;

  /** Handles the line that begins at `start` and was scanned; what follows it is rest[at, end). Returns where in `rest` it stopped. */
  protected dispatch(bytes: Uint8Array, start: number, rest: Uint8Array, at: number, end: number): number {
    const args = this.wordCount - 1;
    const command = args < 0 ? undefined : findCommand(bytes, wordStarts[0] as number, wordEnds[0] as number);
    this.noreply = false;
    if (command === undefined || args < command.argumentsMin || args > command.argumentsMax) {
      this.output().write(answers.error);
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
        this.#flushWith(bytes, args);
        return at;
      case Form.verbosity:
        this.noreply = this.#lastIsNoreply(bytes);
        this.say(parseFlags(bytes, wordStarts[1] as number, wordEnds[1] as number) ? answers.ok : answers.badFormat);
        return at;
      case Form.version:
        this.output().write(this.host.version);
        return at;
      case Form.stats:
        this.#stats(bytes, start);
        return at;
      case Form.quit:
        this.ending = true;
        return end;
    }
  }

  /** get, gets, gat, gats: one request per key. */
  #retrieve(bytes: Uint8Array, command: Command, rest: Uint8Array, at: number): number {
    const request = this.request;
    request.op = command.op;
    request.expiresAt = 0;
    this.withCas = command.withCas;
    let firstKey = 1;
    if (command.form === Form.retrievalAndTouch) {
      if (!parseInt32(bytes, wordStarts[1] as number, wordEnds[1] as number)) {
        this.output().write(answers.badExptime);
        return at;
      }
      request.expiresAt = this.#expiry(parsed.value);
      firstKey = 2;
    }
    this.failure = undefined;
    this.retrieval = undefined;
    if (this.wordCount === firstKey + 1) {
      const keyStart = wordStarts[firstKey] as number;
      const keyEnd = wordEnds[firstKey] as number;
      if (keyEnd - keyStart > keyBytesMax) this.output().write(answers.badFormat);
      else {
        this.keyed(bytes, keyStart, keyEnd);
        this.execute();
        this.endRetrieval();
      }
      return at;
    }
    const keysStart = this.wordCount > firstKey ? (wordStarts[firstKey] as number) : this.lineEnd;
    if (!this.#keysFit(bytes, keysStart)) {
      this.output().write(answers.badFormat);
      return at;
    }
    this.expect = Expect.keys;
    const stopped = this.keys(bytes, keysStart);
    if (this.expect !== Expect.keys) return at;
    this.keysAt = stopped;
    // In place, the rest of the line is simply what comes next; in the carry buffer, lineInCarry sees to it.
    return bytes === rest ? stopped : at;
  }

  #keysFit(bytes: Uint8Array, start: number): boolean {
    let length = 0;
    for (let at = start; at < this.lineEnd; at++) {
      length = bytes[at] === blank ? 0 : length + 1;
      if (length > keyBytesMax) return false;
    }
    return true;
  }

  /** Goes through the keys of a retrieval's line from `start` on; stops early, with Expect.keys, while answers are waiting. */
  protected keys(bytes: Uint8Array, start: number): number {
    const end = this.lineEnd;
    let at = start;
    for (;;) {
      while (at < end && bytes[at] === blank) at++;
      if (at >= end) break;
      if (this.isBlocked()) return at;
      const keyStart = at;
      while (at < end && bytes[at] !== blank) at++;
      this.keyed(bytes, keyStart, at);
      this.execute();
    }
    this.expect = Expect.line;
    this.endRetrieval();
    while (bytes[at] !== newline) at++;
    return at + 1;
  }

  #store(bytes: Uint8Array, command: Command, rest: Uint8Array, at: number, end: number): number {
    this.noreply = this.#lastIsNoreply(bytes);
    const request = this.request;
    const keyStart = wordStarts[1] as number;
    const keyEnd = wordEnds[1] as number;
    if (keyEnd - keyStart > keyBytesMax || !parseFlags(bytes, wordStarts[2] as number, wordEnds[2] as number)) return this.sayAndGoOn(answers.badFormat, at);
    request.flags = parsed.value;
    if (!parseInt32(bytes, wordStarts[3] as number, wordEnds[3] as number)) return this.sayAndGoOn(answers.badFormat, at);
    request.expiresAt = this.#expiry(parsed.value);
    if (!parseInt32(bytes, wordStarts[4] as number, wordEnds[4] as number)) return this.sayAndGoOn(answers.badFormat, at);
    const length = parsed.value;
    request.cas = 0;
    if (command.op === Op.cas) {
      if (!parseCas(bytes, wordStarts[5] as number, wordEnds[5] as number)) return this.sayAndGoOn(answers.badFormat, at);
      request.cas = parsed.value;
    }
    if (length < 0 || length > 0x7fff_ffff - 2) return this.sayAndGoOn(answers.badFormat, at);
    request.op = command.op;
    if (length > this.maxValueBytes) {
      this.#keepKey(bytes, keyStart, keyEnd);
      this.swallow(length + 2, answers.tooLarge);
      return at;
    }
    if (end - at >= length + 2) {
      this.keyed(bytes, keyStart, keyEnd);
      this.storeData(rest, at, at + length);
      return at + length + 2;
    }
    this.#keepKey(bytes, keyStart, keyEnd);
    this.dataLength = length;
    this.expect = Expect.data;
    return at;
  }

  /** The data block is there: data[start, end) and what ends it. */
  protected storeData(data: Uint8Array, start: number, end: number): void {
    if (data[end] !== carriageReturn || data[end + 1] !== newline) {
      this.say(answers.badChunk);
      return;
    }
    const request = this.request;
    request.value = data;
    request.valueStart = start;
    request.valueEnd = end;
    this.execute();
  }

  #count(bytes: Uint8Array, command: Command): void {
    this.noreply = this.#lastIsNoreply(bytes);
    if (!this.#keyWord(bytes)) return;
    if (!parseCounter(bytes, wordStarts[2] as number, wordEnds[2] as number)) {
      this.say(answers.badDelta);
      return;
    }
    this.request.op = command.op;
    this.request.delta = parsedCounter.value;
    this.execute();
  }

  #touch(bytes: Uint8Array, command: Command): void {
    this.noreply = this.#lastIsNoreply(bytes);
    if (!this.#keyWord(bytes)) return;
    if (!parseInt32(bytes, wordStarts[2] as number, wordEnds[2] as number)) {
      this.say(answers.badExptime);
      return;
    }
    this.request.op = command.op;
    this.request.expiresAt = this.#expiry(parsed.value);
    this.execute();
  }

  #remove(bytes: Uint8Array, command: Command, args: number): void {
    if (args > 1) {
      // Old clients send a time of 0; any other was never supported.
      this.noreply = this.#lastIsNoreply(bytes);
      const zero = (wordEnds[2] as number) - (wordStarts[2] as number) === 1 && bytes[wordStarts[2] as number] === 0x30;
      if (args === 2 ? !zero && !this.noreply : !zero || !this.noreply) {
        this.say(answers.badDelete);
        return;
      }
    }
    if (!this.#keyWord(bytes)) return;
    this.request.op = command.op;
    this.execute();
  }

  #flushWith(bytes: Uint8Array, args: number): void {
    this.noreply = args > 0 && this.#lastIsNoreply(bytes);
    let delay = 0;
    if (args > 0 && !(args === 1 && this.noreply)) {
      if (!parseInt32(bytes, wordStarts[1] as number, wordEnds[1] as number)) {
        this.say(answers.badExptime);
        return;
      }
      delay = parsed.value;
    }
    this.flushAll(delay <= 0 ? 0 : this.#expiry(delay));
  }

  #stats(bytes: Uint8Array, start: number): void {
    const words = decoder.decode(bytes.subarray(start, this.lineEnd)).trim().split(/ +/).slice(1);
    this.output().write(this.host.stats(words[0] ?? '') ?? answers.error);
  }

  /** Takes the first argument as the request's key; says so and returns false if it is too long. */
  #keyWord(bytes: Uint8Array): boolean {
    const keyStart = wordStarts[1] as number;
    const keyEnd = wordEnds[1] as number;
    if (keyEnd - keyStart > keyBytesMax) {
      this.say(answers.badFormat);
      return false;
    }
    this.keyed(bytes, keyStart, keyEnd);
    return true;
  }

  /** Nobody wants the rest of the data block. */
  protected swallow(length: number, answer: Uint8Array): void {
    this.swallowLeft = length;
    this.swallowAnswer = answer;
    this.expect = Expect.swallow;
  }

  /** The data block is past that could not be taken. */
  protected swallowed(): void {
    this.expect = Expect.line;
    const silent = this.noreply;
    if (this.request.op === Op.set) {
      // What is stored under the key is out of date now, as memcached sees it.
      this.noreply = true;
      this.request.op = Op.delete;
      this.execute();
    }
    if (!silent) this.output().write(this.swallowAnswer);
  }

  /** The key has to outlive the chunk. */
  #keepKey(bytes: Uint8Array, start: number, end: number): void {
    if (this.#key.length === 0) this.#key = new Uint8Array(keyBytesMax);
    copyBytes(bytes, start, end, this.#key, 0);
    this.keyed(this.#key, 0, end - start);
  }

  #lastIsNoreply(bytes: Uint8Array): boolean {
    const start = wordStarts[this.wordCount - 1] as number;
    if ((wordEnds[this.wordCount - 1] as number) - start !== noreplyWord.length) return false;
    for (let i = 0; i < noreplyWord.length; i++) if (bytes[start + i] !== noreplyWord[i]) return false;
    return true;
  }

  /** memcached's exptime as the store wants it: 0 never, below 0 gone already, up to 30 days from now, else unix seconds. */
  #expiry(exptime: number): number {
    return exptime > 0 && exptime <= relativeSecondsMax ? this.host.nowSeconds() + exptime : exptime;
  }
}
