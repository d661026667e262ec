import { execFile } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildIfStale, cleanUp, temporaryDirectory, TestAgent } from '../cli/program.ts';
import { poll } from '../poll.ts';
import { freePort, SerfAgent, serfInstalled } from './serf-agent.ts';

/** Debian's client, on the agent at that RPC port. */
function serf(rpc: string, verb: string, ...words: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile('/usr/bin/serf', [verb, `-rpc-addr=${rpc}`, ...words], { timeout: 20_000 }, (_, stdout, stderr) => resolve(stdout + stderr));
  });
}

interface Started {
  readonly address: string;
  readonly rpc: string;
  kill(): Promise<unknown>;
}

type Kind = 'ours' | 'theirs';

/** One call of a handler: what it found in its environment and on its input. */
interface Call {
  readonly event: string;
  readonly environment: readonly string[];
  readonly input: string;
}

const reals: SerfAgent[] = [];

async function start(kind: Kind, name: string, host: string, words: readonly string[]): Promise<Started> {
  if (kind === 'theirs') {
    const agent = await SerfAgent.start(name, host, words);
    reals.push(agent);
    return { address: `${host}:${agent.address.port}`, rpc: `${agent.rpc.host}:${agent.rpc.port}`, kill: () => agent.kill() };
  }
  const address = `${host}:${await freePort(host)}`;
  const agent = new TestAgent(['-node', name, '-bind', address, '-peer', `${host}:0`, '-http', 'off', '-rpc-addr', '127.0.0.1:0', '-profile', 'local', ...words]);
  const { rpc } = await agent.ready();
  return {
    address, rpc: rpc as string,
    kill: () => {
      agent.signal('SIGKILL');
      return agent.exited;
    },
  };
}

/** Each call writes two files of its own; Serf's order of members and of tags is that of a Go map: any. */
function callsIn(directory: string): Call[] {
  const finished = readdirSync(directory).filter((file) => file.endsWith('.input')).sort((a, b) => Number(a.split('.')[0]) - Number(b.split('.')[0]));
  const calls = finished.map((file) => {
    const variables = readFileSync(join(directory, file.replace('.input', '.environment')), 'utf8').split('\0').filter((line) => line.startsWith('SERF_') && !/^SERF_(RPC_|USER_QUERY)/.test(line)).sort();
    const event = variables.find((line) => line.startsWith('SERF_EVENT='))?.slice('SERF_EVENT='.length) ?? '';
    const text = readFileSync(join(directory, file), 'utf8').replaceAll(/127\.0\.0\.\d+/g, 'HOST');
    const input = event.startsWith('member') ? text.split('\n').map((line) => line.split('\t').map((cell, i) => (i === 3 ? cell.split(',').sort().join() : cell)).join('\t')).sort().join('\n') : text;
    return { event, environment: variables, input };
  });
  // Serf fires an update again with each later event (D2): the first is the one to compare with.
  return calls.filter(({ event, input }, i) => event !== 'member-update' || !calls.slice(0, i).some((earlier) => earlier.event === event && earlier.input === input));
}

/** The same happens to a pool of either kind. */
async function scenario(kind: Kind): Promise<Call[]> {
  const host = (last: number): string => `127.0.0.${(kind === 'ours' ? 70 : 80) + last}`;
  const directory = join(temporaryDirectory(), 'calls');
  mkdirSync(directory);
  const script = join(directory, '..', 'handler.sh');
  writeFileSync(script, `f=${directory}/$(date +%s%N)\ncat /proc/self/environ > $f.environment\ncat > $f.draft\nmv $f.draft $f.input\necho "output for $SERF_EVENT"\n`);
  const calls = (event: string): Call[] => callsIn(directory).filter((call) => call.event === event);
  const told = (event: string, count: number): Promise<void> => poll(() => expect(calls(event).length, `${kind}: ${event}`).toBeGreaterThanOrEqual(count), 30_000);

  const a = await start(kind, 'a', host(1), ['-tag', 'role=web', '-tag', 'my-tag.x=hello, world', '-tag', 'Ünï=wert', '-tag', 'a=b=c', '-tag', 'empty=', '-tag', 'tab=x\ty', '-event-handler', `sh ${script}`]);
  await told('member-join', 1);
  const [b, c] = await Promise.all([start(kind, 'b', host(2), ['-tag', 'nl=1\n2', '-tag', 'k=v,w', '-tag', 'role=r\tx']), start(kind, 'c', host(3), [])]);
  await serf(a.rpc, 'join', b.address, c.address);
  await told('member-join', 2);
  await serf(b.rpc, 'event', '-coalesce=false', 'deploy', 'v7');
  await told('user', 1);
  await serf(b.rpc, 'event', '-coalesce=false', 'ends', 'with a newline\n');
  await told('user', 2);
  await serf(b.rpc, 'event', '-coalesce=false', 'empty');
  await told('user', 3);
  for (const payload of ['1', '2', '3']) await serf(b.rpc, 'event', 'name with = and space', payload);
  await told('user', 4);
  expect(await serf(b.rpc, 'query', '-timeout=1s', 'q1', 'hello')).toContain("Response from 'a': output for query\n");
  await serf(b.rpc, 'query', '-timeout=1s', '-no-ack', 'q 2');
  await told('query', 2);
  await serf(b.rpc, 'tags', '-set', 'k=z');
  await told('member-update', 1);
  await c.kill();
  await told('member-failed', 1);
  await serf(a.rpc, 'force-leave', 'c');
  await told('member-leave', 1);
  await serf(a.rpc, 'force-leave', '-prune', 'c');
  await told('member-reap', 1);
  await serf(b.rpc, 'leave');
  await told('member-leave', 2);
  const seen = callsIn(directory);
  await a.kill();
  return seen;
}

describe.skipIf(!serfInstalled)('event handlers', () => {
  beforeAll(buildIfStale);
  afterAll(async () => {
    await Promise.all(reals.map((agent) => agent.kill()));
    await cleanUp();
  });

  test("of our agent find what those of Debian's serf find, byte for byte, in the same calls", { timeout: 180_000 }, async () => {
    const [ours, theirs] = await Promise.all([scenario('ours'), scenario('theirs')]);
    expect(ours).toEqual(theirs);
    expect(ours.map(({ event }) => event)).toEqual(['member-join', 'member-join', 'user', 'user', 'user', 'user', 'query', 'query', 'member-update', 'member-failed', 'member-leave', 'member-reap', 'member-leave']);
    expect(ours[1]?.input.trim().split('\n')).toHaveLength(2); // told together
  });
});
