import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { anyPorts, buildIfStale, cleanUp, run, temporaryDirectory, TestAgent, until } from './program.ts';

beforeAll(buildIfStale);
afterEach(cleanUp);
afterAll(cleanUp);

const dev = (name: string): string[] => ['--dev', '--name', name, ...anyPorts];

describe('one agent', () => {
  test('says ready, answers every verb, and leaves when told', async () => {
    const agent = new TestAgent([...dev('one'), '--memcached', '127.0.0.1:0', '-tag', 'role=web']);
    const ready = await agent.ready();
    expect(agent.stdout).toMatch(/^ready name=one gossip=127\.0\.0\.1:\d+ peer=127\.0\.0\.1:\d+ http=127\.0\.0\.1:\d+ memcached=127\.0\.0\.1:\d+\n/);
    const env = { TROUPE_HTTP: ready['http'] as string };
    const troupe = (...words: string[]): ReturnType<typeof run> => run(words, { env });

    const status = await troupe('status');
    expect(status).toMatchObject({ code: 0, stderr: '' });
    expect(status.stdout).toContain('Nothing needs attention.');
    expect(JSON.parse((await troupe('status', '--json')).stdout)).toMatchObject({ name: 'one', leader: 'one', quorum: true, attention: [] });

    expect((await troupe('members')).stdout).toMatch(/^one {2}127\.0\.0\.1:\d+ {2}alive {2}\S*role=web\S*\n$/);
    expect(JSON.parse((await troupe('members', '-format', 'json', '-name', 'on.', '-status', 'alive', '-tag', 'role=w.*')).stdout)).toMatchObject({ members: [{ name: 'one', addr: ready['gossip'], tags: { role: 'web' }, protocol: { max: 5, min: 2 } }] });
    for (const filter of [['-name', 'on'], ['-status', 'aliv'], ['-tag', 'role=we'], ['-tag', 'none=.*']]) expect((await troupe('members', ...filter)).stdout, filter.join(' ')).toBe('');

    expect(await troupe('kv', 'put', 'a', 'hello')).toMatchObject({ code: 0, stdout: 'stored\n' });
    expect(await troupe('kv', 'get', 'a')).toMatchObject({ code: 0, stdout: 'hello' });
    expect(await run(['kv', 'put', 'piped'], { env, input: 'a\0b\n' })).toMatchObject({ code: 0 });
    expect((await troupe('kv', 'get', 'piped')).stdout).toBe('a\0b\n');
    expect(await troupe('kv', 'create', 'a', 'x')).toMatchObject({ code: 1, stderr: "troupe: 'a' exists already\n" });
    expect(await troupe('kv', 'update', 'none', 'x')).toMatchObject({ code: 1, stderr: "troupe: there is no 'none'\n" });
    expect(await troupe('kv', 'create', 'n', '5')).toMatchObject({ code: 0 });
    expect((await troupe('kv', 'incr', 'n', '7')).stdout).toBe('12\n');
    expect((await troupe('kv', 'incr', 'n', '-2')).stdout).toBe('10\n');
    expect(await troupe('kv', 'delete', 'n')).toMatchObject({ code: 0 });
    expect(await troupe('kv', 'get', 'n')).toMatchObject({ code: 1, stdout: '', stderr: "troupe: there is no 'n'\n" });

    expect((await troupe('partitions')).stdout.split('\n')).toHaveLength(64 + 2);
    expect((await troupe('voters')).stdout).toContain('one  leader');
    expect(await troupe('maintenance', 'on')).toMatchObject({ code: 0 });
    expect(await troupe('status')).toMatchObject({ code: 1 });
    expect(await troupe('maintenance', 'off')).toMatchObject({ code: 0 });

    expect(await troupe('leave')).toMatchObject({ code: 0, stdout: 'Graceful leave complete\n' });
    expect(await agent.exited).toBe(0);
  });

  test('SIGINT and SIGTERM leave, with exit code 0; SIGTERM stops at once when told so', async () => {
    for (const [signal, flags, logged] of [['SIGINT', [], 'leaving'], ['SIGTERM', [], 'leaving'], ['SIGTERM', ['-no-leave-on-term'], 'stopping']] as const) {
      const agent = new TestAgent([...dev('one'), ...flags]);
      await agent.ready();
      agent.signal(signal);
      expect(await agent.exited, signal).toBe(0);
      expect(agent.stderr).toContain(`"msg":"${logged}`);
    }
  });

  test("Serf's keys for it decide the same, in both directions", async () => {
    const file = join(temporaryDirectory(), 'serf.json');
    for (const [keys, signal, logged] of [
      [{ leave_on_terminate: false }, 'SIGTERM', 'stopping'], [{ leave_on_terminate: true }, 'SIGTERM', 'leaving'],
      [{ skip_leave_on_interrupt: true }, 'SIGINT', 'stopping'], [{ skip_leave_on_interrupt: false }, 'SIGINT', 'leaving'],
    ] as const) {
      writeFileSync(file, JSON.stringify(keys));
      const agent = new TestAgent([...dev('one'), '-config-file', file]);
      await agent.ready();
      agent.signal(signal);
      expect(await agent.exited, JSON.stringify(keys)).toBe(0);
      expect(agent.stderr, JSON.stringify(keys)).toContain(`"msg":"${logged}`);
    }
  });

  test('whoever has read `ready` can write at once', async () => {
    for (let round = 0; round < 3; round++) {
      const agent = new TestAgent(dev('one'));
      const http = (await agent.ready())['http'] as string;
      const answer = await fetch(`http://${http}/v1/kv/default/a`, { method: 'PUT', body: 'x' });
      expect(await answer.json()).toEqual({ version: 1 });
      agent.signal('SIGKILL');
      await agent.exited;
    }
  });

  test('a second signal ends it at once', async () => {
    const agent = new TestAgent(dev('one'));
    await agent.ready();
    agent.signal('SIGINT');
    await until(() => agent.stderr.includes('leaving the cluster'), () => agent.stderr);
    agent.signal('SIGINT');
    expect(await agent.exited).toBe(1);
    expect(agent.stderr).toContain('a second signal');
  });

  test('SIGHUP reloads tags and log level, says what has to wait, and survives a mistake', async () => {
    const file = join(temporaryDirectory(), 'troupe.yaml');
    writeFileSync(file, 'tags: { color: red }');
    const agent = new TestAgent(['--config', file, ...dev('one')]);
    const env = { TROUPE_HTTP: (await agent.ready())['http'] as string };
    const tags = async (): Promise<Record<string, string>> => (JSON.parse((await run(['members', '--json'], { env })).stdout) as { members: { tags: Record<string, string> }[] }).members[0]?.tags ?? {};
    const before = await tags();
    expect(before['color']).toBe('red');

    writeFileSync(file, 'tagz: {}');
    agent.signal('SIGHUP');
    await until(() => agent.stderr.includes("did you mean 'tags'"), () => agent.stderr);
    writeFileSync(file, 'tags: { shape: round }\nlog: { level: debug }\nkeyspaces: { other: {} }');
    agent.signal('SIGHUP');
    await until(() => agent.stderr.includes('was reloaded'), () => agent.stderr);
    expect(agent.stderr).toContain('"keys":["keyspaces"]');
    const { color: _color, ...rest } = before;
    expect(await tags()).toEqual({ ...rest, shape: 'round' });
  });

  test('a token is asked for, and can come from the environment', async () => {
    const agent = new TestAgent([...dev('one'), '--token', 'secret']);
    const http = (await agent.ready())['http'] as string;
    expect(await run(['members', '--http', http])).toMatchObject({ code: 1, stderr: expect.stringContaining('--token') });
    expect(await run(['members', '--http', http, '--token', 'secret'])).toMatchObject({ code: 0 });
    expect(await run(['members', '--http', http], { env: { TROUPE_TOKEN: 'secret' } })).toMatchObject({ code: 0 });
  });
});

describe('two agents', () => {
  test('join with one key, share entries, and a third with another key stays out', async () => {
    const [key, other] = ['T9jncgl9mbLus+baTTa7q7nPSUrXwbDi2dhbtqir37s=', 'HvY8ubRZMgafUOWvrOadwOckVa1wN3QWAo46FVKbVN8='];
    const one = new TestAgent([...dev('one'), '--encrypt', key]);
    const first = await one.ready();
    const two = new TestAgent(['--name', 'two', ...anyPorts, '--encrypt', key, '-retry-join', first['gossip'] as string]);
    const second = await two.ready();
    expect(await run(['kv', 'put', 'a', 'x', '--http', first['http'] as string])).toMatchObject({ code: 0 });
    expect(await run(['kv', 'get', 'a', '--http', second['http'] as string])).toMatchObject({ code: 0, stdout: 'x' });
    expect((await run(['nodes', '--http', second['http'] as string])).stdout).toMatch(/^one .*\ntwo /m);

    const three = new TestAgent(['--name', 'three', ...anyPorts, '--encrypt', other]);
    const third = await three.ready();
    const joined = await run(['join', first['gossip'] as string, '--http', third['http'] as string]);
    expect(joined).toMatchObject({ code: 1, stderr: expect.stringMatching(/^troupe: Error joining the cluster: .*\n$/) });
    expect((await run(['members', '--http', first['http'] as string])).stdout).not.toContain('three');
    expect(await run(['force-leave', 'nobody', '--http', first['http'] as string])).toMatchObject({ code: 1, stderr: expect.stringContaining("no member 'nobody'") });
  });
});

describe('mistakes', () => {
  test('-join of an address where nobody is ends the agent at once, as in Serf; -retry-join, and a node of a cluster, try on', async () => {
    const words = ['agent', '--name', 'one', ...anyPorts];
    for (const join of ['-join', '--join']) expect(await run([...words, join, '127.0.0.1:1'])).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/cannot join: 127\.0\.0\.1:1: .*-retry-join/) });
    for (const more of [['--retry-join', '127.0.0.1:1'], ['-join', '127.0.0.1:1', '-retry-join', '127.0.0.1:2'], ['-join', '127.0.0.1:1', '--bootstrap-expect', '2']]) {
      const agent = new TestAgent([...words.slice(1), ...more]);
      await until(() => agent.stderr.includes('trying on'), () => agent.stderr);
      expect(agent.process.exitCode).toBeNull();
      agent.signal('SIGINT');
      expect(await agent.exited).toBe(0);
    }
  });

  test.each([
    [['agent', '--no-such-flag']],
    [['agent', '-profile', 'moon']],
    [['agent', '--bind', 'nowhere:x']],
    [['agent', '--bootstrap-expect', 'three']],
    [['agent', 'surplus']],
    [['members', '--name', '(']],
    [['members', '--format', 'xml']],
    [['maintenance', 'maybe']],
    [['kv', 'incr', 'a', 'x']],
    [['kv', 'put', 'a', 'x', '--ttl', 'soon']],
    [['partitions', 'accept-loss', 'default', 'x']],
    [['frobnicate']],
    [['frobnicate', '--help']],
    [['join']],
  ])('%j is a usage error: exit code 2, said on stderr', async (words) => {
    const result = await run(words);
    expect(result).toMatchObject({ code: 2, stdout: '' });
    expect(result.stderr.length).toBeGreaterThan(10);
    expect(result.stderr).not.toContain('    at ');
  });

  test('an agent that is not there: one line that says where, and what to do', async () => {
    expect(await run(['status', '--http', '127.0.0.1:1'])).toMatchObject({ code: 1, stdout: '', stderr: expect.stringMatching(/^troupe: cannot reach an agent at 127\.0\.0\.1:1: .*--http.*\n$/) });
  });

  test('a typo in the config file, and a config file that is not there', async () => {
    const directory = temporaryDirectory();
    const file = join(directory, 'troupe.yaml');
    writeFileSync(file, 'nmae: x\ngossip: { bnid: y }');
    expect(await run(['agent', '--config', file])).toEqual({ code: 1, stdout: '', stderr: `troupe: ${file}: gossip.bnid: unknown key; did you mean 'bind'?\ntroupe: ${file}: nmae: unknown key; did you mean 'name'?\n` });
    expect(await run(['agent', '--config', join(directory, 'none.yaml')])).toMatchObject({ code: 1, stderr: expect.stringContaining('check --config') });
  });

  test('an address in use is named, with its flag', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const taken = `127.0.0.1:${(server.address() as AddressInfo).port}`;
    try {
      for (const flag of ['--bind', '--peer', '--http', '--memcached']) {
        const result = await run(['agent', ...dev('one'), flag, taken]);
        expect(result, flag).toMatchObject({ code: 1, stderr: expect.stringMatching(new RegExp(`^troupe: cannot .*${taken}.*\\(${flag}\\)$`, 'm')) });
      }
    } finally {
      server.close();
    }
  });

  test('a data directory that another node owns, that another process has, and that cannot be written', async () => {
    const data = join(temporaryDirectory(), 'data');
    const first = new TestAgent([...dev('one'), '--data', data]);
    await first.ready();
    expect(await run(['agent', ...dev('one'), '--data', data])).toMatchObject({ code: 1, stderr: expect.stringMatching(/^troupe: .*data directory.*is using it.*$/m) });
    first.signal('SIGTERM');
    await first.exited;
    const other = await run(['agent', ...dev('two'), '--data', data]);
    expect(other).toMatchObject({ code: 1, stderr: expect.stringMatching(/^troupe: .*one.*$/m) });
    const again = new TestAgent([...dev('one'), '--data', data]);
    expect((await again.ready())['name']).toBe('one');

    writeFileSync(join(data, '..', 'a-file'), '');
    expect(await run(['agent', ...dev('one'), '--data', join(data, '..', 'a-file')])).toMatchObject({ code: 1, stderr: expect.stringMatching(/^troupe: cannot .*a-file.*$/m) });
  });

  test('HTTP for other hosts needs a token', async () => {
    expect(await run(['agent', '--dev', '--http', '0.0.0.0:0'])).toMatchObject({ code: 2, stderr: expect.stringContaining('--token') });
  });
});
