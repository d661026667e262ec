// The memory engine: bytes per entry over key and value, time per operation, and the worst pause under churn.
// Usage: node bench/engine-memory.js [--entries N] [--json]
import { PerformanceObserver } from 'node:perf_hooks';
import { Arena } from '../dist/core/store/arena.js';
import { hashKey, partitionOf } from '../dist/core/store/hash.js';
import { Table } from '../dist/core/store/table.js';

const entries = process.argv.includes('--entries') ? Number(process.argv[process.argv.indexOf('--entries') + 1]) : 2_000_000;
const partitions = 64;
const valueBytes = 100;
const batch = 200;

const residentBefore = process.memoryUsage().rss;
let arena;
let tables;
const key = new Uint8Array(16);
const value = new Uint8Array(valueBytes).fill(0x76);
let keyLength = 0;

function makeKey(n) {
  key[0] = 0x6b;
  key[1] = 0x3a;
  keyLength = 2;
  for (let digits = 10_000_000; digits >= 1; digits /= 10) key[keyLength++] = 0x30 + (Math.floor(n / digits) % 10);
  return hashKey(key, 0, keyLength);
}
const tableOf = (hash) => tables[partitionOf(hash, partitions)];

let worstGcMs = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) worstGcMs = Math.max(worstGcMs, entry.duration);
}).observe({ entryTypes: ['gc'] });
let worstStallMs = 0;
/** The CPU of a batch of operations and of the collector meanwhile: what a stall is made of when the machine is not busy with others. */
let worstStallCpuMs = 0;
let worstPhase = '';

/** Runs in small batches, as an event loop would; the time from one batch to the next shows every pause. */
async function inBatches(phase, count, run) {
  const begin = performance.now();
  let last = begin;
  let lastCpu = cpuMs();
  for (let i = 0; i < count; i += batch) {
    const end = Math.min(count, i + batch);
    for (let j = i; j < end; j++) run(j);
    await new Promise((resolve) => setImmediate(resolve));
    const now = performance.now();
    const cpu = cpuMs();
    worstStallMs = Math.max(worstStallMs, now - last);
    if (cpu - lastCpu > worstStallCpuMs) {
      worstStallCpuMs = cpu - lastCpu;
      worstPhase = `${phase} at ${i}`;
    }
    last = now;
    lastCpu = cpu;
  }
  return ((performance.now() - begin) / count) * 1000;
}
function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** All that is measured, on fresh tables. */
async function run(entries) {
  arena = new Arena({ limitBytes: 8 * 1024 ** 3 });
  tables = Array.from({ length: partitions }, () => new Table({ arena, budgetBytes: 8 * 1024 ** 3 }));
  worstGcMs = worstStallMs = worstStallCpuMs = 0;
  const report = { entries, valueBytes, keyBytes: 10 };
  report.fillMicros = await inBatches('fill', entries, (i) => {
    const hash = makeKey(i);
    tableOf(hash).set(key, 0, keyLength, hash, value, 0, valueBytes, 0, 0, i + 1, 1);
  });
  const resident = process.memoryUsage().rss - residentBefore;
  report.bytesPerEntry = Math.round(resident / entries);
  report.bytesOverKeyAndValue = Math.round(resident / entries - 10 - valueBytes);
  report.arenaBytesPerEntry = Math.round(arena.committedBytes / entries);
  report.accountedBytesPerEntry = Math.round(tables.reduce((sum, table) => sum + table.bytes, 0) / entries);

  let found = 0;
  report.getMicros = await inBatches('get', entries, (i) => {
    const hash = makeKey((i * 7919) % entries);
    if (tableOf(hash).get(key, 0, keyLength, hash) !== 0) found++;
  });
  if (found !== entries) throw new Error(`only ${found} of ${entries} entries were found`);

  // Churn: replace with other sizes, delete, insert, evict.
  report.churnMicros = await inBatches('churn', entries, (i) => {
    const n = (i * 104_729) % entries;
    const hash = makeKey(n);
    const table = tableOf(hash);
    if (i % 3 === 0) table.delete(key, 0, keyLength, hash);
    else table.set(key, 0, keyLength, hash, value, 0, 20 + (i % 80), 0, 0, i + 1, 2);
    if (i % 16 === 0 && table.count > 0) table.deleteEntry(table.evictionCandidate());
  });
  report.arenaAfterChurnMiB = Math.round(arena.committedBytes / 1024 ** 2);
  report.usedAfterChurnMiB = Math.round(arena.usedBytes / 1024 ** 2);
  await inBatches('clear', batch, (i) => tables[i]?.clear());
  while (arena.usedBytes > 0) await inBatches('reclaim', 1, () => arena.reclaim(1000));
  report.arenaAfterClearMiB = Math.round(arena.committedBytes / 1024 ** 2);
  Object.assign(report, { worstStallCpuMs, worstPhase, worstStallMs, worstGcMs });
  return report;
}

// Once in small, so that the compiler's work is not taken for a pause of the engine's.
await run(Math.min(entries, 100_000));
const report = await run(entries);
if (process.argv.includes('--json')) console.log(JSON.stringify(report));
else for (const [name, number] of Object.entries(report)) console.log(`${name.padEnd(24)} ${typeof number === 'number' && !Number.isInteger(number) ? number.toFixed(3) : number}`);
