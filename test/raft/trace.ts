import { decodeConfiguration } from '../../src/core/raft/configuration.ts';
import type { Entry, Message, Ready } from '../../src/core/raft/types.ts';

export function describeEntry(entry: Entry): string {
  const place = `${entry.index}@${entry.term}`;
  if (entry.type === 'empty') return `${place} empty`;
  if (entry.type === 'normal') return `${place} '${new TextDecoder().decode(entry.data)}'`;
  const configuration = decodeConfiguration(entry.data);
  return `${place} config (${configuration?.voters.join(' ')}${configuration?.learners.length ? ` | ${configuration.learners.join(' ')}` : ''})`;
}

const list = (entries: readonly Entry[]): string => `[${entries.map(describeEntry).join(', ')}]`;

export function describeMessage(message: Message): string {
  const head = `${message.type} t${message.term}`;
  switch (message.type) {
    case 'pre-vote':
    case 'vote':
      return `${head} log ${message.lastIndex}@${message.lastTerm}${message.transfer ? ' transfer' : ''}${message.leaderKnownDead === undefined ? '' : ` dead ${message.leaderKnownDead}`}`;
    case 'pre-vote-response':
    case 'vote-response':
      return `${head} ${message.granted ? 'granted' : 'denied'} since leader ${message.sinceLeaderMs.toFixed(1)}`;
    case 'append':
      return `${head} after ${message.previousIndex}@${message.previousTerm} commit ${message.commit} ${list(message.entries)}`;
    case 'append-response':
      return message.rejected ? `${head} rejected ${message.index}, try ${message.hintIndex}@${message.hintTerm}, last ${message.lastIndex}` : `${head} up to ${message.index}`;
    case 'heartbeat':
      return `${head} commit ${message.commit}${message.round > 0 ? ` round ${message.round}` : ''}`;
    case 'heartbeat-response':
      return `${head}${message.round > 0 ? ` round ${message.round}` : ''}`;
    case 'snapshot':
      return `${head} ${message.snapshot.index}@${message.snapshot.term} (${message.snapshot.configuration.voters.join(' ')})`;
    case 'timeout-now':
      return head;
  }
}

export function describeReady(ready: Ready): string[] {
  const lines: string[] = [];
  if (ready.mustPersist) {
    const parts = [`writes batch ${ready.token}:`];
    if (ready.hardState) parts.push(`term ${ready.hardState.term} vote ${ready.hardState.votedFor ?? '-'} commit ${ready.hardState.commit}`);
    if (ready.snapshot) parts.push(`snapshot ${ready.snapshot.index}@${ready.snapshot.term}`);
    if (ready.truncateFrom !== undefined) parts.push(`truncate from ${ready.truncateFrom}`);
    if (ready.entries.length > 0) parts.push(list(ready.entries));
    if (ready.messagesAfterPersist.length > 0) parts.push(`then ${ready.messagesAfterPersist.map((message) => `${message.type} to ${message.to}`).join(', ')}`);
    lines.push(parts.join(' '));
  }
  if (ready.appliedSnapshot) lines.push(`restores ${ready.appliedSnapshot.index}@${ready.appliedSnapshot.term}`);
  if (ready.committed.length > 0) lines.push(`applies ${list(ready.committed)}`);
  for (const read of ready.readStates) lines.push(`may serve read ${read.token} at ${read.index}`);
  return lines;
}
