import type { Gossip, GossipEvent, Member } from '../../src/node/gossip-types.ts';
import type { Clock, Timer } from '../../src/ports/clock.ts';

/** A clock that is moved by hand. */
export class HandClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ at: number; fire: () => void }>();
  #turn: (() => void)[] = [];

  now(): number {
    return this.#now;
  }

  sleptMs(): number {
    return 0;
  }

  wallTime(): number {
    return 1_000_000 + this.#now;
  }

  at(atMs: number, fire: () => void): Timer {
    const timer = { at: atMs, fire };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  endOfTurn(run: () => void): void {
    this.#turn.push(run);
  }

  /** Ends the turn, and lets promises settle. */
  async turn(): Promise<void> {
    for (const run of this.#turn.splice(0)) run();
    for (let i = 0; i < 20; i++) await Promise.resolve();
  }

  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter((timer) => timer.at <= end).toSorted((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.fire();
      await this.turn();
    }
    this.#now = end;
    await this.turn();
  }
}

export function member(name: string, status: Member['status'] = 'alive', tags: Record<string, string> = {}): Member {
  const range = { min: 1, max: 5, current: 2 };
  return { name, status, tags, address: { host: `10.0.0.${name.length}`, port: 7946 }, incarnation: 1, protocol: range, delegate: range };
}

/** A pool whose members a test changes. */
export class FakeGossip {
  readonly #members = new Map<string, Member>();
  readonly #listeners = new Set<(event: GossipEvent) => void>();

  constructor(...members: readonly Member[]) {
    for (const each of members) this.#members.set(each.name, each);
  }

  get gossip(): Pick<Gossip, 'local' | 'members' | 'onEvent'> {
    return {
      local: [...this.#members.values()][0] as Member,
      members: () => [...this.#members.values()],
      onEvent: (listener) => {
        this.#listeners.add(listener);
        return () => void this.#listeners.delete(listener);
      },
    };
  }

  /** Changes a member and tells of it. */
  set(type: 'member-join' | 'member-leave' | 'member-failed' | 'member-update', changed: Member): void {
    this.#members.set(changed.name, changed);
    this.tell({ type, member: changed });
  }

  /** Changes a member without a word. */
  setSilently(changed: Member): void {
    this.#members.set(changed.name, changed);
  }

  tell(event: GossipEvent): void {
    for (const listener of this.#listeners) listener(event);
  }

  user(name: string, payload: string = ''): void {
    this.tell({ type: 'user', name, payload: new TextEncoder().encode(payload), lamportTime: 1, coalesce: true });
  }
}
