import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { agentFlags } from '../../src/cli/agent-flags.ts';
import { program as commands } from '../../src/cli/program.ts';
import { readConfig } from '../../src/node/config.ts';
import { anyPorts, buildIfStale, cleanUp, program, temporaryDirectory, TestAgent, until, run } from '../cli/program.ts';
import { claimsOf, mismatch } from './console-blocks.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const documents = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...readdirSync(join(root, 'docs')).filter((file) => file.endsWith('.md')).map((file) => `docs/${file}`), 'examples/wikipedy/README.md'];
const textOf = (file: string): string => readFileSync(join(root, file), 'utf8');
const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts') && !file.startsWith('sim'));

describe('the commands in the documents', () => {
  let environment: NodeJS.ProcessEnv;

  beforeAll(async () => {
    buildIfStale();
    const directory = temporaryDirectory();
    mkdirSync(join(directory, 'bin'));
    symlinkSync(program, join(directory, 'bin/troupe'));
    const file = join(directory, 'troupe.json');
    writeFileSync(file, JSON.stringify({ apps: { wikipedy: { nodes: ['one'], module: join(root, 'examples/wikipedy/wikipedy.js') } } }));
    const agent = new TestAgent(['--config', file, '--dev', '--name', 'one', ...anyPorts, '--rpc-addr', '127.0.0.1:0']);
    const { http, rpc } = (await agent.ready()) as { http: string; rpc: string };
    environment = { ...process.env, TROUPE_HTTP: http, TROUPE_RPC_ADDR: rpc, PATH: `${join(directory, 'bin')}${delimiter}${process.env['PATH']}` };
    await until(async () => (await run(['apps'], { env: { TROUPE_HTTP: http } })).stdout.includes('running'), () => `wikipedy does not run: ${agent.stderr}`);
  });
  afterAll(cleanUp);

  test.each(documents.flatMap((file) => claimsOf(file, textOf(file))))('$place: $command', async ({ command, code, output }) => {
    const result = await shell(command, environment);
    expect(result.code, result.output).toBe(code);
    if (output.length > 0) expect(mismatch(output, result.output), `of:\n${result.output}`).toBeUndefined();
  });
});

function shell(command: string, env: NodeJS.ProcessEnv): Promise<{ code: number | null; output: string }> {
  const child = spawn('/bin/sh', ['-c', `${command} 2>&1`], { env, stdio: ['ignore', 'pipe', 'ignore'] });
  let output = '';
  child.stdout.on('data', (chunk) => (output += String(chunk)));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, output })));
}

describe('the documents are in step with the sources', () => {
  test('every error code is in docs/ERRORS.md', () => {
    const listed = new Set(textOf('docs/ERRORS.md').match(/`[A-Z][A-Z0-9_]+`/g)?.map((code) => code.slice(1, -1)));
    const found = new Map<string, string>();
    for (const file of sources) {
      for (const match of textOf(`src/${file}`).matchAll(/(?:TroupeError|refused|failed|errorResponse|say)\(\s*'([A-Z][A-Z0-9_]{2,})'|\bcode: '([A-Z][A-Z0-9_]{2,})'/g)) found.set((match[1] ?? match[2]) as string, file);
    }
    expect(found.size).toBeGreaterThan(60);
    expect([...found].filter(([code]) => !listed.has(code)).map(([code, file]) => `${code} (${file})`)).toEqual([]);
  });

  test('every flag of the agent is in docs/cli.md with its key, and every verb is named', async () => {
    const text = textOf('docs/cli.md');
    for (const { form, path } of agentFlags) expect(text, form).toContain(`| \`${form}\` | \`${path.join('.')}\` |`);
    for (const verb of (await commands()).commands) expect(text, verb.name()).toContain(`troupe ${verb.name()}`);
  });

  test('every key of the config file is in docs/config.md', () => {
    const text = textOf('docs/config.md');
    const keys = [...textOf('src/node/config-schema.ts').matchAll(/^ {2}(\w+): /gm)].map((match) => match[1] as string);
    expect(keys.length).toBeGreaterThan(30);
    expect(keys.filter((key) => !new RegExp(`\\b${key}\\b`).test(text))).toEqual([]);
  });

  test('every yaml block is a configuration that is accepted', () => {
    let count = 0;
    for (const file of documents) {
      for (const [, block] of textOf(file).matchAll(/^```yaml\n([\s\S]*?)^```$/gm)) {
        if (typeof parse(block as string) !== 'object') continue;
        readConfig({ text: block as string, file, defaultName: 'one', version: '1', resolvePath: (path) => path });
        count += 1;
      }
    }
    expect(count).toBeGreaterThan(3);
  });

  test('every link to a file leads somewhere', () => {
    for (const file of documents) {
      for (const [, target] of textOf(file).matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
        expect(() => readFileSync(join(root, file, '..', target as string)), `${file}: ${target}`).not.toThrow();
      }
    }
  });

  test('every runtime dependency has its reason in docs/DEPENDENCIES.md', () => {
    const { dependencies } = JSON.parse(textOf('package.json')) as { dependencies: Record<string, string> };
    const text = textOf('docs/DEPENDENCIES.md');
    expect(Object.keys(dependencies).filter((name) => !text.includes(`\`${name}\``))).toEqual([]);
  });
});

describe('mismatch()', () => {
  test('finds what differs, and accepts what may', () => {
    expect(mismatch(['a', 'b'], 'a\nb\n')).toBeUndefined();
    expect(mismatch(['a …', '…', 'z'], 'a bc\nx\ny\nz\n')).toBeUndefined();
    expect(mismatch(['a', 'b'], 'a\nc\n')).toBe('b');
    expect(mismatch(['a'], 'a\nb\n')).toBe('a');
    expect(mismatch(['{"v":…}'], '{"v":7}')).toBeUndefined();
  });
});
