import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { TroupeError } from '../../src/base/errors.ts';
import { aesGcmCipher } from '../../src/host/aes-gcm-cipher.ts';
import { HostClock } from '../../src/host/clock.ts';
import { createRandom } from '../../src/host/random.ts';
import { TcpStreams } from '../../src/host/tcp.ts';
import { UdpDatagrams } from '../../src/host/udp.ts';
import { askKeys } from '../../src/node/key-manager.ts';
import { decodeKeyAnswer, encodeKeyRequest, keyQuery } from '../../src/node/gossip-keys.ts';
import { startGossip } from '../../src/node/gossip.ts';
import type { Gossip, GossipEvent, GossipOptions, GossipPorts } from '../../src/node/gossip.ts';
import { silentLog } from '../../src/ports/log.ts';
import type { Log } from '../../src/ports/log.ts';
import { messageType } from '../../src/core/wire/gossip-messages.ts';
import { decompressMessage } from '../../src/core/wire/packet.ts';
import type { Address } from '../../src/ports/address.ts';
import { poll } from '../poll.ts';

const running: Gossip[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((gossip) => gossip.close()));
});

function ports(log: Log = silentLog): GossipPorts {
  return { datagrams: new UdpDatagrams(), streams: new TcpStreams(), clock: new HostClock(), random: createRandom(), cipher: aesGcmCipher, log };
}

function collectingLog(lines: string[]): Log {
  const add = (message: string): void => void lines.push(message);
  const log: Log = { trace: add, debug: add, info: add, warn: add, error: add, child: () => log };
  return log;
}

async function start(name: string, options: Partial<GossipOptions> = {}, log?: Log): Promise<Gossip> {
  const gossip = await startGossip({ name, bind: { host: '127.0.0.1', port: 0 }, profile: 'local', tags: {}, ...options }, ports(log));
  running.push(gossip);
  return gossip;
}

const statuses = (gossip: Gossip): Record<string, string> => Object.fromEntries(gossip.members().map((member) => [member.name, member.status]));

describe('gossip over real sockets', () => {
  test('two nodes join, see tags and their change, and a leave', async () => {
    const a = await start('a', { tags: { role: 'web' } });
    const b = await start('b');
    const seen: string[] = [];
    b.onEvent((event: GossipEvent) => seen.push('member' in event ? `${event.type} ${event.member.name}` : event.type));
    expect(await b.join([a.address])).toEqual({ joined: 1, errors: [] });
    await poll(() => expect(statuses(a)).toEqual({ a: 'alive', b: 'alive' }));
    await poll(() => expect(statuses(b)).toEqual({ a: 'alive', b: 'alive' }));
    expect(b.member('a')?.tags).toEqual({ role: 'web' });
    a.setTags({ role: 'db', zone: 'x' });
    await poll(() => expect(b.member('a')?.tags).toEqual({ role: 'db', zone: 'x' }));
    await a.leave();
    await poll(() => expect(statuses(b)).toEqual({ a: 'left', b: 'alive' }));
    expect(statuses(a)['a']).toBe('left');
    expect(seen).toEqual(['member-join a', 'member-update a', 'member-leave a']);
  });

  test('UDP and TCP share one port; stats count', async () => {
    const a = await start('a');
    expect(a.address.port).toBeGreaterThan(0);
    expect(a.local.address).toEqual(a.address);
    const b = await start('b');
    await b.join([a.address]);
    await poll(() => expect(b.stats().packetsReceived).toBeGreaterThan(0));
    expect(b.stats()).toMatchObject({ members: 2, alive: 2, failed: 0, encrypted: false });
  });

  test('a member that dies is failed; noteDead says so at once; what lives refutes', async () => {
    const a = await start('a');
    const b = await start('b');
    const c = await start('c');
    await b.join([a.address]);
    await c.join([a.address]);
    await poll(() => expect(statuses(c)).toEqual({ a: 'alive', b: 'alive', c: 'alive' }));
    a.noteDead('b', 'its connections were refused');
    expect(a.member('b')?.status).toBe('failed');
    await poll(() => expect(a.member('b')).toMatchObject({ status: 'alive', incarnation: 2 }));
    await b.close();
    a.noteDead('b', 'its connections were refused');
    await poll(() => expect(c.member('b')?.status).toBe('failed'), 1000);
    await c.close();
    await poll(() => expect(a.member('c')?.status).toBe('failed'), 20_000);
  });

  test('forceLeave turns failed into left, and prune forgets', async () => {
    const [a, b, c] = [await start('a'), await start('b'), await start('c')];
    await b.join([a.address]);
    await c.join([a.address]);
    await poll(() => expect(b.stats().alive).toBe(3));
    await c.close();
    a.noteDead('c', 'test');
    await poll(() => expect(b.member('c')?.status).toBe('failed'));
    b.forceLeave('c');
    await poll(() => expect(a.member('c')?.status).toBe('left'));
    a.forceLeave('c', true);
    await poll(() => expect(b.member('c')).toBeUndefined());
    // A live member refutes a prune, and nobody loses sight of it.
    a.forceLeave('b', true);
    expect(a.member('b')?.status).toBe('leaving');
    await poll(() => expect(a.member('b')?.status).toBe('alive'));
  });

  test('keys: plain, strange and fitting ones', async () => {
    const key = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
    const lines: string[] = [];
    const a = await start('a', { keys: [key(1), key(2)] }, collectingLog(lines));
    const plain = await start('plain');
    const strange = await start('strange', { keys: [key(3)] });
    const fitting = await start('fitting', { keys: [key(2)] });
    expect((await plain.join([a.address])).errors).toMatchObject([{ code: 'REMOTE_ENCRYPTED', message: 'Remote state is encrypted and encryption is not configured' }]);
    expect((await strange.join([a.address])).errors).toMatchObject([{ code: 'WRONG_KEY', message: 'No installed keys could decrypt the message' }]);
    expect((await fitting.join([a.address])).errors).toMatchObject([{ code: 'WRONG_KEY' }]); // a answers with its primary key
    fitting.setKeys([key(2), key(1)]);
    expect(await fitting.join([a.address])).toEqual({ joined: 1, errors: [] });
    await poll(() => expect(statuses(a)).toEqual({ a: 'alive', fitting: 'alive' }));
    expect((await a.join([plain.address])).errors).toMatchObject([{ code: 'REMOTE_PLAINTEXT' }]);
    expect(lines.some((line) => line.includes('Encryption is configured but remote state is not encrypted'))).toBe(true);
    expect(() => a.setKeys([])).toThrow(TroupeError);
    expect(() => a.setKeys([new Uint8Array(5)])).toThrow('5 bytes');
  });

  test('join tells for each address what went wrong', async () => {
    const a = await start('a');
    const b = await start('b');
    const result = await b.join([{ host: '127.0.0.1', port: 1 }, a.address, { host: '127.0.0.1', port: 0 }]);
    expect(result.joined).toBe(1);
    expect(result.errors.map((error) => error.code).sort()).toEqual(['BAD_ADDRESS', 'REFUSED']);
    const aborted = AbortSignal.abort();
    expect((await b.join([a.address], aborted)).errors).toMatchObject([{ code: 'ABORTED' }]);
    expect(await b.join([b.address, b.address])).toEqual({ joined: 1, errors: [] });
  });

  test('what cannot be started says why', async () => {
    await expect(start('')).rejects.toMatchObject({ code: 'BAD_NODE_NAME' });
    await expect(start('x'.repeat(129))).rejects.toMatchObject({ code: 'BAD_NODE_NAME', fields: { size: 129 } });
    await expect(start('a', { tags: { t: 'x'.repeat(600) } })).rejects.toMatchObject({ code: 'TAGS_TOO_LARGE', message: expect.stringContaining('607 bytes') });
    await expect(start('a', { bind: { host: '0.0.0.0', port: 0 } })).rejects.toMatchObject({ code: 'ADVERTISE_NEEDED' });
    await expect(start('a', { keys: [new Uint8Array(3)] })).rejects.toMatchObject({ code: 'BAD_KEY' });
    const a = await start('a');
    await expect(start('b', { bind: a.address })).rejects.toMatchObject({ code: 'ADDRESS_IN_USE', message: expect.stringContaining(String(a.address.port)) });
    expect(() => a.setTags({ t: 'x'.repeat(600) })).toThrow(expect.objectContaining({ code: 'TAGS_TOO_LARGE' }));
  });

  test('a second node of the same name is a conflict that it and the others hear of', async () => {
    const a = await start('a');
    const b = await start('b');
    const other = await start('b');
    const conflicts: GossipEvent[] = [];
    for (const node of [a, other]) node.onEvent((event) => void (event.type === 'name-conflict' && conflicts.push(event)));
    await b.join([a.address]);
    await other.join([a.address]);
    await poll(() => expect(conflicts).toMatchObject([{ name: 'b', own: false, known: b.address, claimed: other.address }, { name: 'b', own: true, known: other.address, claimed: b.address }]));
    expect(a.member('b')?.address).toEqual(b.address);
  });

  test('a node that restarts at another address before its failure is noticed gets its name at once', async () => {
    const [a, c, old] = [await start('a'), await start('c'), await start('b')];
    await c.join([a.address]);
    await old.join([a.address]);
    await poll(() => expect(c.stats().alive).toBe(3));
    await old.close();
    const events: string[] = [];
    const b = await start('b');
    b.onEvent((event) => void events.push(event.type));
    await b.join([a.address]);
    for (const node of [a, c]) await poll(() => expect(node.member('b')).toMatchObject({ status: 'alive', address: b.address }), 2500);
    expect(events).not.toContain('name-lost');
  });

  test('of two nodes of one name the one that fewer others know is told that it lost', async () => {
    const [a, c, b, other] = [await start('a'), await start('c'), await start('b'), await start('b')];
    const lost: string[] = [];
    for (const [who, node] of [['b', b], ['other', other]] as const) node.onEvent((event) => void (event.type === 'name-lost' && lost.push(`${who} ${event.matching}/${event.responses}`)));
    await c.join([a.address]);
    await b.join([a.address]);
    await poll(() => expect(c.stats().alive).toBe(3));
    await other.join([a.address, b.address]);
    await poll(() => expect(lost.length).toBeGreaterThan(0));
    expect(lost).toEqual(['other 0/2']);
  });

  test('key queries install, use, list and remove; the last key and the primary stay', async () => {
    const key = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
    const text = (fill: number): string => Buffer.from(key(fill)).toString('base64');
    const kept: string[][] = [];
    const a = await start('a', { keys: [key(1)] });
    const b = await start('b', { keys: [key(1)], onKeysChanged: (keys) => void kept.push(keys.map((one) => Buffer.from(one).toString('base64'))) });
    await b.join([a.address]);
    const ask = (name: string, fill?: number): Promise<string[]> => new Promise((resolve) => {
      const answers: string[] = [];
      a.query(name, encodeKeyRequest(fill === undefined ? undefined : text(fill)), { timeoutMs: 300 }, (record) => {
        if (record.type === 'response') {
          const answer = decodeKeyAnswer(record.payload);
          answers.push(`${record.from} ${answer.ok} ${answer.message}${answer.keys.join()}`);
        } else if (record.type === 'done') resolve(answers.sort());
      });
    });
    expect(await ask(keyQuery.install, 2)).toEqual(['a true ', 'b true ']);
    expect(await ask(keyQuery.use, 2)).toEqual(['a true ', 'b true ']);
    expect(await ask(keyQuery.remove, 2)).toEqual(['a false Removing the primary key is not allowed', 'b false Removing the primary key is not allowed']);
    expect(await ask(keyQuery.remove, 1)).toEqual(['a true ', 'b true ']);
    expect(await ask(keyQuery.use, 3)).toEqual(['a false Requested key is not in the keyring', 'b false Requested key is not in the keyring']);
    expect(await ask(keyQuery.list)).toEqual([`a true ${text(2)}`, `b true ${text(2)}`]);
    expect(kept).toEqual([[text(1), text(2)], [text(2), text(1)], [text(2)]]);
    expect(() => encodeKeyRequest('no base64')).toThrow(expect.objectContaining({ code: 'BAD_KEY' }));
  });

  test('whoever changes keys hears when a member could not keep them; that member goes on with the new ones', async () => {
    const key = (fill: number): Uint8Array => new Uint8Array(32).fill(fill);
    let full = true;
    const a = await start('a', { keys: [key(1)] });
    const b = await start('b', { keys: [key(1)], onKeysChanged: () => (full ? Promise.reject(new Error('the disk is full')) : Promise.resolve()) });
    await b.join([a.address]);
    const text = Buffer.from(key(2)).toString('base64');
    const refused = await askKeys(a, 'install', text);
    expect(refused).toMatchObject({ error: '1/2 nodes reported failure', failures: 1, answers: 2 });
    expect(refused.messages.get('b')).toMatch(/was not kept: the disk is full/);
    expect(b.keys()).toHaveLength(2);
    full = false;
    expect((await askKeys(a, 'use', text)).error).toBe('');
    expect(a.keys()[0]).toEqual(key(2));
    await poll(() => expect(b.keys()[0]).toEqual(key(2)));
  });

  test('killer packets and noise leave it alive', async () => {
    const a = await start('a');
    const socket = await new UdpDatagrams().bind({ host: '127.0.0.1', port: 0 }, () => {});
    for (const packet of ['07010000', '0c00000000', '', 'ff', '0980', '04', '0883']) socket.send(Buffer.from(packet, 'hex'), a.address);
    await poll(() => expect(Object.values(a.stats().packetsRefused).reduce((sum, n) => sum + n, 0)).toBeGreaterThanOrEqual(6));
    await socket.close();
    const b = await start('b');
    expect((await b.join([a.address])).joined).toBe(1);
  });
});

describe('what strangers send over TCP', () => {
  /** Sends bytes and gives what comes back until the stream ends. */
  function exchange(to: Address, bytes: Uint8Array): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const parts: Buffer[] = [];
      const socket = net.connect(to.port, to.host, () => socket.write(bytes));
      socket.on('data', (part) => parts.push(part));
      socket.on('error', reject);
      socket.on('close', () => resolve(Buffer.concat(parts)));
      socket.on('end', () => socket.end());
    });
  }

  test('length bombs are refused with an error, at once and without taking memory (D6)', async () => {
    const a = await start('a');
    const before = process.memoryUsage();
    for (const bomb of ['0683a54e6f646573ce7fffffffac557365725374617465' + '4c656e00a44a6f696ec2', '0683a54e6f64657300ac5573657253746174654c656ece7fffffffa44a6f696ec2', '0881aa557365724d73674c656ece7fffffff', '0980', 'ff', '0282a55365714e6f01a75061796c6f6164c0']) {
      const answer = await exchange(a.address, Buffer.from(bomb, 'hex'));
      const plain = answer[0] === messageType.compress ? decompressMessage(answer, 1000) : answer;
      expect([bomb, plain[0]]).toEqual([bomb, messageType.error]);
    }
    expect(process.memoryUsage().rss - before.rss).toBeLessThan(64 * 1024 * 1024);
    expect(a.stats().streamsRefused).toBe(6);
  });

  test('a stream that never becomes a message is ended in time, and only so many are open at once', async () => {
    const a = await start('a', { limits: { streamsMax: 2 } });
    const began = performance.now();
    const slow = [exchange(a.address, Uint8Array.of(6)), exchange(a.address, Uint8Array.of(6))];
    await poll(async () => expect((await exchange(a.address, Uint8Array.of(6)).catch(() => Buffer.alloc(0))).length).toBe(0), 500);
    await Promise.allSettled(slow);
    expect(performance.now() - began).toBeLessThan(3000);
    const b = await start('b');
    expect((await b.join([a.address])).joined).toBe(1);
  });

  test('what is buffered is bounded over all streams', async () => {
    const a = await start('a', { limits: { streamBytesMax: 100_000 } });
    // A push/pull that announces 20,000,000 bytes of user state, and sends some of it.
    const header = Buffer.from('0683a54e6f64657300ac5573657253746174654c656ece01312d00a44a6f696ec2', 'hex');
    const answer = await exchange(a.address, Buffer.concat([header, Buffer.alloc(200_000)])).catch(() => Buffer.alloc(0));
    expect(a.stats().streamsRefused).toBe(1);
    expect(answer.length).toBeLessThan(1000);
  });
});

test('over IPv6', async () => {
  const a = await start('a', { bind: { host: '::1', port: 0 } });
  const b = await start('b', { bind: { host: '::1', port: 0 } });
  expect(await b.join([a.address])).toEqual({ joined: 1, errors: [] });
  await poll(() => expect(statuses(a)).toEqual({ a: 'alive', b: 'alive' }));
  expect(a.member('b')?.address).toEqual(b.address);
  await b.leave();
  await poll(() => expect(statuses(a)['b']).toBe('left'));
});

describe('user events and queries', () => {
  test('reach all, are answered, and are not kept for latecomers by a lone node', async () => {
    const a = await start('a');
    a.userEvent('early', Buffer.from('x'));
    a.query('early', new Uint8Array(0), { timeoutMs: 50 }, () => {});
    await poll(() => expect(a.stats()).toMatchObject({ eventQueue: 0, queryQueue: 0 }));
    const b = await start('b', { tags: { role: 'web' } });
    const seen: string[] = [];
    b.onEvent((event) => {
      if (event.type === 'user') seen.push(`event ${event.name} ${Buffer.from(event.payload).toString()}`);
      if (event.type === 'query') {
        seen.push(`query ${event.name}`);
        expect(event.respond(Buffer.from('pong'))).toBe(true);
        expect(event.respond(Buffer.from('pong'))).toBe(false);
      }
    });
    await b.join([a.address]);
    a.userEvent('deploy', Buffer.from('v2'));
    const records: string[] = [];
    a.query('ask', new Uint8Array(0), { tags: { role: '^w' }, acknowledge: true, timeoutMs: 500 }, (record) => records.push(record.type === 'done' ? 'done' : `${record.type} ${record.from}`));
    await poll(() => expect(records.at(-1)).toBe('done'));
    expect(records.sort()).toEqual(['ack b', 'done', 'response b']);
    await poll(() => expect(seen.sort()).toEqual(['event deploy v2', 'query ask']));
    expect(() => a.userEvent('big', new Uint8Array(600))).toThrow(expect.objectContaining({ code: 'EVENT_TOO_LARGE' }));
    expect(() => a.query('big', new Uint8Array(1100), {}, () => {})).toThrow(expect.objectContaining({ code: 'QUERY_TOO_LARGE' }));
  });
});
