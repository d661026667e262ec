// What five agents cost while nothing happens. Runs in a network of its own (`unshare -n`), where nobody else sends: the
// kernel's counters are then those of these agents alone. Words: KIND PROFILE SECONDS; prints one line of JSON.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from './agents.js';
import { BenchAgent, killEveryone, pause } from './serf-agents.js';

const [kind, profile, seconds] = process.argv.slice(2);
const directory = mkdtempSync(join(tmpdir(), 'troupe-bench-idle-'));

/** The kernel's table of `NAME: keys…` and `NAME: values…`. */
function counter(file, name, key) {
  const [keys, values] = readFileSync(file, 'utf8').split('\n').filter((line) => line.startsWith(`${name}: `)).map((line) => line.split(' '));
  return Number(values[keys.indexOf(key)]);
}

const processor = (pid) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ').slice(11, 13).reduce((sum, ticks) => sum + Number(ticks) * 10, 0);
const counts = (agents) => ({
  packets: counter('/proc/net/snmp', 'Udp', 'OutDatagrams'),
  bytes: counter('/proc/net/netstat', 'IpExt', 'OutOctets'),
  cpuMs: agents.reduce((sum, agent) => sum + processor(agent.process.pid), 0),
});

try {
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  const ports = await freePorts(15);
  const agents = Array.from({ length: 5 }, (_, i) => new BenchAgent(kind, profile, `idle${i}`, ports.slice(i * 3, i * 3 + 3), directory));
  await Promise.all(agents.map((agent) => agent.start()));
  for (const agent of agents.slice(1)) await agent.join(agents[0].port);
  for (const agent of agents) agent.client.close();
  await pause(10_000);
  const before = counts(agents);
  await pause(Number(seconds) * 1000);
  const after = counts(agents);
  const perSecond = (key) => (after[key] - before[key]) / 5 / Number(seconds);
  const resident = agents.map((agent) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${agent.process.pid}/status`, 'utf8'))[1]) / 1024);
  console.log(JSON.stringify({ packets: perSecond('packets'), bytes: perSecond('bytes'), cpuMs: perSecond('cpuMs'), resident }));
} finally {
  killEveryone();
  rmSync(directory, { recursive: true, force: true });
}
