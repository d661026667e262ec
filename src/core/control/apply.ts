import { messageOf, TroupeError } from '../../base/errors.ts';
import { actOnApp, loseRunners, permitUnknown, welcomeRunner, whyNotTakenOver } from './apps.ts';
import { packValue, unpackValue } from './commands.ts';
import type { Command, Outcome } from './commands.ts';
import { emptyMap } from './map.ts';
import type { AppEntry, ClusterMap, Evidence } from './map.ts';
import { acceptLoss, changeInSync, forgetInstance, loseNodes, movePlacement, resumeNode, transferPrimary } from './partitions.ts';

const done: Outcome = { ok: true };

/**
 * Changes the map by one command of the consensus log. Deterministic: no clock, no randomness; every condition is
 * checked against the map as it is now, because it may have changed since the command was proposed.
 */
export function apply(map: ClusterMap, command: Command, index: number): Outcome {
  try {
    return applyNamed(map, command, index);
  } catch (error) {
    // A command that is not what its type says (another version's, a faulty peer's) stops at the same place on every
    // node. Thrown, it would stop every node, and again at each restart.
    return refused('BAD_COMMAND', `the command '${String((command as { type?: unknown }).type)}' cannot be carried out: ${messageOf(error)}`);
  }
}

function applyNamed(map: ClusterMap, command: Command, index: number): Outcome {
  // Names become keys of plain objects: one that every object has already would reach into all of them.
  if (namesIn(command).some((name) => typeof name !== 'string' || name in Object.prototype)) return refused('BAD_NAME', 'a name in the command cannot be used');
  const outcome = applyCommand(map, command);
  if (outcome.ok) map.version = index;
  return outcome;
}

function namesIn(command: Command): readonly unknown[] {
  switch (command.type) {
    case 'open-session':
    case 'drain':
    case 'forget-node':
    case 'create-keyspace': return [command.name];
    case 'close-sessions': return command.sessions.map((session) => session.name);
    case 'in-sync': return command.changes.map((change) => change.keyspace);
    case 'place': return command.moves.map((move) => move.keyspace);
    case 'transfer-primary': return command.transfers.map((transfer) => transfer.keyspace);
    case 'accept-loss': return [command.keyspace];
    case 'define-app': return [command.spec.name];
    case 'app': return [command.app];
    default: return [];
  }
}

function applyCommand(map: ClusterMap, command: Command): Outcome {
  switch (command.type) {
    case 'found-cluster':
      if (map.clusterId !== '') return refused('ALREADY_FOUNDED', 'the cluster has an id already');
      map.clusterId = command.clusterId;
      map.timing = command.timing;
      return done;
    case 'open-session': return openSession(map, command);
    case 'close-sessions': {
      const gone = new Map<string, Evidence>();
      for (const { name, session, evidence } of command.sessions) {
        const node = map.nodes[name];
        if (node === undefined || node.session !== session) continue;
        if (node.live || (node.ended === 'silent' && evidence !== 'silent')) gone.set(name, evidence);
      }
      if (gone.size === 0) return refused('STALE', 'these sessions are closed already');
      closeSessions(map, gone);
      return done;
    }
    case 'drain': {
      const node = map.nodes[command.name];
      if (node === undefined) return noSuchNode(command.name);
      node.draining = command.on;
      return done;
    }
    case 'forget-node': return forgetNode(map, command.name, command.instance);
    case 'maintenance':
      map.maintenance = command.on;
      return done;
    case 'create-keyspace':
      if (map.keyspaces[command.name] !== undefined) return refused('EXISTS', `the keyspace '${command.name}' exists already`);
      map.keyspaces[command.name] = {
        name: command.name,
        id: map.nextKeyspace++,
        options: command.options,
        partitions: command.copies.map((copies) => {
          const live = copies.filter((name) => map.nodes[name]?.live === true);
          return { epoch: 1, primary: live[0], inSync: [...live], copies: [...copies], lastInSync: [], emptySince: 1, founding: [...live], former: undefined, lost: live.length === 0 };
        }),
      };
      return done;
    case 'in-sync': return some(command.changes.map((change) => changeInSync(map, change)));
    case 'place': return some(command.moves.map((move) => movePlacement(map, move)));
    case 'transfer-primary': return some(command.transfers.map((t) => transferPrimary(map, t.keyspace, t.partition, t.epoch, t.to)));
    case 'accept-loss': {
      const keyspace = map.keyspaces[command.keyspace];
      if (keyspace === undefined) return refused('NO_SUCH_KEYSPACE', `there is no keyspace '${command.keyspace}'`);
      return some(command.partitions.map(({ partition, epoch }) => acceptLoss(map, keyspace, partition, epoch)));
    }
    case 'define-app': return defineApp(map, command.spec);
    case 'app': {
      const app = map.apps[command.app];
      if (app === undefined) {
        if (command.action.type === 'permit' && permitUnknown(map, command.app, command.action.node, command.action.allowed)) return done;
        return refused('NO_SUCH_APP', `there is no app '${command.app}'`);
      }
      if (command.action.type === 'take-over') {
        const why = whyNotTakenOver(map, app, command.action.to);
        if (why !== undefined) return refused(why.code, why.message);
      }
      return actOnApp(map, app, command.action) ? done : refused('STALE', `the app '${command.app}' has changed since: it is ${app.phase} on ${app.node ?? 'no node'} under epoch ${app.epoch}`);
    }
    default: return refused('UNKNOWN_COMMAND', 'this version of Troupe does not know the command: it was proposed by a newer one');
  }
}

function refused(code: string, message: string): Outcome {
  return { ok: false, code, message };
}

function noSuchNode(name: string): Outcome {
  return refused('NO_SUCH_NODE', `there is no node '${name}'`);
}

function some(results: readonly boolean[]): Outcome {
  const changed = results.filter(Boolean).length;
  return changed > 0 ? { ok: true, changed } : refused('STALE', 'the cluster map has changed since; none of the changes fits any more');
}

function closeSessions(map: ClusterMap, gone: ReadonlyMap<string, Evidence>): void {
  for (const [name, evidence] of gone) {
    const node = map.nodes[name];
    if (node === undefined) continue;
    node.live = false;
    node.ended = evidence;
    if (evidence !== 'silent') node.draining = false;
  }
  loseNodes(map, gone);
  loseRunners(map, gone);
}

function openSession(map: ClusterMap, command: Extract<Command, { type: 'open-session' }>): Outcome {
  const old = map.nodes[command.name];
  const sameProcess = old !== undefined && old.instance === command.instance;
  if (old?.live === true) {
    if (sameProcess) return { ok: true, session: old.session };
    // Looked at here once more: another process may have got the name since the leader found it free.
    if (old.instance !== command.replaces) return refused('NAME_TAKEN', `the name '${command.name}' belongs to a live node at ${old.peer.host}:${old.peer.port}: give the newcomer another name, or stop the other one`);
    closeSessions(map, new Map([[command.name, 'replaced' as const]]));
  }
  if (!sameProcess) forgetInstance(map, command.name, command.instance);
  const session = map.nextSession++;
  map.nodes[command.name] = {
    name: command.name, raftId: command.raftId, instance: command.instance, peer: command.peer, gossip: command.gossip, zone: command.zone,
    eligible: command.eligible, storage: command.storage, version: command.version, session, live: true, ended: undefined, draining: sameProcess && old.draining, offers: { ...command.offers },
  };
  if (sameProcess) resumeNode(map, command.name, command.instance);
  welcomeRunner(map, command.name);
  return { ok: true, session };
}

function forgetNode(map: ClusterMap, name: string, instance: string | undefined): Outcome {
  const node = map.nodes[name];
  if (node === undefined) return noSuchNode(name);
  if (instance !== undefined && node.instance !== instance) return refused('STALE', `cannot forget the node '${name}': it has been started again since this was asked for; look at how it is now, and ask again if it is still to go`);
  if (node.live) return refused('NODE_LIVE', `cannot forget the node '${name}' while it is live: stop it first`);
  // Its memory will not come back under this name.
  closeSessions(map, new Map([[name, 'left' as const]]));
  for (const keyspace of Object.values(map.keyspaces)) {
    for (const partition of keyspace.partitions) partition.copies = partition.copies.filter((copy) => copy !== name);
  }
  delete map.nodes[name];
  return done;
}

function defineApp(map: ClusterMap, spec: Extract<Command, { type: 'define-app' }>['spec']): Outcome {
  const old = map.apps[spec.name];
  if (old !== undefined) {
    // Moves nothing by itself: the new list counts at the next decision (OTP's rule).
    old.spec = spec;
    return done;
  }
  const app: AppEntry = {
    name: spec.name, spec, wanted: 'started', forbidden: map.forbidden[spec.name] ?? [], phase: 'idle', node: undefined, session: 0, epoch: 0, type: 'normal',
    from: undefined, next: undefined, handoverEpoch: undefined, handoverFrom: undefined, stays: false, failedOn: [], lastError: undefined,
  };
  map.apps[spec.name] = app;
  delete map.forbidden[spec.name];
  return done;
}

export function encodeMap(map: ClusterMap): Uint8Array {
  return packValue({ format: 1, map });
}

/** @throws TroupeError MAP_UNREADABLE on bytes that are no map, or of a newer format */
export function decodeMap(bytes: Uint8Array): ClusterMap {
  if (bytes.length === 0) return emptyMap();
  const value = unpackValue(bytes) as { format?: unknown; map?: unknown } | null;
  if (typeof value !== 'object' || value === null || value.format !== 1) {
    throw new TroupeError('MAP_UNREADABLE', 'cannot read the cluster map: it was written by a newer version of Troupe; start that version, or an empty data directory', { format: (value as { format?: unknown } | null)?.format });
  }
  return value.map as ClusterMap;
}
