import { TroupeError } from '../base/errors.ts';
import { startSerfRpc } from '../frontends/serf-rpc/server.ts';
import type { SerfRpcServer } from '../frontends/serf-rpc/server.ts';
import { HostScripts } from '../host/scripts.ts';
import type { AgentConfig } from '../node/config.ts';
import { EventHandlers } from '../node/event-handlers.ts';
import type { Node } from '../node/node-types.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { Clock } from '../ports/clock.ts';
import type { Log, LogTail } from '../ports/log.ts';
import type { Streams } from '../ports/streams.ts';
import type { SerfFiles } from './serf-files.ts';
import { serfRpcBackendOf } from './serf-rpc-backend.ts';

/** What a Serf agent has around its gossip: event handlers, and the RPC port. */
export interface SerfSide {
  readonly rpcAddress: Address | undefined;
  readonly handlers: EventHandlers;
  /** After the node has stopped: what happened last is told, and handlers get a while to end. */
  close(): Promise<void>;
}

/** How long handlers that still run may take when the node stops (ms). */
const handlersGraceMs = 5000;

export async function startSerfSide(node: Node, config: AgentConfig, kept: SerfFiles, ports: { readonly clock: Clock; readonly streams: Streams; readonly log: Log }): Promise<SerfSide> {
  const { clock, log } = ports;
  const events = kept.events();
  const { runningMax, timeoutMs } = config.handlers;
  let rpc: SerfRpcServer | undefined;
  const handlers = new EventHandlers(config.handlers.handlers, {
    scripts: new HostScripts(), clock, log,
    self: () => node.gossip.local,
    leads: () => node.status().leader === node.name,
    // A script that runs `serf members` or `troupe query` means this agent, wherever its RPC listens.
    environment: () => (rpc === undefined ? {} : rpcEnvironment(rpc.address, config.rpc?.auth)),
  }, { ...(runningMax === undefined ? {} : { runningMax }), ...(timeoutMs === undefined ? {} : { timeoutMs }) });
  events.onEvent((event) => handlers.handle(event));
  const close = async (): Promise<void> => {
    events.close();
    await Promise.all([rpc?.close(), handlers.close(handlersGraceMs)]);
  };
  try {
    rpc = await startRpc(node, config, ports, kept, handlers);
  } catch (error) {
    await close();
    throw error;
  }
  return { rpcAddress: rpc?.address, handlers, close };
}

async function startRpc(node: Node, { rpc }: AgentConfig, { clock, streams, log }: { readonly clock: Clock; readonly streams: Streams; readonly log: Log }, kept: SerfFiles, handlers: EventHandlers): Promise<SerfRpcServer | undefined> {
  if (rpc === undefined) return undefined;
  try {
    return await startSerfRpc({ streams, clock, log, logTail: isTail(log) ? log : noTail, address: rpc.bind, authKey: rpc.auth, backend: serfRpcBackendOf({ node, events: kept.events(), handlers, log, keepTags: (tags) => kept.keepTags(tags) }) });
  } catch (error) {
    // Several nodes on one host are common: only who asked for the address must have it.
    if (rpc.explicit || !(error instanceof TroupeError) || error.code !== 'ADDRESS_IN_USE') throw error;
    log.warn(`Serf's RPC is not served: another process has ${formatAddress(rpc.bind)}; choose a port with --rpc-addr, or say --rpc-addr off`);
    return undefined;
  }
}

function rpcEnvironment({ host, port }: Address, auth: string | undefined): Record<string, string> {
  const reachable = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host;
  const address = formatAddress({ host: reachable, port });
  return { SERF_RPC_ADDR: address, TROUPE_RPC_ADDR: address, ...(auth === undefined ? {} : { SERF_RPC_AUTH: auth, TROUPE_RPC_AUTH: auth }) };
}

function isTail(log: Log): log is Log & LogTail {
  return 'recent' in log && 'follow' in log;
}

const noTail: LogTail = { recent: () => [], follow: () => () => {} };
