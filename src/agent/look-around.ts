import { TroupeError } from '../base/errors.ts';
import type { Topologies } from '../discovery/topologies.ts';
import type { TopologyView } from '../discovery/topology-types.ts';
import type { AgentConfig } from '../node/config.ts';
import type { Node } from '../node/node-types.ts';
import { formatAddress } from '../ports/address.ts';
import type { Log } from '../ports/log.ts';

/** Hosts that an error names, for each topology. */
const namedMax = 5;

/** How a node waits for others while it starts, as the section `discovery` of its configuration asks. */
export function lookAroundFor({ discovery: { waitJoinedMs, requireJoined }, node: { join } }: AgentConfig, node: Node, topologies: Topologies, log: Log): () => Promise<void> {
  return async () => {
    if (waitJoinedMs === 0) return;
    const hasOthers = (): boolean => node.gossip.members().some((member) => member.status === 'alive' && member.name !== node.name);
    const stop = node.gossip.onEvent(() => topologies.wake());
    const outcome = await topologies.joined(waitJoinedMs, { hasOthers, expectsOthers: join.length > 0 });
    stop();
    if (outcome !== 'timeout') return;
    if (!requireJoined) return log.warn('no other node was found in time: this node starts without, and goes on looking', { waitJoinedMs });
    const tried = [...topologies.views().map(sentence), ...(join.length === 0 ? [] : [`join: ${join.map(formatAddress).join(', ')}: no answer`])];
    throw new TroupeError('NOT_JOINED', `no other node could be joined within ${waitJoinedMs} ms (discovery.waitJoinedMs), and discovery.requireJoined asks for one. ${tried.join('; ')}`, { waitJoinedMs, tried });
  };
}

/** What came of a topology. */
function sentence({ name, strategy, failure, hosts }: TopologyView): string {
  const apart = hosts.filter((host) => !host.live);
  const named = apart.slice(0, namedMax).map(({ address, lastReason }) => `${formatAddress(address)}${lastReason === undefined ? '' : ` (${lastReason})`}`);
  const more = apart.length > namedMax ? ` and ${apart.length - namedMax} more` : '';
  const found = apart.length === 0 ? 'names nobody else' : `names ${named.join(', ')}${more}`;
  return `${name} (${strategy}): ${failure === undefined ? found : `gives no usable answer: ${failure}`}`;
}
