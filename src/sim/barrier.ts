/**
 * Resolves once every microtask that is queued now, and every one that those queue, has run: a macrotask
 * starts only when the microtask queue is empty. The order of microtasks is fixed by the language, so a run
 * stays deterministic, as long as nothing in it awaits real I/O (worker threads, web crypto, async zlib).
 */
export function microtasksDrained(): Promise<void> {
  // oxlint-disable-next-line no-restricted-globals -- no time passes and no randomness comes in: only the loop turns
  return new Promise((resolve) => void setImmediate(resolve));
}
