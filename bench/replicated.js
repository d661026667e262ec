// Replicated writes, three copies, every one acknowledged by all: CPU per write over all server processes and
// throughput with 100 callers. Beside it redis with two replicas and WAIT 2, and a three-member etcd, in the same run.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { existsSync } from 'node:fs';
import Redis from 'ioredis';
import { Agents, cpuMs, freePorts } from './lib/agents.js';
import { TextClient } from './lib/memcached-client.js';

const options = Object.fromEntries(process.argv.slice(2).map((text) => text.replace(/^--/, '').split('=')));
const callers = Number(options.callers ?? 100);
/** Measured of each, over all rounds. */
const seconds = Number(options.seconds ?? 10);
/** Long enough for the compiler to be done with what runs for each write, of all servers alike. */
const warmupSeconds = Number(options.warmup ?? 3);
const value = 'v'.repeat(100);

const rounds = Number(options.rounds ?? 5);

/** 100 callers, each waits for its answer before it writes again. */
async function closedLoop({ write, pids }, warmupMs, measureMs) {
  let writes = 0;
  let running = true;
  const latencies = [];
  const caller = async (number) => {
    for (let i = 0; running; i++) {
      const sent = performance.now();
      await write(`key-${number}-${i % 1000}`, number);
      latencies.push(performance.now() - sent);
      writes++;
    }
  };
  const all = Array.from({ length: callers }, (_, number) => caller(number));
  await new Promise((resolve) => setTimeout(resolve, warmupMs));
  writes = 0;
  latencies.length = 0;
  const cpuBefore = pids.map(cpuMs);
  const start = performance.now();
  await new Promise((resolve) => setTimeout(resolve, measureMs));
  const elapsed = performance.now() - start;
  const cpu = pids.map((pid, i) => cpuMs(pid) - cpuBefore[i]);
  const measured = { writes, elapsed, cpu, latencies: latencies.slice() };
  running = false;
  await Promise.all(all);
  return measured;
}

async function troupe() {
  const agents = await new Agents(['a', 'b', 'c']).start();
  const clients = Array.from({ length: callers }, (_, i) => new TextClient(agents.agents.get(agents.names[i % 3]).memcached));
  return {
    pids: agents.names.map((name) => agents.agents.get(name).process.pid),
    write: async (key, number) => {
      const answer = await clients[number].set(key, value);
      if (answer !== 'STORED\r\n') throw new Error(answer);
    },
    stop: async () => {
      for (const client of clients) client.close();
      await agents.stop();
    },
  };
}

async function redis() {
  const directory = mkdtempSync(join(tmpdir(), 'troupe-bench-redis-'));
  const ports = await freePorts(3);
  const servers = ports.map((port, i) => spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--dir', directory, ...(i === 0 ? [] : ['--replicaof', `127.0.0.1 ${ports[0]}`])], { stdio: 'ignore' }));
  const clients = [];
  const stop = () => {
    for (const client of clients) client.disconnect();
    for (const server of servers) server.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const probe = new Redis({ port: ports[0], retryStrategy: () => 50, maxRetriesPerRequest: null });
    while (!(await probe.info('replication')).includes('connected_slaves:2')) await new Promise((resolve) => setTimeout(resolve, 100));
    while ((await probe.wait(2, 100)) < 2) await new Promise((resolve) => setTimeout(resolve, 100));
    probe.disconnect();
    for (let i = 0; i < callers; i++) clients.push(new Redis({ port: ports[0] }));
    const write = async (key, number) => {
      const [, [, copies]] = await clients[number].pipeline().set(key, value).wait(2, 1000).exec();
      if (copies !== 2) throw new Error(`only ${copies} copies`);
    };
    return { pids: servers.map((server) => server.pid), write, stop };
  } catch (error) {
    stop();
    throw error;
  }
}

async function etcd() {
  const { Etcd3 } = await import('etcd3');
  const directory = mkdtempSync(join(tmpdir(), 'troupe-bench-etcd-'));
  const ports = await freePorts(6);
  const cluster = [0, 1, 2].map((i) => `n${i}=http://127.0.0.1:${ports[i * 2 + 1]}`).join(',');
  const servers = [0, 1, 2].map((i) => {
    const client = `http://127.0.0.1:${ports[i * 2]}`;
    const peer = `http://127.0.0.1:${ports[i * 2 + 1]}`;
    return spawn('etcd', ['--name', `n${i}`, '--data-dir', join(directory, `n${i}`), '--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', cluster, '--initial-cluster-state', 'new', '--log-level', 'error'], { stdio: 'ignore', env: { ...process.env, ETCD_UNSUPPORTED_ARCH: process.arch } });
  });
  const client = new Etcd3({ hosts: [0, 1, 2].map((i) => `http://127.0.0.1:${ports[i * 2]}`) });
  const stop = () => {
    client.close();
    for (const server of servers) server.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    for (let tries = 0; ; tries++) {
      try {
        await client.put('probe').value('1');
        break;
      } catch (error) {
        if (tries > 100) throw error;
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    const write = async (key) => {
      await client.put(key).value(value);
    };
    return { pids: servers.map((server) => server.pid), write, stop };
  } catch (error) {
    stop();
    throw error;
  }
}

const kinds = { troupe, redis: existsSync('/usr/bin/redis-server') ? redis : undefined, etcd: existsSync('/usr/bin/etcd') ? etcd : undefined };
const running = {};
const measured = {};
try {
  for (const [name, start] of Object.entries(kinds)) {
    if (options.only !== undefined && !options.only.split(',').includes(name)) continue;
    if (start === undefined) console.log(`${name}: not installed (apt-get install ${name === 'redis' ? 'redis-server' : 'etcd-server'})`);
    else running[name] = await start();
  }
  // Turn by turn, so that a busy moment of the machine does not hit one of them alone.
  for (let round = 0; round < rounds; round++) {
    for (const [name, cluster] of Object.entries(running)) (measured[name] ??= []).push(await closedLoop(cluster, round === 0 ? warmupSeconds * 1000 : 300, (seconds * 1000) / rounds));
  }
} finally {
  for (const cluster of Object.values(running)) await cluster.stop();
}

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);
const results = {};
for (const [name, parts] of Object.entries(measured)) {
  const writes = sum(parts.map((part) => part.writes));
  const perProcess = running[name].pids.map((_, i) => (sum(parts.map((part) => part.cpu[i])) * 1000) / writes);
  const latencies = parts.flatMap((part) => part.latencies).sort((a, b) => a - b);
  const result = { perSecond: (writes * 1000) / sum(parts.map((part) => part.elapsed)), cpuMicros: sum(perProcess), p50: latencies[latencies.length >> 1], p99: latencies[Math.floor(latencies.length * 0.99)] };
  results[name] = result;
  console.log(`${name}: ${result.perSecond.toFixed(0)} writes/s, ${result.cpuMicros.toFixed(1)} µs CPU per write over all three processes (${perProcess.map((micros) => micros.toFixed(1)).join(' + ')}), p50 ${result.p50.toFixed(2)} ms, p99 ${result.p99.toFixed(2)} ms`);
}
const { troupe: ours, redis: r, etcd: e } = results;
if (ours && r) console.log(`troupe / redis WAIT 2: CPU per write ${(ours.cpuMicros / r.cpuMicros).toFixed(2)}, throughput ${(ours.perSecond / r.perSecond).toFixed(2)}`);
if (ours && e) console.log(`troupe / etcd: CPU per write ${(ours.cpuMicros / e.cpuMicros).toFixed(3)}, throughput ${(ours.perSecond / e.perSecond).toFixed(2)}`);
