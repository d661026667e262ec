// Agents of ours and of Debian's serf, started and watched the same way.
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RpcClient } from '../../dist/cli/rpc-client.js';
import { rpcJoinRequest, rpcJoinResponse } from '../../dist/core/wire/serf-rpc.js';

export const serf = '/usr/bin/serf';
export const troupe = fileURLToPath(new URL('../../bin/troupe', import.meta.url));
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const shared = (agent, profile) => ['agent', '-node', agent.name, '-bind', `127.0.0.1:${agent.port}`, '-rpc-addr', `127.0.0.1:${agent.rpc}`, '-profile', profile, '-snapshot', agent.snapshot, '-log-level', 'info', '-event-handler', 'query:answer=echo ok'];

export const contenders = {
  troupe: {
    command: (agent, profile) => [process.execPath, [troupe, ...shared(agent, profile), '-peer', `127.0.0.1:${agent.peer}`, '-http', 'off']],
    verb: (words) => [process.execPath, [troupe, ...words]],
    running: /^ready /m,
    line: { joined: (name) => `member '${name}' joined`, left: (name) => `member '${name}' left`, failed: (name) => `member '${name}' failed` },
  },
  serf: {
    command: (agent, profile) => [serf, shared(agent, profile)],
    verb: (words) => [serf, words],
    running: /Log data will now stream/,
    line: { joined: (name) => `EventMemberJoin: ${name} `, left: (name) => `EventMemberLeave: ${name} `, failed: (name) => `EventMemberFailed: ${name} ` },
  },
};

const everyone = new Set();

/** Whatever happened, nothing that was started here stays. */
export function killEveryone() {
  for (const child of everyone) child.kill('SIGKILL');
}

export class BenchAgent {
  constructor(kind, profile, name, [port, peer, rpc], directory) {
    Object.assign(this, { kind, profile, name, port, peer, rpc, snapshot: join(directory, `${kind}-${profile}-${name}`), lines: [] });
  }

  async start() {
    const [command, words] = contenders[this.kind].command(this, this.profile);
    const child = spawn(command, words, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.process = child;
    this.exited = new Promise((resolve) => child.once('exit', resolve));
    everyone.add(child);
    void this.exited.then(() => everyone.delete(child));
    await new Promise((resolve, reject) => {
      const take = (bytes) => {
        const at = performance.now();
        for (const text of String(bytes).split('\n')) this.lines.push({ at, text });
        if (contenders[this.kind].running.test(String(bytes))) resolve((this.runningAt = at));
      };
      child.stdout.on('data', take);
      child.stderr.on('data', take);
      child.once('exit', () => reject(new Error(`${this.kind} ${this.name} ended: ${this.lines.slice(-5).map(({ text }) => text).join('\n')}`)));
    });
    for (let tries = 0; ; tries++) {
      try {
        this.client = await RpcClient.connect(`127.0.0.1:${this.rpc}`, undefined);
        return this;
      } catch (error) {
        if (tries > 100) throw error;
        await pause(50);
      }
    }
  }

  async join(port) {
    await this.client.ask('join', { codec: rpcJoinRequest, body: { Existing: [`127.0.0.1:${port}`], Replay: false } }, rpcJoinResponse);
  }

  signal(name) {
    this.process.kill(name);
  }

  async kill() {
    this.client?.close();
    this.signal('SIGKILL');
    await this.exited;
  }

  forget() {
    rmSync(this.snapshot, { force: true });
  }

  /** When this agent logged the line, not before `since`. */
  logged(what, name, since) {
    const text = contenders[this.kind].line[what](name);
    return this.lines.find((line) => line.at >= since && line.text.includes(text))?.at;
  }
}

/** When the last of the agents logged the line, counted from `since`; Infinity: not all did within the limit. */
export async function known(agents, what, name, since, limitMs) {
  const found = agents.map(() => undefined);
  for (;;) {
    agents.forEach((agent, i) => (found[i] ??= agent.logged(what, name, since)));
    if (found.every((at) => at !== undefined)) return Math.max(...found) - since;
    if (performance.now() - since > limitMs) return Infinity;
    await pause(10);
  }
}
