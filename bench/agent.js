// How soon an agent serves, and what it takes when idle.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Agents, cpuMs, freePorts } from './lib/agents.js';
import { fileURLToPath } from 'node:url';

const troupe = fileURLToPath(new URL('../bin/troupe', import.meta.url));
const starts = [];
for (let i = 0; i < 5; i++) {
  const [gossip, peer, http] = await freePorts(3);
  const begin = performance.now();
  const child = spawn(process.execPath, [troupe, 'agent', '--dev', '--bind', `127.0.0.1:${gossip}`, '--peer', `127.0.0.1:${peer}`, '--http', `127.0.0.1:${http}`, '--log-level', 'error'], { stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => child.stdout.on('data', (text) => String(text).includes('ready ') && resolve()));
  starts.push(performance.now() - begin);
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('exit', resolve));
}
starts.sort((a, b) => a - b);
console.log(`a lone agent serves after ${starts[2].toFixed(0)} ms (median of 5; ${starts.map((ms) => ms.toFixed(0)).join(', ')})`);

const agents = await new Agents(['a', 'b', 'c']).start();
try {
  await new Promise((resolve) => setTimeout(resolve, 5000));
  const before = agents.names.map((name) => agents.cpuMs(name));
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  for (const [i, name] of agents.names.entries()) {
    const { pid } = agents.agents.get(name).process;
    const resident = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;
    console.log(`idle in a cluster of three: ${resident.toFixed(0)} MiB resident, ${((cpuMs(pid) - before[i]) / 100).toFixed(1)} % of a core`);
  }
} finally {
  await agents.stop();
}
