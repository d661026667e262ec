// Writes .oxlintrc.json from the table of rooms below: which room may import which.
// Run `node scripts/lint-walls.mjs` after changing the table; a test checks that the file is up to date.
import { writeFileSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Each room: the rooms it may import from (itself always), and whether it may import node:* modules. */
export const rooms = {
  'base': { may: [] },
  'ports': { may: ['base'] },
  'core/wire': { may: ['base'], pure: true },
  'core/swim': { may: ['base', 'core/wire'], pure: true },
  'core/serf': { may: ['base', 'core/wire', 'core/swim'], pure: true },
  'core/raft': { may: ['base', 'core/wire'], pure: true },
  'core/control': { may: ['base', 'core/wire'], pure: true },
  'core/store': { may: ['base'], pure: true },
  'core/replica': { may: ['base', 'core/store', 'core/wire'], pure: true },
  'core/apps': { may: ['base', 'core/control'], pure: true },
  'host': { may: ['base', 'ports', 'core/wire'], node: true },
  'discovery': { may: ['base', 'ports'] },
  'frontends': { may: ['base', 'ports', 'core'] },
  'node': { may: ['base', 'ports', 'core', 'discovery', 'frontends'] },
  'client': { may: ['base', 'ports', 'core/wire', 'host'] },
  'agent': { may: ['base', 'ports', 'core', 'host', 'discovery', 'frontends', 'node'], node: true },
  'cli': { may: ['base', 'ports', 'core', 'host', 'discovery', 'frontends', 'node', 'agent', 'client', 'sim'], node: true },
  'testing': { may: ['base', 'ports', 'core', 'host', 'discovery', 'frontends', 'node', 'agent', 'sim'], node: true },
  'sim': { may: ['base', 'ports', 'core', 'discovery', 'frontends', 'node'] },
};
const roomNames = Object.keys(rooms);

function overrideFor(room) {
  const { may, node, pure } = rooms[room];
  const allowed = (other) => other === room || may.some((m) => other === m || other.startsWith(`${m}/`));
  const forbidden = roomNames.filter((other) => !allowed(other));
  // A relative specifier that climbs out of the room and enters a forbidden one: '../host/x.ts', '../../core/raft/y.ts'.
  // Within src/core, a sibling room is named without the word core: '../raft/x.ts'.
  const names = forbidden.flatMap((other) => {
    const inCore = room.startsWith('core/') && other.startsWith('core/');
    return inCore ? [`(\\.\\./)+(core/)?${other.slice('core/'.length)}`] : [`(\\.\\./)+${other}`];
  });
  const patterns = names.map((name) => ({
    regex: `^${name}(/|$)`,
    message: `src/${room} may import only: ${[room, ...may].join(', ')} (see ARCHITECTURE.md, The house)`,
  }));
  if (!node) patterns.push({ regex: '^node:', message: 'Only src/host and src/cli touch node:* modules; take a port instead.' });
  if (!node) patterns.push({ regex: '^(lmdb|pino|commander)', message: 'Libraries that do I/O belong in src/host or src/cli.' });
  const rules = { 'no-restricted-imports': ['error', { patterns }] };
  if (!node) {
    rules['no-restricted-globals'] = ['error',
      ...['process', 'setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'performance', 'Date', 'crypto', 'fetch']
        .map((name) => ({ name, message: 'Time, randomness and I/O come in through ports.' })),
      ...(pure ? [{ name: 'queueMicrotask', message: 'Core code is synchronous.' }, { name: 'Promise', message: 'Core code is synchronous.' }, { name: 'Buffer', message: 'Core code uses Uint8Array.' }] : []),
    ];
    rules['no-restricted-properties'] = ['error', { object: 'Math', property: 'random', message: 'Randomness comes in through ports/random.' }];
  }
  if (pure) rules['oxc/no-async-await'] = 'error';
  return { files: [`src/${room}/**/*.ts`], rules };
}

export function config() {
  return JSON.stringify({
    $schema: './node_modules/oxlint/configuration_schema.json',
    plugins: ['typescript', 'import', 'oxc', 'unicorn'],
    categories: { correctness: 'error' },
    ignorePatterns: ['dist', 'node_modules'],
    rules: {
      'import/no-cycle': 'error',
      'typescript/no-floating-promises': 'error',
      'typescript/no-misused-promises': ['error', { checksVoidReturn: false }],
      'typescript/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      'typescript/no-explicit-any': 'error',
      'eqeqeq': 'error',
      'no-var': 'error',
      'prefer-const': 'error',
    },
    overrides: roomNames.map(overrideFor),
  }, null, 2) + '\n';
}

const file = fileURLToPath(new URL('../.oxlintrc.json', import.meta.url));
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  if (process.argv.includes('--check')) process.exit(readFileSync(file, 'utf8') === config() ? 0 : 1);
  writeFileSync(file, config());
}
