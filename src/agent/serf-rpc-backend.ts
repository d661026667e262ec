import { lookup } from 'node:dns/promises';
import { arch, cpus, platform } from 'node:os';
import { TroupeError, messageOf } from '../base/errors.ts';
import { ipToBytes } from '../core/wire/ip-address.ts';
import type { RpcStats } from '../core/wire/serf-rpc.ts';
import type { SerfRpcBackend } from '../frontends/serf-rpc/backend.ts';
import type { AgentEvents } from '../node/agent-events.ts';
import type { EventHandlers } from '../node/event-handlers.ts';
import { checkTags } from '../node/gossip-node.ts';
import { askKeys } from '../node/key-manager.ts';
import type { Gossip } from '../node/gossip-types.ts';
import type { Node } from '../node/node-types.ts';
import { isTroupeTag } from '../node/troupe-tags.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress, parseAddress } from '../ports/address.ts';
import type { Log } from '../ports/log.ts';

export interface SerfRpcParts {
  readonly node: Node;
  readonly events: AgentEvents;
  readonly handlers: EventHandlers;
  readonly log: Log;
  /** Keeps changed tags before they take effect; rejects if it cannot. Default: they are not kept. */
  readonly keepTags?: (tags: Readonly<Record<string, string>>) => Promise<void>;
}

const joinAddressesMax = 256;
const internalPrefix = '_serf_';

/** The node as Serf's RPC wants it. */
export function serfRpcBackendOf({ node, events, handlers, log, keepTags }: SerfRpcParts): SerfRpcBackend {
  const { gossip } = node;
  let tagChanges: Promise<void> = Promise.resolve();
  return {
    members: () => gossip.members(),
    async join(addresses, replay) {
      if (addresses.length > joinAddressesMax) return { joined: 0, error: `${addresses.length} addresses are too many: give at most ${joinAddressesMax}` };
      const failures: string[] = [];
      const found = (await Promise.all(addresses.map((text) => resolveAddress(text, gossip.address.port, failures)))).flat();
      const { errors } = await gossip.join(found, undefined, { replay });
      const refused = new Set(errors.map(({ address }) => formatAddress(address)));
      // Who is named twice counts twice, as in Serf.
      const joined = found.filter((address) => !refused.has(formatAddress(address))).length;
      const all = [...failures, ...errors.map(({ message }) => message)];
      return { joined, error: joined > 0 ? '' : all.join('; ') };
    },
    leave: () => node.leave(),
    forceLeave(name, prune) {
      gossip.forceLeave(name, prune);
      // The cluster map may hold on to it for good reasons: gossip alone is asked here, as Serf's clients expect.
      if (prune && node.map.nodes[name] !== undefined) node.forgetNode(name).catch((error: unknown) => log.info('a pruned member stays in the cluster map', { member: name, reason: messageOf(error) }));
    },
    userEvent: (name, payload, coalesce) => gossip.userEvent(name, payload, coalesce),
    query(name, payload, options, onRecord) {
      if (name.startsWith(internalPrefix) && (name !== `${internalPrefix}ping` || payload.length > 0)) {
        throw new TroupeError('RESERVED_QUERY', `Queries cannot contain the '${internalPrefix}' prefix`, { name });
      }
      gossip.query(name, payload, options, onRecord);
    },
    changeTags(set, remove) {
      // One after the other: each begins with what the one before has left.
      const change = tagChanges.then(() => changeTags(gossip, set, remove, keepTags));
      tagChanges = change.catch(() => {});
      return change;
    },
    keys: (action, key) => askKeys(gossip, action, key),
    stats: () => statsOf(node, handlers),
    coordinate: (name) => gossip.coordinate(name),
    onEvent: (listener) => events.onEvent(listener),
  };
}

async function changeTags(gossip: Gossip, set: ReadonlyMap<string, string>, remove: readonly string[], keep: SerfRpcParts['keepTags']): Promise<void> {
  const reserved = [...set.keys(), ...remove].find(isTroupeTag);
  if (reserved !== undefined) throw new TroupeError('RESERVED_TAG', `cannot change the tag '${reserved}': the node itself keeps it for the others to find it by`, { tag: reserved });
  const next = (): Record<string, string> => {
    const kept = Object.entries(gossip.local.tags).filter(([tag]) => !remove.includes(tag));
    return { ...Object.fromEntries(kept), ...Object.fromEntries(set) };
  };
  const wanted = next();
  checkTags(wanted);
  // As in Serf, first the file: what it cannot hold would be gone after the next start.
  await keep?.(wanted);
  // The node's own facts, which are tags too, may have changed meanwhile.
  gossip.setTags(next());
}

/** `NAME/HOST:PORT`, as memberlist allows, `HOST:PORT` or `HOST`. Of what cannot be read or found, `failures` tells. */
async function resolveAddress(text: string, defaultPort: number, failures: string[]): Promise<Address[]> {
  try {
    const { host, port } = parseAddress(text.slice(text.indexOf('/') + 1), defaultPort);
    if (ipToBytes(host) !== undefined) return [{ host, port }];
    return (await lookup(host, { all: true })).map((each) => ({ host: each.address, port }));
  } catch (error) {
    failures.push(`${text}: ${messageOf(error)}`);
    return [];
  }
}

/** The names that Go gives to what Node calls otherwise. */
const goArchitecture: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386' };

function statsOf(node: Node, handlers: EventHandlers): RpcStats {
  const stats = node.gossip.stats();
  const processors = String(cpus().length);
  const serf: Record<string, string | number | boolean> = {
    members: stats.members, failed: stats.failed, left: stats.left, health_score: stats.healthScore,
    member_time: stats.memberTime, event_time: stats.eventTime, query_time: stats.queryTime,
    intent_queue: stats.intentQueue, event_queue: stats.eventQueue, query_queue: stats.queryQueue,
    encrypted: stats.encrypted, coordinate_resets: stats.coordinateResets,
  };
  const scripts = handlers.handlers.flatMap(({ filters, script, leaderOnly }) => filters.map(({ event, name }) => [`${leaderOnly ? 'leader:' : ''}${event}:${name}`, script] as const));
  return new Map<string, ReadonlyMap<string, string>>([
    ['agent', new Map([['name', node.name]])],
    ['runtime', new Map([['os', platform()], ['arch', goArchitecture[arch()] ?? arch()], ['version', `node ${process.version}`], ['max_procs', processors], ['cpu_count', processors]])],
    ['serf', new Map(Object.entries(serf).map(([key, value]) => [key, String(value)]))],
    ['tags', new Map(Object.entries(node.gossip.local.tags))],
    ['event_handlers', new Map(scripts)],
  ]);
}
