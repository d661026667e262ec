/**
 * What a node does when another dies runs rarely, and for the first time while everybody waits: unoptimised, not even
 * compiled, it took several milliseconds of a fail-over's twenty. So it is run beforehand, on a small cluster of plain
 * objects that touches nothing of the real one: an election among three voters whose leader is dead, the end of its
 * session in a map with partitions and an app, and what a leader would decide then.
 */
import { Prng } from '../base/prng.ts';
import { apply, decodeMap, encodeMap } from '../core/control/apply.ts';
import { decodeCommand, encodeCommand } from '../core/control/commands.ts';
import type { Command } from '../core/control/commands.ts';
import { Decisions, defaultDecisionOptions } from '../core/control/decisions.ts';
import { emptyMap } from '../core/control/map.ts';
import type { ClusterMap } from '../core/control/map.ts';
import { nextVoterStep } from '../core/control/voters.ts';
import { decodeMessage, encodeMessage } from '../core/raft/codec.ts';
import { Raft } from '../core/raft/raft.ts';
import { changesFor } from '../core/raft/storage-codec.ts';
import type { Message, RaftState } from '../core/raft/types.ts';
import type { Clock } from '../ports/clock.ts';

const names = ['a', 'b', 'c'];
const partitions = 16;
/** V8 throws compiled code away that has not run through several collections. */
const everyMs = 60_000;
const firstAfterMs = 1500;

/** Rehearses shortly after the start and every minute from then on; a few milliseconds each time, spread over turns of the event loop. Returns what ends it. */
export function keepRehearsed(clock: Clock): () => void {
  let ended = false;
  const begin = (): void => {
    if (ended) return;
    const rehearsal = rehearse();
    const next = (): void => {
      if (ended) return;
      if (rehearsal.next().done === true) timer = clock.at(clock.now() + everyMs, begin);
      else timer = clock.at(clock.now() + 1, next);
    };
    next();
  };
  let timer = clock.at(clock.now() + firstAfterMs, begin);
  return () => {
    ended = true;
    timer.cancel();
  };
}

/** One whole rehearsal, a part at a time. Returns the map at its end, for tests. */
export function* rehearse(): Generator<void, ClusterMap> {
  const map = smallMap();
  yield;
  const group = new Group();
  group.members.get('a')?.campaign(0);
  group.exchange(1);
  yield;
  group.members.delete('a');
  const died: Command = { type: 'close-sessions', sessions: [{ name: 'a', session: 1, evidence: 'refused' }] };
  for (const member of group.members.values()) member.campaign(2, { leaderKnownDead: 'a' });
  group.exchange(3, () => encodeCommand(died));
  yield;
  for (const bytes of group.committed) {
    const changed = decodeMap(encodeMap(map));
    if (bytes.length > 0 && apply(changed, decodeCommand(bytes), map.version + 1).ok) Object.assign(map, changed);
  }
  yield;
  new Decisions(0, defaultDecisionOptions).decide(10, map, { keyspaces: new Map(), apps: new Map() });
  nextVoterStep(map, { voters: names, learners: [], leader: 'b', caughtUp: new Set(), gone: new Set(), downToOne: false });
  return map;
}

function smallMap(): ClusterMap {
  const map = emptyMap();
  const commands: Command[] = [
    ...names.map((name): Command => ({
      type: 'open-session', name, raftId: name, instance: name, peer: { host: '', port: 0 }, gossip: { host: '', port: 0 }, zone: '', eligible: true, storage: true,
      version: '', offers: { app: '' }, resumes: 0, replaces: '',
    })),
    {
      type: 'create-keyspace', name: 'k', copies: Array.from({ length: partitions }, () => [...names]),
      options: { partitions, replicas: names.length, acks: 'all', engine: 'memory', maxMemoryBytes: 0, eviction: 'none', minInSync: 1 },
    },
    { type: 'define-app', spec: { name: 'app', tiers: [names], failoverTimeoutMs: 0, takeover: 'automatic', stopTimeoutMs: 0, startTimeoutMs: 0 } },
    { type: 'app', app: 'app', action: { type: 'start', startType: 'normal' } },
    { type: 'app', app: 'app', action: { type: 'started', epoch: 1 } },
  ];
  commands.forEach((command, index) => apply(map, decodeCommand(encodeCommand(command)), index + 1));
  return map;
}

/** Three voters whose disk and wires take no time. */
class Group {
  readonly members = new Map<string, Raft>();
  /** By whom of them last led. */
  readonly committed: Uint8Array[] = [];

  constructor() {
    const initial: RaftState = { hardState: { term: 1, votedFor: undefined, commit: 1 }, snapshot: { index: 1, term: 1, configuration: { voters: names, learners: [] }, data: new Uint8Array(0) }, entries: [] };
    for (const id of names) this.members.set(id, new Raft({ id, random: new Prng(1), initial, now: 0 }));
  }

  /** @param command what a member proposes as soon as it leads */
  exchange(now: number, command?: () => Uint8Array): void {
    const proposed = new Set<string>();
    const messages: Message[] = [];
    for (let round = 0; round < 100; round++) {
      for (const [id, member] of this.members) {
        if (command !== undefined && member.role === 'leader' && !proposed.has(id)) {
          proposed.add(id);
          member.propose(now, command());
        }
        if (member.hasReady()) messages.push(...this.#handle(now, member));
      }
      if (messages.length === 0) return;
      for (const message of messages.splice(0)) this.members.get(message.to)?.step(now, decodeMessage(encodeMessage(message)));
    }
  }

  #handle(now: number, member: Raft): Message[] {
    const ready = member.ready(now);
    if (ready.mustPersist) {
      changesFor(ready);
      member.persisted(now, ready.token);
    }
    const last = ready.committed.at(-1);
    if (last !== undefined) member.applied(last.index);
    if (member.role === 'leader') this.committed.push(...ready.committed.map((entry) => entry.data));
    return [...ready.messages, ...ready.messagesAfterPersist];
  }
}
