/**
 * Which parts a node has, in which order they open, and how they are wired. What each part does stands in its own file.
 * Parts that know each other in a circle are wired by closures: what has not opened yet is undefined to them.
 */
import { defaultDecisionOptions } from '../core/control/decisions.ts';
import type { ClusterMap } from '../core/control/map.ts';
import { hasState } from '../core/raft/storage-codec.ts';
import { startMemcached } from '../frontends/memcached/server.ts';
import type { MemcachedServer } from '../frontends/memcached/server.ts';
import type { Clock } from '../ports/clock.ts';
import type { Database, Disk } from '../ports/disk.ts';
import type { Log } from '../ports/log.ts';
import { unknownSystem } from '../ports/system.ts';
import { afterThisTurn } from './after-this-turn.ts';
import { answerCalls } from './answer-calls.ts';
import type { Answering } from './answer-calls.ts';
import { AppsRunner } from './apps-runner.ts';
import { Bootstrap } from './bootstrap.ts';
import { Calls } from './calls.ts';
import { Commands } from './commands.ts';
import { Consensus } from './consensus.ts';
import { DeadInstances } from './dead-instances.ts';
import { startGossip } from './gossip.ts';
import type { Gossip } from './gossip.ts';
import { fetchHandover } from './handover.ts';
import { newId, OwnIdentity } from './identity.ts';
import { Keyspaces } from './keyspaces.ts';
import { LastNode } from './last-node.ts';
import { Leadership } from './leadership.ts';
import { LeaseFrames } from './lease-frames.ts';
import { tellOfMap } from './map-order.ts';
import type { MapFollowers } from './map-order.ts';
import { gossipTuning } from './node-types.ts';
import type { NodeOptions, NodePorts } from './node-types.ts';
import type { OpenNode } from './node-parts.ts';
import { OwnFacts, wishesOf } from './own-facts.ts';
import { peerHandlers } from './peer-events.ts';
import type { PeerFollowers } from './peer-events.ts';
import { Peers } from './peers.ts';
import { pick } from './pick.ts';
import { Pool } from './pool.ts';
import { ProcessBoard } from './ps.ts';
import { Readiness } from './readiness.ts';
import { Requests } from './router.ts';
import { SessionClient } from './session-client.ts';
import { Stopping } from './stopping.ts';
import type { PartsToStop } from './stopping.ts';
import { StoreHost } from './store-host.ts';

export class Assembly implements PartsToStop, Answering, PeerFollowers, MapFollowers {
  readonly self: string;
  readonly instance: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly stopping: Stopping;
  identity: OwnIdentity | undefined;
  peers: Peers | undefined;
  consensus: Consensus | undefined;
  commands: Commands | undefined;
  leadership: Leadership | undefined;
  lastNode: LastNode | undefined;
  store: StoreHost | undefined;
  requests: Requests | undefined;
  apps: AppsRunner | undefined;
  gossip: Gossip | undefined;
  session: SessionClient | undefined;
  memcached: MemcachedServer | undefined;
  bootstrap: Bootstrap | undefined;
  calls: Calls | undefined;
  leases: LeaseFrames | undefined;
  readonly #options: NodeOptions;
  readonly #ports: NodePorts;
  readonly #readiness: Readiness;
  readonly #facts: OwnFacts;
  readonly #dead = new DeadInstances();
  readonly #mapListeners = new Set<(map: ClusterMap) => void>();
  readonly #strangeOrigin: number;
  #pool: Pool | undefined;
  #wasReady = false;

  constructor(options: NodeOptions, ports: NodePorts) {
    this.#options = options;
    this.#ports = ports;
    this.self = options.name;
    this.clock = ports.clock;
    this.log = ports.log.child({ node: options.name });
    this.instance = newId(ports.random);
    this.#strangeOrigin = 0x8000_0000 + ports.random.below(0x7fff_ffff);
    this.stopping = new Stopping(this);
    this.#readiness = new Readiness(Object.keys(options.keyspaces), this);
    this.#facts = new OwnFacts(options, this);
  }

  /** What had opened when this rejects is closed by {@link Stopping.close}. */
  async open(): Promise<OpenNode> {
    const { disk } = this.#ports;
    const { bind } = this.#options.gossip;
    this.identity = await OwnIdentity.open(disk, this.self, () => newId(this.#ports.random));
    const peers = this.#openPeers();
    const calls = new Calls(peers, this.clock, this.#ports.random.uint32());
    this.calls = calls;
    answerCalls(calls, this);
    const processes = this.#openProcesses(peers, calls);
    this.#facts.peerAddress = await peers.listen(this.#options.peer ?? { host: bind.host, port: bind.port === 0 ? 0 : bind.port + 1 });
    const consensus = this.#openConsensus(this.identity, await this.#openLog(this.identity, disk), peers);
    this.#openLeadership(consensus, peers, calls);
    const commands = new Commands({ self: this.self, consensus, calls, clock: this.clock, leader: () => this.leadership?.leader, isClosed: () => this.isClosed() });
    this.commands = commands;
    this.lastNode = new LastNode(this.#options.lastNode, { self: this.self, consensus, peers, dead: this.#dead, hasRights: (now) => this.#hasRights(now) }, this.clock, this.log);
    const store = this.#openStore(peers);
    const requests = this.#openRequests(store, peers);
    const keyspaces = new Keyspaces({ self: this.self, store, requests, processes, clock: this.clock, map: () => consensus.map, hasRights: (now) => this.#hasRights(now) });
    this.#openApps(consensus, commands, calls, keyspaces);
    const gossip = await this.#openGossip();
    const pool = this.#openPool(gossip, peers, consensus);
    const session = this.#openSession(consensus, commands, calls, pool, gossip);
    consensus.start();
    if (this.#options.memcached !== undefined) {
      const { bind: address, keyspace } = this.#options.memcached;
      this.memcached = await startMemcached({ streams: this.#ports.streams, clock: this.clock, log: this.log, address, router: keyspaces.router(keyspace) });
    }
    const bootstrap = this.#openBootstrap(this.identity, consensus, calls, pool);
    void pool.keepJoined();
    return {
      instance: this.instance, peerAddress: this.#facts.peerAddress, gossip, bootstrap, consensus, commands, session, store, requests, keyspaces, processes, memcached: this.memcached,
      readiness: this.#readiness, stopping: this.stopping, mapListeners: this.#mapListeners,
    };
  }

  // ---- the parts, in the order of open ----------------------------------------------------------------------------

  #openPeers(): Peers {
    this.peers = new Peers({ name: this.self, instance: this.instance, clusterId: () => this.#facts.clusterId }, this.#ports.peerStreams, this.clock, this.log, peerHandlers(this));
    this.leases = new LeaseFrames({ self: this.self, leader: () => this.leadership?.leader, session: () => this.session }, this.peers);
    return this.peers;
  }

  /** Who has lost its log and its vote must not go on as the voter that it was: it might vote twice, or be counted for what it does not hold any more. */
  async #openLog(identity: OwnIdentity, disk: Disk): Promise<Database> {
    const database = await disk.open('raft');
    if (identity.clusterId === '' || hasState(database)) return database;
    await identity.renew(() => newId(this.#ports.random));
    this.log.warn('the log of consensus is gone from the data directory: this node comes back as a new member, if others of its cluster live; if none does, start with an empty directory', { cluster: identity.clusterId });
    return database;
  }

  #openProcesses(peers: Peers, calls: Calls): ProcessBoard {
    return new ProcessBoard({
      self: this.self, version: this.#options.version, system: this.#ports.system ?? unknownSystem, calls,
      parts: () => {
        const { session, consensus, gossip, store, requests, apps, memcached } = this;
        if (session === undefined || consensus === undefined || gossip === undefined || store === undefined || requests === undefined || apps === undefined) return undefined;
        return {
          map: consensus.map, sessionLive: this.#hasRights(this.clock.now()), peerAddress: this.#facts.peerAddress, peers, gossip, consensus, store, requests, apps,
          memcached: memcached === undefined ? undefined : { server: memcached, keyspace: this.#options.memcached?.keyspace ?? '' },
        };
      },
    });
  }

  #openConsensus(identity: OwnIdentity, database: Database, peers: Peers): Consensus {
    const { electionTimeoutMs = { min: 300, max: 500 }, logs, lastNode } = this.#options;
    this.consensus = new Consensus({ raftId: `${this.self}/${identity.directoryId}`, electionTimeoutMs, logs, cautiousAfterRestart: lastNode !== 'never' }, database, peers, this.clock, this.#ports.random, this.log, {
      onMap: (map) => this.#onMap(map),
      onElected: () => this.leadership?.onElected(),
      onLeading: (silentMs) => this.leadership?.onLeading(silentMs),
      onNotLeading: () => this.leadership?.onNotLeading(),
      onReadStates: (tokens) => this.leadership?.leader?.onReadStates(tokens),
      onProgress: () => {
        this.session?.applied();
        this.leadership?.noteLeader();
      },
      onDiskFailure: (error) => this.stopping.fail(error),
    });
    return this.consensus;
  }

  #openLeadership(consensus: Consensus, peers: Peers, calls: Calls): void {
    const { timing, lastNode, bootstrapExpect, healAfterMs } = this.#options;
    this.leadership = new Leadership({
      options: {
        self: this.self, timing, newClusterId: () => newId(this.#ports.random), downToOne: lastNode !== 'never',
        decisions: { ...defaultDecisionOptions, expect: Math.max(1, bootstrapExpect), ...(healAfterMs === undefined ? {} : { healAfterMs }) },
      },
      consensus, calls, peers, dead: this.#dead, leases: this.leases as LeaseFrames, clock: this.clock, log: this.log, wishes: wishesOf(this.#options),
      isClosed: () => this.isClosed(),
      leaderChanged: () => this.session?.leaderChanged(),
    });
  }

  #openStore(peers: Peers): StoreHost {
    this.store = new StoreHost(this.self, peers, this.clock, this.log, {
      hasRights: (now) => this.#hasRights(now),
      requestInSync: (changes) => this.leadership?.requestInSync(changes),
      servingChanged: () => this.requests?.lookAgain(),
      logBytes: this.#options.logs?.partitionBytes,
    });
    return this.store;
  }

  #openRequests(store: StoreHost, peers: Peers): Requests {
    this.requests = new Requests(store, peers, this.clock, {
      self: this.self, hasRights: (now) => this.#hasRights(now),
      origin: () => this.session?.lastSession || this.#strangeOrigin,
      firstId: this.#ports.random.uint32() * 0x10_0000 + 1,
    }, this.#options.requestTimeoutMs ?? 10_000);
    return this.requests;
  }

  #openApps(consensus: Consensus, commands: Commands, calls: Calls, keyspaces: Keyspaces): void {
    const { processes, files, loadModule } = this.#ports;
    const apps = new AppsRunner(this.#options.apps, this.clock, this.log, {
      self: this.self, hasRights: (now) => this.#hasRights(now),
      report: (app, action) => void commands.submitOnce({ type: 'app', app, action }).catch(() => {}),
      fetchHandover: async (node, app, epoch) => node === this.self ? apps.handover(app, epoch) : await fetchHandover(calls, this.clock, this.log, { node, app, epoch, isLive: () => consensus.map.nodes[node]?.live === true }),
      appNode: (config, isCurrent) => keyspaces.forApp(config, isCurrent),
      load: loadModule,
      command: () => ({ processes, files, environment: this.#options.commandEnvironment?.() ?? {}, leaseLeftMs: () => this.session?.leftMs(this.clock.now()) ?? 0 }),
    });
    this.apps = apps;
  }

  async #openGossip(): Promise<Gossip> {
    const { gossip: options, onGossip } = this.#options;
    this.gossip = await startGossip(
      { name: this.self, bind: options.bind, profile: options.profile, tags: this.#facts.tags(), ...pick(options, 'advertise', 'keys', 'compression', ...gossipTuning) },
      pick(this.#ports, 'datagrams', 'streams', 'clock', 'random', 'cipher', 'log'),
    );
    onGossip?.(this.gossip);
    return this.gossip;
  }

  #openPool(gossip: Gossip, peers: Peers, consensus: Consensus): Pool {
    this.#pool = new Pool({
      self: this.self, join: this.#options.join, map: () => consensus.map, isClosed: () => this.isClosed(),
      ...pick(this.#options, 'joinIntervalMs', 'joinAttemptsMax', 'replayOnJoin'),
      joinFailed: (error) => this.stopping.fail(error),
      // A member keeps what it has; whoever never had the name must look for another.
      nameLost: (error) => {
        if (!this.#wasReady) this.stopping.fail(error);
      },
    }, gossip, peers, this.clock, this.log);
    return this.#pool;
  }

  #openSession(consensus: Consensus, commands: Commands, calls: Calls, pool: Pool, gossip: Gossip): SessionClient {
    this.session = new SessionClient(consensus.map, {
      self: this.self, instance: this.instance,
      leaderName: () => consensus.leaderName,
      renew: (leader, session, round) => this.leases?.renew(leader, session, round),
      register: async (at, registration) => at === this.self ? await commands.leaderOrThrow().register(registration) : ((await calls.call(at, 'register', registration)) as { session: number; clusterId: string }),
      candidates: () => pool.clusterMembers(),
      registration: (resumes) => this.#facts.registration(consensus, gossip, resumes),
      onGained: () => {
        this.#wasReady = true;
        this.log.info('this node has a session', { session: this.session?.lease.session });
        this.apps?.reconcile();
        this.requests?.lookAgain();
        this.#readiness.lookAgain();
      },
      onLost: () => this.apps?.revokeAll(),
      onRenewed: () => this.apps?.renewed(this.session?.leftMs(this.clock.now()) ?? 0),
      appliedIndex: () => consensus.raft.appliedIndex,
      onRefused: (error) => {
        // Before it ever belonged there is nothing to lose: the operator should see it at once.
        if (!this.#wasReady) this.stopping.fail(error);
      },
    }, this.clock, this.log);
    this.session.start();
    return this.session;
  }

  #openBootstrap(identity: OwnIdentity, consensus: Consensus, calls: Calls, pool: Pool): Bootstrap {
    this.bootstrap = new Bootstrap({ self: this.self, instance: this.instance, expect: this.#options.bootstrapExpect, ...pick(this.#options, 'sync') }, {
      isFresh: () => consensus.isFresh && identity.clusterId === '',
      members: () => pool.members(),
      askPromise: async (node) => (await calls.call(node, 'promise', this.instance)) === true,
      found: async () => await consensus.bootstrap(),
      fail: (error) => this.stopping.fail(error),
    }, this.clock, this.log);
    return this.bootstrap;
  }

  #onMap(map: ClusterMap): void {
    tellOfMap(map, this);
    const { identity } = this;
    if (map.clusterId !== '' && identity !== undefined && identity.clusterId !== map.clusterId) {
      identity.adoptCluster(map.clusterId).catch((error: unknown) => this.stopping.fail(error instanceof Error ? error : new Error(String(error))));
      this.gossip?.setTags(this.#facts.tags());
    }
    this.#readiness.lookAgain();
    for (const listener of this.#mapListeners) listener(map);
  }

  onAlive(instance: string): void {
    this.#dead.delete(instance);
  }

  onDead(name: string, instance: string): void {
    this.#dead.add(instance);
    this.leadership?.noteDead(name, instance);
    this.lastNode?.apply();
    // Everybody waits for the above, for this nobody.
    afterThisTurn(this.clock, () => {
      if (this.isClosed()) return;
      this.log.info('a process is dead: its connection closed and its address does not answer as it any more', { peer: name, instance });
      this.#pool?.noteDead(name, instance);
    });
  }

  isClosed(): boolean {
    return this.stopping.hasBegun;
  }

  #hasRights(now: number): boolean {
    return this.session?.hasRights(now) === true;
  }
}
