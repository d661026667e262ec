import type { FrameWriter } from '../wire/frame-writer.ts';
import type { StoreReply } from '../store/request.ts';
import type { Copy } from './copy.ts';

/** Takes the outcome of one request that a primary was given. Exactly one of the two is called, once. */
export interface ExecuteSink {
  /** Fields are valid only during the call. */
  reply(reply: StoreReply): void;
  /** The primary gave up its tenure first: ask the next one, as a retry. The write may or may not live on. */
  moved(): void;
}

/** What a copy asks of its surroundings. */
export interface CopySink {
  /** Where frames for the node are gathered; undefined while there is no connection to it. */
  writer(node: string): FrameWriter | undefined;
  /** Wants `flush` at the end of this turn. */
  dirty(copy: Copy): void;
  /** The primary asks the leader to take a caught-up copy into the in-sync set. Repeated until the map says so. */
  requestAdd(copy: Copy, node: string, session: number): void;
  /** The primary asks the leader to take out a copy that does not answer. Repeated until the map says so. */
  requestRemove(copy: Copy, node: string): void;
  /** The primary serves after a transfer, so the primary before has given up. Repeated until the map says so. */
  requestSettled(copy: Copy): void;
  /** This primary's own copy is not complete: another is to take over, or the partition is lost. With `inFavourOf` it is, but that one has a log that goes further. Repeated until the map says so. */
  requestResign(copy: Copy, inFavourOf?: string): void;
  /** The copy began or ceased to serve as primary. */
  servingChanged(copy: Copy): void;
  /** True if another snapshot may be sent now; each grant is given back with `snapshotDone`. */
  snapshotSlot(): boolean;
  snapshotDone(): void;
  /** Something that an operator should see. */
  warn(copy: Copy, message: string, fields: Readonly<Record<string, unknown>>): void;
}

export interface CopyOptions {
  /** Of `all`, `majority` and `one` which acknowledgements a write waits for. */
  readonly acks: 'all' | 'majority' | 'one';
  readonly minInSync: number;
  readonly eviction: 'lru' | 'none';
  /** Log kept for returning copies and for retries, per partition; default 1 MiB. */
  readonly logBytes: number;
  /** Entries are kept for this long, so that retries find them, as long as the log does not grow to four times its size (ms); default 15000. */
  readonly logKeepMs: number;
  /** Writes under way per partition before further ones are refused as busy; default 8 MiB. */
  readonly pendingBytesMax: number;
  /** A required copy that makes no progress for this long is to leave the in-sync set (ms); default 400. */
  readonly replicaTimeoutMs: number;
  /**
   * A primary that was replaced by a transfer and has not answered since is taken out only after this long (ms): until
   * then its lease may let it serve by an older map. At least LeaseTiming.leaseMs.
   */
  readonly leaseMs: number;
  readonly maxValueBytes: number;
}
