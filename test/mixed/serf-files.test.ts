import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { readSnapshot } from '../../src/core/serf/snapshot.ts';
import { buildIfStale, cleanUp, temporaryDirectory, TestAgent, until } from '../cli/program.ts';
import { poll } from '../poll.ts';
import { freePort, SerfAgent, serfInstalled } from './serf-agent.ts';

const execute = promisify(execFile);
const theirs: SerfAgent[] = [];

async function real(name: string, host: string, options: readonly string[] = []): Promise<SerfAgent> {
  const agent = await SerfAgent.start(name, host, options);
  theirs.push(agent);
  return agent;
}

/** Our agent, and Debian's client to talk to it. */
class Ours {
  readonly agent: TestAgent;
  readonly #rpc: Promise<string>;

  constructor(name: string, address: string, ...flags: readonly string[]) {
    this.agent = new TestAgent(['-node', name, '-bind', address, '-peer', `${address.split(':')[0]}:0`, '-http', 'off', '-rpc-addr', '127.0.0.1:0', '-profile', 'local', ...flags]);
    this.#rpc = this.agent.ready().then((parts) => parts['rpc'] as string);
  }

  async ready(): Promise<this> {
    await this.#rpc;
    return this;
  }

  async command(verb: string, ...words: readonly string[]): Promise<string> {
    return (await execute('/usr/bin/serf', [verb, `-rpc-addr=${await this.#rpc}`, ...words])).stdout;
  }

  async statuses(): Promise<Record<string, string>> {
    const { members } = JSON.parse(await this.command('members', '-format=json')) as { members: { name: string; status: string }[] };
    return Object.fromEntries(members.map((member) => [member.name, member.status]));
  }

  async kill(): Promise<void> {
    this.agent.signal('SIGKILL');
    await this.agent.exited;
  }
}

const lines = (file: string): string[] => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter((line) => line !== '') : []);
const at = async (host: string): Promise<string> => `${host}:${await freePort(host)}`;

describe.skipIf(!serfInstalled)('files of real agents and of ours', () => {
  beforeAll(() => buildIfStale());
  afterEach(async () => {
    await Promise.all(theirs.splice(0).map((agent) => agent.kill()));
  });
  afterAll(cleanUp);

  test("ours goes on from a real agent's snapshot: back among all, and told once what it missed", async () => {
    const directory = temporaryDirectory();
    const snapshot = join(directory, 'snapshot');
    const address = await at('127.0.0.51');
    const peer = await real('peer', '127.0.0.52');
    const other = await real('other', '127.0.0.53');
    const first = await real('mover', '127.0.0.51', ['-bind', address, '-snapshot', snapshot]);
    await first.command('join', address, `${peer.address.host}:${peer.address.port}`, `${other.address.host}:${other.address.port}`);
    // It writes only when a line comes half a second after the last.
    await poll(async () => {
      await peer.command('event', 'seen', 'x');
      const read = readSnapshot(readFileSync(snapshot, 'utf8'), false);
      expect(read.alive.size).toBe(3);
      expect(read.eventTime).toBeGreaterThan(0);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }, 20_000);
    await first.kill();
    // Nothing of what it heard meanwhile is told again.
    const seenBefore = readSnapshot(readFileSync(snapshot, 'utf8'), false).eventTime;
    for (const payload of ['1', '2', '3']) await other.command('event', 'missed', payload);
    const log = join(directory, 'events');
    const ours = await new Ours('mover', address, '-snapshot', snapshot, '-event-handler', `user=echo "$SERF_USER_EVENT $SERF_USER_LTIME" >> ${log}`).ready();
    await poll(async () => expect(await ours.statuses()).toEqual({ mover: 'alive', peer: 'alive', other: 'alive' }));
    await poll(async () => expect(await peer.statuses()).toMatchObject({ mover: 'alive' }), 15_000);
    await poll(() => expect(lines(log).filter((line) => line.startsWith('missed'))).toHaveLength(3), 15_000);
    expect(new Set(lines(log)).size).toBe(lines(log).length);
    for (const line of lines(log)) expect(Number(line.split(' ')[1])).toBeGreaterThan(seenBefore);
    expect(readSnapshot(readFileSync(snapshot, 'utf8'), false)).toMatchObject({ badLines: 0, torn: false });
  });

  test('a real agent goes on from the snapshot of ours, which was killed', async () => {
    const directory = temporaryDirectory();
    const snapshot = join(directory, 'snapshot');
    const address = await at('127.0.0.54');
    const peer = await real('peer', '127.0.0.55');
    const ours = await new Ours('mover', address, '-snapshot', snapshot).ready();
    await ours.command('join', `${peer.address.host}:${peer.address.port}`);
    await peer.command('event', 'seen', 'x');
    await poll(() => expect(readSnapshot(readFileSync(snapshot, 'utf8'), false)).toMatchObject({ eventTime: 1, badLines: 0 }));
    expect(statSync(snapshot).mode & 0o777).toBe(0o600);
    await ours.kill();
    await poll(async () => expect((await peer.statuses())['mover']).toBe('failed'), 30_000);
    await peer.command('event', 'missed', '1');
    const back = await real('mover', '127.0.0.54', ['-bind', address, '-snapshot', snapshot]);
    await poll(async () => expect(await back.statuses()).toEqual({ mover: 'alive', peer: 'alive' }), 15_000);
    await poll(() => expect(back.output).toContain('missed'), 15_000);
    expect(back.output).toContain('Re-joined to previously known node');
    expect(back.output).not.toContain('Unrecognized snapshot line');
    expect(back.output.toLowerCase()).not.toContain('failed to parse');
    expect(back.output).not.toMatch(/user event: seen|EventUser.*seen/);
  });

  test('killed and started again, ours is soon back in the lists of real agents and of ours', async () => {
    const snapshot = join(temporaryDirectory(), 'snapshot');
    const address = await at('127.0.0.56');
    const peer = await real('peer', '127.0.0.57');
    const friend = await new Ours('friend', await at('127.0.0.58')).ready();
    const start = (): Ours => new Ours('mover', address, '-snapshot', snapshot);
    const ours = await start().ready();
    for (const each of [ours, friend]) await each.command('join', `${peer.address.host}:${peer.address.port}`);
    const everybody = { mover: 'alive', peer: 'alive', friend: 'alive' };
    await poll(async () => expect(await ours.statuses()).toEqual(everybody));
    await poll(async () => expect(await friend.statuses()).toEqual(everybody));
    await ours.kill();
    await poll(async () => expect((await peer.statuses())['mover']).toBe('failed'), 30_000);
    await poll(async () => expect((await friend.statuses())['mover']).toBe('failed'), 30_000);
    await start().ready();
    const began = performance.now();
    await poll(async () => {
      expect(await peer.statuses()).toEqual(everybody);
      expect(await friend.statuses()).toEqual(everybody);
    });
    // A second is what it takes; a loaded machine may need more for the clients that ask.
    expect(performance.now() - began).toBeLessThan(4000);
  });

  test('after a leave it stays away, until it is told to rejoin', async () => {
    const snapshot = join(temporaryDirectory(), 'snapshot');
    const address = await at('127.0.0.59');
    const peer = await real('peer', '127.0.0.60');
    let ours = await new Ours('mover', address, '-snapshot', snapshot, '-rejoin').ready();
    await ours.command('join', `${peer.address.host}:${peer.address.port}`);
    await poll(async () => expect((await peer.statuses())['mover']).toBe('alive'));
    const stop = async (): Promise<void> => {
      ours.agent.signal('SIGINT');
      await ours.agent.exited;
      await poll(async () => expect((await peer.statuses())['mover']).toBe('left'));
      expect(lines(snapshot).at(-1)).toBe('leave');
    };
    await stop();
    ours = await new Ours('mover', address, '-snapshot', snapshot, '-rejoin').ready();
    await poll(async () => expect((await peer.statuses())['mover']).toBe('alive'));
    await stop();
    ours = await new Ours('mover', address, '-snapshot', snapshot).ready();
    expect(await ours.statuses()).toEqual({ mover: 'alive' });
    expect((await peer.statuses())['mover']).toBe('left');
    await ours.kill();
  });

  test('keys are rotated through a mixed pool; each keyring file serves the other program', async () => {
    const directory = temporaryDirectory();
    const [oldKey, newKey] = [Buffer.alloc(32, 1).toString('base64'), Buffer.alloc(32, 2).toString('base64')];
    const [mine, yours] = [join(directory, 'mine'), join(directory, 'yours')];
    for (const file of [mine, yours]) writeFileSync(file, JSON.stringify([oldKey]));
    const ringOf = (file: string): string[] => JSON.parse(readFileSync(file, 'utf8')) as string[];
    const addresses = { ours: await at('127.0.0.61'), peer: await at('127.0.0.62') };
    const peer = await real('peer', '127.0.0.62', ['-bind', addresses.peer, '-keyring-file', yours]);
    const ours = await new Ours('ours', addresses.ours, '-keyring-file', mine).ready();
    await ours.command('join', addresses.peer);
    await poll(async () => expect(await peer.statuses()).toEqual({ ours: 'alive', peer: 'alive' }));
    expect(await peer.command('keys', '-install', newKey)).toContain('Successfully');
    await poll(() => expect(ringOf(mine)).toEqual([oldKey, newKey]));
    expect(await ours.command('keys', `-use=${newKey}`)).toContain('Successfully');
    await poll(() => expect([ringOf(mine)[0], ringOf(yours)[0]]).toEqual([newKey, newKey]));
    expect(await peer.command('keys', '-remove', oldKey)).toContain('Successfully');
    await poll(() => expect([ringOf(mine), ringOf(yours)]).toEqual([[newKey], [newKey]]));
    expect(statSync(mine).mode & 0o777).toBe(0o600);
    await Promise.all([ours.kill(), peer.kill()]);
    // And now with the files exchanged.
    const again = await real('peer', '127.0.0.62', ['-bind', addresses.peer, '-keyring-file', mine]);
    const oursAgain = await new Ours('ours', addresses.ours, '-keyring-file', yours).ready();
    await oursAgain.command('join', addresses.peer);
    await poll(async () => expect(await again.statuses()).toEqual({ ours: 'alive', peer: 'alive' }));
  });

  test("a cluster's own traffic follows the rotated keys: who comes back with only the new one is let in", async () => {
    const directory = temporaryDirectory();
    const [oldKey, newKey] = [Buffer.alloc(32, 3).toString('base64'), Buffer.alloc(32, 4).toString('base64')];
    const address = { a: await at('127.0.0.65'), b: await at('127.0.0.66') };
    const start = (name: 'a' | 'b'): Ours => new Ours(name, address[name], '-keyring-file', join(directory, name), '-data', join(directory, `data-${name}`), '-bootstrap-expect', '2', '-join', address[name === 'a' ? 'b' : 'a']);
    for (const name of ['a', 'b']) writeFileSync(join(directory, name), JSON.stringify([oldKey]));
    const [a, b] = [start('a'), start('b')];
    await Promise.all([a.ready(), b.ready()]);
    for (const change of [`-install=${newKey}`, `-use=${newKey}`, `-remove=${oldKey}`]) await a.command('keys', change);
    await poll(() => expect(JSON.parse(readFileSync(join(directory, 'b'), 'utf8'))).toEqual([newKey]));
    await b.kill();
    await start('b').ready(); // which it is only once it has a session with the cluster's leader
    // Its word against the others' that it failed may still be on its way.
    await poll(async () => expect(await a.statuses()).toEqual({ a: 'alive', b: 'alive' }));
    await a.kill();
  });

  test('the tags file keeps what was changed, for both programs', async () => {
    const file = join(temporaryDirectory(), 'tags.json');
    writeFileSync(file, JSON.stringify({ role: 'web', zone: 'a' }));
    const address = await at('127.0.0.63');
    const ours = await new Ours('ours', address, '-tags-file', file).ready();
    await ours.command('tags', '-set', 'lang=ts', '-delete', 'zone');
    await poll(() => expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ role: 'web', lang: 'ts' }));
    await ours.kill();
    const theirsNow = await real('ours', '127.0.0.63', ['-bind', address, '-tags-file', file]);
    expect(await theirsNow.tagsOf('ours')).toEqual({ role: 'web', lang: 'ts' });
    await theirsNow.command('tags', '-set', 'zone=b');
    await theirsNow.kill();
    const again = await new Ours('ours', address, '-tags-file', file).ready();
    expect(await again.command('members')).toMatch(/zone=b/);
    await again.kill();
  });

  test('a change that cannot be kept is refused by both programs: tags stay as they were, of keys the client is told', async () => {
    const key = Buffer.alloc(32, 3).toString('base64');
    const next = Buffer.alloc(32, 4).toString('base64');
    const answers: Record<string, { code: number; tags: string; keys: string }> = {};
    for (const kind of ['ours', 'theirs'] as const) {
      const directory = join(temporaryDirectory(), 'kept');
      mkdirSync(directory);
      writeFileSync(join(directory, 'keys'), JSON.stringify([key]));
      writeFileSync(join(directory, 'tags'), '{"role":"web"}');
      const address = await at(kind === 'ours' ? '127.0.0.67' : '127.0.0.68');
      const flags = ['-keyring-file', join(directory, 'keys'), '-tags-file', join(directory, 'tags')];
      const agent = kind === 'ours' ? await new Ours('one', address, ...flags).ready() : await real('one', address.split(':')[0] as string, flags);
      // A file where the directory was: not even root can write below it.
      renameSync(directory, `${directory}.away`);
      writeFileSync(directory, '');
      const attempt = (verb: string, ...words: string[]): Promise<{ code: number; output: string }> => agent.command(verb, ...words).then((output) => ({ code: 0, output }), (error: { code: number; stdout: string; stderr: string }) => ({ code: error.code, output: error.stdout + error.stderr }));
      const tags = await attempt('tags', '-set', 'role=db');
      expect(await agent.command('members')).toContain('role=web');
      const keys = await attempt('keys', '-install', next);
      answers[kind] = { code: tags.code, tags: tags.output, keys: keys.output };
      expect(keys.output).toContain('1/1 nodes reported failure');
      expect(await agent.command('keys', '-list')).toContain(next);
      await agent.kill();
    }
    expect(answers['ours']?.tags).toMatch(/^Error setting tags: .*not a directory/i);
    expect(answers['theirs']?.tags).toMatch(/^Error setting tags: .*not a directory/i);
  });

  test("an agent starts from Serf's own configuration: a directory, in the order of its names", async () => {
    const directory = temporaryDirectory();
    const address = await at('127.0.0.64');
    writeFileSync(join(directory, '20-more.json'), JSON.stringify({ tags: { b: '2' }, snapshot_path: 'snapshot', event_handlers: ['member-join=echo second >> joined'] }));
    writeFileSync(join(directory, '10-base.json'), JSON.stringify({ node_name: 'configured', bind: address, rpc_addr: '127.0.0.1:0', profile: 'local', tags: { a: '1', b: '1' } }));
    writeFileSync(join(directory, 'readme.txt'), 'no configuration');
    const agent = new TestAgent(['-config-dir', directory, '-http', 'off', '-peer', '127.0.0.1:0', '-tag', 'c=3'], { directory });
    const parts = await agent.ready();
    expect(parts).toMatchObject({ name: 'configured', gossip: address });
    // Go prints tags in no particular order.
    const shown = (await execute('/usr/bin/serf', ['members', `-rpc-addr=${parts['rpc']}`])).stdout;
    for (const tag of ['a=1', 'b=2', 'c=3']) expect(shown).toMatch(new RegExp(`^configured .*\\b${tag}`));
    await until(() => existsSync(join(directory, 'joined')) && existsSync(join(directory, 'snapshot')), () => agent.stderr);
    agent.signal('SIGKILL');
    await agent.exited;
  });
});
