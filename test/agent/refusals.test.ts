/** What must not be let in, or cannot be used, is refused with a text that says why; the cluster does not feel it. */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { open as openLmdb } from 'lmdb';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { packValue } from '../../src/core/control/commands.ts';
import { Agent, buildIfStale, cleanUp, Cluster, freePorts, killAll, run, temporaryDirectory, until } from './support/agents.ts';
import { Load, TextClient } from './support/load.ts';

const keys = ['T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=', 'HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8='] as const;
const mounts: string[] = [];

beforeAll(buildIfStale);
afterAll(async () => {
  await cleanUp();
});

/** Runs an agent that must not come up; gives exit code and stderr. */
async function refused(agent: Agent): Promise<{ code: number | null; stderr: string }> {
  await agent.spawn();
  await until(() => !agent.running || agent.stdout !== '', () => `neither up nor ended: ${agent.tail()}`);
  expect(agent.stdout).toBe('');
  const code = await agent.exited;
  return { code, stderr: agent.stderr.split('\n').filter((line) => line.startsWith('troupe: ')).join('\n') };
}

describe('beside a running cluster', () => {
  let cluster: Cluster;
  let load: Load;
  beforeAll(async () => {
    cluster = await new Cluster(['a', 'b', 'c'], { flags: ['--encrypt', keys[0]], config: { timing: { leaseMs: 2000 } } }).start();
    load = await new Load(cluster.get('a').memcached, 60).start();
  });
  afterAll(async () => {
    const result = await load.stop();
    const problems = await load.check(cluster.get('c').memcached);
    await cluster.stop();
    expect(result.failures).toEqual([]);
    expect(problems).toEqual([]);
    expect(result.longestMs).toBeLessThan(1500);
  });

  /** All three hold the sessions they had: nobody was disturbed. */
  async function unharmed<T>(work: () => Promise<T>): Promise<T> {
    const sessions = async (): Promise<unknown> => (await cluster.healthy()).nodes.map((node) => [node.name, node.session, node.state]);
    const before = await sessions();
    const result = await work();
    expect(await sessions()).toEqual(before);
    for (const agent of cluster.agents.values()) expect(agent.stderr).not.toContain('ran out');
    return result;
  }

  test('another cluster key, and none: told on both sides, never a member', async () => {
    await unharmed(async () => {
      const a = cluster.get('a');
      for (const [name, flags, here, there] of [
        ['other-key', ['--encrypt', keys[1]], 'No installed keys could decrypt the message; both nodes need a key in common', /nobody could be joined yet.*No installed keys could decrypt|No installed keys could decrypt.*nobody could be joined yet/],
        ['no-key', [], "Encryption is configured but remote state is not encrypted; give that node the pool's key", /encrypted.*nobody could be joined yet/],
      ] as const) {
        const stranger = new Agent({ name, flags: [...flags, '--retry-join', `127.0.0.1:${a.gossip}`] });
        await stranger.spawn();
        await until(() => a.stderr.includes(here), () => a.tail());
        await until(() => there.test(stranger.stderr), () => `${name} says nothing of why it cannot join: ${stranger.tail()}`, 10_000);
        expect(stranger.stdout).toBe('');
        const joined = await run(['join', `127.0.0.1:${a.gossip}`, '--http', `127.0.0.1:${stranger.http}`]);
        expect(joined).toMatchObject({ code: 1, stderr: expect.stringMatching(/^troupe: Error joining the cluster: .*(key|encrypted)/) });
        expect(JSON.stringify(await a.get('/v1/members'))).not.toContain(name);
        await stranger.kill();
      }
    });
  });

  test('a peer port answers only those with the key', async () => {
    const a = cluster.get('a');
    const stranger = new Agent({ name: 'b', flags: ['--encrypt', keys[1], '--bootstrap-expect', '1'] });
    await unharmed(async () => {
      await stranger.start();
      expect((await stranger.status()).nodes).toHaveLength(1);
    });
    expect((await a.status()).nodes).toHaveLength(3);
    await stranger.kill();
  });

  test('a second node of a name that is taken ends with an error; the first is not disturbed', async () => {
    const second = new Agent({ name: 'b', flags: ['--encrypt', keys[0], '--join', `127.0.0.1:${cluster.get('a').gossip}`] });
    const result = await unharmed(() => refused(second));
    expect(result).toEqual({ code: 1, stderr: "troupe: cannot join as 'b': another live node has this name; give one of the two another name, or stop the other one" });
    expect(second.stderr).not.toContain('nobody caught');
    // Its connections were turned away, instead of cutting those of the first.
    expect(cluster.get('a').stderr + cluster.get('c').stderr).toContain("NAME_TAKEN: the name 'b' belongs to a live node");
  });

  test('a data directory of another cluster, of another node, of a newer version, and one in use', async () => {
    const directory = join(temporaryDirectory(), 'data');
    const alone = new Agent({ name: 'd', flags: ['--data', directory, '--bootstrap-expect', '1', '--encrypt', keys[0]] });
    await alone.start();
    const inUse = await refused(new Agent({ name: 'd', flags: ['--data', directory] }));
    expect(inUse).toMatchObject({ code: 1, stderr: expect.stringMatching(new RegExp(`^troupe: cannot open the data directory ${directory}: process ${alone.pid} is using it; stop that process or choose another directory$`)) });
    expect((await alone.status()).sessionLive).toBe(true);
    await alone.kill();

    const other = await refused(new Agent({ name: 'e', flags: ['--data', directory] }));
    expect(other).toEqual({ code: 1, stderr: "troupe: cannot use the data directory: it belongs to node 'd', this node is 'e'; give this node a directory of its own, or its old name" });

    await unharmed(async () => {
      const stranger = new Agent({ name: 'd', flags: ['--data', directory, '--encrypt', keys[0], '--join', `127.0.0.1:${cluster.get('a').gossip}`] });
      await stranger.spawn();
      await until(() => /belongs to cluster/.test(stranger.stderr) || !stranger.running, () => `it says nothing of two clusters: ${stranger.tail()}`);
      expect(stranger.stderr).toMatch(/OTHER_CLUSTER|belongs to cluster [0-9a-f]+, not to [0-9a-f]+/);
      await stranger.kill();
    });

    const database = openLmdb({ path: join(directory, 'identity.lmdb'), encoding: 'binary', keyEncoding: 'binary' });
    const [record] = [...database.getRange()];
    await database.put(record?.key as Buffer, packValue({ format: 99, name: 'd' }) as Buffer);
    await database.close();
    const newer = await refused(new Agent({ name: 'd', flags: ['--data', directory] }));
    expect(newer).toEqual({ code: 1, stderr: expect.stringMatching(/^troupe: cannot use the data directory: it was written by a newer version of Troupe \(format 99, this one knows \d+\); run that version$/) });
  });

  test('keys, values and bodies beyond the limit', async () => {
    const a = cluster.get('a');
    const client = new TextClient(a.memcached);
    expect((await client.send(`get ${'k'.repeat(251)}\r\n`)).trimEnd()).toMatch(/^CLIENT_ERROR /);
    expect(await client.set('big', 'x'.repeat((1 << 20) + 1))).toMatch(/^SERVER_ERROR object too large/);
    // In step again, and what was refused is not there.
    expect(await client.get('big')).toBeUndefined();
    expect(await client.set('big', 'x'.repeat(1 << 20))).toBe('STORED');
    expect(await client.get('big')).toHaveLength(1 << 20);
    client.close();
    const put = async (key: string, length: number): Promise<{ status: number; code: unknown }> => {
      const response = await fetch(`http://127.0.0.1:${a.http}/v1/kv/default/${key}`, { method: 'PUT', body: 'x'.repeat(length) });
      const body = (await response.json()) as { error?: { code: string } };
      return { status: response.status, code: body.error?.code };
    };
    expect(await put('k', 1 << 20)).toEqual({ status: 200, code: undefined });
    expect(await put('k', (1 << 20) + 1)).toEqual({ status: 413, code: 'TOO_LARGE' });
    expect(await put('k'.repeat(251), 1)).toEqual({ status: 400, code: 'BAD_KEY' });
    expect(await put('k', 3 << 20)).toMatchObject({ status: 413 });
    const cli = await run(['kv', 'put', 'k'.repeat(251), 'x', '--http', `127.0.0.1:${a.http}`]);
    expect(cli).toMatchObject({ code: 1, stderr: 'troupe: cannot use a key of 251 bytes: 1 to 250 are allowed\n' });
  });
});

describe('a disk', () => {
  afterEach(async () => {
    await killAll();
    for (const mount of mounts.splice(0)) execFileSync('umount', ['-l', mount], { stdio: 'ignore' });
    await cleanUp();
  });

  /** A small file system of its own; undefined where this user may not mount. */
  function smallDisk(): string | undefined {
    const path = join(temporaryDirectory(), 'disk');
    mkdirSync(path);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'troupe-test', path], { stdio: 'ignore' });
    } catch {
      return undefined;
    }
    mounts.push(path);
    return path;
  }

  function fill(disk: string): void {
    try {
      writeFileSync(join(disk, 'fill'), Buffer.alloc(2 << 20));
    } catch {
      // As much as there was room for.
    }
  }

  test('that is full at the start, and one that fills up at run time: the node ends and says so, the cluster goes on, the node comes back', async (context) => {
    const disk = smallDisk();
    if (disk === undefined) {
      console.log('skipped: this user may not mount a small file system');
      context.skip();
      return;
    }
    const cluster = new Cluster(['a', 'b', 'c']);
    cluster.dataOf = (name) => (name === 'c' ? join(disk, 'data') : join(cluster.directory, name, 'data'));
    await cluster.start();
    const c = cluster.get('c');
    const load = await new Load(cluster.get('a').memcached).start();
    fill(disk);
    // Each is a record of consensus.
    for (let i = 0; i < 200 && c.running; i++) await Promise.all(Array.from({ length: 20 }, (_, j) => cluster.get('a').post('/v1/maintenance', { on: j % 2 === 0 })));
    await cluster.get('a').post('/v1/maintenance', { on: false });
    await until(() => !c.running, () => `its disk is full, and it goes on: ${c.tail()}`);
    expect(await c.exited).toBe(1);
    expect(c.stderr).toMatch(/^troupe: cannot write to .*: the disk is full \(\d+ bytes free\); free some space and restart$/m);
    const before = load.acknowledged;
    await until(() => load.acknowledged > before + 40, () => 'nothing is acknowledged any more', 15_000);

    expect(await refused(c)).toEqual({ code: 1, stderr: expect.stringMatching(/^troupe: cannot .*: the disk is full \(\d+ bytes free\); free some space and restart$/) });
    rmSync(join(disk, 'fill'));
    await c.start();
    await cluster.healthy();
    const result = await load.stop();
    expect(result.failures).toEqual([]);
    expect(await load.check(c.memcached)).toEqual([]);
    console.log(`full disk: longest pause ${result.longestMs.toFixed(0)} ms`);
  });

  test('with a torn or overwritten file of consensus: the node says which and what to do, and is filled anew from an empty directory', async () => {
    const cluster = await new Cluster(['a', 'b', 'c']).start();
    const c = cluster.get('c');
    const load = await new Load(cluster.get('a').memcached).start();
    await until(() => load.acknowledged > 20, () => 'the load does not run');
    await c.kill();
    const file = join(cluster.dataOf('c'), 'raft.lmdb');
    const whole = readFileSync(file);
    for (const [what, damage] of [
      ['cut short', () => truncateSync(file, whole.length >> 1)],
      ['cut within its head', () => truncateSync(file, 100)],
      ['overwritten', () => writeFileSync(file, Buffer.alloc(whole.length, 7))],
    ] as const) {
      writeFileSync(file, whole);
      damage();
      expect(await refused(c), what).toEqual({ code: 1, stderr: expect.stringMatching(new RegExp(`^troupe: cannot open ${file}: the data is damaged \\(.*\\); move the directory away and start empty, to be filled by the other nodes$`)) });
    }
    rmSync(cluster.dataOf('c'), { recursive: true });
    await c.start();
    // Its old place among the voters is kept for a while; the copies are what counts.
    await until(async () => (await c.partitions()).every((each) => each.inSync.includes('c')), () => c.tail());
    expect((await load.stop()).failures).toEqual([]);
    expect(await load.check(c.memcached)).toEqual([]);
  });

  test('without its file of consensus, or with an empty one: the node comes back as a new member, not as the voter that it was', async () => {
    const cluster = await new Cluster(['a', 'b', 'c']).start();
    const c = cluster.get('c');
    const file = join(cluster.dataOf('c'), 'raft.lmdb');
    for (const damage of [() => rmSync(file), () => truncateSync(file, 0)]) {
      await cluster.healthy();
      await c.kill();
      damage();
      await c.start();
      expect(c.stderr).toContain('this node comes back as a new member');
      // What it was among the voters has to go first: nobody has that identity any more.
      await until(() => new RegExp('"step":"remove","member":"c/').test(['a', 'b'].map((name) => cluster.get(name).stderr).join('')), () => cluster.logs());
    }
    await cluster.healthy();
    await c.kill();
    await c.start();
    expect(c.stderr).not.toContain('this node comes back as a new member');
  });

  test('where it cannot write: below a file', async () => {
    const file = join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    expect(await refused(new Agent({ name: 'a', flags: ['--dev', '--data', join(file, 'data')] }))).toEqual({ code: 1, stderr: expect.stringMatching(new RegExp(`^troupe: cannot .*${file}.*not a directory.*$`)) });
  });
});

describe('before anything is opened', () => {
  afterEach(cleanUp);

  test('an address in use is named with its flag, for each port, UDP among them', async () => {
    const holder = await new Agent({ name: 'holder', flags: ['--bootstrap-expect', '1'] }).start();
    for (const [flag, port] of [['--bind', 'gossip'], ['--peer', 'peer'], ['--http', 'http'], ['--memcached', 'memcached']] as const) {
      const agent = new Agent({ name: 'late', flags: ['--bootstrap-expect', '1'] });
      await agent.choosePorts();
      agent[port] = holder[port];
      const result = await refused(agent);
      expect(result, flag).toMatchObject({ code: 1, stderr: expect.stringMatching(new RegExp(`^troupe: cannot .*127\\.0\\.0\\.1:${holder[port]}: another socket has this address.*\\(${flag}\\)$`)) });
    }
    const [port] = (await freePorts(1)) as [number];
    const udp = createSocket('udp4');
    await new Promise<void>((resolve) => udp.bind(port, '127.0.0.1', resolve));
    const agent = new Agent({ name: 'late', flags: ['--bootstrap-expect', '1'] });
    await agent.choosePorts();
    agent.gossip = port;
    expect(await refused(agent)).toMatchObject({ code: 1, stderr: expect.stringMatching(new RegExp(`^troupe: cannot .*127\\.0\\.0\\.1:${port}: another socket has this address.*\\(--bind\\)$`)) });
    udp.close();
    expect((await holder.status()).sessionLive).toBe(true);
  });

  test('mistakes of the config file: all at once, with the nearest key or what is expected', async () => {
    const file = join(temporaryDirectory(), 'troupe.yaml');
    const tell = async (text: string): Promise<{ code: number | null; lines: string[] }> => {
      writeFileSync(file, text);
      const { code, stderr, stdout } = await run(['agent', '--config', file]);
      expect(stdout).toBe('');
      return { code, lines: stderr.trimEnd().split('\n').map((line) => line.replace(`troupe: ${file}: `, '')) };
    };
    expect(await tell('nodename: x\nbootstrap: { expects: 3 }\nkeyspaces: { default: { partitons: 3 } }\napps: { x: { nodes: [a], comand: [sh] } }\nquorum: { lastnode: never }')).toEqual({
      code: 1,
      lines: expect.arrayContaining([
        expect.stringContaining("bootstrap.expects: unknown key; did you mean 'expect'?"), expect.stringContaining("keyspaces.default.partitons: unknown key; did you mean 'partitions'?"),
        expect.stringContaining("apps.x.comand: unknown key; did you mean 'command'?"), expect.stringContaining("quorum.lastnode: unknown key; did you mean 'lastNode'?"),
        expect.stringMatching(/^nodename: unknown key/),
      ]),
    });
    const types = await tell('name: [x]\ngossip: { bind: 7, profile: fast }\nbootstrap: { expect: three }\nkeyspaces: { default: { acks: some, replicas: 99, maxMemory: much } }\ntags: { a: 1 }\njoin: 127.0.0.1');
    expect(types.code).toBe(1);
    for (const key of ['name', 'gossip.bind', 'gossip.profile', 'bootstrap.expect', 'keyspaces.default.acks', 'keyspaces.default.replicas', 'keyspaces.default.maxMemory', 'tags.a', 'join']) expect(types.lines.join('\n'), key).toContain(`${key}: `);
    expect(types.lines.find((line) => line.startsWith('gossip.profile'))).toMatch(/lan.*wan.*local/);
    expect(await tell('name: "x\nfoo')).toMatchObject({ code: 1 });
    expect(await run(['agent', '--config', join(file, 'none')])).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^troupe: cannot read the config file .*; check --config\n$/) });
  });

  test('bad flags end with exit code 2', async () => {
    for (const words of [['--bootstrap-expect', 'three'], ['--bindd', 'x'], ['--profile', 'fast'], ['--last-node', 'always'], ['--encrypt', 'short'], ['--join', 'a b'], ['--tag', 'x'], ['--name', 'a b']]) {
      const result = await run(['agent', ...words]);
      expect(result, words.join(' ')).toMatchObject({ code: 2, stdout: '' });
      expect(result.stderr, words.join(' ')).toContain(words[0]);
      expect(result.stderr, words.join(' ')).not.toContain('    at ');
    }
  });
});
