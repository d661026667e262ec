import { rmSync } from 'node:fs';
import { freePort } from '../../mixed/serf-agent.ts';
import { poll } from '../../poll.ts';
import { Daemon, installed } from './daemon.ts';
import { temporaryDirectory } from './ports.ts';

export const etcdInstalled: boolean = installed('/usr/bin/etcd', 'etcd-server');

/** A real etcd of one, that keeps its data when it is stopped and started again. */
export class Etcd {
  readonly #directory = temporaryDirectory();
  #daemon: Daemon | undefined;
  #port = 0;
  #peerPort = 0;

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  async start(): Promise<void> {
    if (this.#port === 0) {
      this.#port = await freePort('127.0.0.1');
      this.#peerPort = await freePort('127.0.0.1');
    }
    const peer = `http://127.0.0.1:${this.#peerPort}`;
    this.#daemon = new Daemon('/usr/bin/etcd', [
      '--name', 'one', '--data-dir', this.#directory, '--listen-client-urls', this.url, '--advertise-client-urls', this.url,
      '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `one=${peer}`,
      '--heartbeat-interval', '50', '--election-timeout', '500',
    ], { ...process.env, ETCD_UNSUPPORTED_ARCH: process.arch });
    await poll(async () => {
      if (this.#daemon?.running !== true) throw new Error(`etcd does not run: ${this.#daemon?.output}`);
      const response = await fetch(`${this.url}/health`, { signal: AbortSignal.timeout(2000) });
      if (!(await response.text()).includes('true')) throw new Error('etcd is not healthy yet');
    }, 20_000);
  }

  /** Its client API. */
  async call(method: string, body: unknown): Promise<unknown> {
    const response = await fetch(`${this.url}/v3/${method}`, { method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(2000) });
    if (!response.ok) throw new Error(`etcd: ${response.status} ${await response.text()}`);
    return await response.json();
  }

  /** The whole process stands still. */
  freeze(on: boolean): void {
    this.#daemon?.signal(on ? 'SIGSTOP' : 'SIGCONT');
  }

  async stop(): Promise<void> {
    await this.#daemon?.end();
  }

  async end(): Promise<void> {
    await this.stop();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
