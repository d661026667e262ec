/**
 * The copies that this node holds, kept as the map says, and the serving side of forwarded requests. The machines are
 * in core/replica; here they meet the map, the peers and the time.
 */
import { Copy } from '../core/replica/copy.ts';
import type { CopySink } from '../core/replica/sinks.ts';
import { tickEveryMs } from '../core/replica/followers.ts';
import type { FollowerSpec } from '../core/replica/followers.ts';
import type { InSyncChange } from '../core/control/commands.ts';
import type { ClusterMap, KeyspaceEntry, PartitionEntry } from '../core/control/map.ts';
import { Arena } from '../core/store/arena.ts';
import { Evaluation } from '../core/store/evaluate.ts';
import { StoreRequest } from '../core/store/request.ts';
import type { StoreReply } from '../core/store/request.ts';
import { Table } from '../core/store/table.ts';
import { FrameReader } from '../core/wire/frame-reader.ts';
import type { FrameWriter } from '../core/wire/frame-writer.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Peers } from './peers.ts';
import { readRequest, writeMoved, writeReply } from './request-frames.ts';
import type { RequestHead } from './request-frames.ts';

export const maxValueBytes: number = 1 << 20;
const snapshotsAtOnce = 4;
/** Entries that may be moved per tick to give thinly used memory back. */
const tidyPerTick = 64;
const expireEveryTicks = 8;
const expirePerLook = 160;
/** Longer than any request lives: its time-out and the way of its last try. */
const logKeepMs = 15_000;
const complainEveryMs = 2000;
const parkedMax = 20_000;
const parkedForMs = 1000;

export interface StoreSurroundings {
  /** This node may act for the cluster: its session is live, here and in the map. */
  hasRights(now: number): boolean;
  requestInSync(changes: readonly InSyncChange[]): void;
  /** Kept of each partition's writes; default 1 MiB. */
  readonly logBytes?: number | undefined;
  /** A copy began or ceased to serve: requests that wait for it should be looked at. */
  servingChanged(keyspace: number, partition: number): void;
}

export class KeyspaceHost {
  entry: KeyspaceEntry;
  readonly arena: Arena;
  readonly copies: (Copy | undefined)[] = [];
  readonly evaluation: Evaluation = new Evaluation(maxValueBytes);

  constructor(entry: KeyspaceEntry) {
    this.entry = entry;
    this.arena = new Arena({ limitBytes: Math.ceil(entry.options.maxMemoryBytes * 1.34) + (16 << 20) });
  }
}

/** A forwarded request that came before this node could serve it: it waits a little instead of going to and fro. */
interface ParkedRequest {
  readonly from: string;
  readonly name: string;
  readonly frame: Uint8Array;
  readonly until: number;
  /** A later try of the same request has come: this one must not take effect after it. */
  superseded: boolean;
}

export class StoreHost implements CopySink {
  readonly #self: string;
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #around: StoreSurroundings;
  readonly keyspaces: Map<number, KeyspaceHost> = new Map();
  #map: ClusterMap | undefined;
  /** Two lists that take turns: copies that want `flush`. */
  #dirty: Copy[] = [];
  #flushing: Copy[] = [];
  #changes: InSyncChange[] = [];
  readonly #complainedAt = new Map<string, number>();
  #snapshots = 0;
  #ticks = 0;
  #parked: ParkedRequest[] = [];
  readonly #parkedByName = new Map<string, ParkedRequest>();
  #timer: Timer | undefined;
  #closed = false;
  readonly #reader = new FrameReader();
  readonly #request = new StoreRequest();
  readonly #head: RequestHead = { keyspace: 0, partition: 0, epoch: 0, origin: 0, id: 0, attempt: 0, ageMs: 0 };

  constructor(self: string, peers: Peers, clock: Clock, log: Log, around: StoreSurroundings) {
    this.#self = self;
    this.#peers = peers;
    this.#clock = clock;
    this.#log = log;
    this.#around = around;
  }

  // ---- the map ----------------------------------------------------------------------------------------------------

  /** @param current the map knows this very process: its parts are ours */
  onMap(map: ClusterMap, current: boolean): void {
    this.#map = map;
    const now = this.#clock.now();
    for (const entry of Object.values(map.keyspaces)) {
      let keyspace = this.keyspaces.get(entry.id);
      if (keyspace === undefined) {
        keyspace = new KeyspaceHost(entry);
        this.keyspaces.set(entry.id, keyspace);
      }
      keyspace.entry = entry;
      for (let index = 0; index < entry.partitions.length; index++) this.#configure(now, map, keyspace, index, current);
    }
    this.#retryParked();
    if (this.keyspaces.size > 0) this.#arm();
  }

  #configure(now: number, map: ClusterMap, keyspace: KeyspaceHost, index: number, current: boolean): void {
    const entry = keyspace.entry.partitions[index] as PartitionEntry;
    let copy = keyspace.copies[index];
    if (!entry.copies.includes(this.#self)) {
      if (copy !== undefined && current) {
        copy.drop();
        copy.table.dispose();
        keyspace.copies[index] = undefined;
      }
      return;
    }
    if (!current) {
      // Another process of this name is meant, or our session is over: keep the data, act for nobody.
      copy?.retire();
      return;
    }
    copy ??= this.#newCopy(keyspace, index);
    const isPrimary = entry.primary === this.#self;
    const followers: FollowerSpec[] = [];
    if (isPrimary) {
      for (const name of entry.copies) {
        const node = map.nodes[name];
        if (name !== this.#self && node?.live === true) followers.push({ name, session: node.session, inSync: entry.inSync.includes(name), former: entry.former === name });
      }
    }
    copy.configure(now, { epoch: entry.epoch, isPrimary, primary: entry.primary, session: map.nodes[this.#self]?.session ?? 0, inSync: entry.inSync.includes(this.#self), founding: entry.founding.includes(this.#self), emptySince: entry.emptySince, followers });
  }

  #newCopy(keyspace: KeyspaceHost, index: number): Copy {
    const { options } = keyspace.entry;
    const table = new Table({ arena: keyspace.arena, budgetBytes: Math.floor(options.maxMemoryBytes / options.partitions) });
    const copy = new Copy({ keyspace: keyspace.entry.id, partition: index }, table, keyspace.evaluation, {
      acks: options.acks, minInSync: options.minInSync, eviction: options.eviction,
      logBytes: this.#around.logBytes ?? 1 << 20, logKeepMs: this.#around.logBytes === undefined ? logKeepMs : 0, pendingBytesMax: 8 << 20, replicaTimeoutMs: 400, leaseMs: (this.#map?.timing.leaseMs ?? 0) + (this.#map?.timing.marginMs ?? 0), maxValueBytes,
    }, this);
    keyspace.copies[index] = copy;
    return copy;
  }

  #allCopies(): Copy[] {
    return [...this.keyspaces.values()].flatMap((keyspace) => keyspace.copies.filter((copy) => copy !== undefined));
  }

  connected(name: string): void {
    const now = this.#clock.now();
    for (const copy of this.#allCopies()) copy.primary?.connected(now, name);
  }

  disconnected(name: string): void {
    const now = this.#clock.now();
    for (const copy of this.#allCopies()) copy.primary?.disconnected(now, name);
  }

  // ---- what copies ask for ----------------------------------------------------------------------------------------

  writer(node: string): FrameWriter | undefined {
    return this.#peers.writer(node);
  }

  dirty(copy: Copy): void {
    if (copy.isDirty) return;
    copy.isDirty = true;
    this.#dirty.push(copy);
    this.#peers.arm();
  }

  requestAdd(copy: Copy, node: string, session: number): void {
    this.#change(copy, { add: node, session });
  }

  requestRemove(copy: Copy, node: string): void {
    const now = this.#clock.now();
    // The request is repeated until the map changes, and often concerns many partitions at once: one line says it.
    if (now - (this.#complainedAt.get(node) ?? Number.NEGATIVE_INFINITY) > complainEveryMs) {
      this.#complainedAt.set(node, now);
      this.#log.info('a node does not acknowledge writes: its copies are to leave the in-sync sets', { copy: node, partition: copy.address.partition });
    }
    this.#change(copy, { remove: node });
  }

  requestSettled(copy: Copy): void {
    this.#change(copy, { settled: true });
  }

  requestResign(copy: Copy, inFavourOf?: string): void {
    if (inFavourOf === undefined) this.#log.warn('the copy of this node is not complete: it gives up being primary', { partition: copy.address.partition });
    else this.#log.info('another copy has more than this one, which is to be primary: it steps back', { partition: copy.address.partition, for: inFavourOf });
    this.#change(copy, { remove: this.#self, ...(inFavourOf === undefined ? {} : { inFavourOf }) });
  }

  #change(copy: Copy, change: Pick<InSyncChange, 'add' | 'remove' | 'session' | 'settled' | 'inFavourOf'>): void {
    const keyspace = this.keyspaces.get(copy.address.keyspace);
    if (keyspace === undefined) return;
    this.#changes.push({ keyspace: keyspace.entry.name, partition: copy.address.partition, epoch: copy.epoch, ...change });
    this.#peers.arm();
  }

  servingChanged(copy: Copy): void {
    this.#around.servingChanged(copy.address.keyspace, copy.address.partition);
    this.#peers.arm();
  }

  snapshotSlot(): boolean {
    if (this.#snapshots >= snapshotsAtOnce) return false;
    this.#snapshots++;
    return true;
  }

  snapshotDone(): void {
    this.#snapshots--;
  }

  warn(copy: Copy, message: string, fields: Readonly<Record<string, unknown>>): void {
    this.#log.warn(message, { partition: copy.address.partition, ...fields });
  }

  /** The end of the turn: everything that copies have gathered goes into the peers' buffers. */
  flush(): void {
    const now = this.#clock.now();
    if (this.#parked.length > 0) this.#retryParked();
    const dirty = this.#dirty;
    this.#dirty = this.#flushing;
    this.#flushing = dirty;
    for (let i = 0; i < dirty.length; i++) (dirty[i] as Copy).isDirty = false;
    for (let i = 0; i < dirty.length; i++) (dirty[i] as Copy).flush(now);
    dirty.length = 0;
    if (this.#changes.length > 0) {
      const changes = this.#changes;
      this.#changes = [];
      this.#around.requestInSync(changes);
    }
  }

  // ---- frames -----------------------------------------------------------------------------------------------------

  onReplicaFrame(from: string, type: number, bytes: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(bytes, start, end);
    const keyspace = reader.u16();
    const partition = reader.u16();
    // Unknown here as yet: the sender repeats itself until this node's map has caught up.
    this.keyspaces.get(keyspace)?.copies[partition]?.receive(this.#clock.now(), from, type, reader);
  }

  onRequestFrame(from: string, bytes: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(bytes, start, end);
    const head = this.#head;
    readRequest(reader, head, this.#request);
    if (this.#parkedByName.size > 0) this.#supersede(parkedName(from, head));
    const verdict = this.#tryServe(from, head);
    if (verdict === 'served') return;
    if (verdict === 'moved' || this.#parked.length >= parkedMax) this.#sendMoved(from, head);
    else {
      const parked = { from, name: parkedName(from, head), frame: bytes.slice(start, end), until: this.#clock.now() + parkedForMs, superseded: false };
      this.#parked.push(parked);
      this.#arm();
      this.#parkedByName.set(parked.name, parked);
    }
  }

  #supersede(name: string): void {
    const earlier = this.#parkedByName.get(name);
    if (earlier === undefined) return;
    earlier.superseded = true;
    this.#parkedByName.delete(name);
  }

  #tryServe(from: string, head: RequestHead): 'served' | 'later' | 'moved' {
    const now = this.#clock.now();
    const keyspace = this.keyspaces.get(head.keyspace);
    const copy = keyspace?.copies[head.partition];
    if (copy === undefined || head.epoch > copy.epoch) return 'later';
    if (copy.primary === undefined || head.epoch < copy.tenureSince) return 'moved';
    if (!copy.serving || !this.#around.hasRights(now)) return 'later';
    copy.execute(now, this.nowSeconds(), this.#request, head.origin, head.id, head.ageMs, new RemoteSink(this.#peers, from, head.id, head.attempt));
    return 'served';
  }

  #sendMoved(to: string, head: RequestHead): void {
    const writer = this.#peers.writer(to);
    if (writer !== undefined) writeMoved(writer, head.id, head.attempt);
  }

  #retryParked(): void {
    const parked = this.#parked;
    if (parked.length === 0) return;
    this.#parked = [];
    const now = this.#clock.now();
    for (const waiting of parked) {
      if (waiting.superseded) continue;
      this.#reader.reset(waiting.frame, 0, waiting.frame.length);
      readRequest(this.#reader, this.#head, this.#request);
      // While it waited, its sender may have lost patience and sent it again: as a retry it cannot take effect twice.
      this.#head.ageMs = Math.max(1, this.#head.ageMs + Math.ceil(now - (waiting.until - parkedForMs)));
      const verdict = this.#tryServe(waiting.from, this.#head);
      if (verdict === 'later' && waiting.until > now) {
        this.#parked.push(waiting);
        continue;
      }
      this.#parkedByName.delete(waiting.name);
      if (verdict !== 'served') this.#sendMoved(waiting.from, this.#head);
    }
  }

  // ---- time -------------------------------------------------------------------------------------------------------

  nowSeconds(): number {
    return Math.floor(this.#clock.wallTime() / 1000);
  }

  /** Where there is nothing to look after, nothing wakes. */
  #arm(): void {
    if (!this.#closed) this.#timer ??= this.#clock.at(this.#clock.now() + tickEveryMs, () => this.#tick());
  }

  #tick(): void {
    this.#timer = undefined;
    if (this.#closed) return;
    const now = this.#clock.now();
    const seconds = this.nowSeconds();
    this.#ticks++;
    for (const keyspace of this.keyspaces.values()) {
      for (const copy of keyspace.copies) if (copy !== undefined) this.#tickCopy(copy, now, seconds);
      keyspace.arena.tidy(tidyPerTick);
    }
    if (this.#parked.length > 0) this.#retryParked();
    if (this.keyspaces.size + this.#parked.length > 0) this.#arm();
  }

  #tickCopy(copy: Copy, now: number, seconds: number): void {
    copy.tick(now);
    // Each in its turn: expired entries are found when they are asked for anyway.
    if (copy.primary !== undefined && (copy.address.partition + this.#ticks) % expireEveryTicks === 0 && this.#around.hasRights(now)) copy.primary.expireSome(now, seconds, expirePerLook);
  }

  /** The partition's entry in the newest map that this node knows. */
  partition(keyspaceName: string, index: number): PartitionEntry | undefined {
    return this.#map?.keyspaces[keyspaceName]?.partitions[index];
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const copy of this.#allCopies()) copy.retire();
  }
}

function parkedName(from: string, head: RequestHead): string {
  return `${from}/${head.origin}/${head.id}`;
}

class RemoteSink {
  readonly #peers: Peers;
  readonly #to: string;
  readonly #id: number;
  readonly #attempt: number;

  constructor(peers: Peers, to: string, id: number, attempt: number) {
    this.#peers = peers;
    this.#to = to;
    this.#id = id;
    this.#attempt = attempt;
  }

  reply(reply: StoreReply): void {
    const writer = this.#peers.writer(this.#to);
    // Without a connection the asker learns nothing and retries: it then gets this very outcome.
    if (writer !== undefined) writeReply(writer, this.#id, this.#attempt, reply);
  }

  moved(): void {
    const writer = this.#peers.writer(this.#to);
    if (writer !== undefined) writeMoved(writer, this.#id, this.#attempt);
  }
}
