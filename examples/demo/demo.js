#!/usr/bin/env node
/**
 * The main job, live: five agents on this machine, an app that runs on exactly one of them, an application's traffic
 * all the while, and one misfortune after the other. At the end everything is read back.
 *
 *   npm run demo [-- --json] [-- --keep]
 *
 * Exit code 1 if anything was lost, failed, or ran twice.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pairsOf } from '../wikipedy/entries.js';
import { Agent, freePorts } from './agents.js';
import { FrozenQuestions, staleKeys } from './frozen.js';
import { Output } from './output.js';
import { Traffic } from './traffic.js';

const flags = process.argv.slice(2);
const unknown = flags.find((flag) => !['--json', '--keep', '--help'].includes(flag));
if (unknown !== undefined || flags.includes('--help')) {
  const usage = 'npm run demo [-- --json] [-- --keep]\n  --json  the last line of stdout is the result as JSON\n  --keep  data and logs stay, and where is said';
  if (unknown === undefined) console.log(usage);
  else console.error(`the demo has no flag ${unknown}\n${usage}`);
  process.exit(unknown === undefined ? 0 : 2);
}
const json = flags.includes('--json');
const keep = flags.includes('--keep');
const deadlineMs = 58_000;
const partitionCount = 20;
const names = ['master', 'slave-a', 'slave-b', 'node-d', 'node-e'];
const startedAt = performance.now();
const directory = mkdtempSync(join(tmpdir(), 'troupe-demo-'));
const outputPath = join(directory, 'output.log');
const agents = new Map();
const events = [];
let output;
let traffic;

const say = (text) => console.log(`${((performance.now() - startedAt) / 1000).toFixed(1).padStart(5)} s  ${text}`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const agent = (name) => agents.get(name);

process.on('exit', cleanUp);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));
const watchdog = setTimeout(() => giveUp(new Error(`the demo did not finish within ${deadlineMs / 1000} s`)), deadlineMs);
process.on('uncaughtException', giveUp);
process.on('unhandledRejection', giveUp);

if (!existsSync(fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url)))) {
  console.error('the demo runs the built program: run `npm ci` or `npm run build` first');
  process.exit(2);
}
await main();

async function main() {
  await startCluster();
  await loadEntries();
  traffic.start();
  const ticker = setInterval(() => void showState(), 1000);
  await pause(2500);

  await misfortune('kill -9', runner(), killRunner);
  const first = events[0].node;
  await misfortune('kill -9', runner(), killRunner);
  const second = events[1].node;
  await misfortune('start again', first, bringBack);
  await misfortune('start again', second, bringBack);
  await misfortune('SIGSTOP for 4 s', runner(), freezeRunner);

  clearInterval(ticker);
  await finish();
}

async function startCluster() {
  output = new Output(outputPath);
  output.onLine = ({ node, text }) => say(`            ${node}: ${text}`);
  const ports = await freePorts(names.length * 4);
  const ofNode = (index) => ({ gossip: ports[index * 4], peer: ports[index * 4 + 1], http: ports[index * 4 + 2], memcached: ports[index * 4 + 3] });
  names.forEach((name, index) => agents.set(name, new Agent({
    name, directory, outputPath, ports: ofNode(index),
    config: {
      discovery: { demo: { strategy: 'static', hosts: names.map((_, other) => `127.0.0.1:${ofNode(other).gossip}`).filter((_, other) => other !== index), intervalMs: 1000 } },
      bootstrap: { expect: names.length },
      keyspaces: { default: { partitions: partitionCount, replicas: 3, acks: 'all', engine: 'memory', maxMemory: '256MiB' } },
      apps: { wikipedy: { nodes: ['master', ['slave-a', 'slave-b']], failoverTimeoutMs: 0, takeover: 'automatic', module: fileURLToPath(new URL('./app.js', import.meta.url)), config: { intervalMs: 400 } } },
    },
  })));
  say(`five agents start: ${names.join(', ')} (each a process of its own; data in ${directory})`);
  for (const each of agents.values()) each.start();
  await until(() => output.ready.size === names.length, 20_000, 'all five agents say that they are ready');
  await until(() => output.starts.length > 0, 10_000, 'Wikipedy starts');
  // Shares are equal then: whoever is killed takes as many primaries along as any node could.
  await until(isBalanced, 15_000, 'the partitions are spread evenly, each with all its copies');
  say(`all five are ready; each is primary of ${partitionCount / names.length} of ${partitionCount} partitions, and each partition has three copies`);
}

async function loadEntries() {
  const local = ['node-d', 'node-e'];
  traffic = new Traffic(local.map((name) => agent(name).memcachedAddress));
  const pairs = pairsOf(JSON.parse(readFileSync(new URL('./on-this-day.json', import.meta.url), 'utf8')));
  await traffic.load(pairs);
  await traffic.prepare();
  if (traffic.failed > 0) throw new Error(`loading failed: ${describeFailures()}`);
  say(`${pairs.length} keys of "on this day" are loaded through the npm package memcached`);
  say(`the traffic goes through ${local.join(' and ')}, which are not killed, as an application talks to the agent beside it;`);
  say('every node takes every request and passes it on to whoever holds the key: 250 writes, 250 reads and 100 increments a second');
}

// ---- the misfortunes ----------------------------------------------------------------------------------------------

/** Lets it happen, waits until the cluster is whole again as far as it can be, and writes down what it cost. */
async function misfortune(what, node, happen) {
  const epochBefore = output.newest.epoch;
  const role = `${node === runner() ? 'runs Wikipedy' : 'runs nothing'}, primary of ${(await primaries())[node] ?? 0} of ${partitionCount} partitions`;
  say('');
  say(`=== ${what}: ${node} (${role})`);
  const begin = performance.now();
  const appGapMs = await happen(agent(node), epochBefore);
  await pause(1500);
  const event = { what, node, longestPauseMs: round(traffic.longestPauseMs(begin, performance.now())), appGapMs };
  events.push(event);
  say(`    longest pause of a request ${event.longestPauseMs} ms${appGapMs === null ? '' : `, Wikipedy was away for ${appGapMs} ms`}, failed requests so far ${traffic.failed}`);
}

async function killRunner(victim, epochBefore) {
  const at = await victim.kill();
  const start = await nextStart(epochBefore, 10_000);
  await until(async () => (await status()).partitions.withoutPrimary === 0, 10_000, 'every partition has a primary again');
  return round(start.at - at);
}

/** The gap of a takeover lies between the old instance's end and the new one's start. */
async function bringBack(returning, epochBefore) {
  const highest = returning.name === 'master';
  output.ready.delete(returning.name);
  returning.start();
  await until(() => output.ready.has(returning.name), 15_000, `${returning.name} is ready again`);
  if (!highest) return null;
  const start = await nextStart(epochBefore, 15_000);
  return round(start.at - (output.stops.get(epochBefore) ?? start.at));
}

async function freezeRunner(victim, epochBefore) {
  for (const key of staleKeys) await write(key, 'before');
  const questions = await FrozenQuestions.open(victim.ports.memcached);
  const printedBefore = output.ranTwice;
  const at = victim.freeze();
  const start = await nextStart(epochBefore, 10_000);
  for (const key of staleKeys) await write(key, 'after');
  await pause(Math.max(0, at + 4000 - performance.now()));
  questions.ask();
  victim.thaw();
  say(`    SIGCONT: ${victim.name} goes on, with ${staleKeys.length} questions in its socket about keys that have changed since`);
  const { answered, stale, refusals } = await questions.stale(12_000);
  const took = victim.name === 'master' ? await nextStart(start.epoch, 15_000) : undefined;
  say(`    it answered ${answered} of ${staleKeys.length} questions, ${stale} of them with something old${refusals.length === 0 ? '' : `, ${refusals.length} with "${refusals[0]}"`}; it printed ${output.ranTwice - printedBefore} lines that were not its to print${took === undefined ? '' : '; it has taken Wikipedy back'}`);
  traffic.wrong += stale;
  return round(start.at - at);
}

// ---- looking ------------------------------------------------------------------------------------------------------

function runner() {
  return output.newest?.node;
}

/** The first start under a newer epoch. (A node whose lease ran out for a moment starts the app anew under the same one.) */
async function nextStart(epochBefore, timeoutMs) {
  const newer = () => output.starts.find((start) => start.epoch > epochBefore);
  await until(() => newer() !== undefined, timeoutMs, 'Wikipedy starts on another node');
  return newer();
}

async function status() {
  return agent('node-d').http('/v1/status');
}

async function partitions() {
  return (await agent('node-d').http('/v1/partitions')).partitions;
}

async function isBalanced() {
  const [all, counts] = [await partitions(), await primaries()];
  return all.length === partitionCount && all.every((each) => each.inSync.length === 3) && names.every((name) => counts[name] === partitionCount / names.length);
}

async function primaries() {
  const counts = {};
  for (const { primary } of await partitions()) if (primary !== undefined) counts[primary] = (counts[primary] ?? 0) + 1;
  return counts;
}

async function showState() {
  try {
    const [counts, { partitions: sums }] = await Promise.all([primaries(), status()]);
    const nodes = names.map((name) => {
      const each = agent(name);
      const state = !each.alive ? 'dead' : each.frozen ? 'frozen' : `${counts[name] ?? 0}`;
      return `${name}${runner() === name ? '*' : ''} ${state}`;
    });
    say(`primaries: ${nodes.join('  ')}  | short of copies ${sums.underReplicated} | requests ${traffic.requests}, failed ${traffic.failed}, waiting ${traffic.underWay} (${Math.round(traffic.oldestMs)} ms)`);
  } catch (error) {
    say(`the state cannot be shown: ${error.message}`);
  }
}

async function until(condition, timeoutMs, what) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    if (await condition()) return;
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs / 1000} s: ${what}`);
    for (const each of agents.values()) if (!each.alive && each.process !== undefined && !each.process.killed) throw new Error(`${each.name} ended by itself (${each.process.exitCode ?? each.process.signalCode}): ${lastWords(each)}`);
    await pause(10);
  }
}

function lastWords(each) {
  try {
    return readFileSync(each.logPath, 'utf8').trim().split('\n').slice(-3).join(' | ');
  } catch {
    return 'it logged nothing';
  }
}

async function write(key, value) {
  await traffic.writeNow(key, value);
}

// ---- the end ------------------------------------------------------------------------------------------------------

async function finish() {
  say('');
  say('=== everything is read back');
  await traffic.stop();
  const lost = await traffic.lost();
  const counters = await traffic.counterTotals();
  output.close();
  const summary = {
    ok: false,
    nodes: names.length,
    requests: traffic.requests,
    failed: traffic.failed,
    acknowledgedLost: lost + traffic.wrong,
    ranTwice: output.ranTwice,
    acknowledgedWrites: traffic.acknowledged.size,
    counters,
    events,
    starts: output.starts.map(({ app, node, type, from, epoch }) => ({ app, node, type, ...(from === undefined ? {} : { from }), epoch })),
  };
  const types = new Set(summary.starts.map((start) => start.type));
  summary.ok = summary.failed === 0 && summary.acknowledgedLost === 0 && summary.ranTwice === 0 && counters.stored === counters.acknowledged && ['normal', 'failover', 'takeover'].every((type) => types.has(type));
  report(summary);
  clearTimeout(watchdog);
  if (json) console.log(JSON.stringify(summary));
  process.exit(summary.ok ? 0 : 1);
}

function report(summary) {
  const rows = [
    ['requests', summary.requests],
    ['failed requests', `${summary.failed}${summary.failed === 0 ? '' : ` (${describeFailures()})`}`],
    ['acknowledged writes', summary.acknowledgedWrites],
    ['acknowledged writes lost, and old or wrong answers', summary.acknowledgedLost],
    ['counters: stored / acknowledged', `${summary.counters.stored} / ${summary.counters.acknowledged}`],
    ['lines that Wikipedy printed', output.printed],
    ['lines printed by an instance that was not the one', `${summary.ranTwice}${summary.ranTwice === 0 ? '' : ` (${output.wrongLines.join(' | ')})`}`],
  ];
  console.log(`\n${rows.map(([name, value]) => `  ${String(name).padEnd(52)}${value}`).join('\n')}\n`);
  console.log(`  ${'what happened'.padEnd(20)}${'to'.padEnd(12)}${'longest pause of a request'.padStart(28)}${'Wikipedy away'.padStart(16)}`);
  for (const { what, node, longestPauseMs, appGapMs } of summary.events) console.log(`  ${what.padEnd(20)}${node.padEnd(12)}${`${longestPauseMs} ms`.padStart(28)}${(appGapMs === null ? '-' : `${appGapMs} ms`).padStart(16)}`);
  console.log(`\n  starts of Wikipedy: ${summary.starts.map(({ node, type, from, epoch }) => `${epoch}: ${type}${from === undefined ? '' : ` from ${from}`} on ${node}`).join(', ')}`);
  console.log(`\n  ${summary.ok ? 'Nothing was lost, nothing failed, nothing ran twice.' : 'NOT AS IT SHOULD BE: see above.'}\n`);
}

function describeFailures() {
  return [...traffic.failures].map(([kind, { count, first }]) => `${count} ${kind}, the first: ${first}`).join('; ');
}

function round(ms) {
  return Math.round(ms * 10) / 10;
}

function giveUp(error) {
  console.error(`the demo failed: ${error instanceof Error ? error.stack : error}`);
  for (const each of agents.values()) console.error(`--- ${each.name}: ${lastWords(each)}`);
  if (json) console.log(JSON.stringify({ ok: false, nodes: names.length, error: String(error), requests: traffic?.requests ?? 0, failed: traffic?.failed ?? 0, events, starts: output?.starts ?? [] }));
  process.exit(1);
}

/** Runs however the demo ends: no process and no file stays behind. */
function cleanUp() {
  for (const each of agents.values()) each.end();
  traffic?.end();
  if (keep) console.error(`kept: ${directory}`);
  else rmSync(directory, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}
