import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { TroupeError } from '../../src/base/errors.ts';
import { editDistance, nearestOf } from '../../src/node/config-problems.ts';
import { readConfig } from '../../src/node/config.ts';
import type { AgentConfig, ConfigOverride } from '../../src/node/config.ts';

function read(text: string, overrides: readonly ConfigOverride[] = []): AgentConfig {
  return readConfig({ text, file: 'troupe.yaml', overrides, defaultName: 'host-1', version: '0.1.0', resolvePath: (path) => (path.startsWith('/') ? path : `/etc/troupe/${path.replace(/^\.\//, '')}`) });
}

function problemsOf(text: string, overrides: readonly ConfigOverride[] = []): readonly string[] {
  try {
    read(text, overrides);
  } catch (error) {
    expect(error).toBeInstanceOf(TroupeError);
    expect((error as TroupeError).code).toBe('BAD_CONFIG');
    expect((error as TroupeError).message).toBe(((error as TroupeError).fields['problems'] as string[]).join('\n'));
    return (error as TroupeError).fields['problems'] as string[];
  }
  throw new Error(`no problem was found in: ${text}`);
}

const whole = `
name: master
data: ./data/master
gossip: { bind: 127.0.0.1:7946, profile: lan, encrypt: T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s= }
discovery:
  home: { strategy: static, hosts: [127.0.0.2:7946, 'localhost:7947', "[::1]"], intervalMs: 2000 }
join: [127.0.0.2:7946, 127.0.0.9]
bootstrap: { expect: 3 }
quorum: { lastNode: on-refusal }
keyspaces:
  default: { partitions: 16, replicas: 3, acks: majority, engine: memory, maxMemory: 1.5GiB, eviction: lru, minInSync: 2 }
  plain: {}
memcached: { bind: 127.0.0.1:11211, keyspace: default }
apps:
  wikipedy: { nodes: [master, [slave-a, slave-b]], failoverTimeoutMs: 0, takeover: automatic, module: ./wikipedy.js, config: { intervalMs: 5 } }
  backup: { nodes: [[slave-a, slave-b]], command: [./backup.sh, ./to, now], restart: { count: 1, periodMs: 1000 } }
  cron: { nodes: [master], module: some-package }
tags: { zone: a }
`;

describe('readConfig()', () => {
  test('reads every section, and counts paths from the config file', () => {
    const config = read(whole);
    expect(config.data).toBe('/etc/troupe/data/master');
    expect(config.node).toMatchObject({
      name: 'master',
      zone: 'a',
      bootstrapExpect: 3,
      lastNode: 'on-refusal',
      memcached: { bind: { host: '127.0.0.1', port: 11_211 }, keyspace: 'default' },
      join: [{ host: '127.0.0.2', port: 7946 }, { host: '127.0.0.9', port: 7946 }],
      timing: { leaseMs: 800, marginMs: 50, renewMs: 100 },
      version: '0.1.0',
    });
    expect(config.node.gossip.keys?.[0]).toHaveLength(32);
    expect(config.node.keyspaces).toEqual({
      default: { partitions: 16, replicas: 3, acks: 'majority', engine: 'memory', maxMemoryBytes: 1.5 * 2 ** 30, eviction: 'lru', minInSync: 2 },
      plain: { partitions: 64, replicas: 3, acks: 'all', engine: 'memory', maxMemoryBytes: 2 ** 30, eviction: 'none', minInSync: 1 },
    });
    expect(config.node.apps).toEqual([
      { name: 'wikipedy', nodes: ['master', ['slave-a', 'slave-b']], failoverTimeoutMs: 0, takeover: 'automatic', module: '/etc/troupe/wikipedy.js', config: { intervalMs: 5 } },
      { name: 'backup', nodes: [['slave-a', 'slave-b']], command: ['/etc/troupe/backup.sh', '/etc/troupe/to', 'now'], restart: { count: 1, periodMs: 1000 } },
      { name: 'cron', nodes: ['master'], module: 'some-package' },
    ]);
    expect(config.discovery).toMatchObject({ waitJoinedMs: 0, topologies: [{ name: 'home', strategy: { name: 'static' }, retryMaxMs: 2000 }] });
    expect(config.discovery.topologies[0]?.options).toEqual({ hosts: [{ host: '127.0.0.2', port: 7946 }, { host: '127.0.0.1', port: 7947 }, { host: '::1', port: 7946 }], intervalMs: 2000 });
    expect(config.http).toEqual({ bind: { host: '127.0.0.1', port: 7380 }, token: undefined, allowWithoutToken: false });
  });

  test('an empty file is a node that only joins', () => {
    expect(read('').node).toMatchObject({ name: 'host-1', bootstrapExpect: 0, lastNode: 'never', join: [], gossip: { bind: { host: '0.0.0.0', port: 7946 }, profile: 'lan' } });
    expect(read('').data).toBeUndefined();
  });

  test('dev founds a cluster of one on loopback, unless told otherwise', () => {
    expect(read('dev: true').node).toMatchObject({ bootstrapExpect: 1, gossip: { bind: { host: '127.0.0.1', port: 7946 }, profile: 'local' } });
    expect(read('{ dev: true, bootstrap: { expect: 3 }, gossip: { bind: 127.0.0.5:1 } }').node).toMatchObject({ bootstrapExpect: 3, gossip: { bind: { host: '127.0.0.5', port: 1 } } });
  });

  test('JSON is read as well', () => {
    expect(read('{"name":"x","bootstrap":{"expect":1}}').node).toMatchObject({ name: 'x', bootstrapExpect: 1 });
  });

  test('flags override the file, and are named when they are wrong', () => {
    const bind = (value: string): ConfigOverride => ({ flag: '--bind', path: ['gossip', 'bind'], value });
    expect(read(whole, [bind('127.0.0.9:1')]).node.gossip).toMatchObject({ bind: { host: '127.0.0.9', port: 1 }, profile: 'lan' });
    expect(problemsOf(whole, [bind('127.0.0.9:70000')])).toEqual(["--bind: the address '127.0.0.9:70000' has port 70000; a port is at most 65535"]);
    expect(read(whole, [{ flag: '--memcached', path: ['memcached'], value: undefined }]).node.memcached).toBeUndefined();
    expect(read('http: false', [{ flag: '--http', path: ['http', 'bind'], value: '127.0.0.1:1' }]).http?.bind.port).toBe(1);
  });

  test('an unknown key names the nearest known one, with file and path', () => {
    expect(problemsOf('nmae: x')).toEqual(["troupe.yaml: nmae: unknown key; did you mean 'name'?"]);
    expect(problemsOf('keyspaces: { default: { replica: 3 } }')).toEqual(["troupe.yaml: keyspaces.default.replica: unknown key; did you mean 'replicas'?"]);
    expect(problemsOf('apps: { a: { nodes: [x], module: y, fail_over_timeout_ms: 3 } }')).toEqual(["troupe.yaml: apps.a.fail_over_timeout_ms: unknown key; did you mean 'failoverTimeoutMs'?"]);
    expect(problemsOf('http: { tokn: x }')).toEqual(["troupe.yaml: http.tokn: unknown key; did you mean 'token'?"]);
    expect(problemsOf('bootstrap: { expect: 1, xyzzyplugh: 2 }')).toEqual(['troupe.yaml: bootstrap.xyzzyplugh: unknown key; known here: expect']);
  });

  test('a wrong value says what was expected and what was found', () => {
    expect(problemsOf('bootstrap: { expect: three }')).toEqual(["troupe.yaml: bootstrap.expect: expected a whole number from 0 to 1024, found 'three'"]);
    expect(problemsOf('bootstrap: 3')).toEqual(['troupe.yaml: bootstrap: expected a mapping, found the number 3']);
    expect(problemsOf('bootstrap: {}')).toEqual(['troupe.yaml: bootstrap.expect: is missing: write a whole number from 0 to 1024']);
    expect(problemsOf('quorum: { lastNode: on-refusel }')).toEqual(["troupe.yaml: quorum.lastNode: expected never, on-refusal or on-silence, found 'on-refusel'; did you mean 'on-refusal'?"]);
    expect(problemsOf('keyspaces: { default: { replicas: 2.5 } }')).toEqual(['troupe.yaml: keyspaces.default.replicas: expected a whole number from 1 to 16, found the number 2.5']);
    expect(problemsOf('keyspaces: { default: { maxMemory: 1GiBi } }')).toEqual(["troupe.yaml: keyspaces.default.maxMemory: '1GiBi' is no size: write bytes, or a number with B, KiB, MiB, GiB, KB, MB or GB, for example 512MiB"]);
    expect(problemsOf('discovery: { home: { strategy: static, hosts: [1.2.3.4, 5] } }')).toEqual(['troupe.yaml: discovery.home.hosts[1]: expected an address HOST:PORT, found the number 5']);
    expect(problemsOf('tags: { build: 7 }')).toEqual(['troupe.yaml: tags.build: expected text (put it in quotes), found the number 7']);
    expect(problemsOf('gossip: { bind: example.org:7946 }')).toEqual(["troupe.yaml: gossip.bind: 'example.org:7946' has no IP address: write one and a port, for example 127.0.0.1:7946; names are only looked up for addresses to connect to"]);
    expect(problemsOf('gossip: { bind: "a:b:nowhere" }')[0]).toContain('has no IP address');
    expect(problemsOf('gossip: { advertise: example.org }')[0]).toMatch(/has no IP address: write one and a port, for example 127\.0\.0\.1:7946;/);
    expect(problemsOf('keyspaces: { default: { engine: disk } }')).toEqual(["troupe.yaml: keyspaces.default.engine: expected memory, found 'disk'"]);
    expect(problemsOf('keyspaces: { default: { maxMemory: 10000 }, small: { partitions: 2, maxMemory: 8KiB } }')).toEqual([expect.stringContaining('keyspaces.default.maxMemory: is 10000 bytes')]);
    expect(problemsOf('gossip: { encrypt: c2hvcnQ= }')).toEqual(['troupe.yaml: gossip.encrypt: the key has 5 bytes; it must have 16, 24 or 32: make one with `troupe keygen`']);
    expect(problemsOf('apps: { a: { nodes: [[x, 5]], module: y } }')).toEqual(['troupe.yaml: apps.a.nodes[0][1]: expected a name, found the number 5']);
  });

  test('all problems are told at once', () => {
    expect(problemsOf('{ nmae: x, bootstrap: { expect: -1 }, apps: { a: { nodes: [] } }, liveNodes: { file: 1 } }')).toHaveLength(4);
  });

  test('names that JavaScript would trip over are refused', () => {
    for (const section of ['apps', 'keyspaces', 'discovery', 'tags']) {
      for (const name of ['__proto__', 'constructor', 'hasOwnProperty', 'toString']) {
        expect(problemsOf(`${section}: { ${name}: {} }`).join('\n'), `${section} ${name}`).toContain(`troupe.yaml: ${section}.${name}: '${name}'`);
      }
    }
    expect(problemsOf('name: valueOf')).toEqual(["troupe.yaml: name: 'valueOf' cannot be a name: JavaScript has its own use for this word; choose another"]);
    expect(problemsOf('name: a b')[0]).toContain("'a b' is no name");
    expect(problemsOf(`name: ${'x'.repeat(65)}`)[0]).toContain('1 to 64');
  });

  test('contradictions are found', () => {
    expect(problemsOf('{ bootstrap: { expect: 1 }, sync: { timeoutMs: 5 } }')[0]).toContain('exclude each other');
    expect(problemsOf('{ keyspaces: { default: { replicas: 2, minInSync: 3 } } }')[0]).toContain('only 2 replicas');
    expect(problemsOf('{ keyspaces: { cache: {} }, memcached: { bind: 127.0.0.1:1, keyspace: cahce } }')).toEqual(["troupe.yaml: memcached.keyspace: there is no keyspace 'cahce'; did you mean 'cache'?"]);
    expect(problemsOf('{ apps: { a: { nodes: [x] } } }')).toEqual(['troupe.yaml: apps.a: needs either a module or a command']);
    expect(problemsOf('{ apps: { a: { nodes: [x, [y, x]], module: m } } }')).toEqual(["troupe.yaml: apps.a.nodes: names 'x' twice"]);
    expect(problemsOf('{ timing: { leaseMs: 100, renewMs: 100 } }')[0]).toContain('no room for two renewals');
    expect(problemsOf('{ http: { bind: 0.0.0.0:7380 } }')[0]).toContain('there is no token');
    expect(read('{ http: { bind: 0.0.0.0:7380, token: s } }').http?.token).toBe('s');
  });

  test('YAML that cannot be read is told with its line', () => {
    expect(problemsOf('name: x\ngossip: { bind: [ }')[0]).toMatch(/^troupe\.yaml, line 2: /);
    expect(problemsOf('name: x\nname: y')[0]).toMatch(/^troupe\.yaml, line 2: .*unique/);
    expect(problemsOf('- a')[0]).toBe('troupe.yaml: expected a mapping of keys to values');
    expect(problemsOf(`a: &a [x]\n${'abcdefgh'.split('').map((letter, index, all) => `${letter}${letter}: &${letter}${letter} [${`*${index === 0 ? 'a' : `${all[index - 1]}${all[index - 1]}`}, `.repeat(20)}]`).join('\n')}`)[0]).toMatch(/alias/i);
  });

  test('whatever the text, the answer is a config or BAD_CONFIG, in bounded time and memory', () => {
    const before = process.memoryUsage().heapUsed;
    const words = fc.constantFrom('name', 'gossip', 'bind', 'keyspaces', 'default', '__proto__', '{', '}', '[', ']', ':', ',', '\n', '  ', '- ', '&a', '*a', '<<', '"', '127.0.0.1:1', '1GiB', '3', '!!binary', '|', '? ');
    fc.assert(fc.property(fc.oneof(fc.string({ maxLength: 200 }), fc.array(words, { maxLength: 40 }).map((parts) => parts.join(' '))), (text) => {
      try {
        read(text);
      } catch (error) {
        expect(error).toMatchObject({ code: 'BAD_CONFIG' });
      }
    }), { numRuns: 1500 });
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(200 * 2 ** 20);
    expect(({} as Record<string, unknown>)['default']).toBeUndefined();
  });

  test('a file nested far too deep is refused like any other mistake', () => {
    expect(problemsOf('['.repeat(20_000))[0]).toMatch(/^troupe\.yaml/);
  });
});

describe('nearestOf()', () => {
  test('finds slips, and nothing where nothing is near', () => {
    expect(nearestOf('replcias', ['replicas', 'partitions'])).toBe('replicas');
    expect(nearestOf('zzz', ['replicas', 'partitions'])).toBeUndefined();
    expect(nearestOf('', ['a'])).toBeUndefined();
  });

  test('editDistance() is a distance', () => {
    const word = fc.string({ maxLength: 12 });
    fc.assert(fc.property(word, word, word, (a, b, c) => {
      expect(editDistance(a, a)).toBe(0);
      expect(editDistance(a, b)).toBe(editDistance(b, a));
      expect(editDistance(a, c)).toBeLessThanOrEqual(editDistance(a, b) + editDistance(b, c));
      expect(editDistance(a, b)).toBeGreaterThanOrEqual(Math.abs(a.length - b.length));
    }));
  });
});
