/** Which part of the node is told what the connections to its peers bring: frames, beginnings and ends, and the end of a turn. */
import type { Calls } from './calls.ts';
import type { Consensus } from './consensus.ts';
import type { Gossip } from './gossip.ts';
import type { LeaseFrames } from './lease-frames.ts';
import { PeerFrame } from './peer-frames.ts';
import type { PeerHandlers } from './peer-types.ts';
import type { Peers } from './peers.ts';
import type { Requests } from './router.ts';
import type { StoreHost } from './store-host.ts';

/** Undefined until it has opened. */
export interface PeerFollowers {
  readonly peers: Peers | undefined;
  readonly store: StoreHost | undefined;
  readonly requests: Requests | undefined;
  readonly consensus: Consensus | undefined;
  readonly calls: Calls | undefined;
  readonly leases: LeaseFrames | undefined;
  readonly gossip: Gossip | undefined;
  isClosed(): boolean;
  onDead(name: string, instance: string): void;
  onAlive(instance: string): void;
}

export function peerHandlers(to: PeerFollowers): PeerHandlers {
  return {
    onFrame: (from, type, bytes, start, end) => {
      if (!to.isClosed()) routeFrame(to, from, type, bytes, start, end);
    },
    onConnected: (name, instance) => {
      to.onAlive(instance);
      to.consensus?.connected(name);
      to.store?.connected(name);
      to.requests?.lookAgain();
    },
    onDisconnected: (name) => {
      to.consensus?.disconnected(name);
      to.store?.disconnected(name);
      to.calls?.disconnected(name);
      to.requests?.disconnected(name);
      if (to.gossip?.member(name)?.status === 'left') to.peers?.forget(name);
    },
    onIncoming: (name) => to.requests?.reconnectedFrom(name),
    onDead: (name, instance) => to.onDead(name, instance),
    beforeFlush: () => {
      to.consensus?.endOfTurn();
      to.store?.flush();
      // What the copies have asked for may be proposals of this very node.
      to.consensus?.endOfTurn();
    },
  };
}

/** Frames of kinds that this version does not know are passed over. */
function routeFrame(to: PeerFollowers, from: string, type: number, bytes: Uint8Array, start: number, end: number): void {
  if (type >= PeerFrame.replicaFirst && type <= PeerFrame.replicaLast) {
    to.store?.onReplicaFrame(from, type, bytes, start, end);
    return;
  }
  switch (type) {
    case PeerFrame.request: to.store?.onRequestFrame(from, bytes, start, end); return;
    case PeerFrame.response: to.requests?.onResponseFrame(from, bytes, start, end); return;
    case PeerFrame.raft: to.consensus?.onFrame(from, bytes, start, end); return;
    case PeerFrame.call:
    case PeerFrame.answer: to.calls?.onFrame(from, type, bytes, start, end); return;
    case PeerFrame.renew:
    case PeerFrame.granted:
    case PeerFrame.denied: to.leases?.onFrame(from, type, bytes, start, end); return;
    default: return;
  }
}
