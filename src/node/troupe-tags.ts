import type { Member } from './gossip-types.ts';
import type { Address } from '../ports/address.ts';

/** The facts about a node that travel as Serf tags. A plain Serf agent has none of them and holds no part. */
export const troupeTag = { peerPort: 'troupe.peer', instance: 'troupe.id', cluster: 'troupe.cluster', expect: 'troupe.expect' } as const;

export interface TroupeFacts {
  readonly peer: Address;
  readonly instance: string;
  /** '' while it belongs to none. */
  readonly cluster: string;
  readonly expect: string;
}

export function tagsOf(facts: { peerPort: number; instance: string; cluster: string; expect: number }): Record<string, string> {
  return {
    [troupeTag.peerPort]: String(facts.peerPort),
    [troupeTag.instance]: facts.instance,
    ...(facts.cluster === '' ? {} : { [troupeTag.cluster]: facts.cluster }),
    ...(facts.expect === 0 ? {} : { [troupeTag.expect]: String(facts.expect) }),
  };
}

/** Undefined for a member that is no Troupe node. */
export function factsOf(member: Member): TroupeFacts | undefined {
  const port = Number(member.tags[troupeTag.peerPort]);
  const instance = member.tags[troupeTag.instance];
  if (!Number.isInteger(port) || port < 1 || port > 65_535 || instance === undefined || instance === '') return undefined;
  return { peer: { host: member.address.host, port }, instance, cluster: member.tags[troupeTag.cluster] ?? '', expect: member.tags[troupeTag.expect] ?? '' };
}

export function isTroupeTag(tag: string): boolean {
  return Object.values<string>(troupeTag).includes(tag);
}

/** Without the node's own facts. */
export function userTagsOf(tags: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(tags).filter(([tag]) => !isTroupeTag(tag)));
}
