/** What the agent tells its warden. Deadlines are on the machine's monotonic clock (process.hrtime), in ms, which both share. */
export type ToWarden =
  | {
      readonly type: 'start';
      readonly title: string;
      readonly command: readonly string[];
      readonly environment: Readonly<Record<string, string | undefined>>;
      readonly directory: string;
      readonly leaseUntil: number;
    }
  | { readonly type: 'lease'; readonly until: number }
  | { readonly type: 'stop'; readonly killAfterMs: number }
  | { readonly type: 'kill' };

/** What the warden reports. `exited` comes once no process of the group is left. */
export type FromWarden =
  | { readonly type: 'started'; readonly pid: number }
  | { readonly type: 'failed'; readonly error: string }
  | { readonly type: 'exited'; readonly code: number | null; readonly signal: string | null };
