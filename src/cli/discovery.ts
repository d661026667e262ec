import { Command } from 'commander';
import type { TopologyView } from '../discovery/topology-types.ts';
import { formatAddress } from '../ports/address.ts';
import { agentOf, withAgent } from './agent-client.ts';
import { print, printJson, table } from './output.ts';

/** `troupe discovery`: what the sources name, and what came of it. */
export function discoveryCommand(): Command {
  const command = withAgent(new Command('discovery'))
    .summary('what discovery knows: hosts that its sources name')
    .description("Shows each topology of the agent's configuration (`discovery`): the hosts that its source names, whether they are connected, how often they were tried in vain and why; and why a source gives no answer. With --json also counts and durations.")
    .option('--json', 'print as JSON');
  return command.action(async (options: { json?: true }) => {
    const answer = await agentOf(command).get<{ readonly topologies: readonly TopologyView[] }>('/v1/discovery');
    if (options.json === true) printJson(answer);
    else print(discoveryTable(answer.topologies));
  });
}

export function discoveryTable(topologies: readonly TopologyView[]): string {
  const rows = topologies.flatMap(({ name, strategy, failure, hosts }) => [
    ...(failure === undefined && hosts.length > 0 ? [] : [[name, strategy, '-', failure === undefined ? 'names nobody' : 'no answer', '-', failure ?? '-']]),
    ...hosts.map(({ address, live, attempts, lastReason }) => [name, strategy, formatAddress(address), live ? 'connected' : 'apart', String(attempts), live ? '-' : (lastReason ?? '-')]),
  ]);
  return table(['TOPOLOGY', 'STRATEGY', 'HOST', 'STATE', 'FAILURES', 'REASON'], rows, 'This agent has no discovery: see docs/discovery.md.');
}
