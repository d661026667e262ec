/** An operating error that a user or a caller can act on. Programmer errors use {@link assert} instead. */
export class TroupeError extends Error {
  /** A stable identifier in SCREAMING_SNAKE_CASE; docs/ERRORS.md lists them all. */
  readonly code: string;
  /** What the message speaks of, for programs. */
  readonly fields: Readonly<Record<string, unknown>>;

  constructor(code: string, message: string, fields: Readonly<Record<string, unknown>> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'TroupeError';
    this.code = code;
    this.fields = fields;
  }
}

/** The text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
