// kill -9 (or SIGSTOP) of a primary under 500 requests a second, three agents, three copies, acks all: the longest
// pause of a write, failures and lost writes. Load runs through an agent that survives, as an application's own does.
// Told beside it: how long the kernel took to end the process, whose sockets it closes last. No cluster can know earlier.

import { connect } from 'node:net';
import { Agents } from './lib/agents.js';
import { TextClient } from './lib/memcached-client.js';

const options = Object.fromEntries(process.argv.slice(2).map((text) => text.replace(/^--/, '').split('=')));
const kills = Number(options.kills ?? 20);
const stops = Number(options.stops ?? 5);
const perSecond = 500;
const windowMs = 2500;
const names = ['a', 'b', 'c'];

function median(list) {
  const sorted = [...list].sort((x, y) => x - y);
  return sorted[sorted.length >> 1] ?? NaN;
}

/** Open loop: half writes of unique keys, half reads of what was written. */
async function load(client, prefix, durationMs, record) {
  const start = performance.now();
  const open = [];
  for (let i = 0; ; i++) {
    const at = start + (i * 1000) / perSecond;
    const now = performance.now();
    if (at - start > durationMs) break;
    if (at > now) await new Promise((resolve) => setTimeout(resolve, at - now));
    const sent = performance.now();
    const key = `${prefix}${i >> 1}`;
    const isWrite = i % 2 === 0;
    const request = isWrite ? client.set(key, `value-of-${key}`) : client.get(key);
    open.push(request.then(
      (answer) => record({ isWrite, key, sent, done: performance.now(), ok: isWrite ? answer === 'STORED\r\n' : answer === `value-of-${key}`, answer }),
      (error) => record({ isWrite, key, sent, done: performance.now(), ok: false, answer: error.message }),
    ));
  }
  await Promise.all(open);
}

/** Resolves with the time at which the kernel has closed the process's sockets. */
function watchEnd(port) {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  return new Promise((resolve) => socket.resume().once('close', () => resolve(performance.now())));
}

async function round(agents, victim, signal, index) {
  const survivor = names.filter((name) => name !== victim)[index % 2];
  const client = new TextClient(agents.agents.get(survivor).memcached);
  const records = [];
  const running = load(client, `r${process.pid}-${index}-`, windowMs, (record) => records.push(record));
  await new Promise((resolve) => setTimeout(resolve, 500));
  const ended = signal === 'SIGKILL' ? watchEnd(agents.agents.get(victim).memcached) : undefined;
  await new Promise((resolve) => setTimeout(resolve, 50));
  const at = performance.now();
  agents.kill(victim, signal);
  await running;
  if (signal === 'SIGSTOP') agents.kill(victim, 'SIGCONT');
  const after = records.filter((record) => record.done >= at);
  const failed = records.filter((record) => !record.ok && !(record.isWrite === false && record.answer === undefined));
  const longestWrite = Math.max(...after.filter((record) => record.isWrite).map((record) => record.done - record.sent));
  const longestRead = Math.max(...after.filter((record) => !record.isWrite).map((record) => record.done - record.sent));
  let lost = 0;
  for (const record of records) if (record.isWrite && record.ok && (await client.get(record.key)) !== `value-of-${record.key}`) lost++;
  client.close();
  return { longestWrite, longestRead, endedAfter: ended === undefined ? NaN : (await ended) - at, requests: records.length, failed: failed.length, firstFailure: failed[0]?.answer, lost };
}

const agents = await new Agents(names).start();
const results = [];
try {
  for (let i = 0; i < kills + stops; i++) {
    const signal = i < kills ? 'SIGKILL' : 'SIGSTOP';
    const status = await agents.healthy();
    const leader = status.leader;
    const victim = i % 2 === 0 ? leader : names.filter((name) => name !== leader)[(i >> 1) % 2];
    const result = await round(agents, victim, signal, i);
    results.push({ signal, led: victim === leader, ...result });
    console.log(`${signal} ${victim}${victim === leader ? ' (led)' : ''}${signal === 'SIGKILL' ? ` (ended in ${result.endedAfter.toFixed(1)} ms)` : ''}: longest write ${result.longestWrite.toFixed(1)} ms, read ${result.longestRead.toFixed(1)} ms, ${result.requests} requests, ${result.failed} failed${result.firstFailure ? ` (${result.firstFailure})` : ''}, ${result.lost} lost`);
    if (signal === 'SIGKILL') await agents.restart(victim);
  }
} finally {
  await agents.stop();
}
for (const signal of ['SIGKILL', 'SIGSTOP']) {
  for (const led of [true, false]) {
    const of = results.filter((result) => result.signal === signal && result.led === led);
    if (of.length === 0) continue;
    const pauses = of.map((result) => result.longestWrite);
    console.log(`${signal} of ${led ? 'the leader' : 'another node'}: n=${of.length}, longest write pause median ${median(pauses).toFixed(1)} ms, worst ${Math.max(...pauses).toFixed(1)} ms${signal === 'SIGKILL' ? ` (of which the kernel's end of the process median ${median(of.map((result) => result.endedAfter)).toFixed(1)} ms)` : ''}; failed ${of.reduce((sum, result) => sum + result.failed, 0)}, acknowledged writes lost ${of.reduce((sum, result) => sum + result.lost, 0)}`);
  }
}
