/**
 * Copies source[start, end) to target at `at`. The two must not overlap within one buffer.
 * A loop beats `set(subarray())` for short runs: no view object is made and no builtin is called.
 */
export function copyBytes(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): void {
  if (end - start > 160) {
    target.set(source.subarray(start, end), at);
    return;
  }
  for (let from = start, to = at; from < end; from++, to++) target[to] = source[from] as number;
}
