/**
 * What runs in a node: its process, its services, its apps and event handlers, and the processes that these have started,
 * each with what it does, what waits for it and what it is connected to. Gathered when somebody asks, from the parts themselves; nothing is kept for it.
 */
import { TroupeError } from '../base/errors.ts';
import type { ClusterMap } from '../core/control/map.ts';
import type { MemcachedServer } from '../frontends/memcached/server.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { System } from '../ports/system.ts';
import type { AppRun, AppsRunner } from './apps-runner.ts';
import type { Calls } from './calls.ts';
import { nameOfRaftId } from './consensus.ts';
import type { Consensus } from './consensus.ts';
import type { Gossip } from './gossip-types.ts';
import type { Peers } from './peers.ts';
import type { Requests } from './router.ts';
import type { StoreHost } from './store-host.ts';

/** One thing that runs in a node: plain data, JSON-safe; what is not known is left out. */
export interface ProcessView {
  /** Unique among those of its kind in the node. */
  readonly name: string;
  readonly kind: 'node' | 'service' | 'app' | 'handler' | 'child';
  /** Of a process of its own. Services and modules run in the node's. */
  readonly pid?: number;
  /** What it runs: an address that is served, a module, a command. */
  readonly runs: string;
  readonly status: string;
  /** Since its part fell to this node; of handlers the runs that failed. */
  readonly restarts: number;
  /** What waits for it. */
  readonly queue: number;
  /** Of a process: what it has in RAM; of a service what it keeps itself, where it counts that (bytes). */
  readonly memoryBytes?: number;
  /** Processor time since its start (ms); only of a process. */
  readonly cpuMs?: number;
  /** Since its start (ms); only of a process. */
  readonly uptimeMs?: number;
  /** What it depends on or is connected to: `node b`, `keyspace default`, `service gossip`. */
  readonly links: readonly string[];
}

export interface NodeProcesses {
  readonly node: string;
  readonly version: string;
  readonly processes: readonly ProcessView[];
}

/** What a part says of itself; the rest is looked up by its pid. */
export type ProcessDraft = Pick<ProcessView, 'name' | 'kind' | 'runs' | 'status'> & Partial<Omit<ProcessView, 'name' | 'kind' | 'runs' | 'status' | 'pid'>> & { readonly pid?: number | undefined };

/** More are not told: apps and handlers are limited far below. */
export const processesMax = 2000;
const childrenMax = 256;
const linksMax = 64;
const textMax = 200;
const callTimeoutMs = 5000;

export interface ProcessParts {
  readonly map: ClusterMap;
  readonly sessionLive: boolean;
  readonly peerAddress: Address;
  readonly peers: Peers;
  readonly gossip: Gossip;
  readonly consensus: Consensus;
  readonly store: StoreHost;
  readonly requests: Requests;
  readonly apps: AppsRunner;
  readonly memcached: { readonly server: MemcachedServer; readonly keyspace: string } | undefined;
}

export interface ProcessBoardOptions {
  readonly self: string;
  readonly version: string;
  readonly system: System;
  readonly calls: Calls;
  /** As of now; undefined while the node is starting. */
  readonly parts: () => ProcessParts | undefined;
}

export class ProcessBoard {
  readonly #options: ProcessBoardOptions;
  readonly #sources = new Set<() => readonly ProcessDraft[]>();
  /** Keyspaces that each app has asked for. */
  readonly #used = new Map<string, Set<string>>();

  constructor(options: ProcessBoardOptions) {
    this.#options = options;
    options.calls.handle('ps', async () => this.here());
  }

  /** Parts that lie around the node (HTTP, event handlers) tell of themselves by this. Returns the way to stop. */
  add(source: () => readonly ProcessDraft[]): () => void {
    this.#sources.add(source);
    return () => void this.#sources.delete(source);
  }

  /** An app works with a keyspace. */
  used(app: string, keyspace: string): void {
    let names = this.#used.get(app);
    if (names === undefined) this.#used.set(app, (names = new Set()));
    if (names.size < linksMax) names.add(keyspace);
  }

  /** Of this node, or by a call of any other that is connected. @throws TroupeError NO_SUCH_NODE, NODE_NOT_ACTIVE, CALL_TIMEOUT, DISCONNECTED */
  async of(name: string): Promise<NodeProcesses> {
    const { self, calls } = this.#options;
    if (name === self) return this.here();
    const { map, gossip } = this.#parts();
    if (!Object.hasOwn(map.nodes, name) && gossip.member(name) === undefined) throw new TroupeError('NO_SUCH_NODE', `there is no node '${name}'; \`troupe nodes\` and \`troupe members\` list them`, { name });
    try {
      return (await calls.call(name, 'ps', null, callTimeoutMs)) as NodeProcesses;
    } catch (error) {
      if (!(error instanceof TroupeError) || error.code !== 'NOT_CONNECTED') throw error;
      throw new TroupeError('NODE_NOT_ACTIVE', `cannot look into '${name}': this node has no connection to it (it is down, cut off, or a plain Serf agent); ask it itself with --http`, { name }, error);
    }
  }

  #parts(): ProcessParts {
    const { self, parts } = this.#options;
    const found = parts();
    if (found === undefined) throw new TroupeError('NODE_NOT_ACTIVE', `cannot look into '${self}': it is still starting`, { name: self });
    return found;
  }

  here(): NodeProcesses {
    const { self, version, system } = this.#options;
    const drafts = [...ownDrafts(self, version, system, this.#parts(), this.#used), ...[...this.#sources].flatMap((source) => source())];
    const children = childDrafts(drafts, system);
    return { node: self, version, processes: [...drafts.slice(0, processesMax - children.length), ...children].map((draft) => complete(draft, system)) };
  }
}

/** Processes that the node, its apps and handlers have started (and those that these have), as far as they have no line of their own. */
function childDrafts(drafts: readonly ProcessDraft[], system: System): ProcessDraft[] {
  const told = new Map(drafts.flatMap(({ pid, kind, name }) => (pid === undefined ? [] : [[pid, `${kind} ${name}`] as const])));
  const found: ProcessDraft[] = [];
  const seen = new Set(told.keys());
  const waiting = [...told];
  for (let next = waiting.shift(); next !== undefined && found.length < childrenMax; next = waiting.shift()) {
    const [parent, title] = next;
    for (const pid of system.children(parent)) {
      if (seen.has(pid) || found.length >= childrenMax) continue;
      seen.add(pid);
      const facts = system.process(pid);
      // It has ended meanwhile, and will be forgotten by its parent soon.
      if (facts === undefined) continue;
      const program = /^[^ ]*?([^/ ]+)(?: |$)/.exec(facts.command)?.[1] ?? 'process';
      const name = `${program}/${pid}`;
      found.push({ name, kind: 'child', pid, runs: facts.command, status: facts.state, links: [title] });
      waiting.push([pid, `child ${name}`]);
    }
  }
  return found;
}

function complete(draft: ProcessDraft, system: System): ProcessView {
  const { pid, links = [], ...rest } = draft;
  const facts = pid === undefined ? undefined : system.process(pid);
  const more = links.length - linksMax;
  return {
    restarts: 0, queue: 0, ...rest,
    runs: cut(draft.runs === '' ? (facts?.command ?? '') : draft.runs), status: cut(draft.status),
    ...(pid === undefined ? {} : { pid }),
    ...(facts === undefined ? {} : { memoryBytes: facts.residentBytes, cpuMs: Math.round(facts.cpuMs), uptimeMs: Math.round(facts.uptimeMs) }),
    links: more > 0 ? [...links.slice(0, linksMax), `and ${more} more`] : links,
  };
}

function cut(text: string): string {
  return text.length <= textMax ? text : `${text.slice(0, textMax - 1)}…`;
}

function ownDrafts(self: string, version: string, system: System, parts: ProcessParts, used: ReadonlyMap<string, ReadonlySet<string>>): ProcessDraft[] {
  const { map, gossip, peers, consensus, requests } = parts;
  const connected = peers.connectedNames().toSorted().map((name) => `node ${name}`);
  const stats = gossip.stats();
  const others = gossip.members().filter((member) => member.name !== self && member.status === 'alive').map((member) => `node ${member.name}`);
  return [
    { name: self, kind: 'node', pid: system.pid === 0 ? undefined : system.pid, runs: `troupe ${version}`, status: parts.sessionLive ? 'live' : 'no session', queue: requests.waiting, links: connected },
    { name: 'gossip', kind: 'service', runs: `Serf's gossip on ${formatAddress(gossip.address)}`, status: stats.healthScore === 0 ? 'well' : `health ${stats.healthScore}`, queue: stats.intentQueue + stats.eventQueue + stats.queryQueue, links: others },
    { name: 'peers', kind: 'service', runs: `peer traffic on ${formatAddress(parts.peerAddress)}`, status: `${connected.length} connected`, links: connected },
    consensusDraft(self, consensus),
    storeDraft(parts),
    ...(parts.memcached === undefined ? [] : [memcachedDraft(parts.memcached)]),
    ...parts.apps.view().map((run) => appDraft(self, run, map, used.get(run.config.name))),
  ];
}

function consensusDraft(self: string, { raft, leaderName, isVoter }: Consensus): ProcessDraft {
  const voters = raft.configuration.voters.map(nameOfRaftId);
  return {
    name: 'consensus', kind: 'service', runs: `Raft, term ${raft.term}`, status: leaderName === self ? 'leader' : isVoter ? 'voter' : 'follower',
    queue: Math.max(0, raft.lastIndex - raft.appliedIndex), links: ['service peers', ...voters.filter((name) => name !== self).map((name) => `node ${name}`)],
  };
}

function storeDraft({ store, requests, map }: ProcessParts): ProcessDraft {
  let memoryBytes = 0;
  let copies = 0;
  let primaries = 0;
  for (const { copies: held } of store.keyspaces.values()) {
    for (const copy of held) {
      if (copy === undefined) continue;
      copies++;
      if (copy.serving) primaries++;
      memoryBytes += copy.table.bytes;
    }
  }
  return {
    name: 'store', kind: 'service', runs: `${copies} copies of partitions`, status: `${primaries} as primary`, queue: requests.waiting, memoryBytes,
    links: ['service peers', ...Object.keys(map.keyspaces).map((name) => `keyspace ${name}`)],
  };
}

function memcachedDraft({ server, keyspace }: { readonly server: MemcachedServer; readonly keyspace: string }): ProcessDraft {
  return { name: 'memcached', kind: 'service', runs: `the memcached protocol on ${formatAddress(server.address)}`, status: `${server.connections} connections`, links: ['service store', `keyspace ${keyspace}`] };
}

function appDraft(self: string, { config, state, pid, restarts, epoch, error }: AppRun, map: ClusterMap, used: ReadonlySet<string> | undefined): ProcessDraft {
  const entry = map.apps[config.name];
  const elsewhere = entry?.node !== undefined && entry.node !== self ? entry.node : undefined;
  const idle = elsewhere === undefined ? (entry?.wanted === 'stopped' ? 'stopped' : 'standing by') : `standing by for ${elsewhere}`;
  const status = state === 'empty' || (state === 'stopped' && elsewhere !== undefined) ? idle : state === 'failed' ? `failed: ${error}` : state === 'stopped' ? state : `${state}, epoch ${epoch}`;
  return {
    name: config.name, kind: 'app', runs: config.command?.join(' ') ?? config.module ?? '', status, pid, restarts,
    // Without a lease it may not run.
    links: ['service consensus', ...(elsewhere === undefined ? [] : [`node ${elsewhere}`]), ...[...(used ?? [])].map((name) => `keyspace ${name}`)],
  };
}
