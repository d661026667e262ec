import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Topologies } from '../discovery/topologies.ts';
import type { TopologyEvent } from '../discovery/topology-types.ts';
import { startDiscovery } from './host-discovery.ts';
import { lookAroundFor } from './look-around.ts';
import { messageOf } from '../base/errors.ts';
import { aesGcmCipher } from '../host/aes-gcm-cipher.ts';
import { HostClock } from '../host/clock.ts';
import { HandoverDirectory } from '../host/handover-files.ts';
import { MemoryDisk } from '../ports/memory-disk.ts';
import { HostProcesses } from '../host/processes.ts';
import { createRandom } from '../host/random.ts';
import { defaultAddress, hostSystem } from '../host/system.ts';
import { TcpStreams } from '../host/tcp.ts';
import { UdpDatagrams } from '../host/udp.ts';
import { createNode } from '../node/create-node.ts';
import type { AgentConfig } from '../node/config.ts';
import type { Node, NodeOptions } from '../node/node-types.ts';
import { keepRehearsed } from '../node/rehearsal.ts';
import { factsOf } from '../node/troupe-tags.ts';
import { writeFileAtomically } from '../host/files.ts';
import { textFiles } from '../host/text-files.ts';
import { heldOutIn, liveNodesBytesMax, LiveNodesFile } from '../node/live-nodes.ts';
import { surroundingProcesses } from './surrounding-processes.ts';
import { openSerfFiles } from './serf-files.ts';
import { startSerfSide } from './serf-side.ts';
import type { SerfSide } from './serf-side.ts';
import type { EventHandlers } from '../node/event-handlers.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock } from '../ports/clock.ts';
import type { HttpListener } from '../ports/http.ts';
import type { Log } from '../ports/log.ts';

/** A node on this host, with what belongs to it. */
export interface HostNode {
  readonly node: Node;
  readonly clock: Clock;
  readonly httpAddress: Address | undefined;
  readonly rpcAddress: Address | undefined;
  readonly handlers: EventHandlers;
  /** The node neither founds nor looks for a cluster, and knows of none: there is nothing to wait for. */
  readonly standsAlone: boolean;
  /**
   * Resolves once the node has joined others and has seen for some seconds that none of them belongs to a Troupe cluster
   * (plain Serf agents, say), if it founds none itself: there is no session to wait for then.
   */
  readonly plainMember: () => Promise<void>;
  /** The topologies, and what they tell. */
  readonly discovery: Topologies;
  /**
   * Waits until discovery has found others, knows that there are none, or has looked for `discovery.waitJoinedMs`.
   * Rejects with NOT_JOINED when `discovery.requireJoined` asks for others and there are none by then.
   */
  readonly lookAround: () => Promise<void>;
  /** After the node has stopped: tells event handlers the last, stops serving HTTP and RPC, gives the data directory free, removes temporary files. Idempotent. */
  release(): Promise<void>;
}

/**
 * Puts a node on the system's clock, sockets, disk and processes.
 * @param directory where the config file lies: packages that apps name are looked up from here
 * @param onDiscovery is told what discovery does, from its first word on
 */
export async function startOnHost(config: AgentConfig, log: Log, directory: string, onDiscovery?: (event: TopologyEvent) => void): Promise<HostNode> {
  let discovery: Topologies | undefined;
  let node: Node | undefined;
  let http: HttpListener | undefined;
  let serf: SerfSide | undefined;
  let liveNodes: LiveNodesFile | undefined;
  const clock = new HostClock();
  const streams = new TcpStreams();
  const kept = await openSerfFiles(config, { clock, random: createRandom(), log });
  const { keys = [], onKeysChanged } = kept.options.gossip;
  // What not every node needs is only loaded by those that do: a start is part of a failover.
  const tls = keys.length === 0 ? undefined : new (await import('../host/tls-psk.ts')).TlsPskStreams({
    keys,
    onRejected: (from, detail) => log.warn('turned a peer connection away', { from: formatAddress(from), detail }),
  });
  const peerStreams = tls ?? streams;
  const options: NodeOptions = {
    ...kept.options,
    gossip: {
      ...kept.options.gossip,
      // Peer traffic follows the gossip's keys, or a restarted node that has only the new ones would be turned away.
      onKeysChanged: (changed) => {
        tls?.setKeys(changed);
        return onKeysChanged?.(changed);
      },
    },
    commandEnvironment: () => ({
      ...(http === undefined ? {} : { TROUPE_HTTP: formatAddress(http.address) }),
      ...(serf?.rpcAddress === undefined ? {} : { TROUPE_RPC: formatAddress(serf.rpcAddress) }),
    }),
  };
  const lmdb = config.data === undefined ? undefined : new (await import('../host/lmdb-disk.ts')).LmdbDisk(config.data);
  const files = new HandoverDirectory(config.data === undefined ? undefined : join(config.data, 'handover'));
  let endRehearsals = (): void => {};
  const release = async (): Promise<void> => {
    endRehearsals();
    await discovery?.stop();
    await liveNodes?.close();
    // An answer that is on its way (to the very request to leave) is still sent.
    await Promise.all([http?.close(), serf?.close()]);
    await kept.close();
    files.close();
    await lmdb?.close();
  };
  try {
    node = await createNode(withAdvertise(options), {
      clock, streams, peerStreams, disk: lmdb ?? new MemoryDisk(), files, log,
      random: createRandom(),
      datagrams: new UdpDatagrams(),
      cipher: aesGcmCipher,
      processes: new HostProcesses(),
      system: hostSystem,
      loadModule: (specifier) => loadModule(specifier, directory),
    });
    endRehearsals = keepRehearsed(clock);
    // A fail-over should not have to wait for the file system, and a module that cannot be loaded should be known before.
    for (const { name, module } of config.node.apps) {
      if (module !== undefined) loadModule(module, directory).catch((error: unknown) => log.warn('the module of an app cannot be loaded: it could not start here', { app: name, module, error: messageOf(error) }));
    }
    if (config.liveNodes !== undefined) {
      const { file } = config.liveNodes;
      const heldOut = heldOutIn(await textFiles.read(file, liveNodesBytesMax).catch(() => undefined));
      liveNodes = new LiveNodesFile({ gossip: node.gossip, clock, log, silent: silentOf(node), heldOut, write: (text) => writeFileAtomically(file, text) });
    }
    const standsAlone = isAlone(config, node);
    if (config.http !== undefined) {
      const { startHttpSide } = await import('./http-side.ts');
      http = await startHttpSide(node, config.http, { version: config.node.version, standsAlone, discovery: () => discovery?.views() ?? [] }, log);
    }
    serf = await startSerfSide(node, config, kept, { clock, streams, log });
    discovery = startDiscovery(config.discovery, node.gossip, clock, log);
    if (onDiscovery !== undefined) discovery.onEvent(onDiscovery);
    const around = { http, serf, discovery, liveNodes, liveNodesFile: config.liveNodes?.file };
    node.showInPs(() => surroundingProcesses(around));
    const others = discovery;
    const lookAround = lookAroundFor(config, node, others, log);
    const started = node;
    return { plainMember: () => becomePlainMember(config, started, clock), lookAround, discovery: others, node, clock, httpAddress: http?.address, rpcAddress: serf.rpcAddress, handlers: serf.handlers, standsAlone, release };
  } catch (error) {
    await node?.close();
    await release();
    throw error;
  }
}

const plainMemberAfterMs = 3000;

function becomePlainMember({ node: { bootstrapExpect, sync } }: AgentConfig, node: Node, clock: Clock): Promise<void> {
  return new Promise((resolve) => {
    if (bootstrapExpect > 0 || sync !== undefined || node.map.clusterId !== '') return;
    let since: number | undefined;
    let ended = false;
    void node.stopped.then(() => {
      ended = true;
    });
    const look = (): void => {
      const others = node.gossip.members().filter((member) => member.status === 'alive' && member.name !== node.name);
      const plain = others.length > 0 && node.map.clusterId === '' && others.every((member) => (factsOf(member)?.cluster ?? '') === '');
      since = plain ? (since ?? clock.now()) : undefined;
      if (since !== undefined && clock.now() - since >= plainMemberAfterMs) resolve();
      else if (node.map.clusterId === '' && !ended) clock.at(clock.now() + 100, look);
    };
    look();
  });
}

function isAlone({ node: { bootstrapExpect, sync, join: others }, discovery }: AgentConfig, node: Node): boolean {
  return bootstrapExpect === 0 && sync === undefined && others.length === 0 && discovery.topologies.length === 0 && node.map.clusterId === '';
}

function silentOf(node: Node): { names(): ReadonlySet<string>; onChange(listener: () => void): () => void } {
  return {
    names: () => new Set(Object.values(node.map.nodes).filter((each) => !each.live && each.ended === 'silent').map((each) => each.name)),
    onChange: (listener) => node.onMap(listener),
  };
}

/** Nobody can be told to reach us at 0.0.0.0. */
function withAdvertise(options: NodeOptions): NodeOptions {
  const { bind, advertise } = options.gossip;
  if (advertise !== undefined || (bind.host !== '0.0.0.0' && bind.host !== '::')) return options;
  return { ...options, gossip: { ...options.gossip, advertise: { host: defaultAddress(), port: 0 } } };
}

async function loadModule(specifier: string, directory: string): Promise<unknown> {
  if (/^\.{0,2}\//.test(specifier)) return import(pathToFileURL(specifier).href);
  let found: string;
  try {
    found = createRequire(join(directory, 'config')).resolve(specifier);
  } catch {
    // A package with entries for `import` only cannot be found that way; it may still be one of our own neighbours.
    return import(specifier);
  }
  return import(pathToFileURL(found).href);
}
