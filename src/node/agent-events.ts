import { coalesceTiming, MemberCoalescer, UserCoalescer } from '../core/serf/coalesce.ts';
import type { CoalesceTiming } from '../core/serf/coalesce.ts';
import type { AgentEvent } from '../core/serf/agent-event.ts';
import type { Clock, Timer } from '../ports/clock.ts';
import type { Gossip, GossipEvent } from './gossip-types.ts';

export type { AgentEvent, MembersEvent } from '../core/serf/agent-event.ts';

/** Events that wait for the first listener: a node that is starting hears at once what it missed. */
const earlyMax = 4096;

/**
 * The pool's events as event handlers and RPC streams see them: those of members, and user events that allow it, are held
 * back for a moment and told together, as Serf does. Queries are told at once.
 */
export class AgentEvents {
  readonly #clock: Clock;
  readonly #members: MemberCoalescer;
  readonly #users: UserCoalescer;
  readonly #listeners = new Set<(event: AgentEvent) => void>();
  readonly #stop: () => void;
  /** What came before anybody listened. */
  #early: AgentEvent[] = [];
  #timer: Timer | undefined;
  #armedFor = Infinity;
  #closed = false;

  constructor(gossip: Pick<Gossip, 'members' | 'onEvent'>, clock: Clock, timing: CoalesceTiming = coalesceTiming) {
    this.#clock = clock;
    this.#members = new MemberCoalescer(timing);
    this.#users = new UserCoalescer(timing);
    // Whoever is there already, ourselves among them, has joined.
    for (const member of gossip.members()) if (member.status === 'alive') this.#members.add({ type: 'member-join', member }, clock.now());
    this.#stop = gossip.onEvent((event) => this.#take(event));
    this.#arm();
  }

  /** Listeners are called in order and must not throw; the first is told what came before it. Returns the way to stop. */
  onEvent(listener: (event: AgentEvent) => void): () => void {
    this.#listeners.add(listener);
    for (const event of this.#early.splice(0)) listener(event);
    return () => void this.#listeners.delete(listener);
  }

  /** Tells at once what is held back, and nothing from then on. */
  close(): void {
    if (this.#closed) return;
    this.#stop();
    this.#flush(Infinity);
    this.#closed = true;
    this.#timer?.cancel();
  }

  #take(event: GossipEvent): void {
    switch (event.type) {
      case 'member-join': case 'member-leave': case 'member-failed': case 'member-update': case 'member-reap':
        this.#members.add(event, this.#clock.now());
        break;
      case 'user':
        if (event.coalesce) this.#users.add(event, this.#clock.now());
        else this.#tell(event);
        break;
      case 'query':
        this.#tell(event);
        return;
      case 'name-conflict': case 'name-lost': return;
    }
    this.#arm();
  }

  #arm(): void {
    const next = Math.min(this.#members.deadline, this.#users.deadline);
    // A deadline that moved back is looked at when the earlier one comes.
    if (this.#closed || next >= this.#armedFor) return;
    this.#timer?.cancel();
    this.#armedFor = next;
    this.#timer = this.#clock.at(next, () => {
      this.#armedFor = Infinity;
      this.#flush(this.#clock.now());
      this.#arm();
    });
  }

  #flush(now: number): void {
    if (this.#members.deadline <= now) for (const event of this.#members.flush()) this.#tell(event);
    if (this.#users.deadline <= now) for (const event of this.#users.flush()) this.#tell(event);
  }

  #tell(event: AgentEvent): void {
    if (this.#listeners.size === 0 && this.#early.length < earlyMax) this.#early.push(event);
    for (const listener of this.#listeners) listener(event);
  }
}
