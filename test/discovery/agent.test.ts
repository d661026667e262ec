import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, test } from 'vitest';
import { poll } from '../poll.ts';
import { anyPorts, buildIfStale, cleanUp, run, temporaryDirectory, TestAgent } from '../cli/program.ts';

beforeAll(buildIfStale);
afterEach(cleanUp);

function config(content: unknown): string {
  const file = join(temporaryDirectory(), 'troupe.json');
  writeFileSync(file, JSON.stringify(content));
  return file;
}

test('two agents that know only a directory become one cluster, wait for each other, and say so', async () => {
  const file = config({ discovery: { waitJoinedMs: 30_000, home: { strategy: 'local', directory: join(temporaryDirectory(), 'registry') } }, bootstrap: { expect: 2 } });
  const one = new TestAgent(['--config', file, '--name', 'one', ...anyPorts]);
  await poll(() => expect(one.stderr).toContain('there is no data directory'), 20_000);
  const two = new TestAgent(['--config', file, '--name', 'two', ...anyPorts]);
  const [http] = [(await one.ready())['http'] as string, await two.ready()];
  expect((await run(['members'], { env: { TROUPE_HTTP: http } })).stdout).toMatch(/one[^]*two/);
  const lines = `${one.stderr}${two.stderr}`.trim().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
  const connected = lines.filter((line) => /^connected to 127\.0\.0\.1:\d+$/.test(String(line['msg'] ?? line['message'])));
  expect(connected.length).toBeGreaterThan(0);
  expect(connected[0]).toMatchObject({ discovery: 'home', strategy: 'local', durationMs: expect.any(Number) as number });
});

test('an agent that finds nobody in time starts all the same, and says whom it cannot reach', async () => {
  const file = config({ discovery: { waitJoinedMs: 1000, home: { strategy: 'static', hosts: ['127.0.0.9:1'] } } });
  const agent = new TestAgent(['--config', file, '--dev', ...anyPorts, '--name', 'one']);
  const http = (await agent.ready())['http'] as string;
  expect(agent.stderr).toContain('unable to connect to 127.0.0.9:1');
  expect(agent.stderr).toContain('no other node was found in time');
  const { stdout } = await run(['discovery'], { env: { TROUPE_HTTP: http } });
  expect(stdout).toMatch(/^TOPOLOGY +STRATEGY +HOST +STATE +FAILURES +REASON\nhome +static +127\.0\.0\.9:1 +apart +\d+ +\S+/);
  const json = JSON.parse((await run(['discovery', '--json'], { env: { TROUPE_HTTP: http } })).stdout) as { topologies: { counters: { connectFailures: number } }[] };
  expect(json.topologies[0]?.counters.connectFailures).toBeGreaterThan(0);
  agent.signal('SIGTERM');
  expect(await agent.exited).toBe(0);
});

test('with requireJoined an agent that finds nobody in time ends, and says whom it cannot reach and why', async () => {
  const file = config({ discovery: { waitJoinedMs: 1000, requireJoined: true, home: { strategy: 'static', hosts: ['127.0.0.9:1'] }, away: { strategy: 'http', url: 'http://127.0.0.1:1/' } } });
  const agent = new TestAgent(['--config', file, ...anyPorts, '--name', 'one']);
  expect(await agent.exited).toBe(1);
  expect(agent.stderr).toMatch(/no other node could be joined within 1000 ms .*home \(static\): names 127\.0\.0\.9:1 \(.+\); away \(http\): gives no usable answer: cannot reach/);
  expect(agent.stdout).toBe('');
});

test('--wait-joined and --require-joined say the same on the command line, also of those to --join', async () => {
  const alone = new TestAgent(['--name', 'one', '--wait-joined', '1s', '--require-joined', '--join', '127.0.0.9:1', ...anyPorts]);
  expect(await alone.exited).toBe(1);
  expect(alone.stderr).toMatch(/no other node could be joined within 1000 ms .*join: 127\.0\.0\.9:1/);
  const two = new TestAgent(['--name', 'two', '--bootstrap-expect', '1', ...anyPorts]);
  const { gossip } = (await two.ready()) as { gossip: string };
  const one = new TestAgent(['--name', 'one', '--wait-joined', '30s', '--require-joined', '--join', gossip, ...anyPorts]);
  await one.ready();
  const { stderr, code } = await run(['agent', '--require-joined']);
  expect(code).toBe(2);
  expect(stderr).toContain('--require-joined: needs waitJoinedMs');
});

test('hooks of a topology are programs: one that fails keeps from joining and says why; what the source names no more is told', async () => {
  const directory = temporaryDirectory();
  const hosts = join(directory, 'hosts');
  const script = join(directory, 'hook.sh');
  writeFileSync(script, `#!/bin/sh\necho "$TROUPE_HOOK $TROUPE_DISCOVERY $TROUPE_HOST $TROUPE_PORT $TROUPE_NODE: $1: $TROUPE_REASON" >> ${directory}/calls\n[ -e ${directory}/open ] || { echo 'the gate is shut' >&2; exit 1; }\n`, { mode: 0o755 });
  writeFileSync(join(directory, 'calls'), '');
  const two = new TestAgent(['--name', 'two', '--bootstrap-expect', '1', ...anyPorts]);
  const gossip = (await two.ready())['gossip'] as string;
  writeFileSync(hosts, gossip);
  const file = join(directory, 'troupe.json');
  writeFileSync(file, JSON.stringify({ discovery: { branch: { strategy: 'hosts-file', file: './hosts', pollMs: 50, connect: ['./hook.sh', 'up'], disconnect: ['./hook.sh', 'down'] } } }));
  const one = new TestAgent(['--config', file, '--name', 'one', ...anyPorts]);
  await poll(() => expect(one.stderr).toMatch(/it said: the gate is shut.*unable to connect to/), 20_000);
  writeFileSync(join(directory, 'open'), '');
  await one.ready();
  const [host, port] = gossip.split(':');
  const calls = (): string => readFileSync(join(directory, 'calls'), 'utf8');
  expect(calls()).toContain(`connect branch ${host} ${port} one: up: the source names it\n`);
  writeFileSync(hosts, '127.0.0.9:1\n');
  await poll(() => expect(calls()).toContain(`disconnect branch ${host} ${port} one: down: the source does not name it any more\n`), 20_000);
  await poll(() => expect(one.stderr).toContain(`disconnected from ${host}:${port}`));
});

test('an agent can be stopped while it waits', async () => {
  const file = config({ discovery: { waitJoinedMs: 600_000, home: { strategy: 'static', hosts: ['127.0.0.9:1'] } } });
  const agent = new TestAgent(['--config', file, '--dev', ...anyPorts, '--name', 'one']);
  await poll(() => expect(agent.stderr).toContain('unable to connect'), 20_000);
  expect(agent.stdout).toBe('');
  agent.signal('SIGTERM');
  expect(await agent.exited).toBe(0);
});

test('a strategy that does not exist is an error that names the nearest', async () => {
  const { code, stderr } = await run(['agent', '--config', config({ discovery: { home: { strategy: 'kubernets' } } })]);
  expect(code).toBe(1);
  expect(stderr).toContain("did you mean 'kubernetes'?");
});
