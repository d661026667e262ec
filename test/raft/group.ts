import { Prng } from '../../src/base/prng.ts';
import { decodeMessage, encodeMessage } from '../../src/core/raft/codec.ts';
import { Raft } from '../../src/core/raft/raft.ts';
import { changesFor, changesForCompaction, changesForState, load } from '../../src/core/raft/storage-codec.ts';
import type { StorageChange } from '../../src/core/raft/storage-codec.ts';
import type { Entry, Message, RaftOptions, RaftState, Ready, Snapshot } from '../../src/core/raft/types.ts';
import { Checker } from './checker.ts';
import { describeMessage, describeReady } from './trace.ts';

/** An ordered key-value store; what was written is lost in a crash until `sync`. */
export class TestDisk {
  #durable: Map<string, Uint8Array> = new Map();

  apply(changes: readonly StorageChange[]): void {
    for (const change of changes) {
      if (change.type === 'put') this.#durable.set(change.key, change.value);
      else if (change.type === 'delete') this.#durable.delete(change.key);
      else for (const key of this.#durable.keys()) if (key >= change.first && key < change.end) this.#durable.delete(key);
    }
  }

  get(key: string): Uint8Array | undefined {
    return this.#durable.get(key);
  }

  range(first: string, end: string): (readonly [string, Uint8Array])[] {
    return [...this.#durable].filter(([key]) => key >= first && key < end).sort(([a], [b]) => (a < b ? -1 : 1));
  }
}

interface Write { readonly changes: readonly StorageChange[]; readonly ready: Ready | undefined; doneAt: number }

/** One member with its disk, its state machine and what is under way. */
export class Member {
  readonly id: string;
  readonly disk: TestDisk = new TestDisk();
  raft: Raft | undefined;
  startedAt = 0;
  writes: Write[] = [];
  /** The state machine: how many normal entries it applied, and a digest of them. */
  digest = 0;
  applied = 0;
  reads: { token: number; index: number; applied: number }[] = [];
  role = '';
  /** Until then it does nothing: a stopped process, a long collection. */
  pausedUntil = 0;

  constructor(id: string) {
    this.id = id;
  }
}

interface Flight { readonly at: number; readonly order: number; readonly to: string; readonly message: Message | Uint8Array }

export interface GroupOptions {
  readonly seed: number;
  readonly trace?: boolean;
  readonly raft?: Partial<RaftOptions>;
  /** Delay of one message, or undefined if it is lost. May be called twice per message: see duplicate. */
  readonly delayMs?: (from: string, to: string) => number | undefined;
  readonly duplicate?: () => boolean;
  readonly writeMs?: () => number;
  /** Hand messages over as they are, not through their bytes: twice as fast. */
  readonly skipCodec?: boolean;
}

/** A whole group in one pure, seeded simulation. */
export class Group {
  now = 0;
  readonly prng: Prng;
  readonly members: Map<string, Member> = new Map();
  readonly lines: string[] = [];
  readonly checker: Checker = new Checker();
  /** Links `from>to` that carry nothing. */
  readonly cut: Set<string> = new Set();
  readonly #options: GroupOptions;
  #flights: Flight[] = [];
  #order = 0;

  constructor(options: GroupOptions) {
    this.#options = options;
    this.prng = new Prng(options.seed);
  }

  note(line: string): void {
    if (this.#options.trace === true) this.lines.push(`${this.now.toFixed(1).padStart(8)}  ${line}`);
  }

  member(id: string): Member {
    const member = this.members.get(id);
    if (member === undefined) throw new Error(`no member ${id}`);
    return member;
  }

  raft(id: string): Raft {
    const raft = this.member(id).raft;
    if (raft === undefined) throw new Error(`member ${id} is down`);
    return raft;
  }

  get live(): Member[] {
    return [...this.members.values()].filter((member) => member.raft !== undefined);
  }

  get leader(): Raft | undefined {
    return this.live.map((member) => member.raft as Raft).filter((raft) => raft.role === 'leader').sort((a, b) => b.term - a.term)[0];
  }

  add(id: string, state: RaftState = { entries: [] }): Raft {
    const member = new Member(id);
    member.disk.apply(changesForState(state));
    this.members.set(id, member);
    return this.start(id);
  }

  /** Members a, b, c… of a group that already agreed on its configuration. */
  static of(ids: readonly string[], options: GroupOptions): Group {
    const group = new Group(options);
    const first = Raft.bootstrap(ids[0] as string);
    const snapshot = { ...(first.snapshot as Snapshot), configuration: { voters: ids, learners: [] } };
    for (const id of ids) group.add(id, { ...first, snapshot });
    return group;
  }

  start(id: string): Raft {
    const member = this.member(id);
    member.raft = new Raft({ electionTimeoutMinMs: 300, ...this.#options.raft, id, random: this.prng.fork(), initial: load(member.disk), now: this.now });
    member.startedAt = this.now;
    member.applied = 0;
    member.digest = 0;
    member.reads = [];
    member.role = '';
    this.note(`${id} starts`);
    this.settle(member);
    return member.raft;
  }

  /** A crash loses the batches that are not durable; `torn` of them had reached the disk all the same. */
  crash(id: string, torn = 0): void {
    const member = this.member(id);
    for (const write of member.writes.slice(0, torn)) member.disk.apply(write.changes);
    member.writes = [];
    member.raft = undefined;
    this.note(`${id} crashes`);
  }

  partition(...sides: string[][]): void {
    this.heal();
    const side = (id: string): number => sides.findIndex((ids) => ids.includes(id));
    for (const a of this.members.keys()) for (const b of this.members.keys()) if (side(a) !== side(b)) this.cut.add(`${a}>${b}`);
    this.note(`partition ${sides.map((ids) => ids.join('')).join(' | ')}`);
  }

  heal(): void {
    this.cut.clear();
  }

  send(message: Message): void {
    if (this.cut.has(`${message.from}>${message.to}`)) return;
    const copies = this.#options.duplicate?.() === true ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const delay = this.#options.delayMs === undefined ? 1 : this.#options.delayMs(message.from, message.to);
      if (delay === undefined) continue;
      this.#flights.push({ at: this.now + delay, order: this.#order++, to: message.to, message: this.#options.skipCodec === true ? message : encodeMessage(message) });
    }
  }

  /** Runs a call on a member and takes all that comes of it. */
  do<T>(id: string, call: (raft: Raft) => T): T {
    const member = this.member(id);
    const result = call(this.raft(id));
    this.settle(member);
    return result;
  }

  /** Takes what the member has ready, sends, begins to write, applies. */
  settle(member: Member): void {
    const raft = member.raft as Raft;
    const isTraced = this.#options.trace === true;
    for (let rounds = 0; raft.hasReady(); rounds++) {
      if (rounds > 1000) throw new Error(`${member.id} is never done`);
      const ready = raft.ready(this.now);
      if (isTraced) for (const line of describeReady(ready)) this.note(`${member.id}   ${line}`);
      this.checker.appended(member.id, ready.entries);
      for (const message of ready.messages) this.send(message);
      if (ready.mustPersist) {
        const doneAt = Math.max(this.now + (this.#options.writeMs?.() ?? 1), member.writes.at(-1)?.doneAt ?? 0);
        member.writes.push({ changes: changesFor(ready), ready, doneAt });
      }
      if (ready.appliedSnapshot !== undefined) this.#restore(member, ready.appliedSnapshot);
      for (const entry of ready.committed) this.#apply(member, entry);
      raft.applied(member.applied);
      for (const read of ready.readStates) member.reads.push({ ...read, applied: member.applied });
      this.checker.readsServed(member, ready.readStates);
    }
    const role = `${raft.role} of term ${raft.term}, leader ${raft.leaderId ?? '?'}`;
    if (role !== member.role) this.note(`${member.id} is ${role}`);
    member.role = role;
    this.checker.check(member, this.now);
  }

  #restore(member: Member, snapshot: Snapshot): void {
    member.applied = snapshot.index;
    member.digest = snapshot.data.length === 0 ? 0 : new DataView(snapshot.data.slice().buffer).getUint32(0);
    this.checker.restored(member);
  }

  #apply(member: Member, entry: Entry): void {
    if (entry.index !== member.applied + 1) throw new Error(`${member.id} applies ${entry.index} after ${member.applied}`);
    member.applied = entry.index;
    let digest = Math.imul(member.digest ^ entry.term, 0x9e3779b1) ^ entry.type.length;
    for (const byte of entry.data) digest = Math.imul(digest ^ byte, 0x01000193);
    member.digest = digest >>> 0;
    this.checker.applied(member, entry);
  }

  /** Takes a snapshot and drops the log before it. */
  compact(id: string): void {
    const member = this.member(id);
    const raft = this.raft(id);
    const data = new Uint8Array(4);
    new DataView(data.buffer).setUint32(0, member.digest);
    const snapshot = raft.compact(member.applied, data);
    if (snapshot === undefined) return;
    member.writes.push({ changes: changesForCompaction(snapshot, raft.firstIndex), ready: undefined, doneAt: Math.max(this.now + 1, member.writes.at(-1)?.doneAt ?? 0) });
    this.note(`${id} compacts to ${snapshot.index}, keeps from ${raft.firstIndex}`);
  }

  /** When anything happens next. */
  #nextAt(): number {
    let at = Infinity;
    for (const flight of this.#flights) at = Math.min(at, flight.at);
    for (const member of this.members.values()) {
      if (member.raft === undefined) continue;
      at = Math.min(at, Math.max(member.pausedUntil, Math.min(member.raft.nextWakeAt(), member.writes[0]?.doneAt ?? Infinity)));
    }
    return Math.max(at, this.now);
  }

  /** Handles everything that is due at the next moment at which something is. False if that is after `until`. */
  stepOnce(until: number): boolean {
    const at = this.#nextAt();
    if (at > until) return false;
    this.now = at;
    for (const member of this.live) this.#finishWrites(member);
    this.#deliver();
    for (const member of this.live) {
      const raft = member.raft as Raft;
      if (raft.nextWakeAt() > this.now || member.pausedUntil > this.now) continue;
      raft.tick(this.now);
      this.settle(member);
      if (raft.nextWakeAt() <= this.now) throw new Error(`${member.id} wants to be woken at ${raft.nextWakeAt()}, which is past`);
    }
    return true;
  }

  #finishWrites(member: Member): void {
    while (member.pausedUntil <= this.now && (member.writes[0]?.doneAt ?? Infinity) <= this.now) {
      const write = member.writes.shift() as Write;
      member.disk.apply(write.changes);
      if (write.ready === undefined) continue;
      (member.raft as Raft).persisted(this.now, write.ready.token);
      for (const message of write.ready.messagesAfterPersist) this.send(message);
      this.settle(member);
    }
  }

  #deliver(): void {
    const due = this.#flights.filter((flight) => flight.at <= this.now).sort((a, b) => a.at - b.at || a.order - b.order);
    if (due.length === 0) return;
    this.#flights = this.#flights.filter((flight) => flight.at > this.now);
    for (const flight of due) {
      const member = this.members.get(flight.to);
      if (member?.raft === undefined) continue;
      if (member.pausedUntil > this.now) {
        this.#flights.push({ ...flight, at: member.pausedUntil });
        continue;
      }
      const message = flight.message instanceof Uint8Array ? decodeMessage(flight.message) : flight.message;
      if (this.cut.has(`${message.from}>${message.to}`)) continue;
      if (this.#options.trace === true) this.note(`${message.from}→${message.to} ${describeMessage(message)}`);
      member.raft.step(this.now, message);
      this.settle(member);
    }
  }

  runFor(ms: number): void {
    const until = this.now + ms;
    while (this.stepOnce(until));
    this.now = until;
  }

  /** Runs until the condition holds, at most `ms`; says whether it does. */
  runUntil(condition: () => boolean, ms = 5000): boolean {
    const until = this.now + ms;
    while (!condition()) if (!this.stepOnce(until)) return condition();
    return true;
  }

  trace(): string {
    return `${this.lines.join('\n')}\n`;
  }
}

export const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
