import type { CloseReason, StreamHandler } from '../../ports/streams.ts';
import { answers } from './answers.ts';
import { findCommand, Form } from './commands.ts';
import { HalfSent } from './half-sent.ts';
import { scanLine, scanned } from './line-scanner.ts';
import { Expect, TextCommands } from './text-commands.ts';

const newline = 0x0a;
const blank = 0x20;
const binaryMagic = 0x80;
const noBytes = new Uint8Array(0);

/**
 * One client. Parses requests in place, in whatever chunks they arrive: only what is cut by a chunk's end is copied.
 *
 * Not reading is the only brake: while too many requests or answers wait, the stream is paused and the rest of the chunk
 * in hand is kept.
 */
export class Connection extends TextCommands implements StreamHandler {
  /** A line that has begun in earlier chunks, and a data block that comes in pieces. */
  readonly #begun: HalfSent = new HalfSent(this.host.halfSent);
  readonly #data: HalfSent = new HalfSent(this.host.halfSent);
  /** Input that could not be handled yet; the stream is paused while there is any. */
  #held: Uint8Array = noBytes;
  #heldAt = 0;
  #heldDone = 0;
  #inputPaused = false;
  #working = false;
  #first = true;
  #inputEnded = false;

  /** Takes no more requests; ends the stream once those under way are answered. */
  finish(): void {
    this.ending = true;
    this.#maybeEnd();
  }

  onData(bytes: Uint8Array): void {
    if (this.ending) return;
    this.counters.readBytes += bytes.length;
    if (this.#heldAt < this.#heldDone) {
      this.#hold(bytes, 0, bytes.length);
      return;
    }
    this.#work(bytes, 0, bytes.length);
  }

  onDrain(): void {
    this.writable = true;
    this.#resume();
  }

  /** The peer has said all it had to say; what it asked for is still answered. */
  onEnd(): void {
    this.#inputEnded = true;
    if (this.#heldAt === this.#heldDone) this.finish();
  }

  onClose(_reason: CloseReason): void {
    this.ending = true;
    this.ended = true;
    this.forgetAnswers();
    this.#held = noBytes;
    this.#heldAt = this.#heldDone = 0;
    this.#data.close();
    this.#begun.close();
    this.host.onClosed(this);
  }

  flushAnswers(): void {
    this.writeDone();
    if (this.ended) return;
    this.#maybeEnd();
    this.#resume();
  }

  #work(bytes: Uint8Array, start: number, end: number): void {
    if (this.ended) return;
    this.beginOut();
    this.#working = true;
    const stopped = this.#process(bytes, start, end);
    this.#working = false;
    this.flushOut();
    if (bytes === this.#held) this.#heldAt = stopped;
    else if (stopped < end && !this.ending) this.#hold(bytes, stopped, end);
    if (this.#heldAt === this.#heldDone) this.#held = noBytes;
    if (this.isBlocked() && !this.#inputPaused && !this.ending) {
      this.#inputPaused = true;
      this.stream.pause();
    }
    this.#maybeEnd();
  }

  #resume(): void {
    if (!this.#inputPaused || this.#working || this.ended || this.ending || this.isBlocked()) return;
    if (this.#heldAt < this.#heldDone) this.#work(this.#held, this.#heldAt, this.#heldDone);
    if (this.isBlocked() || this.#heldAt < this.#heldDone || this.ended) return;
    if (this.#inputEnded) {
      this.finish();
      return;
    }
    this.#inputPaused = false;
    this.stream.resume();
  }

  /** Keeps what cannot be handled now: a chunk is only valid during the call that brings it. */
  #hold(bytes: Uint8Array, start: number, end: number): void {
    const left = this.#heldDone - this.#heldAt;
    // The rest of a retrieval's line moves with the bytes it lies in.
    if (this.expect === Expect.keys) this.lineEnd -= left > 0 ? this.#heldAt : start;
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
    while (at < end && !this.ending) {
      if (this.isBlocked()) return at;
      switch (this.expect) {
        case Expect.line:
          at = this.#line(bytes, at, end);
          break;
        case Expect.keys:
          at = this.keys(bytes, at);
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
    if (this.#begun.length > 0) return this.#lineInPieces(bytes, start, end);
    if (this.#first) {
      this.#first = false;
      if (bytes[start] === binaryMagic) {
        this.host.onBinary(this);
        this.ending = true;
        return end;
      }
    }
    const lineEnd = this.#scan(bytes, start, end);
    if (lineEnd < 0) {
      this.#carryOn(bytes, start, end);
      return end;
    }
    if (lineEnd - start > this.host.limits.lineBytesMax && this.#isTooLong(bytes, start, lineEnd)) return end;
    return this.dispatch(bytes, start, bytes, lineEnd + 1, end);
  }

  #scan(bytes: Uint8Array, start: number, end: number): number {
    const at = scanLine(bytes, start, end);
    this.wordCount = scanned.wordCount;
    this.lineEnd = scanned.end;
    return at;
  }

  /** The line began in an earlier chunk: completes the copy and handles it there. */
  #lineInPieces(bytes: Uint8Array, start: number, end: number): number {
    const found = bytes.indexOf(newline, start);
    const stop = found < 0 || found >= end ? end : found + 1;
    this.#carryOn(bytes, start, stop);
    if (this.ending || stop === end && (found < 0 || found >= end)) return stop;
    const { bytes: line, length } = this.#begun;
    this.#scan(line, 0, length);
    const next = this.dispatch(line, 0, bytes, stop, end);
    const stopped = this.expect === Expect.keys && !this.ending;
    // The retrieval was stopped on its way: what is left of its line comes before the rest of the chunk.
    if (stopped) this.#holdLine(line.subarray(this.keysAt, length), bytes, next, end);
    this.#begun.release();
    return stopped ? end : next;
  }

  #holdLine(line: Uint8Array, bytes: Uint8Array, start: number, end: number): void {
    const joined = new Uint8Array(line.length + end - start);
    joined.set(line);
    joined.set(bytes.subarray(start, end), line.length);
    this.#held = joined;
    this.#heldAt = 0;
    this.#heldDone = joined.length;
    this.lineEnd -= this.keysAt;
  }

  #carryOn(bytes: Uint8Array, start: number, end: number): void {
    const begun = this.#begun;
    if (!begun.add(bytes, start, end, Infinity)) {
      this.counters.failures++;
      this.output().write(answers.outOfMemoryReading);
      this.ending = true;
      return;
    }
    const length = begun.bytes[begun.length - 1] === newline ? begun.length - 1 : begun.length;
    if (length > this.host.limits.lineBytesMax) this.#isTooLong(begun.bytes, 0, length);
  }

  /** Says so and ends, unless it is a retrieval, which may be longer. */
  #isTooLong(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start;
    while (at < end && bytes[at] === blank) at++;
    let wordEnd = at;
    while (wordEnd < end && bytes[wordEnd] !== blank && wordEnd - at < 8) wordEnd++;
    const form = wordEnd === at ? undefined : findCommand(bytes, at, wordEnd)?.form;
    const retrieval = form === Form.retrieval || form === Form.retrievalAndTouch;
    if (retrieval && end - start <= this.host.limits.retrievalLineBytesMax) return false;
    this.output().write(answers.lineTooLong);
    this.ending = true;
    return true;
  }

  #fillData(bytes: Uint8Array, start: number, end: number): number {
    const whole = this.dataLength + 2;
    const data = this.#data;
    const take = Math.min(whole - data.length, end - start);
    if (!data.add(bytes, start, start + take, whole)) {
      const left = whole - data.length;
      data.close();
      this.counters.failures++;
      this.swallow(left, answers.outOfMemory);
      return start;
    }
    if (data.length < whole) return start + take;
    this.expect = Expect.line;
    this.storeData(data.bytes, 0, this.dataLength);
    data.release();
    return start + take;
  }

  #swallow(start: number, end: number): number {
    const take = Math.min(this.swallowLeft, end - start);
    this.swallowLeft -= take;
    if (this.swallowLeft === 0) this.swallowed();
    return start + take;
  }

  #maybeEnd(): void {
    if (!this.ending || this.ended || this.pending > 0 || this.#working) return;
    this.ended = true;
    this.stream.end();
    this.host.onEnded(this);
  }
}
