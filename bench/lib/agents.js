// Real agents on loopback for benchmarks: started, killed and restarted by process id, cleaned up at the end.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const troupe = fileURLToPath(new URL('../../bin/troupe', import.meta.url));

/** A port that is free now on the address, with the next one free too. */
export async function freePorts(count, host = '127.0.0.1') {
  const servers = [];
  const ports = [];
  while (ports.length < count) {
    const server = createServer();
    await new Promise((resolve, reject) => server.once('error', reject).listen(0, host, resolve));
    servers.push(server);
    ports.push(server.address().port);
  }
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

export class Agents {
  constructor(names, extra = []) {
    this.names = names;
    this.extra = extra;
    this.directory = mkdtempSync(join(tmpdir(), 'troupe-bench-'));
    this.agents = new Map();
  }

  async start() {
    const ports = await freePorts(this.names.length * 4);
    this.names.forEach((name, i) => {
      const [gossip, peer, http, memcached] = ports.slice(i * 4, i * 4 + 4);
      this.agents.set(name, { name, gossip, peer, http, memcached, process: undefined });
    });
    await Promise.all(this.names.map((name) => this.restart(name)));
    await this.healthy();
    return this;
  }

  /** Starts the agent; resolves at its ready line. */
  async restart(name) {
    const agent = this.agents.get(name);
    const first = this.agents.get(this.names.find((other) => other !== name) ?? name);
    const args = ['agent', '--name', name, '--data', join(this.directory, name), '--bind', `127.0.0.1:${agent.gossip}`, '--peer', `127.0.0.1:${agent.peer}`, '--http', `127.0.0.1:${agent.http}`,
      '--memcached', `127.0.0.1:${agent.memcached}`, '--bootstrap-expect', String(this.names.length), '--join', `127.0.0.1:${first.gossip}`, '--profile', 'local', '--log-level', process.env.BENCH_LOG ?? 'warn', ...this.extra];
    const child = spawn(process.execPath, [troupe, ...args], { stdio: ['ignore', 'pipe', process.env.BENCH_LOG ? 'inherit' : 'ignore'] });
    agent.process = child;
    await new Promise((resolve, reject) => {
      child.stdout.on('data', (text) => String(text).includes('ready ') && resolve());
      child.once('exit', (code, signal) => reject(new Error(`agent ${name} ended before it was ready (${code ?? signal})`)));
    });
  }

  kill(name, signal = 'SIGKILL') {
    const agent = this.agents.get(name);
    process.kill(agent.process.pid, signal);
    return agent.process.pid;
  }

  async get(name, path) {
    const response = await fetch(`http://127.0.0.1:${this.agents.get(name).http}${path}`);
    return await response.json();
  }

  async status(name) {
    return await this.get(name, '/v1/status');
  }

  /** Waits until nothing needs attention and primaries are spread again. */
  async healthy(limitMs = 30_000, node = this.names[0]) {
    const end = Date.now() + limitMs;
    for (;;) {
      const status = await this.status(node).catch(() => undefined);
      if (status !== undefined && status.attention.length === 0 && status.partitions.total > 0) {
        const primaries = status.nodes.filter((one) => one.state === 'live').map((one) => one.primaries);
        const voters = status.voters.length;
        if (status.nodes.length === this.names.length && Math.max(...primaries) - Math.min(...primaries) <= 1 && voters === this.names.length - (1 - (this.names.length % 2))) return status;
      }
      if (Date.now() > end) throw new Error(`the cluster is not healthy: ${JSON.stringify(status)}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  cpuMs(name) {
    return cpuMs(this.agents.get(name).process.pid);
  }

  async stop() {
    for (const { process: child } of this.agents.values()) {
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}

import { readFileSync } from 'node:fs';
/** User and system time of a process so far, in ms (10 ms steps). */
export function cpuMs(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}
