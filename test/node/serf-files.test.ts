import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { textFiles } from '../../src/host/text-files.ts';
import { AgentEvents } from '../../src/node/agent-events.ts';
import type { Gossip, GossipEvent } from '../../src/node/gossip-types.ts';
import type { Files } from '../../src/ports/files.ts';
import { KeptFile } from '../../src/agent/kept-file.ts';
import { HandClock } from '../live-nodes/support.ts';
import { poll } from '../poll.ts';
import { keyringText, openSerfFiles, readKeyring, readTags } from '../../src/agent/serf-files.ts';
import { readConfig } from '../../src/node/config.ts';
import { HostClock } from '../../src/host/clock.ts';
import { createRandom } from '../../src/host/random.ts';
import { silentLog } from '../../src/ports/log.ts';

const directory = mkdtempSync(join(tmpdir(), 'troupe-files-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const holding = (text: string | undefined): Files => ({ ...textFiles, read: () => Promise.resolve(text) });
const key = Buffer.alloc(32, 1).toString('base64');

describe('readKeyring()', () => {
  test('reads what keyringText() wrote, the first first', async () => {
    const keys = [new Uint8Array(32).fill(3), new Uint8Array(16).fill(4)];
    expect(await readKeyring(holding(keyringText(keys)), 'file')).toEqual(keys);
  });

  test.each([
    ['{}', 'it holds no list'], ['[]', 'it holds no list'], ['[1]', 'entry 1 is no base64'], [`["${key}", "x"]`, 'entry 2 is no base64'], ['["AAAA"]', 'entry 1 has 3 bytes'], ['[', 'JSON'],
  ])('refuses %s', async (text, why) => {
    await expect(readKeyring(holding(text), 'file')).rejects.toMatchObject({ code: 'BAD_KEY', message: expect.stringContaining(why) as string });
  });

  test('refuses a file that is not there', async () => {
    await expect(readKeyring(textFiles, join(directory, 'none'))).rejects.toMatchObject({ code: 'FILE_UNREADABLE' });
  });
});

describe('readTags()', () => {
  test('a file that is missing or empty is no tags', async () => {
    expect(await readTags(textFiles, join(directory, 'none'))).toEqual({});
    expect(await readTags(holding(' \n'), 'file')).toEqual({});
  });

  test.each(['[]', '{"a":1}', 'null', '{"__proto__":"x"}', 'x'])('refuses %s', async (text) => {
    await expect(readTags(holding(text), 'file')).rejects.toMatchObject({ code: 'BAD_TAGS_FILE' });
  });

  test('any text is tags, keys, or a coded refusal', async () => {
    await fc.assert(fc.asyncProperty(fc.oneof(fc.string(), fc.json()), async (text) => {
      await readTags(holding(text), 'file').then((tags) => expect(Object.values(tags).every((each) => typeof each === 'string')).toBe(true), (error: unknown) => expect(error).toMatchObject({ code: 'BAD_TAGS_FILE' }));
      await readKeyring(holding(text), 'file').then((keys) => expect(keys.length).toBeGreaterThan(0), (error: unknown) => expect(error).toMatchObject({ code: 'BAD_KEY' }));
    }));
  });
});

describe('openSerfFiles()', () => {
  const open = (file: unknown): ReturnType<typeof openSerfFiles> =>
    openSerfFiles(readConfig({ object: file, defaultName: 'one', version: '1', resolvePath: (path) => join(directory, path) }), { clock: new HostClock(), random: createRandom(), log: silentLog });

  test('an interface becomes the address to bind to; one that is not there is refused with those that are', async () => {
    const files = await open({ gossip: { interface: 'lo', bind: '0.0.0.0:7000' } });
    expect(files.options.gossip.bind).toEqual({ host: '127.0.0.1', port: 7000 });
    await files.close();
    await expect(open({ gossip: { interface: 'lo9' } })).rejects.toMatchObject({ code: 'NO_SUCH_INTERFACE', message: expect.stringMatching(/it has .*lo/) as string });
    await expect(open({ gossip: { interface: 'lo', bind: '10.255.255.1' } })).rejects.toMatchObject({ code: 'NO_SUCH_INTERFACE' });
  });

  test('keys and tags come from their files', async () => {
    writeFileSync(join(directory, 'keys'), JSON.stringify([key]));
    writeFileSync(join(directory, 'tags'), '{"zone":"b"}');
    const files = await open({ gossip: { keyringFile: 'keys' }, tagsFile: 'tags' });
    expect(files.options).toMatchObject({ tags: { zone: 'b' }, zone: 'b' });
    expect(files.options.gossip.keys).toHaveLength(1);
    await files.close();
  });
});

describe('KeptFile', () => {
  const kept = (): { file: KeptFile; clock: HandClock; written: string[]; disk: { full: boolean } } => {
    const [written, disk, clock] = [[] as string[], { full: false }, new HandClock()];
    const write = (_: string, text: string): Promise<void> => (disk.full ? Promise.reject(new Error('full')) : Promise.resolve(void written.push(text)));
    return { file: new KeptFile('file', write, clock, silentLog), clock, written, disk };
  };

  test('of several changes writes the newest, and tells all', async () => {
    const { file, written } = kept();
    await Promise.all(['a', 'b', 'c'].map((text) => file.write(text)));
    expect(written).toEqual(['a', 'c']);
  });

  test('says at once that it could not, and tries again by itself, also at the end', async () => {
    const { file, clock, written, disk } = kept();
    disk.full = true;
    await expect(file.write('a')).rejects.toThrow('full');
    disk.full = false;
    await clock.advance(5000);
    await poll(() => expect(written).toEqual(['a']));
    disk.full = true;
    await expect(file.write('b')).rejects.toThrow('full');
    disk.full = false;
    await file.close();
    expect(written).toEqual(['a', 'b']);
  });

  test('does not try again what was given up', async () => {
    const { file, clock, written, disk } = kept();
    disk.full = true;
    await expect(file.write('a')).rejects.toThrow('full');
    file.giveUp();
    disk.full = false;
    await clock.advance(60_000);
    await file.close();
    expect(written).toEqual([]);
  });
});

test('AgentEvents tells its first listener what came before it', () => {
  let tell: (event: GossipEvent) => void = () => {};
  const gossip: Pick<Gossip, 'members' | 'onEvent'> = {
    members: () => [],
    onEvent: (listener) => {
      tell = listener;
      return () => {};
    },
  };
  const events = new AgentEvents(gossip, new HostClock());
  const user = (name: string): GossipEvent => ({ type: 'user', name, payload: new Uint8Array(0), lamportTime: 1, coalesce: false });
  tell(user('a'));
  const seen: string[] = [];
  const note = (event: { readonly type: string; readonly name?: string }): void => void seen.push(`${event.type} ${event.name}`);
  events.onEvent(note as never);
  tell(user('b'));
  events.onEvent((event) => void seen.push(`second ${event.type}`));
  expect(seen).toEqual(['user a', 'user b']);
  events.close();
});
