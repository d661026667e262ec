// Five agents of ours beside five of Debian's serf, side by side on loopback in the same minutes: from the cause to the log
// line of the last agent that knows, in ms; min / median / max. Options: --profiles=lan,local --rounds=5 --events=50
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RpcClient } from '../dist/cli/rpc-client.js';
import { rpcEventRecord, rpcEventRequest, rpcJoinRequest, rpcJoinResponse, rpcQueryRecord, rpcQueryRequest, rpcStreamRequest } from '../dist/core/wire/serf-rpc.js';
import { freePorts } from './lib/agents.js';

const options = { profiles: 'lan,local', rounds: '5', events: '50', ...Object.fromEntries(process.argv.slice(2).map((text) => text.replace(/^--/, '').split('='))) };
const rounds = Number(options.rounds);
const serf = '/usr/bin/serf';
if (!existsSync(serf)) throw new Error('there is nothing to compare with: apt-get install serf');
const troupe = fileURLToPath(new URL('../bin/troupe', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'troupe-bench-serf-'));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const names = ['node0', 'node1', 'node2', 'node3', 'node4'];
const limitMs = 60_000;
const everyone = new Set();

const contenders = {
  troupe: {
    command: (agent, profile) => [process.execPath, [troupe, 'agent', '-node', agent.name, '-bind', `127.0.0.1:${agent.port}`, '-peer', `127.0.0.1:${agent.peer}`, '-http', 'off', '-rpc-addr', `127.0.0.1:${agent.rpc}`, '-profile', profile, '-snapshot', agent.snapshot, '-log-level', 'info']],
    running: /^ready /m,
    line: { joined: (name) => `member '${name}' joined`, left: (name) => `member '${name}' left`, failed: (name) => `member '${name}' failed` },
  },
  serf: {
    command: (agent, profile) => [serf, ['agent', '-node', agent.name, '-bind', `127.0.0.1:${agent.port}`, '-rpc-addr', `127.0.0.1:${agent.rpc}`, '-profile', profile, '-snapshot', agent.snapshot, '-log-level', 'info']],
    running: /Log data will now stream/,
    line: { joined: (name) => `EventMemberJoin: ${name} `, left: (name) => `EventMemberLeave: ${name} `, failed: (name) => `EventMemberFailed: ${name} ` },
  },
};

class BenchAgent {
  constructor(kind, profile, name, [port, peer, rpc]) {
    Object.assign(this, { kind, profile, name, port, peer, rpc, snapshot: join(directory, `${kind}-${profile}-${name}`), lines: [] });
  }

  async start() {
    const [command, words] = contenders[this.kind].command(this, this.profile);
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.process = child;
    this.exited = new Promise((resolve) => child.once('exit', resolve));
    everyone.add(child);
    this.startedAt = performance.now();
    await new Promise((resolve, reject) => {
      const take = (bytes) => {
        const at = performance.now();
        for (const text of String(bytes).split('\n')) this.lines.push({ at, text });
        if (contenders[this.kind].running.test(String(bytes))) resolve((this.runningAt = at));
      };
      child.stdout.on('data', take);
      child.stderr.on('data', take);
      child.once('exit', () => reject(new Error(`${this.kind} ${this.name} ended: ${this.lines.slice(-5).map(({ text }) => text).join('\n')}`)));
    });
    for (let tries = 0; ; tries++) {
      try {
        this.client = await RpcClient.connect(`127.0.0.1:${this.rpc}`, undefined);
        return this;
      } catch (error) {
        if (tries > 100) throw error;
        await pause(50);
      }
    }
  }

  signal(name) {
    this.process.kill(name);
  }

  async kill() {
    this.client?.close();
    this.signal('SIGKILL');
    await this.exited;
  }

  forget() {
    rmSync(this.snapshot, { force: true });
  }
}

/** When the last of the agents logged the line, counted from `since`; NaN: not all did within the limit. */
async function known(agents, what, name, since) {
  const text = contenders[agents[0].kind].line[what](name);
  const found = agents.map(() => undefined);
  for (;;) {
    agents.forEach((agent, i) => (found[i] ??= agent.lines.find((line) => line.at >= since && line.text.includes(text))?.at));
    if (found.every((at) => at !== undefined)) return Math.max(...found) - since;
    if (performance.now() - since > limitMs) return Number.NaN;
    await pause(20);
  }
}

async function joinAll(agent, port) {
  await agent.client.ask('join', { codec: rpcJoinRequest, body: { Existing: [`127.0.0.1:${port}`], Replay: false } }, rpcJoinResponse);
}

async function run(kind, profile) {
  const ports = await freePorts(names.length * 3);
  const agents = names.map((name, i) => new BenchAgent(kind, profile, name, ports.slice(i * 3, i * 3 + 3)));
  const figures = {};
  const note = (what, value) => (figures[what] ??= []).push(value);
  await Promise.all(agents.map((agent) => agent.start()));
  for (const agent of agents.slice(1)) await joinAll(agent, agents[0].port);
  await pause(5000);
  const last = agents[4];
  const others = agents.slice(0, 4);
  for (let round = 0; round < rounds; round++) {
    let since = performance.now();
    await last.kill();
    note('kill -9: last knows failed', await known(others, 'failed', last.name, since));
    await pause(1500);
    since = performance.now();
    await last.start();
    note('restart with snapshot: last knows join, from spawn', await known(others, 'joined', last.name, since));
    note('of that, until the agent runs', last.runningAt - since);
    await pause(2000);
  }
  for (let round = 0; round < rounds; round++) {
    let since = performance.now();
    last.signal('SIGSTOP');
    note('SIGSTOP: last knows failed', await known(others, 'failed', last.name, since));
    await pause(1000);
    since = performance.now();
    last.signal('SIGCONT');
    note('SIGCONT: last knows alive', await known(others, 'joined', last.name, since));
    await pause(2000);
  }
  for (let round = 0; round < rounds; round++) {
    let since = performance.now();
    const leaving = last.client.ask('leave').catch(() => {}).then(() => performance.now() - since);
    note('leave: last knows left', await known(others, 'left', last.name, since));
    note('leave command returns', await leaving);
    await last.exited;
    last.client.close();
    last.forget();
    await last.start();
    await pause(1500);
    since = performance.now();
    await joinAll(last, agents[0].port);
    note('join: last knows join', await known(others, 'joined', last.name, since));
    await pause(1500);
  }
  await events(agents, note);
  for (let round = 0; round < rounds; round++) await query(agents[round % 5], note);
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
    await pause(120);
  }
  await pause(3000);
  let lost = 0;
  for (const [key, at] of sent) {
    const all = [...(seen.get(key)?.values() ?? [])];
    if (all.length === 5) note('user event: last of five has it', Math.max(...all) - at);
    else lost++;
  }
  note('user events not at all five within 3 s', lost);
}

function query(agent, note) {
  const since = performance.now();
  let acks = 0;
  return new Promise((resolve, reject) => {
    agent.client.subscribe('query', { codec: rpcQueryRequest, body: { FilterNodes: [], FilterTags: new Map(), RequestAck: true, RelayFactor: 0, Timeout: 0, Name: 'bench', Payload: new Uint8Array(0) } }, rpcQueryRecord, {
      onRecord: ({ Type }) => {
        if (Type === 'ack' && ++acks === 5) note('query: last ack', performance.now() - since);
        if (Type === 'done') resolve();
      },
    }).catch(reject);
  });
}

const sorted = (list) => [...list].sort((a, b) => (Number.isNaN(a) ? Infinity : a) - (Number.isNaN(b) ? Infinity : b));
const quantile = (list, q) => sorted(list)[Math.min(list.length - 1, Math.floor(list.length * q))];
const show = (ms) => (Number.isNaN(ms) ? `> ${limitMs}` : ms.toFixed(0));
const triple = (list) => (list.length === 1 ? show(list[0]) : `${show(quantile(list, 0))} / ${show(quantile(list, 0.5))} / ${show(quantile(list, 1))}`);

try {
  for (const profile of options.profiles.split(',')) {
    // At the same time, so that both have the same machine.
    const [ours, theirs] = await Promise.all([run('troupe', profile), run('serf', profile)]);
    console.log(`\nprofile ${profile}, five agents of each, ${rounds} rounds; ms, min / median / max`);
    console.log('| | troupe | serf 0.9.4 | median, troupe : serf |');
    console.log('| --- | --- | --- | --- |');
    for (const what of Object.keys(theirs)) {
      const mine = ours[what] ?? [];
      if (what.startsWith('user event:')) {
        const three = (list) => [0.5, 0.9, 1].map((q) => show(quantile(list, q))).join(' / ');
        console.log(`| ${what}: p50 / p90 / max | ${three(mine)} | ${three(theirs[what])} | ${(quantile(mine, 0.5) / quantile(theirs[what], 0.5)).toFixed(2)} |`);
        continue;
      }
      const ratio = quantile(mine, 0.5) / quantile(theirs[what], 0.5);
      console.log(`| ${what} | ${triple(mine)} | ${triple(theirs[what])} | ${Number.isFinite(ratio) ? ratio.toFixed(2) : '-'} |`);
    }
  }
} finally {
  for (const child of everyone) child.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true });
}
