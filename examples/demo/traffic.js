/** An application's traffic through the npm package `memcached`, and the books on what was acknowledged. */
import Memcached from 'memcached';

const writesPerSecond = 250;
const readsPerSecond = 250;
const countsPerSecond = 100;
const counterCount = 10;
const tickMs = 4;

export class Traffic {
  #clients;
  #timer;
  #turn = 0;
  #credit = { write: 0, read: 0, count: 0 };
  #last = 0;
  #underWay = new Set();
  #keys = [];
  requests = 0;
  /** What failed, by kind, with the first message of each. */
  failures = new Map();
  failed = 0;
  wrong = 0;
  /** Values of acknowledged writes. */
  acknowledged = new Map();
  counters = Array.from({ length: counterCount }, () => 0);
  /** Latencies of finished requests: { startedAt, ms }; kept whole, a minute of traffic is small. */
  latencies = [];

  /** @param {string[]} addresses memcached ports of agents that live through the demo */
  constructor(addresses) {
    this.#clients = addresses.flatMap((address) => [address, address]).map((address) => new Memcached(address, { timeout: 15_000, retries: 0, failures: 1000, poolSize: 20, maxExpiration: 0 }));
  }

  async prepare() {
    for (let i = 0; i < counterCount; i += 1) await this.#call('set', `counter:${i}`, '0', 0);
  }

  async load(pairs) {
    for (let at = 0; at < pairs.length; at += 50) await Promise.all(pairs.slice(at, at + 50).map(([key, value]) => this.#write(key, value)));
  }

  start() {
    this.#last = performance.now();
    this.#timer = setInterval(() => this.#tick(), tickMs);
  }

  /** Resolves when every request has its answer. */
  async stop() {
    clearInterval(this.#timer);
    await Promise.all(this.#underWay);
  }

  end() {
    clearInterval(this.#timer);
    for (const client of this.#clients) client.end();
  }

  get underWay() {
    return this.#underWay.size;
  }

  /** Age of the oldest request that waits for its answer (ms); 0 if none does. */
  get oldestMs() {
    let oldest = 0;
    for (const request of this.#underWay) oldest = Math.max(oldest, performance.now() - request.startedAt);
    return oldest;
  }

  /** The longest that a request waited which was under way at some time between the two. */
  longestPauseMs(fromMs, toMs) {
    return this.latencies.reduce((longest, { startedAt, ms }) => (startedAt <= toMs && startedAt + ms >= fromMs ? Math.max(longest, ms) : longest), 0);
  }

  /** Reads everything back through each client in turn; the result is how many acknowledged writes are missing or different. */
  async lost() {
    const keys = [...this.acknowledged.keys()];
    let lost = 0;
    for (let at = 0; at < keys.length; at += 200) {
      const some = keys.slice(at, at + 200);
      const found = await new Promise((resolve, reject) => this.#client().getMulti(some, (error, data) => (error ? reject(asError(error)) : resolve(data))));
      lost += some.filter((key) => String(found[key]) !== this.acknowledged.get(key)).length;
    }
    return lost;
  }

  /** What the counters stand at, against what was acknowledged. */
  async counterTotals() {
    let stored = 0;
    for (let i = 0; i < counterCount; i += 1) stored += Number(await this.#call('get', `counter:${i}`));
    return { stored, acknowledged: this.counters.reduce((sum, each) => sum + each, 0) };
  }

  #tick() {
    const now = performance.now();
    const seconds = Math.min((now - this.#last) / 1000, 0.25);
    this.#last = now;
    this.#spend('write', writesPerSecond * seconds, () => this.#track(this.#write(`demo:${this.#turn}`, `value ${this.#turn}`)));
    this.#spend('count', countsPerSecond * seconds, () => this.#track(this.#count(this.#turn % counterCount)));
    this.#spend('read', readsPerSecond * seconds, () => this.#track(this.#read()));
  }

  #spend(kind, amount, act) {
    this.#credit[kind] += amount;
    for (; this.#credit[kind] >= 1; this.#credit[kind] -= 1) {
      this.#turn += 1;
      act();
    }
  }

  #track(promise) {
    promise.startedAt = performance.now();
    this.#underWay.add(promise);
    void promise.finally(() => this.#underWay.delete(promise));
  }

  async #write(key, value) {
    if (await this.#attempt('set', () => this.#call('set', key, value, 0))) {
      this.acknowledged.set(key, value);
      this.#keys.push(key);
    }
  }

  /** A write beside the stream of them, with the same books. */
  writeNow(key, value) {
    return this.#write(key, value);
  }

  async #count(index) {
    if (await this.#attempt('incr', () => this.#call('incr', `counter:${index}`, 1))) this.counters[index] += 1;
  }

  async #read() {
    if (this.#keys.length === 0) return;
    const key = this.#keys[Math.floor(Math.random() * this.#keys.length)];
    await this.#attempt('get', async () => {
      const value = await this.#call('get', key);
      if (String(value) !== this.acknowledged.get(key)) this.wrong += 1;
      return true;
    });
  }

  async #attempt(kind, request) {
    this.requests += 1;
    const startedAt = performance.now();
    try {
      const answer = await request();
      if (answer === false || answer === undefined) throw new Error(`answered ${answer}`);
      return true;
    } catch (error) {
      this.failed += 1;
      const known = this.failures.get(kind) ?? { count: 0, first: error.message };
      this.failures.set(kind, { ...known, count: known.count + 1 });
      return false;
    } finally {
      this.latencies.push({ startedAt, ms: performance.now() - startedAt });
    }
  }

  #client() {
    return this.#clients[this.#turn++ % this.#clients.length];
  }

  #call(method, ...parameters) {
    return new Promise((resolve, reject) => this.#client()[method](...parameters, (error, answer) => (error ? reject(asError(error)) : resolve(answer))));
  }
}

function asError(error) {
  return error instanceof Error ? error : new Error(typeof error === 'string' ? error : JSON.stringify(error));
}
