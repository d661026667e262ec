import { isWellFormed } from './configuration.ts';
import type { AppendRequest, Message, Snapshot } from './types.ts';

const isCount = (value: number): boolean => Number.isSafeInteger(value) && value >= 0;

/** Could a correct member have sent this to `self`? Says nothing about whether it is timely. */
export function isPlausible(message: Message, self: string): boolean {
  if (message.to !== self || message.from === self || message.from === '') return false;
  if (!isCount(message.term) || message.term === 0) return false;
  switch (message.type) {
    case 'pre-vote':
    case 'vote':
      return isCount(message.lastIndex) && isCount(message.lastTerm) && message.lastTerm < message.term;
    case 'pre-vote-response':
    case 'vote-response':
      return Number.isFinite(message.sinceLeaderMs) && message.sinceLeaderMs >= 0;
    case 'append':
      return isPlausibleAppend(message);
    case 'append-response':
      return isCount(message.index) && isCount(message.hintIndex) && isCount(message.hintTerm) && isCount(message.lastIndex);
    case 'heartbeat':
      return isCount(message.commit) && isCount(message.round);
    case 'heartbeat-response':
      return isCount(message.round) && isCount(message.lastIndex);
    case 'snapshot':
      return isPlausibleSnapshot(message.snapshot, message.term);
    case 'timeout-now':
      return true;
  }
}

function isPlausibleAppend(message: AppendRequest): boolean {
  if (!isCount(message.previousIndex) || !isCount(message.previousTerm) || !isCount(message.commit)) return false;
  let index = message.previousIndex;
  let term = message.previousTerm;
  for (const entry of message.entries) {
    if (entry.index !== ++index || !isCount(entry.term) || entry.term < term) return false;
    term = entry.term;
  }
  return term <= message.term && Number.isSafeInteger(index);
}

function isPlausibleSnapshot(snapshot: Snapshot, term: number): boolean {
  return isCount(snapshot.index) && snapshot.index > 0 && isCount(snapshot.term) && snapshot.term > 0 && snapshot.term <= term
    && snapshot.configuration.voters.length > 0 && isWellFormed(snapshot.configuration);
}
