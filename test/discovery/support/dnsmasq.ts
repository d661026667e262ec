import { freePort } from '../../mixed/serf-agent.ts';
import { Daemon, installed } from './daemon.ts';
import { HostDns } from '../../../src/host/dns.ts';
import { poll } from '../../poll.ts';

export const dnsmasqInstalled: boolean = installed('/usr/sbin/dnsmasq', 'dnsmasq-base');

/** A real name server that knows what it is told, and of other names that they do not exist. */
export class Dnsmasq {
  port = 0;
  #daemon: Daemon | undefined;

  get address(): { host: string; port: number } {
    return { host: '127.0.0.1', port: this.port };
  }

  /** Begins anew with these records: dnsmasq's options, such as `--host-record=NAME,IP` and `--srv-host=NAME,TARGET,PORT`. */
  async serve(records: readonly string[]): Promise<void> {
    await this.stop();
    if (this.port === 0) this.port = await freePort('127.0.0.1');
    this.#daemon = new Daemon('/usr/sbin/dnsmasq', [
      '--keep-in-foreground', '--conf-file=/dev/null', '--no-resolv', '--no-hosts', '--pid-file=', '--user=root', '--listen-address=127.0.0.1', '--bind-interfaces',
      `--port=${this.port}`, '--local=/test/', '--local=/local/', '--host-record=up.test,127.0.0.1', ...records,
    ]);
    const dns = new HostDns();
    await poll(async () => {
      if (this.#daemon?.running !== true) throw new Error(`dnsmasq does not run: ${this.#daemon?.output}`);
      await dns.addresses('up.test', 'A', { servers: [this.address] });
    });
  }

  async stop(): Promise<void> {
    await this.#daemon?.end();
    this.#daemon = undefined;
  }
}
