import { Command } from 'commander';
import type { AppView, NodeStatus, NodeView } from '../node/node-types.ts';
import { agentOf, withAgent } from './agent-client.ts';
import { count, print, printJson, table } from './output.ts';

/** `troupe status`: one screen; exit code 1 when something needs attention. */
export function statusCommand(): Command {
  const command = withAgent(new Command('status'))
    .summary('show on one screen how the cluster is')
    .description('Shows quorum, leader, nodes, partitions at risk, apps and what needs attention. The exit code is 1 when something needs attention.')
    .option('--json', 'print as JSON');
  return command.action(async (options: { json?: true }) => {
    const status = await agentOf(command).get<NodeStatus>('/v1/status');
    if (options.json === true) printJson(status);
    else print(screen(status));
    if (status.attention.length > 0) process.exitCode = 1;
  });
}

export function screen(status: NodeStatus): string {
  const { partitions } = status;
  const atRisk = [
    partitions.underReplicated > 0 ? `${partitions.underReplicated} with too few copies` : '',
    partitions.withoutPrimary > 0 ? `${partitions.withoutPrimary} without a primary` : '',
    partitions.lost > 0 ? `${partitions.lost} LOST` : '',
  ].filter((part) => part !== '');
  const lines = [
    `cluster     ${status.clusterId === '' ? 'none yet' : status.clusterId}, map version ${status.mapVersion}`,
    `quorum      ${status.quorum ? 'yes' : 'NO'}: ${count(status.voters.length, 'voter')} (${status.voters.join(', ')})`,
    `leader      ${status.leader ?? 'none'}, term ${status.term}`,
    `this node   ${status.name} ${status.version}, session ${status.sessionLive ? 'live' : 'NOT LIVE'}`,
    `partitions  ${partitions.total}${atRisk.length === 0 ? ', all well' : `: ${atRisk.join(', ')}`}`,
  ];
  const attention = status.attention.length === 0 ? 'Nothing needs attention.\n' : `NEEDS ATTENTION\n${status.attention.map((sentence) => `  ${sentence}\n`).join('')}`;
  return `${lines.join('\n')}\n\n${nodeTable(status.nodes)}\n${appTable(status.apps)}\n${attention}`;
}

export function nodeTable(nodes: readonly NodeView[]): string {
  return table(['NODE', 'STATE', 'ROLE', 'ZONE', 'PRIMARIES', 'COPIES', 'APPS', 'GOSSIP', 'PEER', 'VERSION'], nodes.map((node) => [
    node.name, node.state, node.role, node.zone || '-', String(node.primaries), String(node.copies), node.apps.join(',') || '-', node.gossip, node.peer, node.version,
  ]), 'The cluster map holds no node yet.');
}

export function appTable(apps: readonly AppView[]): string {
  return table(['APP', 'STATE', 'NODE', 'EPOCH', 'START', 'PRIORITY', 'FORBIDDEN', 'LAST ERROR'], apps.map((app) => [
    app.name, app.state, app.node ?? '-', String(app.epoch), app.from === undefined ? app.startType : `${app.startType} from ${app.from}`,
    app.nodes.map((tier) => (tier.length === 1 ? tier[0] : `{${tier.join(',')}}`)).join(' > '), app.forbidden.join(',') || '-', app.lastError ?? '-',
  ]), 'There are no apps.');
}
