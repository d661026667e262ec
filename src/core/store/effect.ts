/** What an evaluated request changes: the final result, not the operation, so that every copy applies it alike. */
export const EffectKind = {
  /** Nothing changes and nothing needs to be replicated. */
  none: 0,
  put: 1,
  delete: 2,
  /** Sets expiresAt; `cas` is the entry's own, unchanged one, as memcached's touch keeps it. */
  expiry: 3,
  /** Empties the table: now if expiresAt is 0, else when that time has come. */
  flush: 4,
} as const;
export type EffectKind = (typeof EffectKind)[keyof typeof EffectKind];

const noBytes = new Uint8Array(0);

/** Mutable and reused. Key and value point into the request, the table or scratch memory: copy or encode them before the next evaluation. */
export class Effect {
  kind: EffectKind = EffectKind.none;
  /** A delayed flush has become due: the table is emptied before this effect applies. */
  flushFirst = false;
  key: Uint8Array = noBytes;
  keyStart = 0;
  keyEnd = 0;
  hash = 0;
  value: Uint8Array = noBytes;
  valueStart = 0;
  valueEnd = 0;
  flags = 0;
  /** Unix seconds, 0 never. */
  expiresAt = 0;
  /** The version that the entry gets: the sequence number the caller gave to evaluate. */
  cas = 0;
}
