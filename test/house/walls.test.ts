import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
/** A house with the same walls and next to nothing in it: what is planted there disturbs nobody. */
let house = '';

beforeAll(() => {
  house = mkdtempSync(join(tmpdir(), 'troupe-walls-'));
  cpSync(`${root}.oxlintrc.json`, join(house, '.oxlintrc.json'));
  mkdirSync(join(house, 'src/base'), { recursive: true });
  cpSync(`${root}src/base/assert.ts`, join(house, 'src/base/assert.ts'));
});

afterAll(() => rmSync(house, { recursive: true, force: true }));

/** Plants a file in a room, lints it, and gives what the lint says. */
function lintPlanted(room: string, text: string): { code: number; output: string } {
  const directory = join(house, 'src', room, 'planted');
  mkdirSync(directory, { recursive: true });
  try {
    writeFileSync(join(directory, 'planted.ts'), text);
    const result = spawnSync(`${root}node_modules/.bin/oxlint`, ['--deny-warnings', join(directory, 'planted.ts')], { cwd: house, encoding: 'utf8' });
    return { code: result.status ?? 1, output: result.stdout + result.stderr };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

describe('the walls between the rooms', () => {
  const forbidden: [room: string, line: string][] = [
    ['core/raft', `import '../../../host/clock.ts';`],
    ['core/raft', `import '../../control/map.ts';`],
    ['core/store', `import '../../replica/copy.ts';`],
    ['core/control', `import '../../../ports/clock.ts';`],
    ['core/swim', `import '../../serf/serf.ts';`],
    ['base', `import '../../ports/clock.ts';`],
    ['ports', `import '../../host/udp.ts';`],
    ['discovery', `import '../../node/create-node.ts';`],
    ['node', `import '../../host/udp.ts';`],
    ['node', `import 'node:fs';`],
    ['node', `import 'lmdb';`],
    ['sim', `import '../../host/udp.ts';`],
    ['frontends', `import '../../node/create-node.ts';`],
    ['core/raft', `import 'node:fs';`],
  ];
  test.each(forbidden)('src/%s may not say %s', (room, line) => {
    const { code, output } = lintPlanted(room, `${line}\n`);
    expect(output).toContain('no-restricted-imports');
    expect(code).not.toBe(0);
  });

  const impure: [what: string, line: string, rule: string][] = [
    ['the wall clock', 'export const planted: number = Date.now();', 'no-restricted-globals'],
    ['global randomness', 'export const planted: number = Math.random();', 'no-restricted-properties'],
    ['a timer', 'setTimeout(() => {}, 1);', 'no-restricted-globals'],
    ['a promise', 'export const planted: unknown = Promise.resolve(1);', 'no-restricted-globals'],
    ['an async function', 'export async function planted(): globalThis.Promise<void> {}', 'no-async-await'],
    ['a Buffer', 'export const planted: unknown = Buffer.alloc(1);', 'no-restricted-globals'],
    ['the performance clock', 'export const planted: number = performance.now();', 'no-restricted-globals'],
    ['the process', 'export const planted: unknown = process.env;', 'no-restricted-globals'],
  ];
  test.each(impure)('core code may not use %s', (_what, line, rule) => {
    const { code, output } = lintPlanted('core/raft', `${line}\n`);
    expect(output).toContain(rule);
    expect(code).not.toBe(0);
  });

  test('what is allowed passes', () => {
    const { code, output } = lintPlanted('core/raft', `import { assert } from '../../../base/assert.ts';\nassert(true, 'planted');\n`);
    expect(output).toContain('0 errors');
    expect(code).toBe(0);
  });

  test('the lint configuration is the one that the table of rooms makes', () => {
    execFileSync(process.execPath, [`${root}scripts/lint-walls.mjs`, '--check'], { cwd: root });
  });
});
