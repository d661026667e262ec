import { Command } from 'commander';
import { packageVersion } from '../host/package-version.ts';
import { agentCommand } from './agent.ts';
import { appsCommand } from './apps.ts';
import { keygenCommand } from './keygen.ts';
import { kvCommand } from './kv.ts';
import { membersCommand } from './members.ts';
import { forceLeaveCommand, joinCommand, leaveCommand, votersCommand } from './membership.ts';
import { drainCommand, maintenanceCommand, nodesCommand } from './nodes.ts';
import { partitionsCommand } from './partitions.ts';
import { statusCommand } from './status.ts';
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
    agentCommand(), statusCommand(), nodesCommand(), partitionsCommand(), appsCommand(), kvCommand(), membersCommand(), joinCommand(), leaveCommand(),
    forceLeaveCommand(), drainCommand(), maintenanceCommand(), votersCommand(), keygenCommand(), versionCommand(),
  ]) troupe.addCommand(verb);
  return troupe;
}
