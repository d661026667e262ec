import type { Topologies } from '../discovery/topologies.ts';
import type { HandlerView } from '../node/event-handlers.ts';
import type { LiveNodesFile } from '../node/live-nodes.ts';
import type { ProcessDraft } from '../node/ps.ts';
import { formatAddress } from '../ports/address.ts';
import type { HttpListener } from '../ports/http.ts';
import type { SerfSide } from './serf-side.ts';

/** What lies around a node on a host. */
export interface Surroundings {
  readonly http: HttpListener | undefined;
  readonly serf: SerfSide;
  readonly discovery: Topologies;
  readonly liveNodes: LiveNodesFile | undefined;
  readonly liveNodesFile: string | undefined;
}

/** That for `ps`. */
export function surroundingProcesses({ http, serf, discovery, liveNodes, liveNodesFile = '' }: Surroundings): ProcessDraft[] {
  return [
    ...(http === undefined ? [] : [service('http', `the HTTP API on ${formatAddress(http.address)}`, 'serving', [])]),
    ...(serf.rpcAddress === undefined ? [] : [service('rpc', `Serf's RPC on ${formatAddress(serf.rpcAddress)}`, 'serving', ['service gossip'])]),
    ...discovery.views().map(({ name, strategy, failure, hosts }) => service(`discovery ${name}`, strategy, failure ?? `${hosts.filter((host) => host.live).length} of ${hosts.length} hosts live`, ['service gossip', ...hosts.map((host) => `host ${formatAddress(host.address)}`)])),
    ...(liveNodes === undefined ? [] : [liveNodesDraft(liveNodes, liveNodesFile)]),
    ...serf.handlers.view().map(handlerDraft),
  ];
}

function service(name: string, runs: string, status: string, links: readonly string[]): ProcessDraft {
  return { name, kind: 'service', runs, status, links };
}

function liveNodesDraft({ view }: LiveNodesFile, file: string): ProcessDraft {
  const { failures, heldOut, revision, waiting } = view;
  const status = failures > 0 ? `cannot be written, ${failures} times` : `revision ${revision}${heldOut.length === 0 ? '' : `, without ${heldOut.join(' ')}`}`;
  return { ...service('live nodes', file, status, ['service gossip']), queue: waiting };
}

function handlerDraft({ script, filters, pids, waiting, failures }: HandlerView): ProcessDraft {
  const events = filters.map(({ event, name }) => (name === '' ? event : `${event}:${name}`)).join(',');
  return {
    name: events === '' ? 'removed' : events, kind: 'handler', runs: script, restarts: failures, queue: waiting, pid: pids[0],
    status: pids.length === 0 ? 'idle' : pids.length === 1 ? 'running' : `running ${pids.length} times`, links: ['service gossip'],
  };
}
