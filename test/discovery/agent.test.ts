import { writeFileSync } from 'node:fs';
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
  await agent.ready();
  expect(agent.stderr).toContain('unable to connect to 127.0.0.9:1');
  expect(agent.stderr).toContain('no other node was found in time');
  agent.signal('SIGTERM');
  expect(await agent.exited).toBe(0);
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
