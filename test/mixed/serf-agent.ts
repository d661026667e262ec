import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import dgram from 'node:dgram';
import { existsSync } from 'node:fs';
import net from 'node:net';
import { promisify } from 'node:util';
import type { Address } from '../../src/ports/address.ts';
import { formatAddress } from '../../src/ports/address.ts';
import { poll } from '../poll.ts';

const run = promisify(execFile);
const binary = '/usr/bin/serf';

/** Whether Debian's serf is here. Where tests must be whole (CI), its absence is an error. */
export const serfInstalled: boolean = existsSync(binary);
if (!serfInstalled) {
  if (process.env['CI']) throw new Error('serf is missing: apt-get install serf');
  console.warn('tests against real serf agents are skipped: apt-get install serf');
}

export interface SerfMember {
  readonly name: string;
  readonly status: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** A port that is free for UDP and TCP on that host, as of now. */
export async function freePort(host: string): Promise<number> {
  for (;;) {
    const server = net.createServer();
    await new Promise<void>((resolve) => server.listen(0, host, resolve));
    const { port } = server.address() as net.AddressInfo;
    const socket = dgram.createSocket('udp4');
    const free = await new Promise<boolean>((resolve) => {
      socket.once('error', () => resolve(false));
      socket.bind(port, host, () => resolve(true));
    });
    await new Promise<void>((resolve) => socket.close(() => resolve()));
    await new Promise((resolve) => server.close(resolve));
    if (free) return port;
  }
}

/** A real agent in a process of its own. */
export class SerfAgent {
  readonly name: string;
  readonly address: Address;
  readonly #rpc: string;
  readonly #process: ChildProcess;
  output = '';

  private constructor(name: string, address: Address, rpc: string, process: ChildProcess) {
    this.name = name;
    this.address = address;
    this.#rpc = rpc;
    this.#process = process;
    const collect = (bytes: Buffer): void => void (this.output += bytes.toString());
    process.stdout?.on('data', collect);
    process.stderr?.on('data', collect);
  }

  static async start(name: string, host: string, options: readonly string[] = []): Promise<SerfAgent> {
    const address = { host, port: await freePort(host) };
    const rpc = `127.0.0.1:${await freePort('127.0.0.1')}`;
    const child = spawn(binary, ['agent', '-node', name, '-bind', formatAddress(address), '-rpc-addr', rpc, '-profile', 'local', '-log-level', 'debug', ...options], { stdio: ['ignore', 'pipe', 'pipe'] });
    const agent = new SerfAgent(name, address, rpc, child);
    await poll(async () => void (await agent.members()));
    return agent;
  }

  /** Where its RPC listens. */
  get rpc(): Address {
    const [host, port] = this.#rpc.split(':') as [string, string];
    return { host, port: Number(port) };
  }

  /** Runs one of serf's verbs against this agent; its output, also when it fails. */
  async command(verb: string, ...parameters: string[]): Promise<string> {
    try {
      const { stdout, stderr } = await run(binary, [verb, `-rpc-addr=${this.#rpc}`, ...parameters]);
      return stdout + stderr;
    } catch (error) {
      const failed = error as { stdout?: string; stderr?: string };
      return `${failed.stdout ?? ''}${failed.stderr ?? ''}`;
    }
  }

  async members(): Promise<SerfMember[]> {
    const { members } = JSON.parse(await this.command('members', '-format=json')) as { members: SerfMember[] };
    return members;
  }

  async statuses(): Promise<Record<string, string>> {
    return Object.fromEntries((await this.members()).map((member) => [member.name, member.status]));
  }

  async tagsOf(name: string): Promise<Readonly<Record<string, string>> | undefined> {
    return (await this.members()).find((member) => member.name === name)?.tags;
  }

  /** kill -9 */
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const gone = new Promise<void>((resolve) => this.#process.once('exit', () => resolve()));
    this.#process.kill(signal);
    await gone;
  }
}
