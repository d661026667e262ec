import type { Member, MemberEvent, QueryEvent, UserEvent } from './types.ts';

/** Several members to which the same happened at about the same time. */
export interface MembersEvent {
  readonly type: MemberEvent['type'];
  readonly members: readonly Member[];
}

/** What event handlers and streams are told, after coalescing. */
export type AgentEvent = MembersEvent | UserEvent | QueryEvent;
