import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('member.js', import.meta.url));

export interface MemberOptions {
  readonly pool: string;
  readonly name: string;
  readonly bind: string;
  readonly discovery: Readonly<Record<string, unknown>>;
}

/** A process with members of pools; see member.js. */
export class MemberProcess {
  readonly alive: Map<string, readonly string[]> = new Map();
  /** When each pool's member was up, and first saw another (ms). */
  readonly upAt: Map<string, number> = new Map();
  readonly joinedAt: Map<string, number> = new Map();
  readonly reasons: string[] = [];
  errors = '';
  readonly #child: ChildProcess;

  /** @param namespace network namespace to run in; default: this one */
  constructor(members: readonly MemberOptions[], namespace?: string) {
    const command = [process.execPath, script, JSON.stringify(members)];
    const [program, ...parameters] = namespace === undefined ? command : ['ip', 'netns', 'exec', namespace, ...command];
    this.#child = spawn(program as string, parameters, { stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stderr?.on('data', (bytes) => (this.errors = (this.errors + String(bytes)).slice(-5000)));
    if (this.#child.stdout !== null) createInterface(this.#child.stdout).on('line', (line) => this.#heard(line));
  }

  #heard(line: string): void {
    const { pool, up, alive, reason } = JSON.parse(line) as { pool: string; up?: true; alive?: string[]; reason?: string };
    const now = performance.now();
    if (up === true) this.upAt.set(pool, now);
    if (reason !== undefined) this.reasons.push(`${pool}: ${reason}`);
    if (alive === undefined) return;
    this.alive.set(pool, alive);
    if (alive.length > 1 && !this.joinedAt.has(pool)) this.joinedAt.set(pool, now);
  }

  /** kill -9 */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await gone;
  }
}
