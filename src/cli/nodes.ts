import { Command } from 'commander';
import type { NodeStatus } from '../node/node-types.ts';
import { UsageError } from './usage-error.ts';
import { agentOf, withAgent } from './agent-client.ts';
import { print, printJson } from './output.ts';
import { nodeTable } from './status.ts';

export function nodesCommand(): Command {
  const command = withAgent(new Command('nodes'))
    .summary('list the nodes of the cluster map')
    .description('Lists the nodes of the cluster map: who is live, votes, holds primaries and copies, and runs which apps.')
    .option('--json', 'print as JSON');
  return command.action(async (options: { json?: true }) => {
    const answer = await agentOf(command).get<{ nodes: NodeStatus['nodes'] }>('/v1/nodes');
    if (options.json === true) printJson(answer);
    else print(nodeTable(answer.nodes));
  });
}

/** `troupe drain`: a node gives everything up and gets nothing new, but stays a member. */
export function drainCommand(): Command {
  const command = withAgent(new Command('drain'))
    .summary('move everything off a node')
    .description('Moves partitions and apps off a node, and lets it get nothing new, until --off is said. The node stays a member.')
    .argument('[node]', 'default: the node of the agent that is asked')
    .option('--off', 'let it take a share again');
  return command.action(async (name: string | undefined, options: { off?: true }) => {
    const agent = agentOf(command);
    const node = name ?? (await agent.get<{ name: string }>('/v1/version')).name;
    await agent.post(`/v1/nodes/${encodeURIComponent(node)}/drain`, { on: options.off !== true });
    print(options.off === true ? `${node} takes a share again.` : `${node} is being drained; \`troupe nodes\` shows what it still holds.`);
  });
}

/** `troupe maintenance on|off`: while it is on, nothing is moved or healed by itself. */
export function maintenanceCommand(): Command {
  const command = withAgent(new Command('maintenance'))
    .summary('hold back automatic moves')
    .description('While maintenance is on, nothing is healed, rebalanced or taken over by itself; fail-over goes on.')
    .argument('<on|off>');
  return command.action(async (word: string) => {
    if (word !== 'on' && word !== 'off') throw new UsageError(`maintenance is turned 'on' or 'off', not '${word}'`);
    await agentOf(command).post('/v1/maintenance', { on: word === 'on' });
    print(`Maintenance is ${word}.`);
  });
}
