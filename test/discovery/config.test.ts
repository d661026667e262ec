import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import * as options from '../../src/discovery/options.ts';
import { defineStrategy } from '../../src/discovery/strategy.ts';
import type { Address } from '../../src/ports/address.ts';
import { strategies } from '../../src/discovery/strategies.ts';
import type { DiscoveryConfig } from '../../src/node/config-discovery.ts';
import { readConfig } from '../../src/node/config.ts';
import { optionTables } from './options-table.ts';

function read(discovery: unknown): DiscoveryConfig {
  return readConfig({ object: { discovery }, file: 'troupe.yaml', defaultName: 'one', version: '1', resolvePath: (path) => `/etc/${path.replace(/^\.\//, '')}` }).discovery;
}

function problems(discovery: unknown): string[] {
  try {
    read(discovery);
  } catch (error) {
    return (error as { fields: { problems: string[] } }).fields.problems;
  }
  return [];
}

describe('the section discovery', () => {
  test('fills in defaults, and counts paths from the config file', () => {
    expect(read({ waitJoinedMs: 5, a: { strategy: 'consul', service: 'troupe', token: './token', retryMaxMs: 700 }, b: { strategy: 'program', command: ['./find.sh', '-x', './y'] } })).toMatchObject({
      waitJoinedMs: 5,
      topologies: [
        { name: 'a', retryMaxMs: 700, strategy: { name: 'consul' }, options: { service: 'troupe', token: '/etc/token', pollMs: 5000, server: 'http://127.0.0.1:8500', passing: false, tag: undefined } },
        { name: 'b', retryMaxMs: 5000, options: { command: ['/etc/find.sh', '-x', '/etc/y'] } },
      ],
    });
    expect(read({ a: { strategy: 'gossip', secret: 'T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=' } }).topologies[0]?.options['secret']).toMatchObject([{ length: 32 }]);
    expect(read({ a: { strategy: 'static', hosts: ['h'], intervalMs: 200 } }).topologies[0]?.retryMaxMs).toBe(200);
  });

  test.each([
    [{ a: { strategy: 'gosip' } }, "troupe.yaml: discovery.a.strategy: expected static, hosts-file, local, gossip, mdns, dns, kubernetes, kubernetes-dns, kubernetes-dns-srv, consul, etcd, http or program, found 'gosip'; did you mean 'gossip'?"],
    [{ a: { strategy: 'dns', query: 'x', pollingMs: 5 } }, "troupe.yaml: discovery.a.pollingMs: unknown key; did you mean 'pollMs'?"],
    [{ a: { strategy: 'dns', query: 'x', hosts: [] } }, 'troupe.yaml: discovery.a.hosts: unknown key; known here: strategy, retryMaxMs, query, type, port, pollMs, timeoutMs, servers, connect, disconnect, list'],
    [{ a: { strategy: 'static', hosts: ['h'], retryMaxMs: 5000 } }, 'troupe.yaml: discovery.a.retryMaxMs: unknown key; known here: strategy, hosts, intervalMs, connect, disconnect, list'],
    [{ a: { strategy: 'dns' } }, 'troupe.yaml: discovery.a.query: is missing: write text of at least one character'],
    [{ a: { strategy: 'dns', query: 'x', type: 'srvv' } }, "troupe.yaml: discovery.a.type: expected a+aaaa, a, aaaa or srv, found 'srvv'; did you mean 'srv'?"],
    [{ a: { strategy: 'dns', query: 'x', servers: ['ns.example'] } }, "troupe.yaml: discovery.a.servers[0]: 'ns.example' is no IP address: write IP or IP:PORT"],
    [{ a: { strategy: 'http', url: 'example.org' } }, "troupe.yaml: discovery.a.url: 'example.org' is no URL: write http://HOST:PORT or https://…"],
    [{ a: { strategy: 'gossip', secret: 'c2hvcnQ=' } }, 'troupe.yaml: discovery.a.secret: the key has 5 bytes; it must have 16, 24 or 32: make one with `troupe keygen`'],
    [{ a: { strategy: 'gossip', heartbeatMinMs: 6000 } }, 'troupe.yaml: discovery.a.heartbeatMinMs: is 6000, above heartbeatMaxMs, which is 5000'],
    [{ a: { strategy: 'kubernetes', address: 'hostname' } }, "troupe.yaml: discovery.a.service: is missing: with 'address: hostname' pods are called by the name of their service"],
    [{ a: { strategy: 'mdns', service: 'a.b' } }, 'troupe.yaml: discovery.a.service: must be 1 to 50 letters, digits, - or _: it becomes part of a DNS name'],
    [{ a: {} }, 'troupe.yaml: discovery.a.strategy: is missing: write static, hosts-file, local, gossip, mdns, dns, kubernetes, kubernetes-dns, kubernetes-dns-srv, consul, etcd, http or program'],
    [{ a: 'static' }, "troupe.yaml: discovery.a: expected a mapping, found 'static'"],
    [{ waitJoinedMs: 'soon' }, "troupe.yaml: discovery.waitJoinedMs: expected milliseconds from 0 to 604800000, found 'soon'"],
    [{ waitJoindMs: 5 }, "troupe.yaml: discovery.waitJoindMs: unknown key; did you mean 'waitJoinedMs'?"],
    [{ requireJoint: true }, "troupe.yaml: discovery.requireJoint: unknown key; did you mean 'requireJoined'?"],
    [{ requireJoined: true }, 'troupe.yaml: discovery.requireJoined: needs waitJoinedMs: say for how long start may look for others'],
    [{ a: { strategy: 'static', hosts: ['h'], disconect: ['x'] } }, "troupe.yaml: discovery.a.disconect: unknown key; did you mean 'disconnect'?"],
    [{ a: { strategy: 'static', hosts: ['h'], connect: 'x' } }, 'troupe.yaml: discovery.a.connect: expected a list: the program, then its arguments (in programs also a function)'],
    [{ a: { strategy: 'static', hosts: ['h'], list: ['x'] } }, 'troupe.yaml: discovery.a.list: expected a function: only programs can set it'],
    [['static'], 'troupe.yaml: discovery: expected a mapping of names to strategies'],
  ])('%j is refused', (discovery, message) => {
    expect(problems(discovery)).toEqual([message]);
  });

  test.each([...strategies.values()].flatMap((strategy) => [...Object.keys(strategy.options), 'connect', 'disconnect', 'list'].map((option) => [strategy.name, option] as const)))('of %s: a slip in %s is refused, and the option that was meant is named', (name, option) => {
    // One letter too few and two that have changed places: what fingers do.
    const slips = [option.slice(0, -2) + option.slice(-1), option.slice(0, 1) + option.slice(2, 3) + option.slice(1, 2) + option.slice(3)].filter((slip) => slip !== option);
    for (const slip of slips) {
      // Of a word of two letters nothing is left to recognize it by: then all that are known are named.
      const wanted = option.length < 3 ? `unknown key; (did you mean|known here).*\\b${option}\\b` : "unknown key; did you mean '";
      expect(problems({ a: { strategy: name, [slip]: 1 } }), slip).toContainEqual(expect.stringMatching(new RegExp(`discovery\\.a\\.${slip}: ${wanted}`)));
    }
    if (option.length > 2) expect(problems({ a: { strategy: name, [slips[0] as string]: 1 } }).join()).toContain(`did you mean '${option}'?`);
  });

  test.each([...strategies.keys()])('a slip in the name %s is refused, and the strategy that was meant is named', (name) => {
    expect(problems({ a: { strategy: `${name.slice(0, -2)}${name.slice(-1)}` } })).toEqual([expect.stringContaining(`did you mean '${name}'?`)]);
  });

  test('all mistakes of all topologies are told at once', () => {
    expect(problems({ a: { strategy: 'dns', pollMs: 1, x: 2 }, b: { strategy: 'statik' }, waitJoinedMs: -1 })).toHaveLength(5);
  });
});

describe('a strategy of a program', () => {
  const own = defineStrategy<{ hosts: readonly Address[]; everyMs: number; client: { ask(): void } | undefined }, 'clock'>({
    name: 'own', summary: 'A strategy of a test.', ports: ['clock'],
    options: { hosts: options.addresses('who'), everyMs: options.milliseconds(700, 'how often'), client: options.anything('whom to ask') },
    start: () => ({ stop: async () => {} }),
  });
  const client = { ask: (): void => {} };

  test('is taken as it is, with its options checked and filled in', () => {
    const [topology] = read({ a: { strategy: own, hosts: ['10.0.0.1'], client } }).topologies;
    expect(topology).toMatchObject({ name: 'a', retryMaxMs: 5000, options: { hosts: [{ host: '10.0.0.1', port: 7946 }], everyMs: 700 } });
    expect(topology?.strategy).toBe(own);
    expect(topology?.options['client']).toBe(client);
  });

  test('cannot have an option of a name that every topology has', () => {
    expect(() => defineStrategy({ name: 'x', summary: '', ports: [], options: { list: options.text('') }, start: () => ({ stop: async () => {} }) })).toThrow(/cannot have an option called 'list'/);
  });

  test('is told of mistakes as ours are', () => {
    expect(problems({ a: { strategy: own, hosts: ['10.0.0.1'], client, evryMs: 3 } })).toEqual(["troupe.yaml: discovery.a.evryMs: unknown key; did you mean 'everyMs'?"]);
    expect(problems({ a: { strategy: own, client } })).toEqual([expect.stringContaining('discovery.a.hosts: is missing')]);
    expect(problems({ a: { strategy: { name: 'x' }, client } })).toEqual([expect.stringContaining('discovery.a.strategy: expected static, ')]);
  });
});

describe('docs/discovery.md', () => {
  const text = readFileSync(new URL('../../docs/discovery.md', import.meta.url), 'utf8');

  test.each([...strategies.values()].map((strategy) => [strategy.name, strategy] as const))('has %s with its summary and all its options', (name, strategy) => {
    expect(text).toContain(`\n## ${name}\n${strategy.summary}\n\n${optionTables().get(name)}\n`);
  });

  test('has an example that is accepted', () => {
    const block = /```yaml\n([\s\S]*?)```/.exec(text)?.[1] ?? '';
    expect(read((parse(block) as { discovery: unknown }).discovery).topologies).toHaveLength(3);
  });
});
