/** Puts a node together from its parts, and takes it apart again. What each part does stands in its own file. */
import { messageOf, TroupeError } from '../base/errors.ts';
import type { AppAction, Command, InSyncChange, Outcome } from '../core/control/commands.ts';
import { defaultDecisionOptions } from '../core/control/decisions.ts';
import { isActive } from '../core/control/map.ts';
import type { AppSpec, ClusterMap } from '../core/control/map.ts';
import type { StoreRouter } from '../core/store/request.ts';
import { FrameReader } from '../core/wire/frame-reader.ts';
import { startMemcached } from '../frontends/memcached/server.ts';
import type { MemcachedServer } from '../frontends/memcached/server.ts';
import type { Address } from '../ports/address.ts';
import type { Database } from '../ports/disk.ts';
import type { Log } from '../ports/log.ts';
import { unknownSystem } from '../ports/system.ts';
import { handoverBytesMax } from './app-instance.ts';
import { appDigest, AppsRunner } from './apps-runner.ts';
import { Bootstrap } from './bootstrap.ts';
import { Calls } from './calls.ts';
import { Commands } from './commands.ts';
import { Consensus } from './consensus.ts';
import { startGossip } from './gossip.ts';
import type { Gossip } from './gossip.ts';
import { loadIdentity, storeIdentity } from './identity.ts';
import type { Identity } from './identity.ts';
import { KeyspaceClient } from './keyspace-client.ts';
import { LastNode } from './last-node.ts';
import { Leader } from './leader.ts';
import type { NodeWishes } from './leader.ts';
import { gossipTuning } from './node-types.ts';
import type { AppConfig, Keyspace, Node, NodeOptions, NodePorts, NodeStatus, PartitionView } from './node-types.ts';
import { PeerFrame } from './peer-frames.ts';
import { Peers } from './peers.ts';
import { Pool } from './pool.ts';
import { isGoodName } from './registration.ts';
import { ProcessBoard } from './ps.ts';
import type { NodeProcesses, ProcessDraft } from './ps.ts';
import type { Registration } from './registration.ts';
import { KeyspaceRouter, Requests } from './router.ts';
import { SessionClient } from './session-client.ts';
import { buildStatus, keyspaceStats, partitionViews } from './status.ts';
import { StoreHost } from './store-host.ts';
import { tagsOf, userTagsOf } from './troupe-tags.ts';

const wishesRetryMs = 500;
const leaveTimeoutMs = 10_000;
const deadRememberedMax = 1000;

/**
 * Starts a member of the cluster.
 * Rejects with a TroupeError: BAD_NAME, ADDRESS_IN_USE and its like, DATA_OF_OTHER_NODE, DATA_NEWER, DATA_UNREADABLE,
 * DISK_…, or what gossip says about its options. Nothing is left open then.
 */
export async function createNode(options: NodeOptions, ports: NodePorts): Promise<Node> {
  if (!isGoodName(options.name)) throw new TroupeError('BAD_NAME', `cannot call a node '${String(options.name)}': a name has 1 to 64 letters, digits, '.', '_' or '-', and begins with a letter or digit`, { name: options.name });
  const node = new TroupeNode(options, ports);
  try {
    await node.open();
  } catch (error) {
    await node.close();
    throw error;
  }
  return node;
}

/** The parts of a running node, for checkers that look inside: no API. */
export interface NodeParts {
  readonly instance: string;
  readonly consensus: Consensus;
  readonly session: SessionClient;
  readonly store: StoreHost;
  readonly requests: Requests;
  readonly closed: boolean;
}

class TroupeNode implements Node {
  readonly name: string;
  readonly stopped: Promise<Error | undefined>;
  readonly #options: NodeOptions;
  readonly #ports: NodePorts;
  readonly #log: Log;
  readonly #instance: string;
  #identity: Identity | undefined;
  #identityDatabase: Database | undefined;
  #peers!: Peers;
  #calls!: Calls;
  #gossip: Gossip | undefined;
  #consensus: Consensus | undefined;
  #commands!: Commands;
  #pool: Pool | undefined;
  #leader: Leader | undefined;
  #session: SessionClient | undefined;
  #bootstrap: Bootstrap | undefined;
  #lastNode: LastNode | undefined;
  #store: StoreHost | undefined;
  #requests: Requests | undefined;
  #apps: AppsRunner | undefined;
  #memcached: MemcachedServer | undefined;
  #processes!: ProcessBoard;
  #peerAddress: Address = { host: '', port: 0 };
  readonly #routers = new Map<string, KeyspaceRouter>();
  readonly #mapListeners = new Set<(map: ClusterMap) => void>();
  /** Instances whose processes are known to have ended. */
  readonly #dead = new Set<string>();
  readonly #frameReader = new FrameReader();
  readonly #strangeOrigin: number;
  #closing: Promise<void> | undefined;
  #isClosed = false;
  #settleStopped: (error: Error | undefined) => void = () => {};
  readonly #readyWaiters = new Set<() => void>();
  #lastLeader: string | undefined;
  #wasReady = false;

  constructor(options: NodeOptions, ports: NodePorts) {
    this.name = options.name;
    this.#options = options;
    this.#ports = ports;
    this.#log = ports.log.child({ node: options.name });
    this.#instance = this.#randomId();
    this.#strangeOrigin = 0x8000_0000 + ports.random.below(0x7fff_ffff);
    this.stopped = new Promise((resolve) => {
      this.#settleStopped = resolve;
    });
  }

  #randomId(): string {
    const { random } = this.#ports;
    return random.uint32().toString(16).padStart(8, '0') + random.uint32().toString(16).padStart(8, '0');
  }

  // ---- opening ----------------------------------------------------------------------------------------------------

  async open(): Promise<void> {
    const { clock, disk, random } = this.#ports;
    this.#identityDatabase = await disk.open('identity');
    this.#identity = await loadIdentity(this.#identityDatabase, this.name, () => this.#randomId());
    this.#openPeers();
    const { bind } = this.#options.gossip;
    this.#peerAddress = await this.#peers.listen(this.#options.peer ?? { host: bind.host, port: bind.port === 0 ? 0 : bind.port + 1 });
    const raftDatabase = await disk.open('raft');
    const electionTimeoutMs = this.#options.electionTimeoutMs ?? { min: 300, max: 500 };
    this.#consensus = new Consensus({ raftId: `${this.name}/${this.#identity.directoryId}`, electionTimeoutMs, logs: this.#options.logs, cautiousAfterRestart: this.#options.lastNode !== 'never' }, raftDatabase, this.#peers, clock, random, this.#log, {
      onMap: (map) => this.#onMap(map),
      onElected: () => this.#onElected(),
      onLeading: (silentMs) => this.#onLeading(silentMs),
      onNotLeading: () => this.#onNotLeading(),
      onReadStates: (tokens) => this.#leader?.onReadStates(tokens),
      onProgress: () => {
        this.#session?.applied();
        this.#noteLeader();
      },
      onDiskFailure: (error) => this.#fail(error),
    });
    this.#commands = new Commands({ self: this.name, consensus: this.#consensus, calls: this.#calls, clock, leader: () => this.#leader, isClosed: () => this.#isClosed });
    this.#lastNode = new LastNode(this.#options.lastNode, this.#consensus, {
      self: this.name,
      map: () => this.#map,
      hasRights: (now) => this.#session?.hasRights(now) === true,
      isDead: (instance) => this.#dead.has(instance),
      silentForMs: (name, now) => this.#peers.silentForMs(name, now),
    }, clock, this.#log);
    this.#openStore();
    this.#openApps();
    this.#gossip = await startGossip(
      { name: this.name, bind, profile: this.#options.gossip.profile, tags: this.#tags(), ...pick(this.#options.gossip, 'advertise', 'keys', 'compression', ...gossipTuning) },
      pick(this.#ports, 'datagrams', 'streams', 'clock', 'random', 'cipher', 'log'),
    );
    this.#options.onGossip?.(this.#gossip);
    this.#pool = new Pool({
      self: this.name, join: this.#options.join, map: () => this.#map, isClosed: () => this.#isClosed,
      ...pick(this.#options, 'joinIntervalMs', 'joinAttemptsMax', 'replayOnJoin'),
      joinFailed: (error) => this.#fail(error),
      // A member keeps what it has; whoever never had the name must look for another.
      nameLost: (error) => {
        if (!this.#wasReady) this.#fail(error);
      },
    }, this.#gossip, this.#peers, clock, this.#log);
    this.#openSession();
    this.#consensus.start();
    if (this.#options.memcached !== undefined) {
      const { bind: address, keyspace } = this.#options.memcached;
      this.#memcached = await startMemcached({ streams: this.#ports.streams, clock, log: this.#log, address, router: this.router(keyspace) });
    }
    this.#openBootstrap();
    void this.#pool.keepJoined();
  }

  #openPeers(): void {
    const { clock, peerStreams, random } = this.#ports;
    this.#peers = new Peers({ name: this.name, instance: this.#instance, clusterId: () => this.#clusterId() }, peerStreams, clock, this.#log, {
      onFrame: (from, type, bytes, start, end) => this.#onFrame(from, type, bytes, start, end),
      onConnected: (name) => {
        this.#consensus?.connected(name);
        this.#store?.connected(name);
        this.#requests?.lookAgain();
      },
      onDisconnected: (name) => {
        this.#consensus?.disconnected(name);
        this.#store?.disconnected(name);
        this.#calls.disconnected(name);
        this.#requests?.disconnected(name);
        if (this.#gossip?.member(name)?.status === 'left') this.#peers.forget(name);
      },
      onIncoming: (name) => this.#requests?.reconnectedFrom(name),
      onDead: (name, instance) => this.#onDead(name, instance),
      beforeFlush: () => {
        this.#consensus?.endOfTurn();
        this.#store?.flush();
        // What the copies have asked for may be proposals of this very node.
        this.#consensus?.endOfTurn();
      },
    });
    this.#calls = new Calls(this.#peers, clock, random.uint32());
    this.#openProcesses();
    this.#calls.handle('register', async (_from, payload) => await this.#registerOther(payload as Registration));
    this.#calls.handle('command', async (_from, payload) => await this.#commandFromOther(payload as Command));
    this.#calls.handle('in-sync', async (_from, payload) => this.#commands.leaderOrThrow().inSync(payload as InSyncChange[]));
    this.#calls.handle('dead', async (_from, payload) => this.#commands.leaderOrThrow().noteDead(...(payload as [string, string])));
    this.#calls.handle('left', async (from, payload) => this.#commands.leaderOrThrow().left(from, payload as string));
    this.#calls.handle('wishes', async (from, payload) => this.#commands.leaderOrThrow().noteWishes(from, payload as NodeWishes));
    this.#calls.handle('promise', async (from, payload) => this.#bootstrap?.promise(from, payload as string) ?? false);
    this.#calls.handle('handover', async (_from, payload) => this.#apps?.handover(...(payload as [string, number])) ?? null);
    this.#calls.handle('transfer-leadership', async (_from, payload) => this.#commands.transferFromHere(payload as string | null));
  }

  #openProcesses(): void {
    this.#processes = new ProcessBoard({
      self: this.name, version: this.#options.version, system: this.#ports.system ?? unknownSystem, calls: this.#calls,
      parts: () => this.#session === undefined ? undefined : ({
        map: this.#map, sessionLive: this.#session.hasRights(this.#ports.clock.now()), peerAddress: this.#peerAddress, peers: this.#peers, gossip: this.gossip,
        consensus: this.#consensus as Consensus, store: this.#store as StoreHost, requests: this.#requests as Requests, apps: this.#apps as AppsRunner,
        memcached: this.#memcached === undefined ? undefined : { server: this.#memcached, keyspace: this.#options.memcached?.keyspace ?? '' },
      }),
    });
  }

  #openStore(): void {
    const { clock, random } = this.#ports;
    this.#store = new StoreHost(this.name, this.#peers, clock, this.#log, {
      hasRights: (now) => this.#session?.hasRights(now) === true,
      requestInSync: (changes) => this.#requestInSync(changes),
      servingChanged: () => this.#requests?.lookAgain(),
      logBytes: this.#options.logs?.partitionBytes,
    });
    this.#requests = new Requests(this.#store, this.#peers, clock, {
      self: this.name,
      hasRights: (now) => this.#session?.hasRights(now) === true,
      origin: () => this.#session?.lastSession || this.#strangeOrigin,
      firstId: random.uint32() * 0x10_0000 + 1,
    }, this.#options.requestTimeoutMs ?? 10_000);
  }

  #openApps(): void {
    const { clock, processes, files } = this.#ports;
    this.#apps = new AppsRunner(this.#options.apps, clock, this.#log, {
      self: this.name,
      hasRights: (now) => this.#session?.hasRights(now) === true,
      report: (app, action) => void this.#commands.submitOnce({ type: 'app', app, action }).catch(() => {}),
      fetchHandover: async (node, app, epoch) => await this.#fetchHandover(node, app, epoch),
      appNode: (config, isCurrent) => this.#appNode(config, isCurrent),
      load: this.#ports.loadModule,
      command: () => ({ processes, files, environment: this.#options.commandEnvironment?.() ?? {}, leaseMs: this.#map.timing.leaseMs - this.#map.timing.marginMs }),
    });
  }

  #openSession(): void {
    const { clock } = this.#ports;
    const consensus = this.#consensus as Consensus;
    this.#session = new SessionClient(consensus.map, {
      self: this.name,
      instance: this.#instance,
      leaderName: () => consensus.leaderName,
      renew: (leader, session, round) => this.#renew(leader, session, round),
      register: async (at, registration) => at === this.name ? await this.#commands.leaderOrThrow().register(registration) : ((await this.#calls.call(at, 'register', registration)) as { session: number; clusterId: string }),
      candidates: () => this.#pool?.clusterMembers() ?? [],
      registration: (resumes) => this.#registration(resumes),
      onGained: () => {
        this.#wasReady = true;
        this.#log.info('this node has a session', { session: this.#session?.lease.session });
        this.#apps?.reconcile();
        this.#requests?.lookAgain();
        for (const wake of this.#readyWaiters) wake();
      },
      onLost: () => this.#apps?.revokeAll(),
      onRenewed: () => this.#apps?.renewed((this.#session?.lease.validUntil ?? 0) - this.#ports.clock.now()),
      appliedIndex: () => consensus.raft.appliedIndex,
      onRefused: (error) => {
        // Before it ever belonged there is nothing to lose: the operator should see it at once.
        if (!this.#wasReady) this.#fail(error);
      },
    }, clock, this.#log);
    this.#session.start();
  }

  #openBootstrap(): void {
    const consensus = this.#consensus as Consensus;
    this.#bootstrap = new Bootstrap({ self: this.name, instance: this.#instance, expect: this.#options.bootstrapExpect, ...pick(this.#options, 'sync') }, {
      isFresh: () => consensus.isFresh && (this.#identity?.clusterId ?? '') === '',
      members: () => this.#pool?.members() ?? [],
      askPromise: async (node) => (await this.#calls.call(node, 'promise', this.#instance)) === true,
      found: async () => await consensus.bootstrap(),
      fail: (error) => this.#fail(error),
    }, this.#ports.clock, this.#log);
  }

  #tags(): Record<string, string> {
    return { ...(this.#gossip === undefined ? this.#options.tags : userTagsOf(this.#gossip.local.tags)), ...tagsOf({ peerPort: this.#peerAddress.port, instance: this.#instance, cluster: this.#clusterId(), expect: this.#clusterId() === '' ? this.#options.bootstrapExpect : 0 }) };
  }

  #clusterId(): string {
    const fromMap = this.#consensus?.map.clusterId ?? '';
    return fromMap === '' ? (this.#identity?.clusterId ?? '') : fromMap;
  }

  get #map(): ClusterMap {
    return (this.#consensus as Consensus).map;
  }

  // ---- evidence ---------------------------------------------------------------------------------------------------

  #onDead(name: string, instance: string): void {
    this.#log.info('a process is dead: its connection closed and its address does not answer as it any more', { peer: name, instance });
    this.#rememberDead(instance);
    this.#pool?.noteDead(name, instance);
    const consensus = this.#consensus;
    if (consensus === undefined) return;
    if (this.#leader !== undefined) this.#leader.noteDead(name, instance);
    else if (consensus.leaderName === name && this.#map.nodes[name]?.instance === instance) consensus.leaderDied();
    else if (consensus.leaderName !== undefined) void this.#calls.call(consensus.leaderName, 'dead', [name, instance]).catch(() => {});
    this.#lastNode?.apply();
  }

  #rememberDead(instance: string): void {
    this.#dead.add(instance);
    if (this.#dead.size > deadRememberedMax) this.#dead.delete(this.#dead.values().next().value as string);
  }

  // ---- the leader's part ------------------------------------------------------------------------------------------

  /** The sessions of the dead end with the very first entries of the term: that saves a round of disk writes while everybody waits. */
  #onElected(): void {
    const sessions = Object.values(this.#map.nodes)
      .filter((node) => node.live && this.#dead.has(node.instance))
      .map((node) => ({ name: node.name, session: node.session, evidence: 'refused' as const }));
    if (sessions.length > 0) void (this.#consensus as Consensus).propose({ type: 'close-sessions', sessions });
  }

  #onLeading(previousLeaderSilentMs: number): void {
    // An election that was won while the node closes: nobody would stop this leader any more.
    if (this.#isClosed) return;
    const consensus = this.#consensus as Consensus;
    this.#log.info('this node leads the cluster', { term: consensus.raft.term });
    this.#leader?.stop();
    this.#leader = new Leader(
      {
        self: this.name, timing: this.#options.timing, newClusterId: () => this.#randomId(), downToOne: this.#options.lastNode !== 'never',
        decisions: { ...defaultDecisionOptions, expect: Math.max(1, this.#options.bootstrapExpect), ...(this.#options.healAfterMs === undefined ? {} : { healAfterMs: this.#options.healAfterMs }) },
      },
      previousLeaderSilentMs, consensus, this.#ports.clock, this.#log,
      {
        grant: (node, session, round, index) => this.#grant(node, session, round, index),
        deny: (node, session) => this.#deny(node, session),
        isDead: (instance) => this.#dead.has(instance),
        isConnected: (name) => this.#peers.isConnected(name),
      },
    );
    this.#leader.noteWishes(this.name, this.#wishes());
    this.#leader.start();
    this.#noteLeader();
  }

  #onNotLeading(): void {
    this.#log.info('this node does not lead any more');
    this.#leader?.stop();
    this.#leader = undefined;
    this.#noteLeader();
  }

  #noteLeader(): void {
    const leader = this.#consensus?.leaderName;
    if (leader === this.#lastLeader) return;
    this.#lastLeader = leader;
    if (leader === undefined) return;
    this.#session?.leaderChanged();
    if (leader !== this.name) void this.#tellWishes(leader);
  }

  /** Another may have been leader when this node registered, and have told nobody what it wants. */
  async #tellWishes(leader: string): Promise<void> {
    while (!this.#isClosed && this.#lastLeader === leader) {
      try {
        await this.#calls.call(leader, 'wishes', this.#wishes());
        return;
      } catch {
        await this.#sleep(wishesRetryMs);
      }
    }
  }

  async #registerOther(registration: Registration): Promise<{ session: number; clusterId: string }> {
    const leader = this.#commands.leaderOrThrow();
    if (!isGoodName(registration.name)) throw new TroupeError('BAD_NAME', `cannot take in a node called '${String(registration.name)}'`, {});
    const known = this.#map.nodes[registration.name];
    const elsewhere = known !== undefined && (known.peer.host !== registration.peer.host || known.peer.port !== registration.peer.port);
    // An impostor must not draw the connection of the live node that has the name to itself.
    if (!(elsewhere && known.live && known.instance !== registration.instance && !this.#dead.has(known.instance))) this.#peers.want(registration.name, registration.peer);
    return await leader.register(registration);
  }

  async #commandFromOther(command: Command): Promise<Outcome> {
    return await this.#commands.leaderOrThrow().command(command);
  }

  #renew(leader: string, session: number, round: number): void {
    if (leader === this.name) {
      this.#leader?.renew(this.name, session, round);
      return;
    }
    const writer = this.#peers.writer(leader);
    if (writer === undefined) return;
    writer.begin(PeerFrame.renew);
    writer.f64(session);
    writer.u32(round);
    writer.end();
  }

  #grant(node: string, session: number, round: number, index: number): void {
    if (node === this.name) {
      this.#session?.granted(session, round, index);
      return;
    }
    const writer = this.#peers.writer(node);
    writer?.begin(PeerFrame.granted);
    writer?.f64(session);
    writer?.u32(round);
    writer?.f64(index);
    writer?.end();
  }

  #deny(node: string, session: number): void {
    if (node === this.name) {
      this.#session?.denied(session);
      return;
    }
    const writer = this.#peers.writer(node);
    writer?.begin(PeerFrame.denied);
    writer?.f64(session);
    writer?.end();
  }

  #wishes(): NodeWishes {
    const apps: AppSpec[] = this.#options.apps.map((app) => ({
      name: app.name, tiers: app.nodes.map((tier) => (typeof tier === 'string' ? [tier] : [...tier])), failoverTimeoutMs: app.failoverTimeoutMs ?? 0, takeover: app.takeover ?? 'automatic',
      stopTimeoutMs: app.stopTimeoutMs ?? 10_000, startTimeoutMs: app.startTimeoutMs ?? 30_000,
    }));
    return { keyspaces: this.#options.keyspaces, apps };
  }

  #registration(resumes: number): Registration {
    const gossip = this.#gossip as Gossip;
    const host = gossip.local.address.host;
    return {
      name: this.name, raftId: (this.#consensus as Consensus).raft.id, instance: this.#instance, peer: { host, port: this.#peerAddress.port }, gossip: gossip.local.address,
      zone: this.#options.zone, eligible: this.#options.voter, storage: this.#options.storage, version: this.#options.version, clusterId: this.#clusterId(), resumes,
      offers: Object.fromEntries(this.#options.apps.map((app) => [app.name, appDigest(app)])), ...this.#wishes(),
    };
  }

  // ---- frames -----------------------------------------------------------------------------------------------------

  #onFrame(from: string, type: number, bytes: Uint8Array, start: number, end: number): void {
    if (this.#isClosed) return;
    if (type >= PeerFrame.replicaFirst && type <= PeerFrame.replicaLast) {
      this.#store?.onReplicaFrame(from, type, bytes, start, end);
      return;
    }
    switch (type) {
      case PeerFrame.request: this.#store?.onRequestFrame(from, bytes, start, end); return;
      case PeerFrame.response: this.#requests?.onResponseFrame(from, bytes, start, end); return;
      case PeerFrame.raft:
        this.#consensus?.onFrame(from, bytes, start, end);
        return;
      case PeerFrame.call:
      case PeerFrame.answer: this.#calls.onFrame(from, type, bytes, start, end); return;
      case PeerFrame.renew:
      case PeerFrame.granted:
      case PeerFrame.denied: this.#onSessionFrame(from, type, bytes, start, end); return;
      default: return;
    }
  }

  #onSessionFrame(from: string, type: number, bytes: Uint8Array, start: number, end: number): void {
    const reader = this.#frameReader;
    reader.reset(bytes, start, end);
    const session = reader.count();
    if (type === PeerFrame.renew) this.#leader?.renew(from, session, reader.u32());
    else if (type === PeerFrame.granted) this.#session?.granted(session, reader.u32(), reader.count());
    else this.#session?.denied(session);
  }

  // ---- the map ----------------------------------------------------------------------------------------------------

  #onMap(map: ClusterMap): void {
    for (const node of Object.values(map.nodes)) if (node.live && node.name !== this.name) this.#peers.want(node.name, node.peer);
    this.#session?.onMap(map);
    this.#session?.applied();
    const current = this.#session?.isCurrent === true;
    this.#store?.onMap(map, current);
    this.#apps?.onMap(map, current);
    this.#leader?.onMap();
    this.#requests?.lookAgain();
    this.#noteLeader();
    if (map.clusterId !== '' && this.#identity !== undefined && this.#identity.clusterId !== map.clusterId) this.#adoptCluster(map.clusterId);
    for (const wake of this.#readyWaiters) wake();
    for (const listener of this.#mapListeners) listener(map);
  }

  #adoptCluster(clusterId: string): void {
    this.#identity = { ...(this.#identity as Identity), clusterId };
    storeIdentity(this.#identityDatabase as Database, this.#identity).catch((error: unknown) => this.#fail(error instanceof Error ? error : new Error(String(error))));
    this.#gossip?.setTags(this.#tags());
  }

  #requestInSync(changes: readonly InSyncChange[]): void {
    if (this.#leader !== undefined) this.#leader.inSync(changes);
    else {
      const leader = this.#consensus?.leaderName;
      if (leader !== undefined) void this.#calls.call(leader, 'in-sync', changes).catch(() => {});
    }
  }

  // ---- apps -------------------------------------------------------------------------------------------------------

  async #fetchHandover(node: string, app: string, epoch: number): Promise<Uint8Array | undefined> {
    if (node === this.name) return this.#apps?.handover(app, epoch);
    try {
      const state = await this.#calls.call(node, 'handover', [app, epoch], 5000);
      return state instanceof Uint8Array && state.length <= handoverBytesMax ? state : undefined;
    } catch (error) {
      this.#log.warn('the state of the old instance could not be fetched: the app starts without it', { app, from: node, reason: messageOf(error) });
      return undefined;
    }
  }

  #appNode(config: AppConfig, isCurrent: () => boolean): { name: string; config: unknown; keyspace(name: string): Keyspace } {
    const guard = (): void => {
      if (isCurrent() && this.#session?.hasRights(this.#ports.clock.now()) === true) return;
      throw new TroupeError('LEASE_LOST', `this instance of app '${config.name}' does not hold the app any more`, { app: config.name });
    };
    return {
      name: this.name, config: config.config,
      keyspace: (name) => {
        this.#processes.used(config.name, name);
        return new KeyspaceClient(name, this.router(name), () => this.#nowSeconds(), guard);
      },
    };
  }

  #nowSeconds(): number {
    return Math.floor(this.#ports.clock.wallTime() / 1000);
  }

  // ---- commands ---------------------------------------------------------------------------------------------------

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#ports.clock.at(this.#ports.clock.now() + ms, resolve);
    });
  }

  async app(name: string, action: AppAction | { readonly type: 'move'; readonly to: string }): Promise<void> {
    await this.#commands.app(name, action);
  }

  async drainNode(name: string, on: boolean): Promise<void> {
    await this.#commands.submit({ type: 'drain', name, on });
  }

  async forgetNode(name: string): Promise<void> {
    await this.#commands.submit({ type: 'forget-node', name });
  }

  async maintenance(on: boolean): Promise<void> {
    await this.#commands.submit({ type: 'maintenance', on });
  }

  async acceptLoss(keyspace: string, partitions?: readonly number[]): Promise<number> {
    return await this.#commands.acceptLoss(keyspace, partitions);
  }

  async transferLeadership(to?: string): Promise<void> {
    await this.#commands.transferLeadership(to);
  }

  /** For the simulator's checkers. */
  inspect(): NodeParts {
    return {
      instance: this.#instance, consensus: this.#consensus as Consensus, session: this.#session as SessionClient, store: this.#store as StoreHost,
      requests: this.#requests as Requests, closed: this.#isClosed,
    };
  }

  // ---- for users --------------------------------------------------------------------------------------------------

  get addresses(): { gossip: Address; peer: Address; memcached: Address | undefined } {
    return { gossip: this.gossip.address, peer: this.#peerAddress, memcached: this.#memcached?.address };
  }

  get gossip(): Gossip {
    return this.#gossip as Gossip;
  }

  get map(): ClusterMap {
    return this.#map;
  }

  onMap(listener: (map: ClusterMap) => void): () => void {
    this.#mapListeners.add(listener);
    return () => this.#mapListeners.delete(listener);
  }

  status(): NodeStatus {
    const consensus = this.#consensus as Consensus;
    return buildStatus({
      name: this.name, version: this.#options.version, map: this.#map, sessionLive: this.#session?.hasRights(this.#ports.clock.now()) === true,
      leader: consensus.leaderName, term: consensus.raft.term, voters: consensus.raft.configuration.voters,
    });
  }

  async ps(name: string = this.name): Promise<NodeProcesses> {
    return await this.#processes.of(name);
  }

  showInPs(source: () => readonly ProcessDraft[]): () => void {
    return this.#processes.add(source);
  }

  partitions(): PartitionView[] {
    return partitionViews(this.#map);
  }

  keyspace(name: string): Keyspace {
    return new KeyspaceClient(name, this.router(name), () => this.#nowSeconds());
  }

  router(keyspace: string): StoreRouter {
    let router = this.#routers.get(keyspace);
    if (router === undefined) {
      router = new KeyspaceRouter(this.#requests as Requests, keyspace, () => this.#map.keyspaces[keyspace], () => keyspaceStats(this.#map.keyspaces[keyspace], this.#store as StoreHost, this.#requests as Requests));
      this.#routers.set(keyspace, router);
    }
    return router;
  }

  /** It may act, and the keyspaces that it was configured with can be used. */
  #isReady(): boolean {
    return this.#session?.hasRights(this.#ports.clock.now()) === true && Object.keys(this.#options.keyspaces).every((name) => this.#map.keyspaces[name] !== undefined);
  }

  ready(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = (): void => {
        if (!this.#isReady()) return;
        this.#readyWaiters.delete(check);
        resolve();
      };
      this.#readyWaiters.add(check);
      const give = (error: Error): void => {
        this.#readyWaiters.delete(check);
        reject(error);
      };
      signal?.addEventListener('abort', () => give(new TroupeError('ABORTED', 'gave up waiting for the node to be ready', {})), { once: true });
      void this.stopped.then((error) => give(error ?? new TroupeError('STOPPED', 'the node stopped before it was ready', {})));
      check();
    });
  }

  // ---- stopping ---------------------------------------------------------------------------------------------------

  async leave(): Promise<void> {
    if (this.#isClosed) return await this.close();
    const deadline = this.#ports.clock.now() + leaveTimeoutMs;
    try {
      const others = Object.values(this.#map.nodes).some((node) => node.name !== this.name && isActive(this.#map, node.name));
      if (others && this.#session?.isCurrent === true) {
        await this.#commands.submit({ type: 'drain', name: this.name, on: true });
        while (!this.#isDrained() && this.#ports.clock.now() < deadline && !this.#isClosed) await this.#sleep(20);
      }
      if (this.#isClosed) return;
      this.#session?.pause();
      await this.#apps?.close();
      // Whoever hears that this node has left gives its parts away at once: from here on nothing is acted upon.
      this.#session?.giveUp();
      await this.#sayLeft();
      await this.#gossip?.leave();
    } catch (error) {
      this.#log.warn('leaving without having handed everything over', { reason: messageOf(error) });
    }
    await this.close();
  }

  #isDrained(): boolean {
    const holds = Object.values(this.#map.keyspaces).some((keyspace) => keyspace.partitions.some((partition) => partition.primary === this.name))
      || Object.values(this.#map.apps).some((app) => app.node === this.name)
      || this.#leader !== undefined;
    return !holds;
  }

  async #sayLeft(): Promise<void> {
    const leader = this.#consensus?.leaderName;
    if (this.#leader !== undefined) this.#leader.left(this.name, this.#instance);
    else if (leader !== undefined) await this.#calls.call(leader, 'left', this.#instance).catch(() => {});
  }

  #fail(error: Error): void {
    if (this.#isClosed) return;
    this.#log.error('the node stops', { reason: messageOf(error) });
    void this.#close(error);
  }

  close(): Promise<void> {
    return this.#close(undefined);
  }

  #close(error: Error | undefined): Promise<void> {
    this.#closing ??= this.#closeParts(error);
    return this.#closing;
  }

  async #closeParts(error: Error | undefined): Promise<void> {
    this.#isClosed = true;
    this.#bootstrap?.stop();
    this.#lastNode?.stop();
    this.#leader?.stop();
    // First of all nothing is acted upon any more.
    this.#session?.giveUp();
    this.#session?.stop();
    await this.#apps?.close();
    await this.#memcached?.close();
    this.#requests?.close();
    this.#store?.close();
    await this.#gossip?.close();
    await (this.#peers as Peers | undefined)?.close();
    await this.#consensus?.close();
    await this.#identityDatabase?.close();
    this.#settleStopped(error);
  }
}

function pick<T extends object, K extends keyof T>(from: T, ...keys: K[]): Pick<T, K> {
  const picked = {} as Pick<T, K>;
  for (const key of keys) if (from[key] !== undefined) picked[key] = from[key];
  return picked;
}

