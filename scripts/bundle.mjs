// Bundles what users start or import into dist/bundle/: one file for each entry, and chunks for what they share, so that an
// app's module which imports 'troupe' inside an agent gets the agent's own classes. Loading several hundred small modules
// took half of an agent's start, and a start is part of every recovery. The unbundled modules beside it are for tests,
// benchmarks and declarations.
import { rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const outdir = fileURLToPath(new URL('../dist/bundle/', import.meta.url));
rmSync(outdir, { recursive: true, force: true });
await build({
  absWorkingDir: fileURLToPath(new URL('..', import.meta.url)),
  entryPoints: { troupe: 'src/cli/main.ts', index: 'src/index.ts', client: 'src/client/index.ts', testing: 'src/testing/index.ts' },
  // All in one directory: package.json and node_modules are looked for from there.
  outdir,
  bundle: true,
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  // Their native parts and their worker threads are found beside their own files.
  external: ['lmdb', 'pino-pretty'],
  // Packages in the older module format ask for Node's own modules with `require`.
  banner: { js: "import { createRequire as createRequireOfBundle } from 'node:module'; const require = createRequireOfBundle(import.meta.url);" },
  // The text of a module stays in memory; names are kept, for stack traces that can be read.
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 160,
  sourcemap: 'linked',
  sourcesContent: false,
  legalComments: 'none',
  logLevel: 'warning',
});
