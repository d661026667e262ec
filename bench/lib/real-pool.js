// Many real agents on loopback, each a process: what one costs when nothing happens.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { cpuMs, freePorts } from './agents.js';

const troupe = fileURLToPath(new URL('../../bin/troupe', import.meta.url));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Gossip alone: the nodes found no cluster, so that what is measured is membership. */
export async function realPool(count, seconds = 30) {
  const ports = await freePorts(count * 2);
  const children = [];
  try {
    for (let i = 0; i < count; i++) {
      const child = spawn(process.execPath, [troupe, 'agent', '--name', `n${i}`, '--bind', `127.0.0.1:${ports[2 * i]}`, '--peer', `127.0.0.1:${ports[2 * i + 1]}`, '--http', i === 0 ? '127.0.0.1:0' : 'off', '--rpc-addr', 'off', '--log-level', 'error',
        ...(i === 0 ? [] : ['--retry-join', `127.0.0.1:${ports[0]}`])], { stdio: ['ignore', 'pipe', 'ignore'] });
      children.push(child);
      if (i === 0) children.http = await new Promise((resolve) => child.stdout.on('data', (text) => resolve(/http=(\S+)/.exec(String(text))?.[1])));
      else await pause(150);
    }
    const alive = async () => (await (await fetch(`http://${children.http}/v1/members`)).json()).members.filter((member) => member.status === 'alive').length;
    for (let tries = 0; (await alive()) < count; tries++) {
      if (tries > 600) throw new Error(`only ${await alive()} of ${count} agents met`);
      await pause(200);
    }
    await pause(10_000);
    const before = children.map((child) => cpuMs(child.pid));
    await pause(seconds * 1000);
    const used = children.map((child, i) => (cpuMs(child.pid) - before[i]) / seconds / 10).sort((a, b) => a - b);
    const resident = children.map((child) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, 'utf8'))[1]) / 1024).sort((a, b) => a - b);
    console.log(`\n${count} real agents on loopback, idle for ${seconds} s: ${used[count >> 1].toFixed(2)} % of a core each (median; most ${used.at(-1).toFixed(2)} %), ${resident[count >> 1].toFixed(0)} MiB resident (median)`);
  } finally {
    for (const child of children) child.kill('SIGKILL');
  }
}
