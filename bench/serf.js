// Five agents of ours beside five of Debian's serf, side by side on loopback in the same minutes: from the cause to the log
// line of the last agent that knows, in ms; min / median / max. Takes under eight minutes.
// Options: --profiles=lan,local --rounds=5 --events=150 --idle=30 (seconds; 0: not measured)
import { execFile, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rpcEventRecord, rpcEventRequest, rpcQueryRecord, rpcQueryRequest, rpcStreamRequest } from '../dist/core/wire/serf-rpc.js';
import { freePorts } from './lib/agents.js';
import { BenchAgent, contenders, killEveryone, known, pause, serf } from './lib/serf-agents.js';

const options = { profiles: 'lan,local', rounds: '5', events: '150', idle: '30', ...Object.fromEntries(process.argv.slice(2).map((text) => text.replace(/^--/, '').split('='))) };
const rounds = Number(options.rounds);
if (!existsSync(serf)) throw new Error('there is nothing to compare with: apt-get install serf');
const directory = mkdtempSync(join(tmpdir(), 'troupe-bench-serf-'));
const names = ['node0', 'node1', 'node2', 'node3', 'node4'];
/** Longer than this is told as such: the whole must end. */
const limitMs = 25_000;

async function run(kind, profile) {
  const ports = await freePorts(names.length * 3);
  const agents = names.map((name, i) => new BenchAgent(kind, profile, name, ports.slice(i * 3, i * 3 + 3), directory));
  const figures = {};
  const note = (what, value) => (figures[what] ??= []).push(value);
  await Promise.all(agents.map((agent) => agent.start()));
  for (const agent of agents.slice(1)) await agent.join(agents[0].port);
  await pause(5000);
  const last = agents[4];
  const others = agents.slice(0, 4);

  /** The last agent dies and starts again, with its snapshot or without. */
  const restart = async (what, forget) => {
    let since = performance.now();
    await last.kill();
    note('kill -9: last knows failed', await known(others, 'failed', last.name, since, limitMs));
    await pause(1500);
    if (forget) last.forget();
    since = performance.now();
    await last.start();
    const took = await known(others, 'joined', last.name, since, limitMs);
    note(what, took);
    if (!forget) note('of that, until the agent runs', last.runningAt - since);
    if (took === Infinity) await last.join(agents[0].port);
    await pause(2000);
  };
  for (let round = 0; round < rounds; round++) await restart('restart with snapshot: last knows join, from spawn', false);
  for (let round = 0; round < Math.min(rounds, 3); round++) await restart('restart after failed, no snapshot, no join: last knows join', true);

  for (let round = 0; round < rounds; round++) {
    let since = performance.now();
    last.signal('SIGSTOP');
    note('SIGSTOP: last knows failed', await known(others, 'failed', last.name, since, limitMs));
    await pause(1000);
    since = performance.now();
    last.signal('SIGCONT');
    note('SIGCONT: last knows alive', await known(others, 'joined', last.name, since, limitMs));
    await pause(2000);
  }

  for (let round = 0; round < rounds; round++) {
    let since = performance.now();
    const leaving = last.client.ask('leave').catch(() => {}).then(() => performance.now() - since);
    note('leave: last knows left', await known(others, 'left', last.name, since, 8000));
    note('leave command returns', await leaving);
    await last.exited;
    last.client.close();
    last.forget();
    await last.start();
    await pause(1000);
    since = performance.now();
    await last.join(agents[0].port);
    note('join: last knows join', await known(others, 'joined', last.name, since, 12_000));
    await pause(1000);
  }

  await events(agents, note);
  for (let round = 0; round < rounds; round++) await query(agents[round % 5], note);
  for (let round = 0; round < rounds; round++) note('query command returns, all answer', await queryCommand(agents[round % 5]));
  for (const agent of agents) await agent.kill();
  return figures;
}

async function events(agents, note) {
  const count = Number(options.events);
  const seen = new Map();
  for (const agent of agents) {
    await agent.client.subscribe('stream', { codec: rpcStreamRequest, body: { Type: 'user:bench' } }, rpcEventRecord, {
      onRecord: (record) => {
        const key = new TextDecoder().decode(record.Payload);
        const set = seen.get(key) ?? new Map();
        seen.set(key, set.set(agent.name, performance.now()));
      },
    });
  }
  const sent = new Map();
  for (let i = 0; i < count; i++) {
    sent.set(String(i), performance.now());
    await agents[i % 5].client.request('event', { codec: rpcEventRequest, body: { Name: 'bench', Payload: new TextEncoder().encode(String(i)), Coalesce: false } });
    await pause(80);
  }
  await pause(3000);
  let lost = 0;
  for (const [key, at] of sent) {
    const all = [...(seen.get(key)?.values() ?? [])];
    if (all.length === 5) note('user event: last of five has it', Math.max(...all) - at);
    else lost++;
  }
  note(`user events of ${count} not at all five within 3 s`, lost);
}

/** What serf's own client waits for is `done`, at the query's time-out. */
async function query(agent, note) {
  const since = performance.now();
  let acks = 0;
  await new Promise((resolve, reject) => {
    agent.client.subscribe('query', { codec: rpcQueryRequest, body: { FilterNodes: [], FilterTags: new Map(), RequestAck: true, RelayFactor: 0, Timeout: 0, Name: 'bench', Payload: new Uint8Array(0) } }, rpcQueryRecord, {
      onRecord: ({ Type }) => {
        if (Type === 'ack' && ++acks === 5) note('query: last ack', performance.now() - since);
        if (Type === 'done') resolve();
      },
    }).catch(reject);
  });
  note('query: done, over RPC', performance.now() - since);
}

function queryCommand(agent) {
  const since = performance.now();
  const [command, words] = contenders[agent.kind].verb(['query', `-rpc-addr=127.0.0.1:${agent.rpc}`, 'answer']);
  return new Promise((resolve, reject) => {
    execFile(command, words, (error) => (error === null ? resolve(performance.now() - since) : reject(error)));
  });
}

/** Five more of each in a network of their own; undefined where the system does not allow that. */
function idle(kind, profile) {
  if (Number(options.idle) === 0) return undefined;
  const file = fileURLToPath(new URL('lib/serf-idle.js', import.meta.url));
  const child = spawn('unshare', [...(process.getuid() === 0 ? [] : ['-r']), '-n', process.execPath, file, kind, profile, options.idle], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [out, problem] = ['', ''];
  child.stdout.on('data', (text) => (out += text));
  child.stderr.on('data', (text) => (problem += text));
  return new Promise((resolve) => {
    child.on('error', () => resolve(undefined));
    child.on('close', (code) => {
      if (code !== 0) console.error(`the idle pool of ${kind} was not measured: ${problem.trim().slice(0, 500)}`);
      resolve(code === 0 ? JSON.parse(out) : undefined);
    });
  });
}

const sorted = (list) => [...list].sort((a, b) => a - b);
const quantile = (list, q) => sorted(list)[Math.min(list.length - 1, Math.floor(list.length * q))];
const show = (ms) => (ms === Infinity ? 'never seen' : ms.toFixed(0));
const ratio = (mine, theirs) => (Number.isFinite(mine / theirs) ? (mine / theirs).toFixed(2) : '-');
const row = (...cells) => console.log(`| ${cells.join(' | ')} |`);

const began = performance.now();
try {
  for (const profile of options.profiles.split(',')) {
    // At the same time, so that both have the same machine.
    const [ours, theirs, ourIdle, theirIdle] = await Promise.all([run('troupe', profile), run('serf', profile), idle('troupe', profile), idle('serf', profile)]);
    console.log(`\nprofile ${profile}, five agents of each, ${rounds} rounds; ms, min / median / max; "never seen": not within ${limitMs / 1000} s (a leave 8 s, a join 12 s)`);
    row('', 'troupe', 'serf 0.9.4', 'median, troupe : serf');
    row('---', '---', '---', '---');
    for (const what of Object.keys(theirs)) {
      const lists = [ours[what] ?? [NaN], theirs[what]];
      const medians = lists.map((list) => quantile(list, 0.5));
      if (what.startsWith('user event:')) row(`${what}: p50 / p90 / p99 / max`, ...lists.map((list) => [0.5, 0.9, 0.99, 1].map((q) => show(quantile(list, q))).join(' / ')), ratio(...medians));
      else row(what, ...lists.map((list) => (list.length === 1 ? show(list[0]) : [0, 0.5, 1].map((q) => show(quantile(list, q))).join(' / '))), ratio(...medians));
    }
    if (ourIdle === undefined || theirIdle === undefined) continue;
    for (const [what, key, digits] of [['idle, UDP packets/s per node', 'packets', 2], ['idle, IP bytes/s per node, UDP and TCP', 'bytes', 0], ['idle, processor time per node, ms/s', 'cpuMs', 2]]) {
      row(what, ourIdle[key].toFixed(digits), theirIdle[key].toFixed(digits), ratio(ourIdle[key], theirIdle[key]));
    }
    row('idle, resident MiB', ...[ourIdle, theirIdle].map(({ resident }) => [0, 0.5, 1].map((q) => show(quantile(resident, q))).join(' / ')), ratio(quantile(ourIdle.resident, 0.5), quantile(theirIdle.resident, 0.5)));
  }
  console.log(`\n${((performance.now() - began) / 60_000).toFixed(1)} minutes`);
} finally {
  killEveryone();
  rmSync(directory, { recursive: true, force: true });
}
