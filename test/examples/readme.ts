/** Runs what an example's README says, command by command, in a copy of the example with addresses of its own. */
import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildIfStale, program } from '../cli/program.ts';
import { claimsOf, mismatch } from '../docs/console-blocks.ts';
import type { Claim } from '../docs/console-blocks.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Commands that change something are run once; all others are looks, repeated until they show what the document says. */
const once = /&|^kill |^sed |^node |keygen|^troupe (event|leave)/;

export class ExampleRun {
  readonly directory: string = mkdtempSync(join(tmpdir(), 'troupe-example-'));
  readonly claims: readonly Claim[];
  readonly #environment: NodeJS.ProcessEnv;
  readonly #place: (text: string) => string;

  /** @param subnet what the example's addresses begin with: `127.0.7.` */
  constructor(example: string, subnet: string) {
    buildIfStale();
    const mine = `127.${20 + Math.floor(Math.random() * 200)}.${1 + Math.floor(Math.random() * 250)}.`;
    this.#place = (text) => text.replaceAll(subnet, mine);
    cpSync(join(root, 'examples', example), this.directory, { recursive: true, filter: (path) => !/\/(data|live|node_modules)(\/|$)|\.(log|pid)$/.test(path.slice(root.length)) });
    for (const file of readdirSync(this.directory)) writeFileSync(join(this.directory, file), this.#place(readFileSync(join(this.directory, file), 'utf8')));
    mkdirSync(join(this.directory, 'node_modules'));
    symlinkSync(root, join(this.directory, 'node_modules/troupe'));
    mkdirSync(join(this.directory, 'bin'));
    symlinkSync(program, join(this.directory, 'bin/troupe'));
    const { TROUPE_HTTP: _http, TROUPE_TOKEN: _token, TROUPE_RPC_ADDR: _rpc, NOTIFY_SOCKET: _socket, ...env } = process.env;
    this.#environment = { ...env, PATH: `${join(this.directory, 'bin')}${delimiter}${env['PATH']}` };
    this.claims = claimsOf(`examples/${example}/README.md`, readFileSync(join(this.directory, 'README.md'), 'utf8'));
  }

  /** An address of the example, as it is here. */
  place(text: string): string {
    return this.#place(text);
  }

  async check({ place, command, code, output }: Claim, timeoutMs: number = 60_000): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const result = await this.shell(command);
      const problem = result.code === code ? (output.length === 0 ? undefined : mismatch(output, result.output)) : `exit code ${code}`;
      if (problem === undefined) return;
      if (once.test(command) || performance.now() > deadline) throw new Error(`${place}: \`${command}\` (exit code ${result.code}) does not show '${problem}' but:\n${result.output}\n${this.logs()}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  shell(command: string): Promise<{ code: number | null; output: string }> {
    const child = spawn('/bin/sh', ['-c', `{ ${command}\n} 2>&1`], { cwd: this.directory, env: this.#environment, stdio: ['ignore', 'pipe', 'ignore'] });
    let output = '';
    child.stdout.on('data', (chunk) => (output += String(chunk)));
    return new Promise((resolve) => child.on('close', (code) => resolve({ code, output })));
  }

  read(file: string): string {
    return readFileSync(join(this.directory, file), 'utf8');
  }

  logs(): string {
    return readdirSync(this.directory).filter((file) => file.endsWith('.log')).map((file) => `${file}: ${this.read(file).slice(-1500)}`).join('\n');
  }

  /** Ends what the commands have left running: each has written its pid. */
  cleanUp(): void {
    for (const file of readdirSync(this.directory).filter((name) => name.endsWith('.pid'))) {
      for (const pid of this.read(file).split(/\s+/).filter((text) => text !== '')) {
        try {
          process.kill(Number(pid), 'SIGKILL');
        } catch {
          // It has ended already.
        }
      }
    }
    rmSync(this.directory, { recursive: true, force: true });
  }
}
