import type { AgentEvent, MembersEvent } from './agent-event.ts';
import type { Member, MemberEvent, UserEvent } from './types.ts';

/** How long events are held back to be told together. */
export interface CoalesceTiming {
  /** At most (ms), counted from the first. */
  readonly quantumMs: number;
  /** Or until nothing has come for this long (ms). */
  readonly quiescentMs: number;
}

/** Serf's. */
export const coalesceTiming: CoalesceTiming = { quantumMs: 3000, quiescentMs: 1000 };

/** More waiting names than this are told at once. */
const waitingMax = 16_384;

abstract class Coalescer {
  readonly #timing: CoalesceTiming;
  #flushBy = Infinity;
  #quietBy = Infinity;

  constructor(timing: CoalesceTiming) {
    this.#timing = timing;
  }

  /** When `flush` should be called; Infinity: nothing waits. */
  get deadline(): number {
    return Math.min(this.#flushBy, this.#quietBy);
  }

  protected touch(now: number, waiting: number): void {
    if (this.#flushBy === Infinity) this.#flushBy = now + this.#timing.quantumMs;
    this.#quietBy = waiting >= waitingMax ? now : now + this.#timing.quiescentMs;
  }

  protected settled(): void {
    this.#flushBy = Infinity;
    this.#quietBy = Infinity;
  }
}

type Lifecycle = Exclude<MemberEvent['type'], 'member-update'>;

interface Waiting {
  member: Member;
  /** The newest of coming and going. */
  lifecycle: Lifecycle | undefined;
  updated: boolean;
}

/**
 * Tells of several members at once what happened to them at about the same time, and of one that came and went only how
 * it ended. What was told once is not told again.
 *
 * Two things differ from Serf, whose table of newest events is never emptied: an update is told once, not again with
 * each later event; and a join that is followed by an update within the time is told as a join, with the new tags.
 */
export class MemberCoalescer extends Coalescer {
  readonly #waiting = new Map<string, Waiting>();
  /** How each member was last told of. */
  readonly #told = new Map<string, Lifecycle>();

  add({ type, member }: MemberEvent, now: number): void {
    const known = this.#waiting.get(member.name) ?? { member, lifecycle: undefined, updated: false };
    this.#waiting.delete(member.name); // in the order of the newest
    this.#waiting.set(member.name, known);
    known.member = member;
    if (type === 'member-update') known.updated = true;
    else known.lifecycle = type;
    this.touch(now, this.#waiting.size);
  }

  flush(): MembersEvent[] {
    const groups = new Map<MemberEvent['type'], Member[]>();
    for (const [name, { member, lifecycle, updated }] of this.#waiting) {
      const type = lifecycle !== undefined && lifecycle !== this.#told.get(name) ? lifecycle : updated ? 'member-update' : undefined;
      if (lifecycle === 'member-reap') this.#told.delete(name);
      else if (lifecycle !== undefined) this.#told.set(name, lifecycle);
      if (type === undefined) continue;
      const group = groups.get(type);
      if (group === undefined) groups.set(type, [member]);
      else group.push(member);
    }
    this.#waiting.clear();
    this.settled();
    return [...groups].map(([type, members]) => ({ type, members }));
  }
}

/** Of the user events of a name that may be coalesced, tells the newest; several of one time all count as that. */
export class UserCoalescer extends Coalescer {
  readonly #waiting = new Map<string, UserEvent[]>();

  add(event: UserEvent, now: number): void {
    const known = this.#waiting.get(event.name);
    const time = known?.[0]?.lamportTime ?? -1;
    if (event.lamportTime > time) {
      this.#waiting.delete(event.name);
      this.#waiting.set(event.name, [event]);
    } else if (event.lamportTime === time) known?.push(event);
    this.touch(now, this.#waiting.size);
  }

  flush(): AgentEvent[] {
    const events = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    this.settled();
    return events;
  }
}
