// npm run bench [-- NAME [options]]: runs one benchmark, or lists them.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const benches = {
  'single-node': 'server CPU per request, one node, against redis and memcached',
  'engine-memory': 'bytes per entry and worst pause of the memory engine',
  'replicated': 'CPU per replicated write and throughput, against redis with WAIT 2 and etcd',
  'local-read': 'reads of a local copy inside the process, against ioredis',
  'failover': 'longest pause of a write when a primary is killed (--kills=N) or stopped (--stops=N)',
  'app-failover': 'kill -9 to the start of the app on the next node; gap at a takeover',
  'scale': 'simulated pools of 10, 100 and 1,000 nodes; CPU of 50 real agents',
  'serf': "membership, events and queries beside the real serf agent's, in one run",
  'agent': 'start time and idle memory of an agent',
};
const [name, ...rest] = process.argv.slice(2);
if (name === undefined || benches[name] === undefined) {
  console.log('npm run bench -- NAME [options]\n');
  for (const [key, what] of Object.entries(benches)) console.log(`  ${key.padEnd(14)} ${what}`);
  process.exit(name === undefined ? 0 : 2);
}
const file = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
process.exit(spawnSync(process.execPath, [file, ...rest], { stdio: 'inherit' }).status ?? 1);
