import type { Member } from '../core/serf/types.ts';
import type { AgentEvent } from '../core/serf/agent-event.ts';
import { userTagsOf } from './troupe-tags.ts';

const encoder = new TextEncoder();
const newline = 0x0a;
const nothing = new Uint8Array(0);

/** What a handler finds in its environment: Serf's variables, and nothing of what Troupe nodes tell each other in tags. SERF_USER_QUERY is the name by which older versions told of a query. */
export function environmentOf(event: AgentEvent, self: Member): Record<string, string> {
  const environment: Record<string, string> = {
    SERF_EVENT: event.type,
    SERF_SELF_NAME: self.name,
    SERF_SELF_ROLE: self.tags['role'] ?? '',
  };
  for (const [tag, value] of Object.entries(userTagsOf(self.tags))) environment[`SERF_TAG_${tag.toUpperCase().replaceAll(/[^A-Z0-9_]/g, '_')}`] = value;
  if (event.type === 'user') {
    environment['SERF_USER_EVENT'] = event.name;
    environment['SERF_USER_LTIME'] = String(event.lamportTime);
  } else if (event.type === 'query') {
    environment['SERF_QUERY_NAME'] = event.name;
    environment['SERF_USER_QUERY'] = event.name;
    environment['SERF_QUERY_LTIME'] = String(event.lamportTime);
  }
  // The system ends a value at a NUL; names and tags of others may hold one.
  for (const [name, value] of Object.entries(environment)) if (value.includes('\0')) environment[name] = value.replaceAll('\0', '');
  return environment;
}

/** What a handler reads: a line for each member, or the payload, with a newline behind it. */
export function inputOf(event: AgentEvent): Uint8Array {
  if (event.type !== 'user' && event.type !== 'query') return encoder.encode(event.members.map(memberLine).join(''));
  const { payload } = event;
  if (payload.length === 0) return nothing;
  if (payload.at(-1) === newline) return payload;
  const input = new Uint8Array(payload.length + 1);
  input.set(payload);
  input[payload.length] = newline;
  return input;
}

function memberLine({ name, address, tags }: Member): string {
  const pairs = Object.entries(userTagsOf(tags)).map(([tag, value]) => `${tag}=${value}`).join(',');
  return `${clean(name)}\t${address.host}\t${clean(tags['role'] ?? '')}\t${clean(pairs)}\n`;
}

function clean(text: string): string {
  return text.replaceAll('\t', '\\t').replaceAll('\n', '\\n');
}
