import net from 'node:net';
import { afterEach, beforeAll, describe, expect, test } from 'vitest';
import { RpcClient } from '../../src/cli/rpc-client.ts';
import { rpcMembersResponse, rpcStats } from '../../src/core/wire/serf-rpc.ts';
import { buildIfStale, run } from '../cli/program.ts';

const servers: net.Server[] = [];
afterEach(() => servers.splice(0).forEach((server) => server.close()));

/** Answers each piece that comes with the next of these bytes. */
async function scripted(...answers: readonly (string | undefined)[]): Promise<string> {
  const server = net.createServer((socket) => {
    let next = 0;
    socket.on('error', () => {});
    socket.on('data', () => {
      const answer = answers[next++];
      if (answer === undefined) socket.destroy();
      else socket.write(Buffer.from(answer, 'hex'));
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `127.0.0.1:${(server.address() as net.AddressInfo).port}`;
}

const answer = (sequence: number, error = ''): string => Buffer.concat([Buffer.from('82a54572726f72', 'hex'), Buffer.from([0xa0 | error.length]), Buffer.from(error), Buffer.from('a3536571', 'hex'), Buffer.from([sequence])]).toString('hex');

describe('RpcClient', () => {
  test.each([
    ['nobody listens', undefined, 'AGENT_UNREACHABLE'],
    ['it hangs up', [undefined], 'AGENT_UNREACHABLE'],
    ['it speaks HTTP', [Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n').toString('hex')], 'NO_AGENT'],
    ['it sends nonsense', ['c1c1c1'], 'NO_AGENT'],
    ['it announces too much', ['c6ffffffff'], 'NO_AGENT'],
    ['it refuses the version', [answer(0, 'Unsupported')], 'RPC_FAILED'],
  ])('%s', async (_, answers, code) => {
    const address = answers === undefined ? '127.0.0.1:1' : await scripted(...answers);
    await expect(RpcClient.connect(address, undefined)).rejects.toMatchObject({ code });
  });

  test('a wrong token; a body of another kind; an end in between', async () => {
    await expect(RpcClient.connect(await scripted(answer(0), answer(1, 'Invalid')), 'x')).rejects.toMatchObject({ code: 'RPC_FAILED', message: 'Invalid' });
    const client = await RpcClient.connect(await scripted(answer(0), `${answer(1)}07`), undefined);
    await expect(client.request('members', undefined, rpcMembersResponse)).rejects.toMatchObject({ code: 'NO_AGENT' });
    await expect(client.request('stats', undefined, rpcStats)).rejects.toMatchObject({ code: 'NO_AGENT' });
    await client.closed;
    const other = await RpcClient.connect(await scripted(answer(0), undefined), undefined);
    await expect(other.request('stats', undefined, rpcStats)).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' });
  });

  test('answers that nobody waits for are passed over', async () => {
    const client = await RpcClient.connect(await scripted(answer(0), `${answer(99)}${answer(1, 'no')}`), undefined);
    await expect(client.request('leave')).rejects.toMatchObject({ message: 'no' });
    client.close();
  });
});

describe('verbs over RPC', () => {
  beforeAll(buildIfStale, 120_000);

  test.each([
    [['query'], "missing required argument 'name'"],
    [['query', 'x', '--timeout', '5'], 'is no duration'],
    [['query', 'x', '--relay-factor', '300'], 'from 0 to 255'],
    [['query', 'x', '--tag', 'y'], 'is no pair'],
    [['keys'], 'give one of'],
    [['keys', '--list', '--use', 'x'], 'give one of'],
    [['tags'], 'say what to change'],
    [['rtt'], "missing required argument 'node1'"],
  ])('%j is a mistake', async (words, text) => {
    const { code, stderr } = await run([...words, '--rpc-addr', '127.0.0.1:1']);
    expect(stderr).toContain(text);
    expect(code).toBe(2);
  });

  test('nobody listens: one line says so', async () => {
    for (const words of [['info'], ['members', '--rpc-addr', '127.0.0.1:1']]) {
      const { code, stderr } = await run(words, { env: { SERF_RPC_ADDR: '127.0.0.1:1' } });
      expect([code, stderr]).toEqual([1, "troupe: cannot talk to an agent's RPC at 127.0.0.1:1: nobody listens there; start one with `troupe agent`, or say where it is with --rpc-addr ADDR:PORT\n"]);
    }
  });
});
