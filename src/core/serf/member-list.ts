import type { SerfJoin, SerfLeave } from '../wire/serf-messages.ts';
import type { Timers } from '../swim/timers.ts';
import type { LogLevel, SwimNode } from '../swim/types.ts';
import { Intents } from './intents.ts';
import type { LamportClock } from './lamport-clock.ts';
import { MemberState } from './member-state.ts';
import type { SerfEvent } from './types.ts';

export interface MemberListOptions {
  /** This node, which is a member from the beginning and is never forgotten. */
  readonly self: SwimNode;
  readonly clock: LamportClock;
  readonly timers: Timers;
  /** How long a failed member stays in the list (ms). */
  readonly reconnectTimeoutMs: number;
  /** How long one that left does (ms). */
  readonly tombstoneTimeoutMs: number;
  emit(event: SerfEvent): void;
  log(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>>): void;
  /** Whether this node means to stay in the pool. */
  stays(): boolean;
  /** Others hold that this node leaves, and it does not. */
  objectToLeave(): void;
  /** It may never have heard that somebody said so of it: it is to be told directly. */
  askWhetherLeaving(member: MemberState): void;
  forgotten(name: string): void;
}

const reapIntervalMs = 15_000;
/** Who is about to leave should have done so after this; then it is asked whether it really does. */
const leavingMaxMs = 20_000;

/**
 * Who is in the pool, and as what: alive, leaving, left or failed. Changes come from memberlist, which knows who answers, and from
 * intents, which say who means to go and who is back; those are ordered by Lamport time, so that old ones change nothing.
 */
export class MemberList {
  readonly self: MemberState;
  readonly #options: MemberListOptions;
  readonly #members = new Map<string, MemberState>();
  readonly #intents = new Intents();

  constructor(options: MemberListOptions) {
    this.#options = options;
    this.self = new MemberState(options.self, 'alive');
    this.#members.set(this.self.name, this.self);
  }

  start(): void {
    this.#options.timers.after(reapIntervalMs, () => this.#reap());
  }

  get size(): number {
    return this.#members.size;
  }

  get(name: string): MemberState | undefined {
    return this.#members.get(name);
  }

  all(): IterableIterator<MemberState> {
    return this.#members.values();
  }

  // ── What memberlist saw ──

  joined(node: SwimNode): void {
    let member = this.#members.get(node.name);
    if (member === undefined) {
      const intent = this.#intents.take(node.name);
      member = new MemberState(node, intent?.type === 'leave' ? 'leaving' : 'alive');
      member.leavingAt = this.#options.timers.now;
      member.statusTime = intent?.lamportTime ?? 0;
      member.intentUnsaid = intent?.type === 'unsaid';
      this.#members.set(node.name, member);
    } else {
      member.node = node;
      member.status = 'alive';
    }
    member.goneAt = 0;
    member.pruneWhenGone = false;
    this.#options.log('info', `member '${node.name}' joined`, { node: node.name, address: node.endpoint.host, port: node.endpoint.port });
    this.#options.emit({ type: 'member-join', member: member.picture() });
    // What we heard before it came may be of its life before this one, and newer than the word it has just given to others.
    if (member.status === 'leaving') this.#options.askWhetherLeaving(member);
  }

  left(node: SwimNode): void {
    const member = this.#members.get(node.name);
    if (member === undefined || (member.status !== 'alive' && member.status !== 'leaving')) return;
    const left = member.status === 'leaving';
    member.status = left ? 'left' : 'failed';
    member.goneAt = this.#options.timers.now;
    this.#options.log(left ? 'info' : 'warn', `member '${node.name}' ${left ? 'left' : 'failed'}`, { node: node.name });
    this.#options.emit({ type: left ? 'member-leave' : 'member-failed', member: member.picture() });
    if (member.pruneWhenGone) this.#forget(member);
  }

  updated(node: SwimNode): void {
    const member = this.#members.get(node.name);
    if (member !== undefined) this.#options.emit({ type: 'member-update', member: member.picture() });
  }

  // ── Intents ──

  /** True when it is news that others should hear. */
  joinIntent(message: SerfJoin): boolean {
    return this.#believeThere(message, 'join');
  }

  /**
   * Somebody who does not hold that the member left knows an intent of this time. If that is a leave whose own message is
   * still under way (one can hear of it first from who is leaving), the message must count, although its time is no news.
   */
  intentTime(name: string, lamportTime: number): void {
    this.#believeThere({ Node: name, LTime: lamportTime }, 'unsaid');
  }

  #believeThere(message: SerfJoin, type: 'join' | 'unsaid'): boolean {
    this.#options.clock.witness(message.LTime);
    const member = this.#members.get(message.Node);
    if (member === undefined) return this.#intents.add(message.Node, { type, lamportTime: message.LTime, at: this.#options.timers.now });
    if (message.LTime <= member.statusTime) return false;
    member.statusTime = message.LTime;
    member.intentUnsaid = type === 'unsaid';
    if (member.status === 'leaving' && !(member === this.self && !this.#options.stays())) {
      member.status = 'alive';
      member.pruneWhenGone = false;
    }
    return true;
  }

  leaveIntent(message: SerfLeave): boolean {
    this.#options.clock.witness(message.LTime);
    const member = this.#members.get(message.Node);
    if (member === undefined) return this.#intents.add(message.Node, { type: 'leave', lamportTime: message.LTime, at: this.#options.timers.now });
    if (member === this.self && this.#options.stays()) {
      // We do not leave: that is newer than what we were told. Its very time we may know already, from an exchange of state.
      if (message.LTime >= member.statusTime) this.#options.objectToLeave();
      return false;
    }
    if (message.LTime < member.statusTime || (message.LTime === member.statusTime && !member.intentUnsaid)) return false;
    member.statusTime = message.LTime;
    member.intentUnsaid = false;
    switch (member.status) {
      case 'alive':
        // A live member refutes; until then it only counts as leaving, so that a prune cannot hide it.
        member.status = 'leaving';
        member.leavingAt = this.#options.timers.now;
        member.pruneWhenGone = message.Prune;
        return true;
      case 'leaving':
        member.pruneWhenGone ||= message.Prune;
        return true;
      case 'failed':
        member.status = 'left';
        member.goneAt = this.#options.timers.now;
        this.#options.log('info', `member '${member.name}' was failed and is now held to have left`, { node: member.name });
        this.#options.emit({ type: 'member-leave', member: member.picture() });
        if (message.Prune) this.#forget(member);
        return true;
      case 'left':
        if (message.Prune) this.#forget(member);
        return true;
    }
  }

  #forget(member: MemberState): void {
    if (member === this.self) return; // whatever others ask for: this node knows of itself
    this.#options.forgotten(member.name);
    this.#members.delete(member.name);
    this.#options.log('info', `member '${member.name}' is forgotten`, { node: member.name });
    this.#options.emit({ type: 'member-reap', member: member.picture() });
  }

  #reap(): void {
    const { now } = this.#options.timers;
    this.#options.timers.after(reapIntervalMs, () => this.#reap());
    this.#intents.expire(now);
    for (const member of this.#members.values()) {
      const limit = member.status === 'failed' ? this.#options.reconnectTimeoutMs : member.status === 'left' ? this.#options.tombstoneTimeoutMs : Infinity;
      if (member !== this.self && now - member.goneAt > limit) this.#forget(member);
      if (member.status === 'leaving' && now - member.leavingAt > leavingMaxMs) this.#options.askWhetherLeaving(member);
    }
  }
}
