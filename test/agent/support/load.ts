/** Load through one agent, as an application's own: what was acknowledged is remembered, and read back at the end. */
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { pause } from './agents.ts';

/** A pipelining client of memcached's text protocol. No retries. */
export class TextClient {
  readonly socket: Socket;
  readonly #waiting: { resolve: (answer: string) => void; reject: (error: Error) => void }[] = [];
  #buffer = '';
  #error: Error | undefined;

  constructor(port: number, host: string = '127.0.0.1') {
    this.socket = connect({ port, host, noDelay: true });
    this.socket.setEncoding('latin1');
    this.socket.on('data', (text) => this.#onData(String(text)));
    this.socket.on('error', (error) => this.#fail(error));
    this.socket.on('close', () => this.#fail(new Error('the connection was closed')));
  }

  #fail(error: Error): void {
    this.#error ??= error;
    for (const waiter of this.#waiting.splice(0)) waiter.reject(this.#error);
  }

  #onData(text: string): void {
    this.#buffer += text;
    for (;;) {
      const end = this.#endOfAnswer();
      if (end < 0 || this.#waiting.length === 0) return;
      const answer = this.#buffer.slice(0, end);
      this.#buffer = this.#buffer.slice(end);
      this.#waiting.shift()?.resolve(answer);
    }
  }

  #endOfAnswer(): number {
    const line = this.#buffer.indexOf('\r\n') + 2;
    if (line < 2 || !this.#buffer.startsWith('VALUE ')) return line < 2 ? -1 : line;
    const end = line + Number(this.#buffer.slice(0, line - 2).split(' ')[3]) + 2 + 5;
    return this.#buffer.length < end ? -1 : end;
  }

  send(bytes: string): Promise<string> {
    return new Promise((resolve, reject) => {
      if (this.#error !== undefined) {
        reject(this.#error);
        return;
      }
      this.#waiting.push({ resolve, reject });
      this.socket.write(bytes, 'latin1');
    });
  }

  /** The answer's first line. */
  async set(key: string, value: string): Promise<string> {
    return (await this.send(`set ${key} 0 0 ${value.length}\r\n${value}\r\n`)).trimEnd();
  }

  async incr(key: string, by: number = 1): Promise<string> {
    return (await this.send(`incr ${key} ${by}\r\n`)).trimEnd();
  }

  /** Undefined when there is none; rejects with the error line. */
  async get(key: string): Promise<string | undefined> {
    const answer = await this.send(`get ${key}\r\n`);
    if (answer === 'END\r\n') return undefined;
    if (!answer.startsWith('VALUE ')) throw new Error(answer.trimEnd());
    return answer.slice(answer.indexOf('\r\n') + 2, -7);
  }

  close(): void {
    this.socket.destroy();
  }
}

export interface LoadResult {
  readonly requests: number;
  /** Answers that were not what a healthy store answers, at most the first ten. */
  readonly failures: readonly string[];
  /** Every acknowledged write: its key's value is `value-of-KEY`. */
  readonly written: readonly string[];
  readonly longestMs: number;
}

let loads = 0;
const counters = 8;

/** Open loop: a third unique writes, a third increments, a third reads of what was acknowledged before. */
export class Load {
  readonly client: TextClient;
  readonly prefix: string = `load${process.pid}-${++loads}-`;
  readonly #perSecond: number;
  readonly #failures: string[] = [];
  readonly #written: string[] = [];
  readonly #counts: string[][] = Array.from({ length: counters }, () => []);
  readonly #open = new Set<Promise<void>>();
  #requests = 0;
  #longestMs = 0;
  #stopped = false;
  #running: Promise<void> = Promise.resolve();

  constructor(port: number, perSecond: number = 240, host?: string) {
    this.client = new TextClient(port, host);
    this.#perSecond = perSecond;
  }

  async start(): Promise<this> {
    for (let i = 0; i < counters; i++) {
      const answer = await this.client.set(`${this.prefix}n${i}`, '0');
      if (answer !== 'STORED') throw new Error(`the load could not begin: ${answer}`);
    }
    this.#running = this.#run();
    return this;
  }

  async #run(): Promise<void> {
    const begun = performance.now();
    for (let i = 0; !this.#stopped; i++) {
      const wait = begun + (i * 1000) / this.#perSecond - performance.now();
      if (wait > 0) await pause(wait);
      const request = i % 3 === 0 ? this.#write(i) : i % 3 === 1 ? this.#count(i) : this.#read(i);
      const sent = performance.now();
      this.#requests++;
      const settled = request.catch((error: unknown) => this.#fail(String(error))).then(() => {
        this.#open.delete(settled);
        this.#longestMs = Math.max(this.#longestMs, performance.now() - sent);
      });
      this.#open.add(settled);
    }
    await Promise.all(this.#open);
  }

  #fail(what: string): void {
    if (this.#failures.length < 10) this.#failures.push(what);
  }

  async #write(i: number): Promise<void> {
    const key = `${this.prefix}${i}`;
    const answer = await this.client.set(key, `value-of-${key}`);
    if (answer === 'STORED') this.#written.push(key);
    else this.#fail(`set ${key}: ${answer}`);
  }

  async #count(i: number): Promise<void> {
    const index = i % counters;
    const answer = await this.client.incr(`${this.prefix}n${index}`);
    if (/^\d+$/.test(answer)) this.#counts[index]?.push(answer);
    else this.#fail(`incr ${this.prefix}n${index}: ${answer}`);
  }

  async #read(i: number): Promise<void> {
    const key = this.#written[(i * 7919) % Math.max(1, this.#written.length)];
    if (key === undefined) return;
    const value = await this.client.get(key);
    if (value !== `value-of-${key}`) this.#fail(`get ${key}: ${value}`);
  }

  /** How many writes are acknowledged so far. */
  get acknowledged(): number {
    return this.#written.length;
  }

  async stop(): Promise<LoadResult> {
    this.#stopped = true;
    await this.#running;
    this.client.close();
    return { requests: this.#requests, failures: this.#failures, written: this.#written, longestMs: this.#longestMs };
  }

  /** Reads everything back through an agent. Tells of each lost write, and of each counter that is not the number of its increments. */
  async check(port: number, host?: string): Promise<string[]> {
    const client = new TextClient(port, host);
    const problems: string[] = [];
    try {
      await Promise.all(this.#written.map(async (key) => {
        const value = await client.get(key);
        if (value !== `value-of-${key}`) problems.push(`lost: ${key} is ${value}`);
      }));
      for (const [index, answers] of this.#counts.entries()) {
        const value = await client.get(`${this.prefix}n${index}`);
        // Pipelined on one connection, none may be missing and none may be there twice.
        const expected = Array.from({ length: answers.length }, (_, i) => String(i + 1));
        if (value !== String(answers.length)) problems.push(`counter ${index} is ${value} after ${answers.length} increments`);
        else if (answers.toSorted((a, b) => Number(a) - Number(b)).join() !== expected.join()) problems.push(`counter ${index} answered ${answers.join()}`);
      }
    } finally {
      client.close();
    }
    return problems;
  }
}
