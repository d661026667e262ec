import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';

/** Whether a program of Debian's is here. Where tests must be whole (CI), its absence is an error. */
export function installed(path: string, debianPackage: string): boolean {
  if (existsSync(path)) return true;
  if (process.env['CI']) throw new Error(`${path} is missing: apt-get install ${debianPackage}`);
  console.warn(`tests against ${path} are skipped: apt-get install ${debianPackage}`);
  return false;
}

/** A program that runs until it is ended. */
export class Daemon {
  output = '';
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;

  constructor(command: string, parameters: readonly string[], environment: NodeJS.ProcessEnv = process.env) {
    this.#child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'pipe'], env: environment });
    this.#exited = new Promise((resolve) => this.#child.once('exit', () => resolve()));
    const collect = (bytes: Buffer): void => void (this.output = (this.output + bytes.toString()).slice(-20_000));
    this.#child.stdout?.on('data', collect);
    this.#child.stderr?.on('data', collect);
    this.#child.on('error', (error) => (this.output += String(error)));
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (!this.running) return;
    this.#child.kill(signal);
    await this.#exited;
  }
}
