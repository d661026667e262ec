import type { AgentEvent } from './agent-event.ts';

export interface EventFilter {
  /** `*`, `user`, `query` or one of the member events. */
  readonly event: string;
  /** Of a user event or query; '' for any. */
  readonly name: string;
}

const events: readonly string[] = ['*', 'member-join', 'member-leave', 'member-failed', 'member-update', 'member-reap', 'user', 'query'];

/** Reads Serf's list of events: `member-join,user:deploy,query:load`; '' is `*`. Undefined when one of them is not known. */
export function parseEventFilters(text: string): readonly EventFilter[] | undefined {
  const filters = (text === '' ? '*' : text).split(',').map((word): EventFilter => {
    const named = /^(user|query):(.*)$/s.exec(word);
    return named === null ? { event: word, name: '' } : { event: named[1] as string, name: named[2] as string };
  });
  return filters.every((filter) => events.includes(filter.event)) ? filters : undefined;
}

export function matchesEvent({ event, name }: EventFilter, what: AgentEvent): boolean {
  if (event === '*') return true;
  if (event !== what.type) return false;
  return name === '' || ((what.type === 'user' || what.type === 'query') && what.name === name);
}
