import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { parse } from 'yaml';

// The module is the user's own; what defineApp adds is types, so the identity stands in for it.
vi.mock('troupe', () => ({ defineApp: (app: unknown) => app }));

type Instance = { stop(): Promise<{ printed: number }> };
type App = { start(context: Record<string, unknown>): Promise<Instance> };
type Entries = {
  days: string[];
  pairsOf(entries: unknown): [string, string][];
  randomEntry(get: (key: string) => Promise<string | undefined>): Promise<string | undefined>;
};

const folder = new URL('../../examples/wikipedy/', import.meta.url);
const load = async (file: string): Promise<unknown> => import(/* @vite-ignore */ fileURLToPath(new URL(file, folder)));
const entries = (await load('entries.js')) as Entries;
const app = ((await load('wikipedy.js')) as { default: App }).default;
const list = JSON.parse(readFileSync(new URL('../demo/on-this-day.json', folder), 'utf8')) as { day: string }[];
const stored = new Map(entries.pairsOf(list));
const line = /^\[(\d+)\] \d{1,2} [A-Z][a-z]+ \d+( BC)?: \S.*\.$/;
const silent = { info() {}, warn() {} };

describe('the key scheme', () => {
  test('gives every day a count, and an entry under each index below it', () => {
    expect(stored.size).toBe(list.length + 366);
    for (const day of entries.days) {
      const count = Number(stored.get(`on-this-day:count:${day}`));
      expect(count).toBe(list.filter((entry) => entry.day === day).length);
      for (let index = 0; index < count; index += 1) expect(stored.get(`on-this-day:${day}:${index}`)).toMatch(/^\d+( BC)?: /);
    }
  });

  test('keys the README\'s examples as the README says', () => {
    expect(stored.get('on-this-day:count:07-20')).toBe('4');
    expect(stored.get('on-this-day:07-20:2')).toMatch(/^1969: Apollo 11 lands on the Moon /);
    expect(stored.get('on-this-day:03-15:0')).toBe('44 BC: Julius Caesar is murdered by senators in Rome.');
  });

  test('randomEntry() gives undefined when the store is empty', async () => {
    expect(await entries.randomEntry(async () => undefined)).toBeUndefined();
  });
});

describe('the module', () => {
  let printed: string[];
  beforeEach(() => {
    printed = [];
    vi.spyOn(console, 'log').mockImplementation((text: string) => void printed.push(text));
  });
  afterEach(() => vi.restoreAllMocks());

  const start = async (context: Record<string, unknown>, get?: (key: string) => Promise<unknown>): Promise<Instance> => {
    const bytes = async (key: string): Promise<unknown> => (stored.has(key) ? { value: new TextEncoder().encode(stored.get(key)), version: 1 } : undefined);
    const node = { name: 'slave-a', config: { intervalMs: 1 }, keyspace: () => ({ get: get ?? bytes }) };
    return app.start({ type: 'normal', epoch: 1, signal: new AbortController().signal, log: silent, node, ...context });
  };

  test.each([
    [{ type: 'normal' }, 'started on slave-a'],
    [{ type: 'local' }, 'started on slave-a'],
    [{ type: 'failover', from: 'master' }, 'master is failing over to slave-a'],
    [{ type: 'takeover', from: 'slave-b' }, 'slave-a is taking over slave-b'],
  ])('announces the start %j', async (context, announced) => {
    const instance = await start(context);
    expect(printed[0]).toBe(announced);
    await instance.stop();
  });

  test('prints numbered entries, hands the count over and goes on from it', async () => {
    const first = await start({});
    await expect.poll(() => printed.length, { timeout: 5_000 }).toBeGreaterThan(3);
    const state = await first.stop();
    expect(state).toEqual({ printed: printed.length - 1 });
    const before = printed.length;
    const second = await start({ type: 'takeover', from: 'slave-b', handover: state });
    await expect.poll(() => printed.length, { timeout: 5_000 }).toBeGreaterThan(before + 2);
    expect((await second.stop()).printed).toBeGreaterThan(state.printed);
    const numbers = printed.flatMap((text) => line.exec(text)?.[1] ?? []).map(Number);
    expect(numbers).toEqual(Array.from({ length: printed.length - 2 }, (_, index) => index + 1));
  });

  test('survives reads that fail, and counts only what it printed', async () => {
    let reads = 0;
    const instance = await start({}, async (key) => {
      reads += 1;
      if (reads % 3 === 0) throw new Error('no primary');
      return { value: stored.get(key), version: 1 };
    });
    await expect.poll(() => printed.length, { timeout: 5_000 }).toBeGreaterThan(3);
    expect(await instance.stop()).toEqual({ printed: printed.length - 1 });
  });

  test('prints nothing more once its signal is aborted, even while a read is under way', async () => {
    const right = new AbortController();
    let answer: ((value: unknown) => void) | undefined;
    const instance = await start({ signal: right.signal }, (key) => (key.includes('count') ? Promise.resolve({ value: '1' }) : new Promise((resolve) => (answer = resolve))));
    await expect.poll(() => answer, { timeout: 5_000 }).toBeDefined();
    right.abort();
    answer?.({ value: '1969: Late.' });
    expect(await instance.stop()).toEqual({ printed: 0 });
    expect(printed).toEqual(['started on slave-a']);
  });
});

describe('the command', () => {
  let server: Server;
  let folderOfState: string;
  const held = new Map<string, string>();

  beforeEach(async () => {
    held.clear();
    folderOfState = mkdtempSync(join(tmpdir(), 'wikipedy-'));
    server = createServer((socket) => {
      let text = '';
      socket.setEncoding('utf8').on('error', () => {}).on('data', (chunk: string) => {
        text += chunk;
        for (let hit = /^(?:get (\S+)|set (\S+) 0 0 (\d+)\r\n(.*))\r\n/.exec(text); hit !== null; hit = /^(?:get (\S+)|set (\S+) 0 0 (\d+)\r\n(.*))\r\n/.exec(text)) {
          text = text.slice(hit[0].length);
          const [, read, written, length, value = ''] = hit;
          if (written !== undefined) {
            if (Buffer.byteLength(value) === Number(length)) held.set(written, value);
            socket.write(Buffer.byteLength(value) === Number(length) ? 'STORED\r\n' : 'CLIENT_ERROR bad data chunk\r\n');
          } else {
            const found = held.get(read ?? '');
            socket.write(found === undefined ? 'END\r\n' : `VALUE ${read} 0 ${Buffer.byteLength(found)}\r\n${found}\r\nEND\r\n`);
          }
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  });
  afterEach(async () => {
    await new Promise((resolve) => server.close(resolve));
    rmSync(folderOfState, { recursive: true });
  });

  const address = (): string => `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const run = (file: string, args: string[], env: Record<string, string>) => {
    const child = spawn(process.execPath, [fileURLToPath(new URL(file, folder)), ...args], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const out = { text: '', errors: '' };
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => (out.text += chunk));
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (out.errors += chunk));
    const code = new Promise<number | null>((resolve) => child.on('close', resolve));
    return { child, out, code };
  };

  test('load.js stores every key; the command prints, goes on counting and hands over at SIGTERM', async () => {
    const loading = run('load.js', [address()], {});
    expect(await loading.code, loading.out.errors).toBe(0);
    expect(held).toEqual(stored);

    const handover = join(folderOfState, 'handover.json');
    writeFileSync(handover, '{"printed":41}');
    const { child, out, code } = run('command.js', [], {
      TROUPE_APP: 'wikipedy', TROUPE_NODE: 'master', TROUPE_START_TYPE: 'takeover', TROUPE_FROM: 'slave-b', TROUPE_EPOCH: '4',
      TROUPE_HANDOVER: handover, WIKIPEDY_MEMCACHED: address(), WIKIPEDY_INTERVAL_MS: '5',
    });
    await expect.poll(() => out.text.split('\n').length, { timeout: 20_000 }).toBeGreaterThan(4);
    child.kill('SIGTERM');
    expect(await code, out.errors).toBe(0);
    const lines = out.text.trimEnd().split('\n');
    expect(lines[0]).toBe('master is taking over slave-b');
    expect(lines.slice(1).map((text) => Number(line.exec(text)?.[1]))).toEqual(lines.slice(1).map((_, index) => 42 + index));
    expect(JSON.parse(readFileSync(handover, 'utf8'))).toEqual({ printed: 40 + lines.length });
  });

  test('starts from nothing on a torn handover, and waits while the store is empty', async () => {
    const handover = join(folderOfState, 'handover.json');
    writeFileSync(handover, '{"prin');
    const { child, out, code } = run('command.js', [], {
      TROUPE_NODE: 'slave-a', TROUPE_START_TYPE: 'failover', TROUPE_FROM: 'master', TROUPE_HANDOVER: handover,
      WIKIPEDY_MEMCACHED: address(), WIKIPEDY_INTERVAL_MS: '5',
    });
    await expect.poll(() => out.errors, { timeout: 20_000 }).toContain('holds no entry');
    child.kill('SIGTERM');
    expect(await code).toBe(0);
    expect(out.text).toBe('master is failing over to slave-a\n');
    expect(JSON.parse(readFileSync(handover, 'utf8'))).toEqual({ printed: 0 });
  });
});

describe('the config files', () => {
  const names = ['master', 'slave-a', 'slave-b'];
  const texts = names.map((name) => readFileSync(new URL(`${name}.yaml`, folder), 'utf8'));

  test('stand in the README as they are', () => {
    const readme = readFileSync(new URL('README.md', folder), 'utf8');
    for (const text of texts) expect(readme).toContain(`\`\`\`yaml\n${text}\`\`\``);
  });

  test('agree on the app and the keyspace, and name each other', () => {
    const configs = texts.map((text) => parse(text) as Record<string, unknown> & { gossip: { bind: string }; discovery: { home: { hosts: string[] } } });
    expect(configs.map((config) => config['name'])).toEqual(names);
    for (const config of configs) {
      expect(config['apps']).toEqual(configs[0]?.['apps']);
      expect(config['keyspaces']).toEqual(configs[0]?.['keyspaces']);
      const others = configs.filter((other) => other !== config).map((other) => other.gossip.bind);
      expect(config.discovery.home.hosts).toEqual(others);
    }
  });
});
