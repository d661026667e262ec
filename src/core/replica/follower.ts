import type { Position } from './messages.ts';

/**
 * How a primary sees another copy.
 * probing: asked where it is. waiting: needs everything, for which there is no slot yet. snapshot: everything is being
 * sent, and the log beside it. streaming: gets entries from nextSeq on.
 */
export type FollowerMode = 'probing' | 'waiting' | 'snapshot' | 'streaming';

export class Follower {
  readonly name: string;
  /** The session in which it is what it is: a new one starts over. */
  readonly session: number;
  mode: FollowerMode = 'probing';
  /** By the map. */
  inSync = false;
  /** Its acknowledgement counts: it is in sync by the map, or has been promised to the leader as caught up. */
  required = false;
  /** It was the primary before, by a transfer, and may not know yet that it is no longer. */
  former = false;
  position: Position | undefined;
  nextSeq = 0;
  /** Its log goes on beyond the point up to which the two are known to be equal: it is cut first. */
  hasTail = false;
  lastCutAt: number = Number.NEGATIVE_INFINITY;
  ackSeq = -1;
  sentCommit = -1;
  /** When it last answered anything that moved it forward, or was up to date when something was sent to it. */
  lastProgressAt: number;
  lastProbeAt: number = Number.NEGATIVE_INFINITY;
  addRequestedAt: number = Number.NEGATIVE_INFINITY;
  cursor = 0;
  scanned = false;
  chunksOut = 0;

  constructor(name: string, session: number, now: number) {
    this.name = name;
    this.session = session;
    this.lastProgressAt = now;
  }
}
