import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

/** Much that survives a collection or two: what V8 enlarges its young generation for. Prints its size in MiB before and after. */
const program = `
import { holdHeap, growHeapUnderLoad } from ${JSON.stringify(fileURLToPath(new URL('../../src/host/heap-growth.ts', import.meta.url)))};
import { getHeapSpaceStatistics } from 'node:v8';
const size = () => Math.round(getHeapSpaceStatistics().find((space) => space.space_name === 'new_space').space_size / 2 ** 20);
if (process.argv[1] !== 'free') holdHeap();
const before = size();
if (process.argv[1] === 'load') growHeapUnderLoad();
const kept = [];
for (let turn = 0; turn < 40; turn++) {
  for (let i = 0; i < 50_000; i++) {
    kept.push({ i, list: [i] });
    if (kept.length > 30_000) kept.length = 0;
  }
  await new Promise((resolve) => setImmediate(resolve));
}
console.log(before, size());
`;

function sizes(mode: string): [before: number, after: number] {
  const text = execFileSync(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program, mode], { encoding: 'utf8' });
  return text.trim().split(' ').map(Number) as [number, number];
}

describe("V8's young generation", () => {
  test('grows when nobody holds it: there is something to hold', () => {
    expect(sizes('free')[1]).toBeGreaterThanOrEqual(16);
  });

  test('stays as it is while it is held', () => {
    const [before, after] = sizes('held');
    expect(after).toBe(before);
  });

  test('grows under load once it may', () => {
    expect(sizes('load')[1]).toBeGreaterThanOrEqual(16);
  });
});
