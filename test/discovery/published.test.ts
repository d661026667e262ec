import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildIfStale, cleanUp, temporaryDirectory } from '../cli/program.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const samples = [...readFileSync(join(root, 'docs/discovery.md'), 'utf8').matchAll(/^```ts\n([\s\S]*?)^```$/gm)].map((match) => match[1] as string);
/** JavaScript, with the one change for TypeScript that the README names. */
const readme = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/^```js\n([\s\S]*?)^```$/gm)].map((match) => (match[1] as string).replace('defineApp(', 'defineApp<{ ticks: number }>('));

/** A project of a user, who has the package as it is published, and TypeScript at its strictest. */
describe('with the published package', () => {
  let directory: string;
  beforeAll(() => {
    buildIfStale();
    directory = temporaryDirectory();
    const modules = join(directory, 'node_modules');
    mkdirSync(join(modules, 'troupe'), { recursive: true });
    const packed = execFileSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', directory], { cwd: root, encoding: 'utf8' }).trim().split('\n').at(-1) as string;
    execFileSync('tar', ['-xzf', join(directory, packed), '-C', join(modules, 'troupe'), '--strip-components=1']);
    for (const name of readdirSync(join(root, 'node_modules'))) if (!name.startsWith('.') && name !== 'troupe') symlinkSync(join(root, 'node_modules', name), join(modules, name));
    writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({
      compilerOptions: { module: 'nodenext', target: 'es2023', lib: ['es2023'], types: ['node'], strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, declaration: true, outDir: 'out', rootDir: '.' },
      include: ['*.ts'],
    }));
    readme.forEach((sample, i) => writeFileSync(join(directory, `readme-${i}.ts`), `${sample}\nexport {};\n`));
    samples.forEach((sample, i) => writeFileSync(join(directory, `sample-${i}.ts`), `${sample}\nexport {};\n`));
  });
  afterAll(cleanUp);

  const run = (command: string, ...parameters: string[]): string => {
    try {
      return execFileSync(command, parameters, { cwd: directory, encoding: 'utf8', timeout: 100_000, stdio: ['ignore', 'pipe', 'pipe'] });
    } catch (error) {
      throw new Error(`${(error as { stdout?: string }).stdout}\n${(error as { stderr?: string }).stderr}`, { cause: error });
    }
  };

  test('the samples of docs/discovery.md and README.md are right for the compiler, the declarations of the package too', () => {
    expect(samples).toHaveLength(3);
    expect(readme).toHaveLength(3);
    expect(run(process.execPath, join(root, 'node_modules/typescript/bin/tsc'), '-p', '.')).toBe('');
  });

  test('hooks are called, and events told', () => {
    const output = run(process.execPath, 'out/sample-0.js');
    expect(output).toMatch(/^branch: .*127\.0\.0\.2:7946.*, 1 times$/m);
    expect(output).toContain("[ '127.0.0.2' ]");
  });

  test('a strategy of a user is used', () => {
    expect(run(process.execPath, 'out/sample-1.js')).toContain("{ host: '127.0.0.2', port: 7946 }");
  });

  test('it passes the suite of `troupe/testing`; one that breaks the rules does not', () => {
    expect(run(process.execPath, '--test-reporter=tap', 'out/sample-2.js')).toMatch(/# pass 6\n# fail 0/);
    const good = readFileSync(join(directory, 'out/sample-2.js'), 'utf8');
    const broken = good.replace(/startPolling\(\{ pollMs, timeoutMs: 500 \}, ports, sink, /, "$&async (signal) => client.machines(signal).catch(() => []), ");
    expect(broken).not.toBe(good);
    writeFileSync(join(directory, 'out/broken.js'), broken);
    expect(() => run(process.execPath, '--test-reporter=tap', '--test-name-pattern=outage at the start', 'out/broken.js')).toThrow(/hosts are told although the source is away|the outage is not told/);
  });
});
