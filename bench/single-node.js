// Server CPU per request of one node's memcached port, beside redis and memcached, in one run.
// get:set 9:1, 100-byte values, 50 connections; unpipelined and 16 deep. CPU comes from /proc, so the machine's other
// work and the load generator do not count. Usage: node bench/single-node.js [--seconds N] [--json]
import { fileURLToPath } from 'node:url';
import { fill, freePort, load, memcachedProtocol, redisProtocol, startServer } from './support/measure.js';

const seconds = process.argv.includes('--seconds') ? Number(process.argv[process.argv.indexOf('--seconds') + 1]) : 4;
const connections = 50;
const asRoot = process.getuid?.() === 0 ? ['-u', 'root'] : [];

const servers = {
  troupe: { protocol: memcachedProtocol(), start: () => startServer(process.execPath, [fileURLToPath(new URL('support/memcached-server.js', import.meta.url))]) },
  redis: {
    protocol: redisProtocol(),
    start: async () => {
      const port = await freePort();
      return startServer('/usr/bin/redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--daemonize', 'no', '--loglevel', 'warning'], port);
    },
  },
  memcached: {
    protocol: memcachedProtocol(),
    start: async () => {
      const port = await freePort();
      return startServer('/usr/bin/memcached', ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-m', '256', '-t', '1', ...asRoot], port);
    },
  },
};

const results = {};
const running = {};
for (const [name, server] of Object.entries(servers)) {
  running[name] = await server.start();
  await fill(running[name].port, server.protocol);
}
for (const depth of [1, 16]) {
  // Turn by turn, so that a busy moment of the machine does not hit one server alone.
  const rounds = 3;
  const totals = {};
  for (let round = 0; round < rounds; round++) {
    for (const [name, server] of Object.entries(servers)) {
      const { port, pid } = running[name];
      const result = await load({ port, pid, protocol: server.protocol, connections, depth, warmupMs: round === 0 ? 1500 : 300, measureMs: (seconds * 1000) / rounds });
      const total = (totals[name] ??= { requests: 0, cpuMicros: 0, perSecond: 0 });
      total.requests += result.requests;
      total.cpuMicros += result.cpuMicrosPerRequest * result.requests;
      total.perSecond += result.perSecond / rounds;
    }
  }
  for (const [name, total] of Object.entries(totals)) (results[`depth ${depth}`] ??= {})[name] = { cpuMicrosPerRequest: total.cpuMicros / total.requests, requestsPerSecond: Math.round(total.perSecond) };
}
for (const each of Object.values(running)) await each.stop();

if (process.argv.includes('--json')) console.log(JSON.stringify(results));
else {
  for (const [depth, row] of Object.entries(results)) {
    const ours = row.troupe.cpuMicrosPerRequest;
    const cells = Object.entries(row).map(([name, { cpuMicrosPerRequest, requestsPerSecond }]) => `${name} ${cpuMicrosPerRequest.toFixed(2)} µs (${requestsPerSecond}/s)`);
    console.log(`${depth.padEnd(9)} ${cells.join(' · ')}`);
    console.log(`          CPU per request against redis ${(ours / row.redis.cpuMicrosPerRequest).toFixed(2)}, against memcached ${(ours / row.memcached.cpuMicrosPerRequest).toFixed(2)}`);
  }
  console.log('goals: depth 1: at most 1.4 of either; depth 16: at most 1.4 of redis, 0.3 of memcached');
}
