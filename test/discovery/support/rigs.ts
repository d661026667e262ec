import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import dgram from 'node:dgram';
import { join } from 'node:path';
import { strategies } from '../../../src/discovery/strategies.ts';
import type { Source, Strategy } from '../../../src/discovery/strategy.ts';
import { completeOptions } from '../../../src/discovery/strategy.ts';
import type { Address } from '../../../src/ports/address.ts';
import { formatAddress } from '../../../src/ports/address.ts';
import { processTable } from '../../../src/host/process-table.ts';
import type { StrategyRig } from '../../../src/testing/strategy-conformance.ts';
import { freePort } from '../../mixed/serf-agent.ts';
import { ConsulAgent } from './consul-agent.ts';
import { Dnsmasq, dnsmasqInstalled } from './dnsmasq.ts';
import { Etcd, etcdInstalled } from './etcd.ts';
import { Cable, hostPorts, temporaryDirectory } from './ports.ts';
import { Recorder } from './recorder.ts';
import type { Asked, Trouble } from './scripted-server.ts';
import { ScriptedServer } from './scripted-server.ts';

type TroubleCase = NonNullable<StrategyRig['troubles']>[number];

/** Hosts are 127.0.0.N, on port 7946 unless the rig says otherwise. */
export type Rig = StrategyRig;

export const self: Address = { host: '127.0.0.1', port: 7946 };
export const at = (last: number, port: number = 7946): Address => ({ host: `127.0.0.${last}`, port });

export function start(rig: Rig, sink: Recorder = new Recorder()): { source: Source; sink: Recorder } {
  return { source: rig.strategy.start(completeOptions(rig.strategy, rig.options), rig.ports, sink), sink };
}

export function strategyNamed(name: string): Strategy {
  const found = strategies.get(name);
  if (found === undefined) throw new Error(`no strategy ${name}`);
  return found;
}

async function staticRig(): Promise<Rig> {
  const hosts: Address[] = [];
  return { strategy: strategyNamed('static'), ports: hostPorts('one', self), options: { hosts }, fixed: true, set: async (next) => void hosts.splice(0, hosts.length, ...next), end: async () => {} };
}

async function hostsFileRig(): Promise<Rig> {
  const directory = temporaryDirectory();
  const file = join(directory, 'hosts');
  const write = (text: string): void => {
    // As careful people do, and careless ones: by turns replaced as a whole and written in place.
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  };
  let last: readonly Address[] = [];
  const set = async (hosts: readonly Address[]): Promise<void> => {
    last = hosts;
    const lines = hosts.map((each, index) => (index % 2 === 0 ? `${formatAddress(each)}  # a comment` : `'${each.host}'.`));
    write(`% hosts of the cluster\n\n${lines.join('\r\n')}\n`);
  };
  return {
    strategy: strategyNamed('hosts-file'), ports: hostPorts('one', self), options: { file, pollMs: 20 }, set,
    outage: async () => rmSync(file),
    recover: () => set(last),
    troubles: [
      ['a line that is no host', () => write('127.0.0.2\n<html> 502 </html>\n'), 'DISCOVERY_ANSWER'],
      ['a bad port', () => write('127.0.0.2:70000\n'), 'DISCOVERY_ANSWER'],
      ['binary rubbish', () => write(String.fromCharCode(...Array.from({ length: 500 }, (_, i) => (i * 37) % 256))), 'DISCOVERY_ANSWER'],
      ['a huge file', () => write('127.0.0.2\n'.repeat(300_000)), 'FILE_UNREADABLE'],
      ['too many hosts', () => write(Array.from({ length: 2000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`).join('\n')), 'DISCOVERY_TOO_LARGE'],
      ['a directory in its place', () => (rmSync(file), mkdirSync(file)), 'FILE_UNREADABLE'],
    ],
    calm: () => rmSync(file, { recursive: true, force: true }),
    end: async () => rmSync(directory, { recursive: true, force: true }),
  };
}

async function localRig(): Promise<Rig> {
  const directory = temporaryDirectory();
  const place = join(directory, 'registry');
  const nodes = join(place, 'nodes-default');
  const others = new Map<string, ChildProcess>();
  const file = (key: string): string => join(nodes, `${encodeURIComponent(key)}.json`);
  const set = async (hosts: readonly Address[]): Promise<void> => {
    mkdirSync(nodes, { recursive: true, mode: 0o700 });
    const wanted = new Set(hosts.map(formatAddress));
    for (const [key, child] of others) {
      if (wanted.has(key)) continue;
      // kill -9: its file stays.
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await gone;
      others.delete(key);
    }
    for (const key of wanted) {
      if (others.has(key)) continue;
      const child = spawn('sleep', ['1000'], { stdio: 'ignore' });
      await new Promise((resolve) => child.once('spawn', resolve));
      others.set(key, child);
      writeFileSync(file(key), JSON.stringify({ name: key, address: key, pid: child.pid, identity: processTable.identity(child.pid as number) }));
    }
  };
  return {
    strategy: strategyNamed('local'), ports: hostPorts('one', self), options: { directory: place, pollMs: 20 }, set,
    outage: async () => {
      renameSync(place, `${place}.away`);
      writeFileSync(place, 'no directory');
    },
    recover: async () => {
      rmSync(place);
      renameSync(`${place}.away`, place);
    },
    troubles: [
      ['rubbish in a file', () => writeFileSync(file('rubbish'), '{"address":"127.0'), undefined],
      ['a file without a process', () => writeFileSync(file('none'), '{"address":"127.0.0.77:7946"}'), undefined],
      ['a huge file', () => writeFileSync(file('huge'), 'x'.repeat(2_000_000)), undefined],
      ['a pid that is another process by now', () => writeFileSync(file('reused'), JSON.stringify({ address: '127.0.0.77:7946', pid: 1, identity: '0' })), undefined],
      ['more files than can be', () => Array.from({ length: 4100 }, (_, i) => writeFileSync(file(`many-${i}`), '')).forEach(() => {}), 'DISCOVERY_TOO_LARGE'],
    ],
    calm: () => Array.from({ length: 4100 }, (_, i) => rmSync(file(`many-${i}`), { force: true })).forEach(() => {}),
    end: async () => {
      await set([]);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** For strategies whose source are the other nodes: these are sources too, with cables of their own. */
async function peerRig(name: string, options: Readonly<Record<string, unknown>>, troubles: (send: (packet: Uint8Array) => void, cable: Cable) => Rig['troubles']): Promise<Rig> {
  const strategy = strategyNamed(name);
  const cable = new Cable();
  const others = new Map<string, Source>();
  const cables: Cable[] = [];
  const send = (packet: Uint8Array): void => {
    for (const receive of cable.receivers) receive(packet, at(66, 5353));
  };
  const made = troubles(send, cable);
  return {
    strategy, options,
    ports: hostPorts('one', self, { datagrams: cable }),
    async set(hosts) {
      const wanted = new Set(hosts.map(formatAddress));
      for (const [key, source] of others) {
        if (wanted.has(key)) continue;
        await source.stop();
        others.delete(key);
      }
      for (const host of hosts) {
        const key = formatAddress(host);
        if (others.has(key)) continue;
        const own = new Cable();
        cables.push(own);
        others.set(key, start({ strategy, options, ports: hostPorts(`node-${key.replaceAll(/[:.]/g, '-')}`, host, { datagrams: own }), set: async () => {}, end: async () => {} }).source);
      }
    },
    outage: async () => void (cable.plugged = false),
    recover: async () => void (cable.plugged = true),
    ...(made === undefined ? {} : { troubles: made }),
    leftOpen: () => cable.open,
    async end() {
      for (const source of others.values()) await source.stop();
    },
  };
}

async function gossipRig(broadcast: boolean): Promise<Rig> {
  const port = await freePort('127.0.0.1');
  const secret = [new Uint8Array(32).fill(7)];
  return await peerRig('gossip', { port, secret, heartbeatMinMs: 50, heartbeatMaxMs: 100, clockSkewMaxMs: 5000, ...(broadcast ? { broadcast: true, address: '127.255.255.255' } : {}) }, (send) => [
    ['rubbish', () => send(Uint8Array.from({ length: 200 }, (_, i) => i)), undefined],
    ['a packet like ours with another key', () => send(Uint8Array.from({ length: 65 }, (_, i) => [0x54, 0x52, 0x50, 1, 1][i] ?? 9)), undefined],
    ['a huge packet', () => send(new Uint8Array(65_000).fill(0x54)), undefined],
  ]);
}

async function mdnsRig(): Promise<Rig> {
  const service = `t${process.pid}-${await freePort('127.0.0.1')}`;
  return await peerRig('mdns', { service, pollMs: 200 }, (send) => [
    ['rubbish', () => send(Uint8Array.from({ length: 200 }, (_, i) => i)), undefined],
    ['a name that points at itself', () => send(Uint8Array.from([0, 0, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12])), undefined],
    ['a huge packet', () => send(new Uint8Array(65_000).fill(0xff)), undefined],
  ]);
}

/** Records for dnsmasq; the clusters' own names are what Kubernetes calls services. */
const names = { a: 'nodes.test', srv: 'nodes-srv.test', service: 'troupe.default.svc.cluster.local', portName: '_gossip._tcp.troupe.default.svc.cluster.local' } as const;

export function records(kind: keyof typeof names, hosts: readonly Address[]): string[] {
  const name = names[kind];
  // A name without records would be a name that does not exist; and a service's pods have names of their own.
  if (kind === 'a') return [`--host-record=${name},::1`, ...hosts.map(({ host }) => `--host-record=${name},${host}`)];
  if (kind === 'service') return hosts.flatMap(({ host, port }, i) => [`--host-record=${name},${host}`, `--host-record=pod-${i}.${name},${host}`, `--srv-host=${name},pod-${i}.${name},${port}`]);
  return hosts.flatMap(({ host, port }, i) => [`--host-record=pod-${i}.${name},${host}`, `--srv-host=${name},pod-${i}.${name},${port}`]);
}

async function dnsRig(strategy: string, kind: keyof typeof names, options: Readonly<Record<string, unknown>>): Promise<Rig> {
  const server = new Dnsmasq();
  let last: readonly Address[] = [];
  let trouble: dgram.Socket | undefined;
  const set = async (hosts: readonly Address[]): Promise<void> => {
    last = hosts;
    await server.serve(records(kind, hosts));
  };
  await set([]);
  const instead = async (onQuestion: (question: Buffer, answer: (bytes: Buffer) => void) => void): Promise<void> => {
    await server.stop();
    trouble = dgram.createSocket('udp4');
    trouble.on('message', (question, from) => onQuestion(question, (bytes) => trouble?.send(bytes, from.port, from.address)));
    await new Promise<void>((resolve) => trouble?.bind(server.port, '127.0.0.1', () => resolve()));
  };
  const calm = async (): Promise<void> => {
    await new Promise<void>((resolve) => (trouble === undefined ? resolve() : trouble.close(() => resolve())));
    trouble = undefined;
    await set(last);
  };
  const header = (question: Buffer, rcode: number, answers = 0): Buffer => Buffer.concat([question.subarray(0, 2), Buffer.from([0x81, 0x80 | rcode, 0, 1, 0, answers, 0, 0, 0, 0]), question.subarray(12)]);
  return {
    strategy: strategyNamed(strategy), ports: hostPorts('one', self), set, calm, always: ['[::1]:7946'],
    options: { ...options, servers: [server.address], pollMs: 30, timeoutMs: 700 },
    outage: () => server.stop(),
    recover: () => set(last),
    troubles: [
      ['rubbish', () => instead((_question, answer) => answer(Buffer.from('hello'))), 'DNS_FAILED'],
      ['SERVFAIL', () => instead((question, answer) => answer(header(question, 2))), 'DNS_FAILED'],
      ['a zone that is lost', () => instead((question, answer) => answer(header(question, 3))), 'DNS_NOT_FOUND'],
      ['no records', () => instead((question, answer) => answer(header(question, 0))), 'DNS_NOT_FOUND'],
      ['records that end in the middle', () => instead((question, answer) => answer(Buffer.concat([header(question, 0, 9), Buffer.from([0xc0, 12, 0])]))), 'DNS_FAILED'],
      ['no answer', () => instead(() => {}), 'DISCOVERY_TIMEOUT'],
    ],
    async end() {
      trouble?.close();
      await server.stop();
    },
  };
}

const tooMany: readonly Address[] = Array.from({ length: 1500 }, (_, i) => ({ host: `10.0.${i >> 8}.${i & 255}`, port: 7946 }));

async function webRig(strategy: string, port: number | undefined, optionsOf: (server: ScriptedServer) => Readonly<Record<string, unknown>>, answer: (hosts: readonly Address[], asked: Asked) => unknown, huge: string = 'HTTP_TOO_LARGE'): Promise<Rig> {
  const server = new ScriptedServer();
  let hosts: readonly Address[] = [];
  server.answer = (asked) => answer(hosts, asked);
  await server.start();
  const make = (trouble: Trouble) => (): void => void (server.trouble = trouble);
  return {
    strategy: strategyNamed(strategy), ports: hostPorts('one', self),
    options: { ...optionsOf(server), ...(port === undefined ? {} : { port }), pollMs: 20, timeoutMs: 400 },
    set: async (next) => void (hosts = next),
    outage: () => server.stop(),
    recover: () => server.start(),
    calm: make('none'),
    troubles: [
      ['status 500', make('500'), 'DISCOVERY_REFUSED'],
      ['status 403', make('403'), 'DISCOVERY_REFUSED'],
      ['no JSON', make('garbage'), 'DISCOVERY_ANSWER'],
      ['bytes that are no text', make('not-utf8'), 'DISCOVERY_ANSWER'],
      ['JSON of another shape', make('wrong-shape'), 'DISCOVERY_ANSWER'],
      ['JSON that ends in the middle', make('truncated'), 'DISCOVERY_ANSWER'],
      ['a connection that breaks', make('cut'), 'HTTP_UNREACHABLE'],
      ['an endless answer', make('huge'), huge],
      ['no answer', make('slow'), 'DISCOVERY_TIMEOUT'],
      ['too many hosts', () => void (hosts = tooMany), 'DISCOVERY_TOO_LARGE'],
    ],
    leftOpen: () => server.connections,
    end: () => server.stop(),
  };
}

/** As `GET /api/v1/namespaces/NS/endpoints` answers (API reference, Endpoints v1 core). */
export function endpointsList(hosts: readonly Address[]): unknown {
  const address = ({ host }: Address, i: number): unknown => ({ ip: host, hostname: `troupe-${i}`, nodeName: 'worker-1', targetRef: { kind: 'Pod', namespace: 'default', name: `troupe-${i}`, uid: 'a-b-c' } });
  const ready = hosts.filter((_, i) => i % 2 === 0);
  const notReady = hosts.filter((_, i) => i % 2 === 1);
  return {
    kind: 'EndpointsList', apiVersion: 'v1', metadata: { resourceVersion: '12345' },
    items: [
      { metadata: { name: 'troupe', namespace: 'default', labels: { app: 'troupe' } }, subsets: [{ ...(ready.length === 0 ? {} : { addresses: ready.map(address) }), ...(notReady.length === 0 ? {} : { notReadyAddresses: notReady.map(address) }), ports: [{ name: 'gossip', port: 7946, protocol: 'TCP' }] }] },
      // A service without pods.
      { metadata: { name: 'other', namespace: 'default' }, subsets: null },
    ],
  };
}

/** As `GET /api/v1/namespaces/NS/pods` answers (API reference, Pod v1 core). */
export function podList(hosts: readonly Address[]): unknown {
  const pod = (name: string, more: Readonly<Record<string, unknown>>, status: Readonly<Record<string, unknown>>): unknown => ({ metadata: { name, namespace: 'default', ...more }, spec: { hostname: name }, status });
  return {
    kind: 'PodList', apiVersion: 'v1', metadata: {},
    items: [
      ...hosts.map(({ host }, i) => pod(`troupe-${i}`, {}, { phase: 'Running', podIP: host, podIPs: [{ ip: host }], conditions: [{ type: 'Ready', status: 'True' }] })),
      pod('waits', {}, { phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False' }] }),
      pod('has-ended', {}, { phase: 'Succeeded', podIP: '127.0.0.99' }),
      pod('is-ending', { deletionTimestamp: '2026-01-01T00:00:00Z' }, { phase: 'Running', podIP: '127.0.0.98' }),
    ],
  };
}

/** As `GET /apis/discovery.k8s.io/v1/namespaces/NS/endpointslices` answers (API reference, EndpointSlice v1): a host may be in two slices. */
export function sliceList(hosts: readonly Address[]): unknown {
  const endpoint = ({ host }: Address, i: number): unknown => ({
    addresses: [host], conditions: i % 2 === 0 ? { ready: true, serving: true, terminating: false } : { ready: false }, hostname: `troupe-${i}`, nodeName: 'worker-1', zone: 'z', targetRef: { kind: 'Pod', namespace: 'default', name: `troupe-${i}` },
  });
  const slice = (name: string, endpoints: unknown, addressType: string = 'IPv4'): unknown => ({ metadata: { name, namespace: 'default', labels: { 'kubernetes.io/service-name': 'troupe' } }, addressType, endpoints, ports: [{ name: 'gossip', port: 7946, protocol: 'TCP' }] });
  return {
    kind: 'EndpointSliceList', apiVersion: 'discovery.k8s.io/v1', metadata: { resourceVersion: '12345' },
    items: [
      slice('troupe-abc', hosts.map(endpoint)),
      slice('troupe-def', [...hosts.slice(0, 1).map(endpoint), { addresses: ['127.0.0.97'], conditions: { ready: false, serving: true, terminating: true } }]),
      slice('troupe-empty', null),
    ],
  };
}

/** One item on each page, as the API reference has it (`limit`, `continue`; a server may give less than was asked for). */
export function pageOf(list: unknown, query: URLSearchParams): unknown {
  const { items, metadata, ...rest } = list as { items: unknown[]; metadata: object };
  if (Number(query.get('limit')) < 1) return list;
  const at = Number(query.get('continue')?.replace('token-', '') ?? 0);
  const left = items.length - at - 1;
  return { ...rest, metadata: { ...metadata, ...(left > 0 ? { continue: `token-${at + 1}`, remainingItemCount: left } : {}) }, items: items.slice(at, at + 1) };
}

async function kubernetesRig(source: 'endpoints' | 'endpointslices' | 'pods'): Promise<Rig> {
  const account = temporaryDirectory();
  writeFileSync(join(account, 'token'), 'the-token\n');
  writeFileSync(join(account, 'namespace'), 'default');
  const area = source === 'endpointslices' ? '/apis/discovery.k8s.io/v1' : '/api/v1';
  const rig = await webRig('kubernetes', 7946, (server) => ({ source, server: server.url, serviceAccount: account, selector: 'app=troupe' }), (hosts, { url, headers }) => {
    if (headers.authorization !== 'Bearer the-token') throw Object.assign(new Error('Unauthorized'), { status: 401 });
    if (url.pathname !== `${area}/namespaces/default/${source}` || url.searchParams.get('labelSelector') !== 'app=troupe') throw Object.assign(new Error('not found'), { status: 404 });
    const list = { endpoints: endpointsList, endpointslices: sliceList, pods: podList }[source](hosts);
    // Of a thousand pods the pages would take the suite minutes.
    return hosts.length > 100 ? list : pageOf(list, url.searchParams);
  });
  return { ...rig, end: async () => (await rig.end(), rmSync(account, { recursive: true, force: true })) };
}

async function consulRig(passing: boolean): Promise<Rig> {
  const agent = new ConsulAgent();
  const rig = await webRig('consul', undefined, (server) => ({ service: 'troupe', passing, server: server.url }), (_hosts, asked) => agent.answer(asked));
  // Its questions hang at the agent: what is to come at once must change something.
  const touch = (trouble: TroubleCase): TroubleCase => [trouble[0], async () => (await trouble[1](), agent.change()), trouble[2]];
  return {
    ...rig,
    set: async (hosts) => agent.set(hosts),
    troubles: (rig.troubles ?? []).map(([name, make, code]) => (name === 'too many hosts' ? [name, () => agent.set(tooMany), code] : touch([name, make, code]))),
  };
}

async function httpRig(): Promise<Rig> {
  return await webRig('http', undefined, (server) => ({ url: `${server.url}/nodes?secret=1`, path: 'cluster.nodes' }), (hosts) => ({ cluster: { nodes: hosts.map((each, i) => (i % 2 === 0 ? formatAddress(each) : { ip: each.host, port: each.port })) } }));
}

/** etcd's gateway, scripted, for the bad answers that a real one does not give. */
async function scriptedEtcdRig(): Promise<Rig> {
  const rig = await webRig('etcd', undefined, (server) => ({ servers: [server.url], ttlSeconds: 5 }), (hosts, { url }) => {
    switch (url.pathname) {
      case '/v3/lease/grant': return { ID: '7587', TTL: '5' };
      case '/v3/lease/keepalive': return { result: { ID: '7587', TTL: '5' } };
      case '/v3/kv/range': return { kvs: hosts.map((each) => ({ key: btoa('k'), value: btoa(formatAddress(each)) })), count: '1' };
      default: return {};
    }
  });
  // A wrong shape of the lease's answer only costs a new lease.
  return { ...rig, troubles: (rig.troubles ?? []).filter(([name]) => name !== 'JSON of another shape') };
}

async function etcdRig(): Promise<Rig> {
  const server = new Etcd();
  await server.start();
  const prefix = '/cluster-a/';
  const key = (address: Address): string => btoa(`${prefix}other-${formatAddress(address)}`);
  let known: readonly Address[] = [];
  return {
    strategy: strategyNamed('etcd'), ports: hostPorts('one', self), options: { servers: [server.url], prefix, ttlSeconds: 5, pollMs: 50, timeoutMs: 1500 },
    async set(hosts) {
      for (const each of known) await server.call('kv/deleterange', { key: key(each) });
      for (const each of hosts) await server.call('kv/put', { key: key(each), value: btoa(formatAddress(each)) });
      // A neighbour's key must not be seen.
      await server.call('kv/put', { key: btoa('/cluster-b/x'), value: btoa('127.0.0.66:1') });
      known = hosts;
    },
    outage: () => server.stop(),
    recover: () => server.start(),
    troubles: [
      ['a value that is no address', async () => void (await server.call('kv/put', { key: btoa(`${prefix}bad`), value: btoa('not an address') })), 'DISCOVERY_ANSWER'],
      ['a server that stands still', () => server.freeze(true), 'DISCOVERY_TIMEOUT'],
    ],
    async calm() {
      server.freeze(false);
      await server.call('kv/deleterange', { key: btoa(`${prefix}bad`) });
    },
    async leftOpen() {
      const { kvs } = (await server.call('kv/range', { key: btoa(`${prefix}one`) })) as { kvs?: unknown[] };
      return kvs?.length ?? 0;
    },
    end: () => server.end(),
  };
}

async function programRig(): Promise<Rig> {
  const directory = temporaryDirectory();
  const file = join(directory, 'script');
  const script = (text: string): void => {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  };
  let last: readonly Address[] = [];
  const set = async (hosts: readonly Address[]): Promise<void> => {
    last = hosts;
    script(`echo noise >&2; ${hosts.map((each) => `echo ${formatAddress(each)}; `).join('')}true`);
  };
  await set([]);
  return {
    strategy: strategyNamed('program'), ports: hostPorts('one', self), options: { command: ['sh', file], pollMs: 30, timeoutMs: 2000 }, set,
    outage: async () => script('exit 3'),
    recover: () => set(last),
    calm: () => set(last),
    troubles: [
      ['rubbish', () => script('echo "<html>"'), 'DISCOVERY_ANSWER'],
      ['an endless output', () => script('while :; do echo 127.0.0.2; done | head -c 100000000'), 'DISCOVERY_TOO_LARGE'],
      ['a program that hangs, and its child', () => script('trap "" TERM; sleep 1000; true'), 'DISCOVERY_TIMEOUT'],
      ['a program that ends itself', () => script('kill -9 $$'), 'DISCOVERY_PROGRAM'],
    ],
    end: async () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** Every strategy, in each of its ways. */
export const rigs: readonly (readonly [name: string, make: () => Promise<Rig>])[] = [
  ['static', staticRig],
  ['hosts-file', hostsFileRig],
  ['local', localRig],
  ['gossip', () => gossipRig(false)],
  ['gossip by broadcast', () => gossipRig(true)],
  ['mdns', mdnsRig],
  ...(dnsmasqInstalled
    ? ([
        ['dns', () => dnsRig('dns', 'a', { query: names.a, type: 'a' })],
        ['dns srv', () => dnsRig('dns', 'srv', { query: names.srv, type: 'srv' })],
        ['kubernetes-dns', () => dnsRig('kubernetes-dns', 'service', { service: 'troupe' })],
        ['kubernetes-dns-srv', () => dnsRig('kubernetes-dns-srv', 'service', { service: 'troupe' })],
        ['kubernetes-dns-srv with a named port', () => dnsRig('kubernetes-dns-srv', 'portName', { service: 'troupe', portName: 'gossip' })],
      ] as const)
    : []),
  ['kubernetes endpoints', () => kubernetesRig('endpoints')],
  ['kubernetes endpointslices', () => kubernetesRig('endpointslices')],
  ['kubernetes pods', () => kubernetesRig('pods')],
  ['consul catalog', () => consulRig(false)],
  ['consul health', () => consulRig(true)],
  ...(etcdInstalled ? ([['etcd', etcdRig]] as const) : []),
  ['etcd, scripted', scriptedEtcdRig],
  ['http', httpRig],
  ['program', programRig],
];
