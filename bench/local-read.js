// Reads of a local copy inside the process, through the library: no hop, no system call. Beside it ioredis on loopback in
// the same run, awaited one by one and with auto-pipelining and 512 in flight. 100-byte values, 10,000 keys.
// Usage: node bench/local-read.js [--seconds N] [--json]
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import Redis from 'ioredis';
import { createNode } from '../dist/index.js';
import { freePorts } from './lib/agents.js';

const seconds = process.argv.includes('--seconds') ? Number(process.argv[process.argv.indexOf('--seconds') + 1]) : 2;
const keyCount = 10_000;
const keys = Array.from({ length: keyCount }, (_, i) => `key:${String(i).padStart(8, '0')}`);
const value = 'v'.repeat(100);

/** Reads by `inFlight` callers, each of which awaits its answer before it asks again, for the given time; the best of five parts is given as well. */
async function measure(read, inFlight) {
  const run = async (ms) => {
    let reads = 0;
    const begin = performance.now();
    const end = begin + ms;
    let yieldedAt = begin;
    await Promise.all(Array.from({ length: inFlight }, async (_, caller) => {
      for (let i = caller * 37; ; i++) {
        const found = await read(keys[i % keyCount]);
        if (found === undefined || found === null) throw new Error('a key is missing');
        // The clock is looked at now and then: that costs something too.
        if ((++reads & 127) !== 0 && inFlight === 1) continue;
        const now = performance.now();
        if (now >= end) break;
        // An answer that is there at once leaves no turn to anything else: let timers and sockets have one every 10 ms.
        if (now - yieldedAt < 10) continue;
        yieldedAt = now;
        await new Promise((resolve) => setImmediate(resolve));
      }
    }));
    return (reads * 1000) / (performance.now() - begin);
  };
  await run(500);
  const parts = [];
  for (let i = 0; i < 5; i++) parts.push(await run((seconds * 1000) / 5));
  parts.sort((a, b) => a - b);
  return { median: parts[2], best: parts[4] };
}

const result = {};
const node = await createNode({ name: 'bench', gossip: { bind: '127.0.0.1:0', profile: 'local' }, peer: '127.0.0.1:0', bootstrap: { expect: 1 }, keyspaces: { default: { partitions: 64, replicas: 1 } } }, { log: { trace() {}, debug() {}, info() {}, warn() {}, error() {}, child() { return this; } } });
await node.ready();
const keyspace = node.keyspace('default');
for (const key of keys) await keyspace.put(key, value);
result.local = await measure((key) => keyspace.get(key), 1);
await node.close?.();

if (!existsSync('/usr/bin/redis-server')) console.log('redis: not installed (apt-get install redis-server)');
else {
  const [port] = await freePorts(1);
  const server = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', tmpdir()], { stdio: 'ignore' });
  const quiet = (redis) => redis.on('error', () => {});
  const plain = quiet(new Redis({ port, retryStrategy: () => 50, maxRetriesPerRequest: null }));
  const pipelining = quiet(new Redis({ port, enableAutoPipelining: true, retryStrategy: () => 50, maxRetriesPerRequest: null }));
  try {
    for (const key of keys) await plain.set(key, value);
    result.oneByOne = await measure((key) => plain.getBuffer(key), 1);
    result.autoPipelining = await measure((key) => pipelining.getBuffer(key), 512);
  } finally {
    plain.disconnect();
    pipelining.disconnect();
    server.kill('SIGKILL');
  }
}
if (process.argv.includes('--json')) console.log(JSON.stringify(result));
else {
  const names = { local: 'in-process read of a local copy', oneByOne: 'ioredis, awaited one by one', autoPipelining: 'ioredis, auto-pipelining, 512 in flight' };
  for (const [name, { median, best }] of Object.entries(result)) console.log(`${names[name].padEnd(42)} ${Math.round(median).toLocaleString('en')}/s (best ${Math.round(best).toLocaleString('en')}/s)${name === 'local' ? '' : `   local read: ${(result.local.median / median).toFixed(1)} ×`}`);
  console.log('goals: 1,000,000/s; 70 × one by one; 4 × auto-pipelining');
}
process.exit(0);
