import type { Core } from './core.ts';
import type { AppendRequest, HeartbeatRequest, SnapshotRequest } from './types.ts';

/** What a follower does with the messages of its leader; the sender was accepted as the leader of the present term before. */

export function onAppend(core: Core, message: AppendRequest): void {
  const { log } = core;
  // What is committed agrees with every leader's log already, so only what lies past it need be compared.
  if (message.previousIndex > core.commitIndex && log.termAt(message.previousIndex) !== message.previousTerm) {
    refuse(core, message);
    return;
  }
  for (const entry of message.entries) {
    if (entry.index <= core.commitIndex || log.termAt(entry.index) === entry.term) continue;
    if (entry.index <= log.lastIndex) core.truncate(entry.index);
    core.append(entry);
  }
  // Past the last entry of the message our log may differ from the leader's: neither commit nor acknowledge that.
  const last = message.previousIndex + message.entries.length;
  core.commitIndex = Math.max(core.commitIndex, Math.min(message.commit, last));
  acknowledge(core, message.from, Math.max(last, core.commitIndex));
}

function refuse(core: Core, message: AppendRequest): void {
  const hint = core.log.lastIndexWithTermAtMost(message.previousIndex, message.previousTerm);
  core.send({
    type: 'append-response', from: core.id, to: message.from, term: core.term, rejected: true, index: message.previousIndex,
    hintIndex: hint.index, hintTerm: hint.term, lastIndex: core.log.lastIndex,
  });
}

/**
 * After persist even when the entries are old: the term must be durable too, or after a restart an older leader could
 * overwrite what this answer promises to keep.
 */
function acknowledge(core: Core, to: string, index: number): void {
  core.sendAfterPersist({
    type: 'append-response', from: core.id, to, term: core.term, rejected: false, index, hintIndex: 0, hintTerm: 0, lastIndex: core.log.lastIndex,
  });
}

export function onHeartbeat(core: Core, message: HeartbeatRequest): void {
  core.commitIndex = Math.max(core.commitIndex, Math.min(message.commit, core.log.lastIndex));
  core.send({
    type: 'heartbeat-response', from: core.id, to: message.from, term: core.term, round: message.round, lastIndex: core.log.lastIndex,
  });
}

/** True if the snapshot replaced the log, and the state machine must be restored from it. */
export function onSnapshot(core: Core, message: SnapshotRequest): boolean {
  const { snapshot } = message;
  const isNews = snapshot.index > core.commitIndex;
  // Where the log holds that entry already, everything up to it agrees (log matching): only the commit is news.
  const isHeld = core.log.termAt(snapshot.index) === snapshot.term;
  if (isNews && isHeld) core.commitIndex = snapshot.index;
  if (isNews && !isHeld) core.restore(snapshot);
  acknowledge(core, message.from, core.commitIndex);
  return isNews && !isHeld;
}
