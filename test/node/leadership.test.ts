import { expect, test } from 'vitest';
import type { Command } from '../../src/core/control/commands.ts';
import type { NodeEntry } from '../../src/core/control/map.ts';
import { DeadInstances } from '../../src/node/dead-instances.ts';
import { Leader } from '../../src/node/leader.ts';
import type { LeaderOptions, LeaderSurroundings } from '../../src/node/leader.ts';
import { defaultDecisionOptions } from '../../src/core/control/decisions.ts';
import { defaultTiming, emptyMap } from '../../src/core/control/map.ts';
import { silentLog } from '../../src/ports/log.ts';
import type { LeadershipSurroundings } from '../../src/node/leadership.ts';
import { Leadership } from '../../src/node/leadership.ts';
import { HandClock } from '../live-nodes/support.ts';

/** A node that knows no leader. */
function leadershipOf(clusterId: string, clock: HandClock): Leadership {
  const around = { options: { self: 'a' }, clock, calls: {}, consensus: { map: { clusterId, nodes: {} }, leaderName: undefined } };
  return new Leadership(around as unknown as LeadershipSurroundings);
}

test('a plain member leaves without waiting for a leader that there is not; a node of a cluster waits a while', async () => {
  await leadershipOf('', new HandClock()).sayLeft('instance');
  const clock = new HandClock();
  let said = false;
  void leadershipOf('some', clock).sayLeft('instance').then(() => (said = true));
  await clock.advance(900);
  expect(said).toBe(false);
  await clock.advance(200);
  await clock.turn();
  expect(said).toBe(true);
});

function entryOf(name: string, instance: string, more: Partial<NodeEntry> = {}): NodeEntry {
  const address = { host: '10.0.0.1', port: 1 };
  return { name, raftId: `${name}/1`, instance, peer: address, gossip: address, zone: '', eligible: true, storage: true, version: 't', session: 7, live: true, ended: undefined, draining: false, offers: {}, ...more };
}

function mapWith(...nodes: NodeEntry[]): ReturnType<typeof emptyMap> {
  return { ...emptyMap(), clusterId: 'some', nodes: Object.fromEntries(nodes.map((node) => [node.name, node])) };
}

test('a death whose proposal came to nothing is proposed again, also that of a node whose session has ended as silent', async () => {
  const clock = new HandClock();
  const map = mapWith(entryOf('a', 'a1'), entryOf('b', 'b1', { live: false, ended: 'silent' }));
  const proposed: Command[] = [];
  // As while the leadership is being handed over.
  let refuses = true;
  const propose = async (command: Command): Promise<{ ok: boolean }> => {
    proposed.push(command);
    if (!refuses && command.type === 'close-sessions') map.nodes['b']!.ended = 'refused';
    return { ok: !refuses };
  };
  const raft = { id: 'a/1', lastIndex: 1, appliedIndex: 1, commitIndex: 1, configuration: { voters: ['a/1'], learners: ['b/1'] }, progress: () => [] };
  const consensus = { map, raft, leading: true, propose, proposeConfiguration: () => false };
  const options: LeaderOptions = { self: 'a', timing: defaultTiming, decisions: defaultDecisionOptions, newClusterId: () => 'x', downToOne: false };
  const around: LeaderSurroundings = { grant: () => {}, deny: () => {}, isDead: (instance) => instance === 'b1', isConnected: () => true };
  const leader = new Leader(options, 0, consensus as never, clock, silentLog, around);
  const ends = (): Command[] => proposed.filter((command) => command.type === 'close-sessions' && command.sessions.some(({ name }) => name === 'b'));
  leader.start();
  expect(ends()).toEqual([{ type: 'close-sessions', sessions: [{ name: 'b', session: 7, evidence: 'refused' }] }]);
  await clock.advance(300);
  expect(ends().length).toBeGreaterThan(1);
  refuses = false;
  await clock.advance(300);
  const { length } = ends();
  await clock.advance(1000);
  expect(ends()).toHaveLength(length);
  leader.stop();
});

test('a new leader is told of the deaths that this node knows and the map does not; it is not held for dead itself by an old word', async () => {
  const map = mapWith(entryOf('a', 'a1'), entryOf('b', 'b1'), entryOf('c', 'c1'), entryOf('d', 'd1', { live: false, ended: 'silent' }), entryOf('e', 'e1', { live: false, ended: 'refused' }));
  const calls: unknown[] = [];
  const proposed: Command[] = [];
  const consensus = { map, leaderName: undefined as string | undefined, leaderDied: () => {}, firstToCampaign: () => undefined, propose: async (command: Command) => void proposed.push(command) };
  const dead = new DeadInstances();
  for (const instance of ['c1', 'd1', 'e1']) dead.add(instance);
  const around = {
    options: { self: 'a' }, clock: new HandClock(), log: silentLog, consensus, dead, wishes: {}, peers: {}, leases: {}, isClosed: () => false, leaderChanged: () => {},
    calls: { call: async (...call: unknown[]) => void calls.push(call) },
  };
  const leadership = new Leadership(around as unknown as LeadershipSurroundings);
  consensus.leaderName = 'b';
  leadership.noteLeader();
  expect(calls.filter((call) => (call as string[])[1] === 'dead')).toEqual([['b', 'dead', ['c', 'c1']], ['b', 'dead', ['d', 'd1']]]);

  const told = (): void => leadership.toldDead('b', 'b1', () => { throw new Error('it is not the leader'); });
  told();
  consensus.leaderName = undefined;
  leadership.noteLeader();
  dead.delete('c1');
  dead.delete('d1');
  // Elected in its place, this node ends its session …
  leadership.onElected();
  expect(proposed).toEqual([{ type: 'close-sessions', sessions: [{ name: 'b', session: 7, evidence: 'refused' }] }]);
  // … but not when it led again in between.
  consensus.leaderName = 'b';
  leadership.noteLeader();
  leadership.onElected();
  expect(proposed).toHaveLength(1);
});
