import { TroupeError } from '../../base/errors.ts';
import { encodeUtf8 } from '../wire/msgpack.ts';
import { encodeSerfMessage, serfType, serfUserEventCodec } from '../wire/serf-messages.ts';
import type { SerfPushPull, SerfUserEvent } from '../wire/serf-messages.ts';
import { sameBytes } from '../swim/member-table.ts';
import { LamportClock } from './lamport-clock.ts';
import { RecentRing } from './recent-ring.ts';
import type { SerfEvent } from './types.ts';

/** Serf's default bound on the name and payload of a user event, and on its encoding (bytes). */
export const userEventBytesDefault = 512;
/** What that bound can be raised to, as in Serf. */
export const userEventBytesCeiling: number = 9 * 1024;

/** Events that wait for those before them, after a restart: as many as a ring of others can bring, and some. */
const heldMax = 4096;

interface SeenEvent {
  readonly Name: string;
  readonly Payload: Uint8Array;
}

export interface UserEventPorts {
  /** Of the events that this node fires: those of others are taken at any size. */
  readonly bytesMax: number;
  emit(event: SerfEvent): void;
  broadcast(message: Uint8Array): void;
}

/** User events: each is delivered once, whatever way and however often it comes. */
export class UserEvents {
  readonly clock: LamportClock = new LamportClock();
  readonly #ports: UserEventPorts;
  readonly #ring = new RecentRing<SeenEvent>((a, b) => a.Name === b.Name && sameBytes(a.Payload, b.Payload));
  /** Older ones are not delivered. */
  #minTime = 0;
  #merged = false;
  /** What comes before the first exchange of state, after a restart that remembers: it waits for what was missed before it. */
  #held: SerfUserEvent[] | undefined;

  constructor(ports: UserEventPorts) {
    this.#ports = ports;
  }

  /** Events up to this time were told, or are history. */
  get toldTime(): number {
    return this.#held === undefined ? this.clock.time - 1 : this.#minTime - 1;
  }

  /**
   * This process goes on where another one ended, which had seen events up to this time: those up to it are never told
   * again, and later ones are told in their order. What comes before the first exchange of state is held back for that;
   * see `endCatchingUp`.
   */
  resumeAfter(time: number): void {
    this.#minTime = Math.max(this.#minTime, time + 1);
    this.#merged = true;
    this.#held = [];
    this.clock.witness(time);
  }

  /** Nobody was there to tell what was missed, or has told: what was held back is told now. */
  endCatchingUp(): void {
    const held = this.#held;
    this.#held = undefined;
    for (const event of (held ?? []).sort((a, b) => a.LTime - b.LTime)) this.#tell(event);
  }

  /** Fires an event at everybody, ourselves among them. @throws TroupeError EVENT_TOO_LARGE */
  fire(name: string, payload: Uint8Array, coalesce: boolean): void {
    const size = encodeUtf8(name).length + payload.length;
    const event: SerfUserEvent = { LTime: this.clock.time, Name: name, Payload: payload.slice(), CC: coalesce };
    const message = encodeSerfMessage(serfType.userEvent, serfUserEventCodec, event);
    const { bytesMax } = this.#ports;
    if (size > bytesMax || message.length > bytesMax) {
      const instead = bytesMax < userEventBytesCeiling ? `allow more (gossip.userEventBytesMax, up to ${userEventBytesCeiling}), or send a reference to the data instead` : 'send a reference to the data instead';
      throw new TroupeError('EVENT_TOO_LARGE', `cannot send the event '${name}': it takes ${Math.max(size, message.length)} bytes and at most ${bytesMax} travel; ${instead}`, { name, size: message.length, max: bytesMax });
    }
    this.clock.tick();
    this.#deliver(event);
    this.#ports.broadcast(message);
  }

  /**
   * True when it is news. Before the first exchange of state nothing is: whoever is quicker with old events than with
   * its state must not pass them for new, and what is new will be sent again. @throws WireError
   */
  handle(body: Uint8Array): boolean {
    if (!this.#merged) return false;
    const event = serfUserEventCodec.decode(body, { valuesMax: 64, depthMax: 4 });
    return this.#deliver({ ...event, Payload: event.Payload.slice() });
  }

  /** The ring as a push/pull carries it. */
  recent(): SerfPushPull['Events'] {
    return this.#ring.slots().map((slot) => slot && { LTime: slot.time, Events: slot.seen });
  }

  /**
   * Takes in another's ring. At the first contact of a fresh process, and at a join that somebody asked for, what came before is history:
   * it is remembered, not delivered; unless that join asked for it to be told.
   */
  merge(events: SerfPushPull['Events'], theirTime: number, past: 'history' | 'missed' | 'told'): void {
    // A join that somebody asks for while we still catch up is a way to catch up.
    const isHistory = this.#held === undefined && (past === 'history' || (past === 'missed' && !this.#merged));
    if (isHistory) this.#minTime = Math.max(this.#minTime, theirTime);
    this.#merged = true;
    const known = events.filter((slot) => slot !== undefined).sort((a, b) => a.LTime - b.LTime);
    for (const slot of known) for (const event of slot.Events) this.#deliver({ LTime: slot.LTime, Name: event.Name, Payload: event.Payload.slice(), CC: false });
    this.endCatchingUp();
  }

  #deliver(event: SerfUserEvent): boolean {
    this.clock.witness(event.LTime);
    if (event.LTime < this.#minTime) return false;
    if (!this.#ring.add(event.LTime, { Name: event.Name, Payload: event.Payload }, this.clock.time)) return false;
    if (this.#held === undefined) this.#tell(event);
    else {
      this.#held.push(event);
      if (this.#held.length >= heldMax) this.endCatchingUp();
    }
    return true;
  }

  #tell(event: SerfUserEvent): void {
    this.#ports.emit({ type: 'user', name: event.Name, payload: event.Payload, lamportTime: event.LTime, coalesce: event.CC });
  }
}
