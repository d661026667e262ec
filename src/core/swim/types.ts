import type { Endpoint } from '../wire/ip-address.ts';
import type { StreamMessage } from '../wire/stream-frames.ts';
import type { SwimTiming } from './timing.ts';

/** The part of ports/random that this room needs. */
export interface RandomSource {
  uint32(): number;
  float(): number;
  below(bound: number): number;
}

export type NodeState = 'alive' | 'suspect' | 'dead' | 'left';

/** What is known about a member. Changed in place; the layer above makes its own pictures. */
export interface SwimNode {
  readonly name: string;
  endpoint: Endpoint;
  /** The endpoint's address as it travels. */
  ip: Uint8Array;
  meta: Uint8Array;
  /** pmin pmax pcur dmin dmax dcur; empty: unknown. */
  versions: Uint8Array;
  incarnation: number;
  state: NodeState;
  /** When it came into this state. */
  stateSince: number;
  /** After how many of our probes it was last the target, or came (back). */
  probedAt: number;
}

/** The layer above: Serf. Calls are synchronous and may call back into the machine. */
export interface SwimDelegate {
  nodeJoined(node: SwimNode): void;
  /** The node is dead or left. */
  nodeLeft(node: SwimNode): void;
  nodeUpdated(node: SwimNode): void;
  /** Somebody claims the name of a live member from another address. */
  nameConflict(known: SwimNode, claimed: Endpoint): void;
  userMessage(message: Uint8Array, from: Endpoint): void;
  /** Messages to gossip, each costing `overhead` besides its length, within `budget`. */
  broadcasts(overhead: number, budget: number): Uint8Array[];
  /** The same, of messages that have at least `bytesMin` bytes and so fit into no packet beside others. */
  largeBroadcasts(overhead: number, budget: number, bytesMin: number): Uint8Array[];
  /** Nobody is there to hear anything: what waits would only be stale later. */
  nobodyListens(): void;
  localState(join: boolean): Uint8Array;
  /** @throws WireError */
  mergeState(state: Uint8Array, join: boolean): void;
  ackPayload(): Uint8Array;
  /** Somebody whom we do not know takes us for a member. */
  strangerPinged(from: Endpoint): void;
  pingAnswered(node: SwimNode, roundTripMs: number, payload: Uint8Array): void;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Where the machine's effects go. None of these may call back synchronously. */
export interface SwimSink {
  /** Best effort. `checksum`: the receiver is known to understand checksums. */
  sendPacket(to: Endpoint, message: Uint8Array, checksum: boolean): void;
  /** Opens a stream, sends the message, reads one in return; `dialEnded` follows with the same id, exactly once. */
  dial(id: number, to: Endpoint, message: Uint8Array, timeoutMs: number): void;
  log(level: LogLevel, message: string, fields: Readonly<Record<string, unknown>>): void;
}

export type DialOutcome =
  | { readonly type: 'reply'; readonly message: StreamMessage }
  | { readonly type: 'failed'; readonly code: string; readonly message: string };

export interface SwimOptions {
  readonly name: string;
  /** What others reach us at. */
  readonly advertise: Endpoint;
  readonly meta: Uint8Array;
  readonly timing: SwimTiming;
  /** Bytes that encryption adds to each packet. */
  readonly packetOverhead: () => number;
  readonly membersMax: number;
  /** How long after its death a name may come back at another address (ms). */
  readonly deadNodeReclaimMs: number;
  /** What this node says that it speaks; default `ownVersions`. */
  readonly versions?: Uint8Array;
}

/** Bytes of metadata, and of a name, that are taken from anybody. */
export const metaBytesMax = 512;
export const nameBytesMax = 512;

/** What we speak: memberlist 1 to 5, speaking 2; Serf 2 to 5, speaking 5. */
export const ownVersions: Uint8Array = Uint8Array.of(1, 5, 2, 2, 5, 5);
