/** Follows the file that all agents append their output to, and keeps the books on who ran Wikipedy when. */
import { closeSync, openSync, readSync } from 'node:fs';

const everyMs = 2;

export class Output {
  #file;
  #position = 0;
  #rest = '';
  #timer;
  #buffer = Buffer.alloc(64 * 1024);
  ready = new Set();
  /** @type {{ app: string, node: string, type: string, from?: string, epoch: number, number: string, at: number }[]} */
  starts = [];
  /** When each instance said that it had stopped, by epoch. */
  stops = new Map();
  printed = 0;
  /** Lines of an instance after a newer one had started, and starts under an epoch that is older or another node's. */
  ranTwice = 0;
  /** What those lines were. */
  wrongLines = [];
  onLine = () => {};

  constructor(path) {
    this.#file = openSync(path, 'a+');
    this.#timer = setInterval(() => this.#read(), everyMs);
  }

  get newest() {
    return this.starts.at(-1);
  }

  close() {
    clearInterval(this.#timer);
    this.#read();
    closeSync(this.#file);
  }

  #read() {
    const at = performance.now();
    for (;;) {
      const length = readSync(this.#file, this.#buffer, 0, this.#buffer.length, this.#position);
      if (length === 0) return;
      this.#position += length;
      const lines = (this.#rest + this.#buffer.toString('utf8', 0, length)).split('\n');
      this.#rest = lines.pop();
      for (const line of lines) this.#take(line, at);
    }
  }

  #take(line, at) {
    const ready = /^ready name=(\S+)/.exec(line);
    if (ready !== null) return void this.ready.add(ready[1]);
    const match = /^wikipedy (\S+) (\d+) (\d+) (.*)$/.exec(line);
    if (match === null) return;
    const [, node, epochText, number, text] = match;
    const epoch = Number(epochText);
    const start = startOf(text, node);
    const newest = this.newest;
    if (start !== undefined) {
      if (epoch === newest?.epoch && node === newest.node) start.type = 'local';
      // The same epoch once more is the same node that begins anew after it had stopped; anything older is a second one.
      if (newest !== undefined && (epoch < newest.epoch || (epoch === newest.epoch && node !== newest.node))) this.#wrong(line);
      this.starts.push({ app: 'wikipedy', node, ...start, epoch, number, at });
    } else if (text === 'stopped') {
      this.stops.set(epoch, at);
    } else {
      this.printed += 1;
      if (newest === undefined || epoch !== newest.epoch || node !== newest.node || number !== newest.number) this.#wrong(line);
    }
    this.onLine({ node, epoch, text, at });
  }

  #wrong(line) {
    this.ranTwice += 1;
    if (this.wrongLines.length < 10) this.wrongLines.push(line);
  }
}

function startOf(text, node) {
  if (text === `started on ${node}`) return { type: 'normal' };
  const failover = /^(\S+) is failing over to \S+$/.exec(text);
  if (failover !== null) return { type: 'failover', from: failover[1] };
  const takeover = /^\S+ is taking over (\S+)$/.exec(text);
  return takeover === null ? undefined : { type: 'takeover', from: takeover[1] };
}
