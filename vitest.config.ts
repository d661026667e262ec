import { defineConfig } from 'vitest/config';

/**
 * Tests that speak to real processes, kernels and peers. On a build server each gets one second try, which the report
 * names: that machine's timing is nobody's to control. Everything else is deterministic or draws its own seeds, and gets none.
 */
const withRealParts = ['agent', 'cli', 'client', 'demo', 'discovery', 'docs', 'examples', 'handlers', 'host', 'http', 'live-nodes', 'memcached', 'mixed', 'ports', 'ps', 'rpc'].map((room) => `test/${room}/**/*.test.ts`);

export default defineConfig({
  test: {
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
    projects: [
      { extends: true, test: { name: 'machines', include: ['test/**/*.test.ts'], exclude: withRealParts } },
      { extends: true, test: { name: 'real parts', include: withRealParts, retry: process.env['CI'] === undefined ? 0 : 1 } },
    ],
  },
});
