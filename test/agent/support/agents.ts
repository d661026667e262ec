/** Real agents in processes of their own, on loopback: started, frozen, killed by pid, and always cleaned up. */
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AppView, NodeStatus, PartitionView } from '../../../src/node/node-types.ts';
import { program } from '../../cli/program.ts';

export { buildIfStale, run } from '../../cli/program.ts';
export type { Result } from '../../cli/program.ts';

/** Polls until the condition holds; `what` says what was the matter, once the deadline has passed. */
export async function until(condition: () => boolean | Promise<boolean>, what: () => string, timeoutMs: number = 30_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what()}`);
    await pause(15);
  }
}

/** Between two looks, or to let load run while a fault lasts; never to wait for something to become true. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

// Below the range that the system gives to outgoing connections: a restarted agent must find its ports free.
let nextPort = 12_000 + Math.floor(Math.random() * 2000) * 8;

/** Ports that are free for TCP and UDP. */
export async function freePorts(count: number, host: string = '127.0.0.1'): Promise<number[]> {
  const ports: number[] = [];
  while (ports.length < count) {
    const port = nextPort++;
    if (nextPort > 32_000) nextPort = 12_000;
    if (await isFree(port, host)) ports.push(port);
  }
  return ports;
}

async function isFree(port: number, host: string): Promise<boolean> {
  const server = createServer();
  const udp = createSocket('udp4');
  try {
    await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve));
    await new Promise<void>((resolve, reject) => udp.once('error', reject).bind(port, host, () => resolve()));
    return true;
  } catch {
    return false;
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await new Promise<void>((resolve) => udp.close(() => resolve()));
  }
}

export interface AgentSpec {
  readonly name: string;
  readonly flags?: readonly string[];
  /** Put before `node`: to run in a network namespace. */
  readonly through?: readonly string[];
  readonly host?: string;
}

const alive = new Set<Agent>();
const directories: string[] = [];

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'troupe-e2e-'));
  directories.push(directory);
  return directory;
}

export async function killAll(): Promise<void> {
  await Promise.all([...alive].map((agent) => agent.kill()));
}

/** Ends every agent that is left, and removes temporary files. */
export async function cleanUp(): Promise<void> {
  await killAll();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
}

export class Agent {
  readonly name: string;
  readonly host: string;
  gossip = 0;
  peer = 0;
  http = 0;
  memcached = 0;
  stdout = '';
  stderr = '';
  exited: Promise<number | null> = Promise.resolve(null);
  /** What the flags say beyond name and ports; may be changed before a restart. */
  flags: readonly string[];
  #process: ChildProcess | undefined;
  readonly #through: readonly string[];

  constructor(spec: AgentSpec) {
    this.name = spec.name;
    this.host = spec.host ?? '127.0.0.1';
    this.flags = spec.flags ?? [];
    this.#through = spec.through ?? [];
  }

  get pid(): number {
    return this.#process?.pid as number;
  }

  get running(): boolean {
    return alive.has(this);
  }

  async choosePorts(): Promise<void> {
    [this.gossip, this.peer, this.http, this.memcached] = (await freePorts(4, this.#through.length > 0 ? '127.0.0.1' : this.host)) as [number, number, number, number];
  }

  /** Starts the process without waiting for anything. */
  async spawn(): Promise<void> {
    if (this.gossip === 0) await this.choosePorts();
    const at = (port: number): string => `${this.host}:${port}`;
    const words = [
      'agent', '--name', this.name, '--bind', at(this.gossip), '--peer', at(this.peer), '--http', at(this.http), '--memcached', at(this.memcached), '--profile', 'local', '--rpc-addr', 'off', ...this.flags,
    ];
    const [command, ...rest] = [...this.#through, process.execPath, program, ...words] as [string, ...string[]];
    const { TROUPE_HTTP: _http, TROUPE_TOKEN: _token, NOTIFY_SOCKET: _socket, ...env } = process.env;
    const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'], env });
    this.#process = child;
    this.stdout = '';
    this.stderr = '';
    child.stdout.on('data', (chunk) => (this.stdout += String(chunk)));
    child.stderr.on('data', (chunk) => (this.stderr += String(chunk)));
    alive.add(this);
    this.exited = new Promise((resolve) => {
      child.on('exit', () => alive.delete(this));
      child.on('close', resolve);
    });
  }

  /** Starts it and waits for the ready line. */
  async start(): Promise<this> {
    await this.spawn();
    await this.ready();
    return this;
  }

  async ready(timeoutMs?: number): Promise<void> {
    await until(() => /^ready .*\n/m.test(this.stdout) || !this.running, () => `agent ${this.name} is not ready: ${this.tail()}`, timeoutMs);
    if (!/^ready .*\n/m.test(this.stdout)) throw new Error(`agent ${this.name} ended before it was ready: ${this.tail()}`);
  }

  tail(): string {
    return this.stderr.split('\n').filter((line) => !line.includes('in-sync set')).join('\n').slice(-4000);
  }

  signal(name: NodeJS.Signals): void {
    this.#process?.kill(name);
  }

  /** kill -9, and wait until the process is gone. */
  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.exited;
  }

  async get<T>(path: string): Promise<T> {
    const response = await fetch(`http://${this.host}:${this.http}${path}`, { signal: AbortSignal.timeout(5000) });
    return (await response.json()) as T;
  }

  async post(path: string, body: unknown): Promise<{ status: number; body: unknown }> {
    const response = await fetch(`http://${this.host}:${this.http}${path}`, { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' }, signal: AbortSignal.timeout(15_000) });
    return { status: response.status, body: await response.json() };
  }

  async status(): Promise<NodeStatus> {
    return await this.get<NodeStatus>('/v1/status');
  }

  async partitions(): Promise<PartitionView[]> {
    return (await this.get<{ partitions: PartitionView[] }>('/v1/partitions')).partitions;
  }

  async app(name: string): Promise<AppView> {
    const app = (await this.status()).apps.find((each) => each.name === name);
    if (app === undefined) throw new Error(`${this.name} knows no app ${name}`);
    return app;
  }

  /** Resident memory in MiB. */
  get residentMiB(): number {
    return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1]) / 1024;
  }
}

export interface ClusterOptions {
  /** Written to a config file of every agent. */
  readonly config?: unknown;
  readonly flags?: readonly string[];
  /** Keep no data directories. */
  readonly withoutData?: boolean;
}

/** Agents that found a cluster together. */
export class Cluster {
  readonly names: readonly string[];
  readonly directory: string = temporaryDirectory();
  readonly agents: ReadonlyMap<string, Agent>;
  readonly #options: ClusterOptions;

  constructor(names: readonly string[], options: ClusterOptions = {}) {
    this.names = names;
    this.agents = new Map(names.map((name) => [name, new Agent({ name })]));
    this.#options = options;
  }

  async start({ healthy = true }: { healthy?: boolean } = {}): Promise<this> {
    const all = [...this.agents.values()];
    for (const agent of all) await agent.choosePorts();
    for (const agent of all) agent.flags = this.flagsFor(agent.name, all.filter((other) => other !== agent).map((other) => other.gossip));
    await Promise.all(all.map((agent) => agent.spawn()));
    // Each one's log tells half of the story.
    await Promise.all(all.map((agent) => agent.ready())).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${this.logs()}`);
    });
    if (healthy) await this.healthy();
    return this;
  }

  flagsFor(name: string, others: readonly number[]): string[] {
    const { config, flags = [], withoutData } = this.#options;
    const file = join(this.directory, `${name}.json`);
    if (config !== undefined) writeFileSync(file, JSON.stringify(config));
    return [
      ...(config === undefined ? [] : ['--config', file]), ...(withoutData === true ? [] : ['--data', this.dataOf(name)]),
      '--bootstrap-expect', String(this.names.length), ...others.flatMap((port) => ['--join', `127.0.0.1:${port}`]), ...flags,
    ];
  }

  dataOf(name: string): string {
    return join(this.directory, name, 'data');
  }

  get(name: string): Agent {
    const agent = this.agents.get(name);
    if (agent === undefined) throw new Error(`there is no agent ${name}`);
    return agent;
  }

  /** Any other than the ones named. */
  other(...names: readonly (string | undefined)[]): Agent {
    return this.get(this.names.find((name) => !names.includes(name) && this.get(name).running) as string);
  }

  /** Waits until every node serves, nothing needs attention and primaries are spread. Asks every agent. */
  async healthy(timeoutMs: number = 40_000): Promise<NodeStatus> {
    let seen: unknown;
    let result: NodeStatus | undefined;
    await until(async () => {
      for (const agent of this.agents.values()) {
        const status = await agent.status().catch((error: unknown) => String(error));
        seen = status;
        if (typeof status === 'string' || status.attention.length > 0 || status.partitions.total === 0 || status.leader === undefined || !status.sessionLive) return false;
        const live = status.nodes.filter((node) => node.state === 'live');
        const primaries = live.map((node) => node.primaries);
        if (live.length !== this.names.length || status.nodes.length !== live.length || Math.max(...primaries) - Math.min(...primaries) > 1) return false;
        if (status.voters.length !== this.names.length - (1 - (this.names.length % 2))) return false;
        result = status;
      }
      return true;
    }, () => `the cluster is not healthy: ${JSON.stringify(seen)}`, timeoutMs);
    return result as NodeStatus;
  }

  /** The end of every agent's log. */
  logs(): string {
    return [...this.agents.values()].map((agent) => `--- ${agent.name}\n${agent.tail()}`).join('\n');
  }

  async stop(): Promise<void> {
    await Promise.all([...this.agents.values()].map((agent) => agent.kill()));
  }
}

export function makeDirectory(path: string): string {
  mkdirSync(path, { recursive: true });
  return path;
}
