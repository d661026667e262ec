/**
 * Several nodes' store hosts around one partition, a leader's map, and wires that delay, cut and reorder between
 * connections (never within one, as TCP). The map is the real one; each node follows it as late as the test likes.
 */
import { Prng } from '../../src/base/prng.ts';
import { apply } from '../../src/core/control/apply.ts';
import type { Command, InSyncChange } from '../../src/core/control/commands.ts';
import { emptyMap } from '../../src/core/control/map.ts';
import type { Acks, ClusterMap, PartitionEntry } from '../../src/core/control/map.ts';
import type { Copy } from '../../src/core/replica/copy.ts';
import { Status } from '../../src/core/store/request.ts';
import type { StoreReply, StoreRequest } from '../../src/core/store/request.ts';
import type { Table } from '../../src/core/store/table.ts';
import { FrameSplitter } from '../../src/core/wire/frame-splitter.ts';
import { FrameWriter } from '../../src/core/wire/frame-writer.ts';
import type { Peers } from '../../src/node/peers.ts';
import { StoreHost } from '../../src/node/store-host.ts';
import type { Clock } from '../../src/ports/clock.ts';
import { silentLog } from '../../src/ports/log.ts';

/** What a node may go on for after it last knew the newest map: leaseMs less the margin. */
const leaseMs = 750;

interface Wire {
  open: boolean;
  queue: Uint8Array[];
  writer: FrameWriter;
  splitter: FrameSplitter;
}

export class CellNode {
  readonly name: string;
  readonly cell: Cell;
  instance: string;
  alive = true;
  /** It neither sends nor receives nor looks at the time. */
  frozen = false;
  /** Its wall clock is off by so much. */
  wallAheadMs = 0;
  /** Where it stands in the history of maps. */
  version = 0;
  /** When it last stood at its end. */
  currentAt = 0;
  host: StoreHost;
  readonly wires: Map<string, Wire> = new Map();
  timers: { at: number; callback: () => void }[] = [];
  #armed = false;

  constructor(cell: Cell, name: string, instance: string) {
    this.cell = cell;
    this.name = name;
    this.instance = instance;
    this.host = this.#newHost();
  }

  #newHost(): StoreHost {
    const peers = { writer: (to: string) => this.#writer(to), arm: () => { this.#armed = true; } } as unknown as Peers;
    const clock = {
      now: () => this.cell.now,
      sleptMs: () => 0,
      wallTime: () => this.wallMs,
      at: (at: number, callback: () => void) => {
        const timer = { at, callback };
        this.timers.push(timer);
        return { cancel: () => { this.timers = this.timers.filter((other) => other !== timer); } };
      },
      endOfTurn: () => {},
    } as unknown as Clock;
    return new StoreHost(this.name, peers, clock, silentLog, {
      hasRights: () => this.hasRights(),
      requestInSync: (changes) => this.cell.leaderInbox.push(...changes.map((change) => structuredClone(change))),
      servingChanged: () => {},
      logBytes: 1 << 20,
    });
  }

  get wallMs(): number {
    return 1_700_000_000_000 + this.cell.now + this.wallAheadMs;
  }

  get map(): ClusterMap {
    return this.cell.maps[this.version] as ClusterMap;
  }

  /** The map that this node has knows this very process, as live. */
  get current(): boolean {
    const entry = this.map.nodes[this.name];
    return entry !== undefined && entry.live && entry.instance === this.instance;
  }

  hasRights(): boolean {
    const truth = this.cell.map.nodes[this.name];
    return this.alive && this.current && truth?.live === true && truth.session === this.map.nodes[this.name]?.session && this.cell.now - this.currentAt < leaseMs;
  }

  #writer(to: string): FrameWriter | undefined {
    const wire = this.wires.get(to);
    return wire?.open === true ? wire.writer : undefined;
  }

  copy(): Copy | undefined {
    return this.host.keyspaces.get(1)?.copies[0];
  }

  follow(version: number): void {
    this.version = version;
    if (version === this.cell.maps.length - 1) this.currentAt = this.cell.now;
    this.host.onMap(this.map, this.current);
    this.endTurn();
  }

  endTurn(): void {
    if (!this.alive) return;
    this.host.flush();
    this.#armed = false;
    for (const wire of this.wires.values()) {
      if (wire.open && wire.writer.size > 0) wire.queue.push(wire.writer.take().slice());
    }
  }

  runTimers(): void {
    const due = this.timers.filter((timer) => timer.at <= this.cell.now);
    this.timers = this.timers.filter((timer) => timer.at > this.cell.now);
    for (const timer of due) timer.callback();
    if (due.length > 0 || this.#armed) this.endTurn();
  }

  reborn(instance: string): void {
    this.host.close();
    this.timers = [];
    this.instance = instance;
    this.alive = true;
    this.frozen = false;
    this.host = this.#newHost();
  }
}

export class Cell {
  now = 1000;
  readonly random: Prng;
  /** Every state of the map, oldest first. */
  readonly maps: ClusterMap[] = [emptyMap()];
  readonly nodes: CellNode[];
  leaderInbox: InSyncChange[] = [];
  #index = 0;
  #instances = 0;

  constructor(names: readonly string[], copies: readonly string[], acks: Acks, seed = 1, options: { maxMemoryBytes?: number; eviction?: 'lru' | 'none' } = {}) {
    this.random = new Prng(seed);
    this.nodes = names.map((name) => new CellNode(this, name, `${name}-0`));
    for (const a of this.nodes) for (const b of this.nodes) if (a !== b) a.wires.set(b.name, { open: true, queue: [], writer: new FrameWriter(), splitter: new FrameSplitter() });
    for (const node of this.nodes) this.openSession(node.name);
    this.command({
      type: 'create-keyspace', name: 'k', copies: [copies],
      options: { partitions: 1, replicas: copies.length, acks, engine: 'memory', maxMemoryBytes: options.maxMemoryBytes ?? 4 << 20, eviction: options.eviction ?? 'none', minInSync: 1 },
    });
  }

  get map(): ClusterMap {
    return this.maps.at(-1) as ClusterMap;
  }

  get partition(): PartitionEntry {
    return this.map.keyspaces['k']?.partitions[0] as PartitionEntry;
  }

  node(name: string): CellNode {
    return this.nodes.find((node) => node.name === name) as CellNode;
  }

  primary(): CellNode | undefined {
    return this.partition.primary === undefined ? undefined : this.node(this.partition.primary);
  }

  /** The leader's word; nobody has heard it yet. */
  command(command: Command): boolean {
    const next = structuredClone(this.map);
    const outcome = apply(next, command, ++this.#index);
    if (outcome.ok) this.maps.push(next);
    return outcome.ok;
  }

  openSession(name: string): void {
    const node = this.node(name);
    const old = this.map.nodes[name];
    this.command({
      type: 'open-session', name, raftId: `${name}/1`, instance: node.instance, peer: { host: name, port: 1 }, gossip: { host: name, port: 2 }, zone: '', eligible: true, storage: true,
      version: 'test', offers: {}, resumes: 0, replaces: old?.instance ?? '',
    });
  }

  closeSession(name: string, evidence: 'silent' | 'refused'): void {
    this.command({ type: 'close-sessions', sessions: [{ name, session: this.map.nodes[name]?.session ?? 0, evidence }] });
  }

  kill(name: string): void {
    const node = this.node(name);
    node.alive = false;
    for (const other of this.nodes) if (other !== node) this.cut(name, other.name);
    for (const other of this.nodes) if (other !== node) this.cut(other.name, name);
    this.closeSession(name, 'refused');
  }

  restart(name: string): void {
    this.node(name).reborn(`${name}-${++this.#instances}`);
    this.openSession(name);
    for (const other of this.nodes) {
      if (other.name === name || !other.alive) continue;
      this.mend(name, other.name);
      this.mend(other.name, name);
    }
  }

  transfer(to: string): boolean {
    return this.command({ type: 'transfer-primary', transfers: [{ keyspace: 'k', partition: 0, epoch: this.partition.epoch, to }] });
  }

  /** What was under way is lost. */
  cut(from: string, to: string): void {
    const node = this.node(from);
    const wire = node.wires.get(to) as Wire;
    if (!wire.open) return;
    wire.open = false;
    wire.queue = [];
    wire.writer = new FrameWriter();
    wire.splitter = new FrameSplitter();
    if (node.alive) node.host.disconnected(to);
  }

  mend(from: string, to: string): void {
    const node = this.node(from);
    const wire = node.wires.get(to) as Wire;
    if (wire.open || !node.alive || !this.node(to).alive) return;
    wire.open = true;
    node.host.connected(to);
    node.endTurn();
  }

  /** Delivers the oldest bytes of one wire. */
  deliver(from: string, to: string): boolean {
    const wire = this.node(from).wires.get(to) as Wire;
    const receiver = this.node(to);
    if (receiver.frozen || !receiver.alive) return false;
    const bytes = wire.queue.shift();
    if (bytes === undefined) return false;
    // Cut anywhere, as a stream is.
    const at = this.random.below(bytes.length);
    for (const part of [bytes.subarray(0, at), bytes.subarray(at)]) wire.splitter.push(part, (type, body, start, end) => receiver.host.onReplicaFrame(from, type, body, start, end));
    receiver.endTurn();
    return true;
  }

  deliverAny(): boolean {
    const busy = this.nodes.flatMap((node) => [...node.wires].filter(([to, wire]) => wire.queue.length > 0 && !this.node(to).frozen).map(([to]) => [node.name, to] as const));
    const pick = busy[this.random.below(Math.max(1, busy.length))];
    return pick !== undefined && this.deliver(...pick);
  }

  pass(ms: number): void {
    this.now += ms;
    for (const node of this.nodes) {
      if (!node.alive || node.frozen) continue;
      if (node.version === this.maps.length - 1) node.currentAt = this.now;
      node.runTimers();
    }
  }

  /** The leader takes one of the requests for changes. @param twice and again: requests are repeated */
  lead(twice = false): void {
    const at = this.random.below(Math.max(1, this.leaderInbox.length));
    const [change] = this.leaderInbox.splice(at, 1);
    if (change === undefined) return;
    this.command({ type: 'in-sync', changes: [change] });
    if (twice) this.command({ type: 'in-sync', changes: [change] });
  }

  /** Everything arrives, everybody knows everything. False if it does not come to rest within the simulated time. */
  settle(limitMs = 20_000): boolean {
    for (const node of this.nodes) {
      node.frozen = false;
      for (const other of this.nodes) if (other !== node) this.mend(node.name, other.name);
    }
    for (const end = this.now + limitMs; this.now < end; ) {
      while (this.leaderInbox.length > 0) this.lead();
      for (const node of this.nodes) if (node.alive && node.version < this.maps.length - 1) node.follow(this.maps.length - 1);
      for (let i = 0; i < 200 && this.deliverAny(); i++);
      this.pass(10);
      if (this.isSettled()) return true;
    }
    return false;
  }

  isSettled(): boolean {
    const { partition } = this;
    const live = partition.copies.filter((name) => this.map.nodes[name]?.live === true);
    const primary = this.primary();
    if (primary?.copy()?.serving !== true || !live.every((name) => partition.inSync.includes(name)) || partition.former !== undefined) return false;
    return this.leaderInbox.length === 0 && this.nodes.every((node) => [...node.wires.values()].every((wire) => wire.queue.length === 0))
      && live.every((name) => this.node(name).copy()?.appliedSeq === primary.copy()?.log.lastSeq);
  }
}

const decoder = new TextDecoder();

export interface Outcome {
  status: Status | 'moved';
  value: string;
  cas: number;
  counter: number | bigint;
}

/** One request, tried as often as the test likes. */
export class Call {
  readonly request: StoreRequest;
  readonly id: number;
  readonly origin: number;
  firstTriedAt = -1;
  outcomes: Outcome[] = [];

  constructor(request: StoreRequest, id: number, origin = 99) {
    this.request = request;
    this.id = id;
    this.origin = origin;
  }

  get done(): Outcome | undefined {
    return this.outcomes.find((outcome) => outcome.status !== 'moved' && outcome.status !== Status.busy && outcome.status !== Status.unavailable);
  }

  /** False if the node does not serve. */
  try(node: CellNode): boolean {
    const copy = node.copy();
    const { now } = node.cell;
    if (!node.alive || node.frozen || copy === undefined || !copy.serving || !node.hasRights()) return false;
    const ageMs = this.firstTriedAt < 0 ? 0 : Math.max(1, now - this.firstTriedAt);
    if (this.firstTriedAt < 0) this.firstTriedAt = now;
    copy.execute(now, Math.floor(node.wallMs / 1000), this.request, this.origin, this.id, ageMs, {
      reply: (reply: StoreReply) => this.outcomes.push({ status: reply.status, value: reply.status === Status.hit ? decoder.decode(reply.value.subarray(reply.valueStart, reply.valueEnd)) : '', cas: reply.cas, counter: reply.counter }),
      moved: () => this.outcomes.push({ status: 'moved', value: '', cas: 0, counter: 0 }),
    });
    node.endTurn();
    return true;
  }
}

/** Everything that a table holds, as text. */
export function contents(table: Table): string[] {
  const lines: string[] = [];
  let cursor = 0;
  do {
    cursor = table.scan(cursor, 1000, (ref) => lines.push(`${decoder.decode(table.keyView(ref))}=${decoder.decode(table.valueView(ref))} cas ${table.casOf(ref)} flags ${table.flagsOf(ref)} until ${table.expiresAtOf(ref)}`));
  } while (cursor !== 0);
  return lines.toSorted();
}
