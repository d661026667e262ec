import { decodeTags } from '../wire/serf-tags.ts';
import type { SwimNode } from '../swim/types.ts';
import type { Member, MemberStatus, ProtocolRange } from './types.ts';

/** What Serf knows of a member besides what memberlist does. */
export class MemberState {
  node: SwimNode;
  status: MemberStatus;
  /** Lamport time of the newest intent about it. */
  statusTime = 0;
  /** That intent is known from an exchange of state, which has its time and does not say whether it was a join or a leave. */
  intentUnsaid = false;
  /** When it left or failed. */
  goneAt = 0;
  /** Since when it is about to leave. */
  leavingAt = 0;
  /** It was asked to be forgotten as soon as it is gone. */
  pruneWhenGone = false;
  #picture: Member | undefined;
  #pictureOf: { readonly meta: Uint8Array; readonly endpoint: object } | undefined;

  constructor(node: SwimNode, status: MemberStatus) {
    this.node = node;
    this.status = status;
  }

  get name(): string {
    return this.node.name;
  }

  /** As of now; the same object while nothing changes. */
  picture(): Member {
    const { node } = this;
    const old = this.#picture;
    if (old !== undefined && old.status === this.status && old.incarnation === node.incarnation && this.#pictureOf?.meta === node.meta && this.#pictureOf.endpoint === node.endpoint) return old;
    const sameMeta = old !== undefined && this.#pictureOf?.meta === node.meta;
    this.#pictureOf = { meta: node.meta, endpoint: node.endpoint };
    this.#picture = {
      name: node.name,
      address: node.endpoint,
      tags: sameMeta ? old.tags : decodeTags(node.meta),
      status: this.status,
      incarnation: node.incarnation,
      protocol: range(node.versions, 0),
      delegate: range(node.versions, 3),
    };
    return this.#picture;
  }
}

function range(versions: Uint8Array, offset: number): ProtocolRange {
  return { min: versions[offset] ?? 0, max: versions[offset + 1] ?? 0, current: versions[offset + 2] ?? 0 };
}
