import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TroupeError } from '../../src/base/errors.ts';
import type { AgentConfig } from '../../src/node/config.ts';
import { readConfig } from '../../src/node/config.ts';
import { durationMs, readSerfKeys, serfKeys } from '../../src/node/serf-config.ts';

function read(...files: readonly unknown[]): AgentConfig {
  return readConfig({ files: files.map((file, i) => ({ file: `${i}.json`, text: JSON.stringify(file) })), defaultName: 'host', version: '1', resolvePath: (path) => `/base/${path}` });
}

function problems(...files: readonly unknown[]): string {
  try {
    read(...files);
  } catch (error) {
    if (error instanceof TroupeError) return error.message;
  }
  return '';
}

describe("Serf's configuration file", () => {
  test('every key is put where it belongs', () => {
    const config = read({
      node_name: 'foo', role: 'web', disable_coordinates: true, tags: { dc: 'east' }, bind: '127.0.0.2:4242', advertise: '127.0.0.3', encrypt_key: 'c2VjcmV0c2VjcmV0c2VjMw==',
      log_level: 'ERR', rpc_addr: '127.0.0.1:7374', rpc_auth: 'let me in', protocol: 4, replay_on_join: true, start_join: ['10.0.0.1'], retry_join: ['10.0.0.2:8000'],
      retry_interval: '1m30s', retry_max_attempts: 7, event_handlers: ['a.sh', 'user:deploy=b.sh'], profile: 'wan', snapshot_path: 'snap', rejoin_after_leave: true,
      leave_on_terminate: false, skip_leave_on_interrupt: true, discover: 'pool', mdns: { interface: 'eth1', disable_ipv6: true }, reconnect_interval: '15s', reconnect_timeout: '1h', tombstone_timeout: '2h',
      broadcast_timeout: '7s', disable_name_resolution: true, enable_compression: false, enable_syslog: false, query_size_limit: 1024, user_event_size_limit: 512, validate_node_names: true,
    });
    expect(config).toMatchObject({
      rpc: { bind: { host: '127.0.0.1', port: 7374 }, auth: 'let me in' }, leaveOnTerminate: false, leaveOnInterrupt: false, logLevel: 'error',
      files: { snapshot: { path: '/base/snap', rejoin: true }, tags: undefined, keyring: undefined },
      handlers: { handlers: [{ script: 'a.sh' }, { script: 'b.sh' }] },
      discovery: { topologies: [{ name: 'serf', options: { service: 'pool', interface: 'eth1' } }] },
      node: {
        name: 'foo', tags: { role: 'web', dc: 'east' }, join: [{ host: '10.0.0.1', port: 7946 }, { host: '10.0.0.2', port: 8000 }], joinIntervalMs: 90_000, joinAttemptsMax: 7, replayOnJoin: true,
        gossip: {
          bind: { host: '127.0.0.2', port: 4242 }, advertise: { host: '127.0.0.3' }, profile: 'wan', protocol: 4, coordinates: false, nameResolution: false, compression: false,
          reconnectIntervalMs: 15_000, reconnectTimeoutMs: 3_600_000, tombstoneTimeoutMs: 7_200_000, broadcastTimeoutMs: 7000,
        },
      },
    });
    expect(config.node.gossip.keys).toHaveLength(1);
  });

  test('files are merged as Serf does: lists grow, tags come together, of the rest the last word counts, and what is empty says nothing', () => {
    const config = read(
      { node_name: 'a', bind: '127.0.0.1:1', start_join: ['10.0.0.1'], tags: { x: '1', y: '1' }, event_handlers: ['one.sh'], rejoin_after_leave: true, snapshot_path: 's' },
      { node_name: '', bind: '127.0.0.1:2', start_join: ['10.0.0.2'], tags: { y: '2' }, event_handlers: ['two.sh'], rejoin_after_leave: false, protocol: 0 },
    );
    expect(config.node).toMatchObject({ name: 'a', tags: { x: '1', y: '2' }, gossip: { bind: { port: 2 } }, join: [{ host: '10.0.0.1' }, { host: '10.0.0.2' }] });
    expect(config.handlers.handlers.map(({ script }) => script)).toEqual(['one.sh', 'two.sh']);
    expect(config.files.snapshot?.rejoin).toBe(true);
  });

  test('what the command line says of handlers and addresses is added to what the files say; of the rest it has the last word', () => {
    const files = [{ node_name: 'a', event_handlers: ['one.sh'], start_join: ['10.0.0.1'], retry_join: ['10.0.0.2'] }];
    const overrides = [{ flag: '--event-handler', path: ['handlers'], value: ['two.sh'] }, { flag: '--retry-join', path: ['join'], value: ['10.0.0.3'] }, { flag: '--join', path: ['startJoin'], value: ['10.0.0.4'] }, { flag: '--name', path: ['name'], value: 'b' }];
    const config = readConfig({ files: files.map((file) => ({ file: 'a.json', text: JSON.stringify(file) })), overrides, defaultName: 'host', version: '1', resolvePath: (path) => path });
    expect(config.handlers.handlers.map(({ script }) => script)).toEqual(['one.sh', 'two.sh']);
    expect(config.node.join.map(({ host }) => host)).toEqual(['10.0.0.1', '10.0.0.4', '10.0.0.2', '10.0.0.3']);
    expect(config.node.name).toBe('b');
  });

  test('start_join ends the agent when nobody answers, unless there is somebody else to look for', () => {
    const tries = (file: object): number | undefined => read({ start_join: ['10.0.0.1'], ...file }).node.joinAttemptsMax;
    expect(tries({})).toBe(1);
    expect(read({ retry_join: ['10.0.0.1'] }).node.joinAttemptsMax).toBeUndefined();
    for (const also of [{ retry_join: ['10.0.0.2'] }, { join: ['10.0.0.2'] }, { discover: 'pool' }, { bootstrap: { expect: 3 } }, { data: './data' }, { sync: { mandatory: ['b'], timeoutMs: 1000 } }, { dev: true }]) {
      expect(tries(also), JSON.stringify(also)).toBeUndefined();
    }
    expect(tries({ retry_max_attempts: 4 })).toBe(4);
  });

  test('leave_on_terminate and skip_leave_on_interrupt count both ways', () => {
    const leaves = (...files: readonly object[]): boolean[] => { const { leaveOnTerminate, leaveOnInterrupt } = read(...files); return [leaveOnTerminate, leaveOnInterrupt]; };
    expect(leaves({})).toEqual([true, true]);
    expect(leaves({ leave_on_terminate: false, skip_leave_on_interrupt: true })).toEqual([false, false]);
    expect(leaves({ leave_on_terminate: false, skip_leave_on_interrupt: true }, { leave_on_terminate: true, skip_leave_on_interrupt: false })).toEqual([true, true]);
  });

  test("keys of both kinds may stand together; an interface to bind to is the one to discover on", () => {
    const config = read({ interface: 'lo', discover: 'x', memcached: { bind: '127.0.0.1:11211' } });
    expect(config.interface).toBe('lo');
    expect(config.discovery.topologies[0]?.options).toMatchObject({ interface: 'lo' });
    expect(config.node.memcached?.bind.port).toBe(11_211);
  });

  test('what cannot be done is refused, in the words of the file that says it', () => {
    expect(problems({ node_name: 'a' }, { enable_syslog: true })).toMatch(/^1\.json: enable_syslog: this version cannot/);
    expect(problems({ statsd_addr: 'x:1' })).toContain('0.json: statsd_addr: this version cannot');
    expect(problems({ user_event_size_limit: 9217 })).toMatch(/^0\.json: user_event_size_limit: .*9216/);
    expect(read({ user_event_size_limit: 9216 }).node.gossip.userEventBytesMax).toBe(9216);
    expect(problems({ bind: 7 })).toContain('0.json: bind: expected an address');
    expect(problems({ retry_interval: 'soon' })).toContain('0.json: retry_interval: expected a duration');
    expect(problems({ profile: 'lam' })).toContain('0.json: profile: expected lan, wan or local');
    expect(problems({ protocol: 2 })).toContain('0.json: protocol: expected a protocol from 3 to 5');
    expect(problems({ tags_file: 't', tags: { a: 'b' } })).toContain('exclude each other');
    expect(problems({ keyring_file: 't', encrypt_key: 'c2VjcmV0c2VjcmV0c2VjMw==' })).toContain('exclude each other');
    expect(problems({ rejoin_after_leave: true })).toContain('snapshot.file: is missing');
    expect(problems({ nodename: 'a' })).toContain('0.json: nodename: unknown key');
    expect(problems({ mdns: { disable_ipv4: true } })).toContain('0.json: mdns: ');
  });

  test('whatever is written under its keys, the answer is a config or BAD_CONFIG', () => {
    const value = fc.jsonValue({ maxDepth: 2 });
    fc.assert(fc.property(fc.dictionary(fc.constantFrom(...serfKeys, 'tags', 'gossip', 'join', '__proto__'), value), (file) => {
      try {
        read(file, file);
      } catch (error) {
        expect(error).toMatchObject({ code: 'BAD_CONFIG' });
      }
    }));
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(readSerfKeys(JSON.parse('{"__proto__":{"polluted":1}}') as Record<string, unknown>).problems).toEqual([]);
  });

  test("durations are Go's", () => {
    expect(['30s', '1h30m', '250ms', '1.5s', '0', '1m', '10us', '5', 's', '-1s', '1 s', ''].map(durationMs)).toEqual([30_000, 5_400_000, 250, 1500, 0, 60_000, 0, undefined, undefined, undefined, undefined, undefined]);
  });
});
