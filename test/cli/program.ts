import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url));
export const program: string = join(root, 'bin/troupe');

const lock = join(root, 'node_modules/.troupe-build-lock');

/** Builds what the binary runs if a source is newer than the last build. Test files run side by side: one builds, the others wait. */
export function buildIfStale(): void {
  const deadline = Date.now() + 120_000;
  while (!takeLock(deadline)) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  try {
    if (!isStale()) return;
    execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', join(root, 'tsconfig.build.json'), '--noCheck'], { stdio: 'ignore' });
    // What is started is the bundle.
    execFileSync(process.execPath, [join(root, 'scripts/bundle.mjs')], { stdio: 'ignore' });
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

function takeLock(deadline: number): boolean {
  try {
    mkdirSync(lock);
    return true;
  } catch {
    // Whoever held it may have been killed: nobody builds for two minutes.
    return Date.now() > deadline;
  }
}

function isStale(): boolean {
  const built = join(root, 'dist/bundle/troupe.js');
  const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  const newest = Math.max(...sources.map((file) => statSync(join(root, 'src', file)).mtimeMs));
  return !existsSync(built) || statSync(built).mtimeMs <= newest;
}

export interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the program to its end. */
export async function run(words: readonly string[], options: { env?: Record<string, string>; input?: string; directory?: string } = {}): Promise<Result> {
  const child = spawn(process.execPath, [program, ...words], { env: { ...cleanEnvironment(), ...options.env }, ...(options.directory === undefined ? {} : { cwd: options.directory }) });
  started.add(child);
  child.on('close', () => started.delete(child));
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => (stdout += String(chunk)));
  child.stderr.on('data', (chunk) => (stderr += String(chunk)));
  child.stdin.end(options.input ?? '');
  const timeout = setTimeout(() => child.kill('SIGKILL'), 30_000);
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  clearTimeout(timeout);
  return { code, stdout, stderr };
}

function cleanEnvironment(): NodeJS.ProcessEnv {
  const { TROUPE_HTTP: _http, TROUPE_TOKEN: _token, TROUPE_RPC_ADDR: _rpc, TROUPE_RPC_AUTH: _auth, SERF_RPC_ADDR: _serfRpc, SERF_RPC_AUTH: _serfAuth, NOTIFY_SOCKET: _socket, ...rest } = process.env;
  return rest;
}

/** An agent in a process of its own, on ports that the system chooses. */
export class TestAgent {
  readonly process: ChildProcess;
  stdout = '';
  stderr = '';
  readonly exited: Promise<number | null>;

  constructor(words: readonly string[], options: { env?: Record<string, string>; directory?: string } = {}) {
    this.process = spawn(process.execPath, [program, 'agent', ...words], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...cleanEnvironment(), ...options.env }, ...(options.directory === undefined ? {} : { cwd: options.directory }) });
    this.process.stdout?.on('data', (chunk) => (this.stdout += String(chunk)));
    this.process.stderr?.on('data', (chunk) => (this.stderr += String(chunk)));
    this.exited = new Promise((resolve) => this.process.on('close', resolve));
    running.add(this);
    void this.exited.then(() => running.delete(this));
  }

  /** The parts of the ready line. */
  async ready(): Promise<Record<string, string>> {
    await until(() => /^ready .*\n/m.test(this.stdout) || this.process.exitCode !== null, () => `the agent is not ready: ${this.stderr}`);
    const line = /^ready (.*)\n/m.exec(this.stdout)?.[1];
    if (line === undefined) throw new Error(`the agent ended: ${this.stderr}`);
    return Object.fromEntries(line.split(' ').map((part) => part.split('=') as [string, string]));
  }

  signal(name: NodeJS.Signals): void {
    this.process.kill(name);
  }
}

const running = new Set<TestAgent>();
const started = new Set<ChildProcess>();
const directories: string[] = [];

/** Flags for ports that nobody else has. */
export const anyPorts: readonly string[] = ['--bind', '127.0.0.1:0', '--peer', '127.0.0.1:0', '--http', '127.0.0.1:0', '--rpc-addr', 'off'];

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'troupe-cli-'));
  directories.push(directory);
  return directory;
}

/** Ends every agent that is left, and removes temporary files. */
export async function cleanUp(): Promise<void> {
  const left = [...running];
  for (const child of started) child.kill('SIGKILL');
  for (const agent of left) agent.signal('SIGKILL');
  await Promise.all(left.map((agent) => agent.exited));
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
}

export async function until(condition: () => boolean | Promise<boolean>, what: () => string, timeoutMs: number = 20_000): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within ${timeoutMs} ms: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
