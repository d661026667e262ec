import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { strategies } from '../../src/discovery/strategies.ts';
import { formatAddress } from '../../src/ports/address.ts';
import { buildIfStale } from '../cli/program.ts';
import { freePort } from '../mixed/serf-agent.ts';
import { poll } from '../poll.ts';
import { Dnsmasq, dnsmasqInstalled } from './support/dnsmasq.ts';
import { Etcd, etcdInstalled } from './support/etcd.ts';
import { MemberProcess } from './support/member-process.ts';
import type { MemberOptions } from './support/member-process.ts';
import { temporaryDirectory } from './support/ports.ts';
import { at, endpointsList, records } from './support/rigs.ts';
import { ScriptedServer } from './support/scripted-server.ts';

/** Two processes, and in each one member of a pool for each strategy, with the strategy's defaults. */
const directory = temporaryDirectory();
const dnsmasq = new Dnsmasq();
const etcd = new Etcd();
const server = new ScriptedServer();
const processes: MemberProcess[] = [];
const ports = new Map<string, number>();
let discoveries: Record<string, Record<string, unknown>> = {};

const addressOf = (pool: string, host: number): { host: string; port: number } => at(host, ports.get(pool));

beforeAll(async () => {
  buildIfStale();
  const pools = [...strategies.keys()].filter((name) => (dnsmasqInstalled || !/dns/.test(name) || name === 'mdns') && (etcdInstalled || name !== 'etcd'));
  for (const pool of pools) ports.set(pool, await freePort('127.0.0.2'));
  const both = (pool: string) => [2, 3].map((host) => addressOf(pool, host));
  await server.start();
  server.answer = ({ url }) => {
    if (url.pathname.startsWith('/api')) return endpointsList(both('kubernetes'));
    if (url.pathname.startsWith('/v1')) return both('consul').map(({ host, port }) => ({ Address: host, ServicePort: port }));
    return both('http').map(formatAddress);
  };
  if (dnsmasqInstalled) {
    await dnsmasq.serve([...records('a', both('dns')), ...records('service', both('kubernetes-dns-srv'))]);
  }
  if (etcdInstalled) await etcd.start();
  const write = (file: string, pool: string): string => {
    writeFileSync(join(directory, file), both(pool).map(formatAddress).join('\n'));
    return join(directory, file);
  };
  const unique = `r${process.pid}`;
  const port = (pool: string): { port: number | undefined } => ({ port: ports.get(pool) });
  discoveries = {
    'static': { hosts: both('static').map(formatAddress) },
    'hosts-file': { file: write('hosts', 'hosts-file') },
    'local': { directory: join(directory, 'registry') },
    'gossip': { port: await freePort('127.0.0.1') },
    'mdns': { service: unique },
    'dns': { query: 'nodes.test', servers: [formatAddress(dnsmasq.address)], ...port('dns') },
    'kubernetes': { server: server.url, namespace: 'default', ...port('kubernetes') },
    'kubernetes-dns': { service: 'troupe', servers: [formatAddress(dnsmasq.address)], ...port('kubernetes-dns') },
    'kubernetes-dns-srv': { service: 'troupe', servers: [formatAddress(dnsmasq.address)], ...port('kubernetes-dns-srv') },
    'consul': { service: 'troupe', server: server.url },
    'etcd': { servers: [etcd.url] },
    'http': { url: server.url },
    'program': { command: ['cat', write('program', 'program')] },
  };
});
afterAll(async () => {
  for (const each of processes) await each.kill();
  await Promise.all([dnsmasq.stop(), etcd.end(), server.stop()]);
  rmSync(directory, { recursive: true, force: true });
});

function start(name: string, host: number): MemberProcess {
  const members = [...ports.keys()].map((pool): MemberOptions => ({ pool, name, bind: formatAddress(addressOf(pool, host)), discovery: { home: { strategy: pool, ...discoveries[pool] } } }));
  const started = new MemberProcess(members);
  processes.push(started);
  return started;
}

async function allJoined(...members: MemberProcess[]): Promise<void> {
  await poll(() => {
    for (const member of members) {
      const apart = [...ports.keys()].filter((pool) => (member.alive.get(pool)?.length ?? 0) !== 2);
      expect(apart, `${member.reasons.join('\n')}\n${member.errors}`).toEqual([]);
    }
  }, 40_000);
}

test('whatever the strategy, nodes find each other, and one that was killed is back soon after its restart', async () => {
  const one = start('one', 2);
  await poll(() => expect(one.upAt.size, one.errors).toBe(ports.size), 30_000);
  const two = start('two', 3);
  await allJoined(one, two);
  await two.kill();
  await poll(() => expect([...one.alive.values()].every((alive) => alive.length === 1)).toBe(true), 40_000);
  const again = start('two', 3);
  await allJoined(one, again);
  const times = [...ports.keys()].map((pool) => [pool, (again.joinedAt.get(pool) ?? Infinity) - (again.upAt.get(pool) ?? 0)] as const);
  console.log(`a killed and restarted peer was back after\n${times.map(([pool, ms]) => `  ${pool.padEnd(20)} ${ms.toFixed(0).padStart(6)} ms`).join('\n')}`);
  // Wide, for loaded machines: what is shown here is that none of them waits for a later poll.
  for (const [pool, ms] of times) expect(ms, pool).toBeLessThan(15_000);
});
