import { FrameReader } from '../core/wire/frame-reader.ts';
import type { Leader } from './leader.ts';
import { PeerFrame } from './peer-frames.ts';
import type { Peers } from './peers.ts';
import type { SessionClient } from './session-client.ts';

export interface LeaseParties {
  readonly self: string;
  /** While this node leads. */
  leader(): Leader | undefined;
  session(): SessionClient | undefined;
}

/** What sessions and the leader say to each other, on the wire; within one node without it. */
export class LeaseFrames {
  readonly #parties: LeaseParties;
  readonly #peers: Peers;
  readonly #reader = new FrameReader();

  constructor(parties: LeaseParties, peers: Peers) {
    this.#parties = parties;
    this.#peers = peers;
  }

  onFrame(from: string, type: number, bytes: Uint8Array, start: number, end: number): void {
    const reader = this.#reader;
    reader.reset(bytes, start, end);
    const session = reader.count();
    if (type === PeerFrame.renew) this.#parties.leader()?.renew(from, session, reader.u32());
    else if (type === PeerFrame.granted) this.#parties.session()?.granted(session, reader.u32(), reader.count());
    else this.#parties.session()?.denied(session);
  }

  renew(leader: string, session: number, round: number): void {
    if (leader === this.#parties.self) {
      this.#parties.leader()?.renew(leader, session, round);
      return;
    }
    const writer = this.#peers.writer(leader);
    writer?.begin(PeerFrame.renew);
    writer?.f64(session);
    writer?.u32(round);
    writer?.end();
  }

  grant(node: string, session: number, round: number, index: number): void {
    if (node === this.#parties.self) {
      this.#parties.session()?.granted(session, round, index);
      return;
    }
    const writer = this.#peers.writer(node);
    writer?.begin(PeerFrame.granted);
    writer?.f64(session);
    writer?.u32(round);
    writer?.f64(index);
    writer?.end();
  }

  deny(node: string, session: number): void {
    if (node === this.#parties.self) {
      this.#parties.session()?.denied(session);
      return;
    }
    const writer = this.#peers.writer(node);
    writer?.begin(PeerFrame.denied);
    writer?.f64(session);
    writer?.end();
  }
}
