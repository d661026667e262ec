import net from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { aesGcmCipher } from '../../src/host/aes-gcm-cipher.ts';
import { HostClock } from '../../src/host/clock.ts';
import { createRandom } from '../../src/host/random.ts';
import { TcpStreams } from '../../src/host/tcp.ts';
import { UdpDatagrams } from '../../src/host/udp.ts';
import { distanceSeconds, startGossip } from '../../src/node/gossip.ts';
import type { Gossip, GossipOptions } from '../../src/node/gossip.ts';
import { messageType } from '../../src/core/wire/gossip-messages.ts';
import { compressMessage, decompressMessage } from '../../src/core/wire/packet.ts';
import { encodePushPull, StreamAssembler } from '../../src/core/wire/stream-frames.ts';
import { formatAddress } from '../../src/ports/address.ts';
import { silentLog } from '../../src/ports/log.ts';
import { poll } from '../poll.ts';
import { SerfAgent, serfInstalled } from './serf-agent.ts';

const ours: Gossip[] = [];
const theirs: SerfAgent[] = [];
afterEach(async () => {
  await Promise.all([...ours.splice(0).map((gossip) => gossip.close()), ...theirs.splice(0).map((agent) => agent.kill())]);
});

async function node(name: string, host: string, options: Partial<GossipOptions> = {}): Promise<Gossip> {
  const ports = { datagrams: new UdpDatagrams(), streams: new TcpStreams(), clock: new HostClock(), random: createRandom(), cipher: aesGcmCipher, log: silentLog };
  const gossip = await startGossip({ name, bind: { host, port: 0 }, profile: 'local', tags: {}, ...options }, ports);
  ours.push(gossip);
  return gossip;
}

async function agent(name: string, host: string, options: readonly string[] = []): Promise<SerfAgent> {
  const started = await SerfAgent.start(name, host, options);
  theirs.push(started);
  return started;
}

const statuses = (gossip: Gossip): Record<string, string> => Object.fromEntries(gossip.members().map((member) => [member.name, member.status]));
const key = new Uint8Array(32).fill(5);
const encrypt = ['-encrypt', Buffer.from(key).toString('base64')];

describe.skipIf(!serfInstalled)('with real serf agents', () => {
  describe.each([
    { how: 'plain', own: {}, real: [] as string[] },
    { how: 'encrypted', own: { keys: [new Uint8Array(32).fill(9), key].reverse() }, real: encrypt },
    { how: 'encrypted, without compression', own: { keys: [key], compression: false }, real: [...encrypt, '-disable-compression'] },
    { how: 'plain, without compression', own: { compression: false }, real: ['-disable-compression'] },
  ])('$how', ({ own, real }) => {
    test('each sees the other, its tags and their change; a leave of ours', async () => {
      const a = await node('ours', '127.0.0.2', { ...own, tags: { role: 'web', lang: 'ts' } });
      const b = await agent('theirs', '127.0.0.3', [...real, '-tag', 'role=db']);
      expect(await a.join([b.address])).toEqual({ joined: 1, errors: [] });
      await poll(() => expect(statuses(a)).toEqual({ ours: 'alive', theirs: 'alive' }));
      await poll(async () => expect(await b.statuses()).toEqual({ ours: 'alive', theirs: 'alive' }));
      expect(a.member('theirs')).toMatchObject({ tags: { role: 'db' }, protocol: { min: 1, max: 5, current: 2 }, delegate: { min: 2, max: 5, current: 5 } });
      expect(await b.tagsOf('ours')).toEqual({ role: 'web', lang: 'ts' });
      a.setTags({ role: 'cache' });
      await poll(async () => expect(await b.tagsOf('ours')).toEqual({ role: 'cache' }));
      await b.command('tags', '-set', 'zone=1', '-delete', 'role');
      await poll(() => expect(a.member('theirs')?.tags).toEqual({ zone: '1' }));
      await a.leave();
      await poll(async () => expect((await b.statuses())['ours']).toBe('left'));
      expect(b.output).not.toContain('EventMemberFailed');
    });

    test('it joins us, and leaves', async () => {
      const a = await node('ours', '127.0.0.2', own);
      const b = await agent('theirs', '127.0.0.3', real);
      expect(await b.command('join', formatAddress(a.address))).toContain('Successfully joined');
      await poll(() => expect(statuses(a)).toEqual({ ours: 'alive', theirs: 'alive' }));
      const seen: string[] = [];
      a.onEvent((event) => void seen.push(event.type));
      await b.command('leave');
      await poll(() => expect(statuses(a)['theirs']).toBe('left'));
      expect(seen).toEqual(['member-leave']);
    });
  });

  test('compressing what it compressed gives its very bytes', async () => {
    const b = await agent('theirs', '127.0.0.3', ['-tag', `long=${'abcabcabd'.repeat(40)}`]);
    const request = encodePushPull({ join: false, nodes: [], userState: new Uint8Array(0) });
    const answer = await new Promise<Buffer>((resolve, reject) => {
      const parts: Buffer[] = [];
      const socket = net.connect(b.address.port, b.address.host, () => socket.write(request));
      socket.on('data', (part) => parts.push(part));
      socket.on('error', reject);
      socket.on('close', () => resolve(Buffer.concat(parts)));
    });
    expect(answer[0]).toBe(messageType.compress);
    const plain = decompressMessage(answer, 1_000_000);
    expect(Buffer.from(compressMessage(plain)).equals(answer)).toBe(true);
    const read = new StreamAssembler({ cipher: aesGcmCipher, keys: [] }).push(plain);
    expect(read?.type === 'push-pull' && Buffer.from(encodePushPull(read.state)).equals(plain)).toBe(true);
  });

  test('it is killed: failed; it comes back with the same name and address', async () => {
    const a = await node('ours', '127.0.0.2');
    const b = await agent('theirs', '127.0.0.3');
    await a.join([b.address]);
    await poll(() => expect(statuses(a)['theirs']).toBe('alive'));
    await b.kill();
    await poll(() => expect(statuses(a)['theirs']).toBe('failed'), 20_000);
    const again = await agent('theirs', '127.0.0.3', ['-bind', formatAddress(b.address)]);
    await poll(() => expect(statuses(a)['theirs']).toBe('alive'), 20_000);
    await poll(async () => expect((await again.statuses())['ours']).toBe('alive'));
  });

  test('ours dies: failed; force-leave makes it left', async () => {
    const a = await node('ours', '127.0.0.2');
    const c = await node('other', '127.0.0.4');
    const b = await agent('theirs', '127.0.0.3');
    await a.join([b.address]);
    await c.join([b.address]);
    await poll(() => expect(statuses(c)).toEqual({ ours: 'alive', theirs: 'alive', other: 'alive' }));
    await a.close();
    await poll(async () => expect((await b.statuses())['ours']).toBe('failed'), 30_000);
    await poll(() => expect(statuses(c)['ours']).toBe('failed'), 30_000);
    c.forceLeave('ours');
    await poll(async () => expect((await b.statuses())['ours']).toBe('left'));
    await b.command('force-leave', '-prune', 'ours');
    await poll(() => expect(c.member('ours')).toBeUndefined());
  });

  test('noteDead is believed by a real agent; a wrong one is refuted by a real agent', async () => {
    const a = await node('ours', '127.0.0.2');
    const b = await agent('theirs', '127.0.0.3');
    const c = await agent('dying', '127.0.0.4');
    await a.join([b.address, c.address]);
    await poll(async () => expect(await b.statuses()).toEqual({ ours: 'alive', theirs: 'alive', dying: 'alive' }));
    a.noteDead('theirs', 'a mistake');
    expect(a.member('theirs')?.status).toBe('failed');
    await poll(() => expect(a.member('theirs')?.status).toBe('alive'));
    await c.kill();
    a.noteDead('dying', 'its connections were refused');
    await poll(async () => expect((await b.statuses())['dying']).toBe('failed'), 2000);
  });

  test('three real agents and two of ours, gossip in both directions, one of each dies', async () => {
    const agents = [await agent('r1', '127.0.0.11', encrypt), await agent('r2', '127.0.0.12', encrypt), await agent('r3', '127.0.0.13', encrypt)] as const;
    const nodes = [await node('t1', '127.0.0.21', { keys: [key] }), await node('t2', '127.0.0.22', { keys: [key] })] as const;
    await nodes[0].join([agents[0].address]);
    await agents[1].command('join', formatAddress(nodes[0].address));
    await agents[2].command('join', formatAddress(agents[1].address));
    await nodes[1].join([agents[2].address]);
    const all = { r1: 'alive', r2: 'alive', r3: 'alive', t1: 'alive', t2: 'alive' };
    for (const gossip of nodes) await poll(() => expect(statuses(gossip)).toEqual(all), 20_000);
    for (const real of agents) await poll(async () => expect(await real.statuses()).toEqual(all), 20_000);
    await agents[2].kill();
    await nodes[1].close();
    const after = { ...all, r3: 'failed', t2: 'failed' };
    await poll(() => expect(statuses(nodes[0])).toEqual(after), 40_000);
    for (const real of agents.slice(0, 2)) await poll(async () => expect(await real.statuses()).toEqual(after), 40_000);
  });

  test('user events and queries go both ways', async () => {
    const a = await node('ours', '127.0.0.2', { tags: { role: 'web' }, userEventBytesMax: 9216 });
    const b = await agent('theirs', '127.0.0.3', ['-event-handler', 'query:hello=echo "hello from serf"']);
    await a.join([b.address]);
    await poll(async () => expect((await b.statuses())['ours']).toBe('alive'));
    const events: string[] = [];
    a.onEvent((event) => {
      if (event.type === 'user') events.push(`${event.name}=${Buffer.from(event.payload).toString()}`);
      if (event.type === 'query') event.respond(Buffer.from(`answer to ${event.name}`));
    });
    await b.command('event', '-coalesce=false', 'deploy', 'v7');
    await poll(() => expect(events).toContain('deploy=v7'));
    a.userEvent('fromus', Buffer.from('x'));
    await poll(() => expect(b.output).toContain('fromus'));
    a.userEvent('large', new Uint8Array(9000).fill(120));
    await poll(() => expect(b.output).toContain('large'));
    const answer = await b.command('query', '-timeout=1s', '-tag', 'role=w.b', 'load');
    expect(answer).toContain("Ack from 'ours'");
    expect(answer).toContain("Response from 'ours': answer to load");
    const records: string[] = [];
    a.query('hello', new Uint8Array(0), { nodes: ['theirs'], acknowledge: true, timeoutMs: 1500 }, (record) => {
      records.push(record.type === 'response' ? `${record.from}: ${Buffer.from(record.payload).toString().trim()}` : record.type);
    });
    await poll(() => expect(records.at(-1)).toBe('done'));
    expect(records.sort()).toEqual(['ack', 'done', 'theirs: hello from serf']);
    expect(await b.command('reachability')).toContain('Successfully contacted all live nodes');
  });

  test('each estimates the round trip to the other', async () => {
    const a = await node('ours', '127.0.0.2');
    const b = await agent('theirs', '127.0.0.3');
    await a.join([b.address]);
    await poll(() => expect(a.coordinate('theirs')?.Vec).toHaveLength(8));
    const estimate = distanceSeconds(a.coordinate('ours')!, a.coordinate('theirs')!);
    expect(estimate).toBeGreaterThan(0);
    expect(estimate).toBeLessThan(1);
    await poll(async () => expect(await b.command('rtt', 'ours', 'theirs')).toMatch(/Estimated ours <-> theirs rtt: [\d.]+ ms/));
  });

  test('it rotates the keys of the whole pool', async () => {
    const a = await node('ours', '127.0.0.2', { keys: [key] });
    const b = await agent('theirs', '127.0.0.3', encrypt);
    await a.join([b.address]);
    await poll(async () => expect((await b.statuses())['ours']).toBe('alive'));
    const next = Buffer.alloc(32, 7).toString('base64');
    expect(await b.command('keys', '-install', next)).toContain('Successfully installed');
    expect(await b.command('keys', '-use', next)).toContain('Successfully changed primary');
    expect(await b.command('keys', '-remove', Buffer.from(key).toString('base64'))).toContain('Successfully removed');
    expect((await b.command('keys', '-list')).replaceAll(/ +/g, ' ')).toContain(`${next} [2/2]`);
    expect(a.keys().map((one) => Buffer.from(one).toString('base64'))).toEqual([next]);
    const before = a.stats();
    await poll(() => expect(a.stats().packetsReceived).toBeGreaterThan(before.packetsReceived + 3));
    expect(a.stats().packetsRefused).toEqual(before.packetsRefused);
  });

  test('keys that do not fit: both sides say so', async () => {
    const a = await node('ours', '127.0.0.2', { keys: [new Uint8Array(32).fill(1)] });
    const plain = await agent('plain', '127.0.0.3');
    const strange = await agent('strange', '127.0.0.4', encrypt);
    expect((await a.join([plain.address])).errors).toMatchObject([{ code: expect.stringMatching(/REMOTE_PLAINTEXT/) }]);
    expect((await a.join([strange.address])).errors).toMatchObject([{ code: 'WRONG_KEY' }]);
    expect(await plain.command('join', formatAddress(a.address))).toContain('Remote state is encrypted and encryption is not configured');
    expect(await strange.command('join', formatAddress(a.address))).toContain('No installed keys could decrypt the message');
  });

  test('in quiet neither side suspects the other nor refuses a packet', async () => {
    const a = await node('ours', '127.0.0.2');
    const b = await agent('theirs', '127.0.0.3');
    await a.join([b.address]);
    const bad: string[] = [];
    a.onEvent((event) => void bad.push(event.type));
    await poll(async () => expect((await b.statuses())['ours']).toBe('alive'));
    bad.length = 0;
    const before = a.stats().packetsReceived;
    await poll(() => expect(a.stats().packetsReceived).toBeGreaterThan(before + 20), 40_000);
    expect(bad).toEqual([]);
    expect(b.output).not.toMatch(/suspect|EventMemberFailed|\[ERR\]/i);
    expect(a.stats().packetsRefused).toEqual({});
  });
});
