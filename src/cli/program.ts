import { Command } from 'commander';
import { packageVersion } from '../host/package-version.ts';
import { agentCommand } from './agent.ts';
import { appsCommand } from './apps.ts';
import { eventCommand } from './event.ts';
import { infoCommand } from './info.ts';
import { keygenCommand } from './keygen.ts';
import { keysCommand } from './keys.ts';
import { kvCommand } from './kv.ts';
import { membersCommand } from './members.ts';
import { forceLeaveCommand, joinCommand, leaveCommand, votersCommand } from './membership.ts';
import { monitorCommand } from './monitor.ts';
import { drainCommand, maintenanceCommand, nodesCommand } from './nodes.ts';
import { partitionsCommand } from './partitions.ts';
import { psCommand } from './ps.ts';
import { queryCommand } from './query.ts';
import { reachabilityCommand } from './reachability.ts';
import { rttCommand } from './rtt.ts';
import { statusCommand } from './status.ts';
import { tagsCommand } from './tags.ts';
import { versionCommand } from './version.ts';

/** Every verb; docs/cli.md is checked against it. */
export function program(): Command {
  const troupe = new Command('troupe')
    .description('Clustering for Node.js: gossip membership, apps that run on exactly one node, and a replicated key-value store.')
    .version(`troupe ${packageVersion()}`, '-v, --version', 'print the version')
    .helpOption('-h, --help', 'show this help; `troupe VERB --help` tells more')
    .showHelpAfterError('(troupe --help, or troupe VERB --help, tells more)')
    .enablePositionalOptions();
  for (const verb of [
    agentCommand(), statusCommand(), nodesCommand(), partitionsCommand(), psCommand(), appsCommand(), kvCommand(), membersCommand(), joinCommand(), leaveCommand(),
    forceLeaveCommand(), eventCommand(), queryCommand(), tagsCommand(), keysCommand(), monitorCommand(), infoCommand(), reachabilityCommand(), rttCommand(), drainCommand(), maintenanceCommand(), votersCommand(), keygenCommand(), versionCommand(),
  ]) troupe.addCommand(verb);
  return troupe;
}
