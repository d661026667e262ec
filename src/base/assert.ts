/** Thrown when the program itself is wrong. Never caught to go on: the process that sees it must not be trusted further. */
export class AssertionError extends Error {
  override readonly name: string = 'AssertionError';
}

/** Checks an invariant; stays on in production. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
