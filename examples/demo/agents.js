/** Agents as real processes of the command line program, on addresses that the system says are free. */
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync, openSync, closeSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../bin/troupe', import.meta.url));
const host = '127.0.0.1';

/** Ports that are free now, for TCP and UDP. All are held until all are known, so that none comes twice. */
export async function freePorts(count) {
  const held = [];
  const ports = [];
  while (ports.length < count) {
    const server = createServer().listen(0, host);
    await once(server, 'listening');
    held.push(server);
    const { port } = server.address();
    const socket = createSocket('udp4');
    try {
      socket.bind(port, host);
      await once(socket, 'listening');
      ports.push(port);
      held.push(socket);
    } catch {
      socket.close();
    }
  }
  await Promise.all(held.map((each) => new Promise((resolve) => each.close(resolve))));
  return ports;
}

export class Agent {
  /** @param {{ name: string, directory: string, outputPath: string, config: object, ports: { gossip: number, peer: number, http: number, memcached: number } }} options */
  constructor({ name, directory, outputPath, config, ports }) {
    this.name = name;
    this.ports = ports;
    this.frozen = false;
    this.outputPath = outputPath;
    this.logPath = join(directory, `${name}.log`);
    this.configPath = join(directory, `${name}.json`);
    this.process = undefined;
    mkdirSync(directory, { recursive: true });
    writeFileSync(this.configPath, JSON.stringify({
      name,
      data: `./${name}`,
      gossip: { bind: `${host}:${ports.gossip}`, profile: 'local' },
      peer: `${host}:${ports.peer}`,
      rpc: false,
      http: { bind: `${host}:${ports.http}` },
      memcached: { bind: `${host}:${ports.memcached}`, keyspace: 'default' },
      ...config,
    }, undefined, 2));
  }

  get memcachedAddress() {
    return `${host}:${this.ports.memcached}`;
  }

  get alive() {
    return this.process !== undefined && this.process.exitCode === null && this.process.signalCode === null;
  }

  /**
   * All agents append to one file: the system puts each line whole behind the one before, so the order of the lines is
   * the order in which the processes wrote them, whichever process that was.
   */
  start() {
    const output = openSync(this.outputPath, 'a');
    const log = openSync(this.logPath, 'a');
    this.process = spawn(process.execPath, [program, 'agent', '--config', this.configPath], { stdio: ['ignore', output, log] });
    closeSync(output);
    closeSync(log);
    this.frozen = false;
    this.process.on('error', () => {});
  }

  /** kill -9; the rest of the demo goes on only when the process is gone. */
  async kill() {
    const gone = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    const at = performance.now();
    await gone;
    return at;
  }

  freeze() {
    this.process.kill('SIGSTOP');
    this.frozen = true;
    return performance.now();
  }

  thaw() {
    this.process.kill('SIGCONT');
    this.frozen = false;
    return performance.now();
  }

  /** For the end, and for errors: no waiting, never throws. */
  end() {
    if (this.alive) this.process.kill('SIGKILL');
  }

  async http(path) {
    const response = await fetch(`http://${host}:${this.ports.http}${path}`, { signal: AbortSignal.timeout(2000) });
    if (!response.ok) throw new Error(`${this.name} answered ${path} with HTTP ${response.status}: ${await response.text()}`);
    return response.json();
  }
}
