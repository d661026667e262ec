import { TroupeError } from '../../base/errors.ts';
import { encodeUtf8 } from '../wire/msgpack.ts';
import { encodeSerfMessage, serfType, serfUserEventCodec } from '../wire/serf-messages.ts';
import type { SerfPushPull, SerfUserEvent } from '../wire/serf-messages.ts';
import { sameBytes } from '../swim/member-table.ts';
import { LamportClock } from './lamport-clock.ts';
import { RecentRing } from './recent-ring.ts';
import type { SerfEvent } from './types.ts';

/** Serf's default bound on the name and payload of a user event, and on its encoding (bytes). */
export const userEventBytesMax = 512;

interface SeenEvent {
  readonly Name: string;
  readonly Payload: Uint8Array;
}

export interface UserEventPorts {
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

  constructor(ports: UserEventPorts) {
    this.#ports = ports;
  }

  /** Fires an event at everybody, ourselves among them. @throws TroupeError EVENT_TOO_LARGE */
  fire(name: string, payload: Uint8Array, coalesce: boolean): void {
    const size = encodeUtf8(name).length + payload.length;
    const event: SerfUserEvent = { LTime: this.clock.time, Name: name, Payload: payload.slice(), CC: coalesce };
    const message = encodeSerfMessage(serfType.userEvent, serfUserEventCodec, event);
    if (size > userEventBytesMax || message.length > userEventBytesMax) {
      throw new TroupeError('EVENT_TOO_LARGE', `cannot send the event '${name}': it takes ${Math.max(size, message.length)} bytes and at most ${userEventBytesMax} travel; send a reference to the data instead`, { name, size: message.length, max: userEventBytesMax });
    }
    this.clock.tick();
    this.#deliver(event);
    this.#ports.broadcast(message);
  }

  /** True when it is news. @throws WireError */
  handle(body: Uint8Array): boolean {
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
    if (past === 'history' || (past === 'missed' && !this.#merged)) this.#minTime = Math.max(this.#minTime, theirTime);
    this.#merged = true;
    const known = events.filter((slot) => slot !== undefined).sort((a, b) => a.LTime - b.LTime);
    for (const slot of known) for (const event of slot.Events) this.#deliver({ LTime: slot.LTime, Name: event.Name, Payload: event.Payload.slice(), CC: false });
  }

  #deliver(event: SerfUserEvent): boolean {
    this.clock.witness(event.LTime);
    if (event.LTime < this.#minTime) return false;
    if (!this.#ring.add(event.LTime, { Name: event.Name, Payload: event.Payload }, this.clock.time)) return false;
    this.#ports.emit({ type: 'user', name: event.Name, payload: event.Payload, lamportTime: event.LTime, coalesce: event.CC });
    return true;
  }
}
