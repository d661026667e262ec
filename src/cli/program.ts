import { Command } from 'commander';
import { packageVersion } from '../host/package-version.ts';

/** Every verb, in the order of the help; docs/cli.md is checked against it. A verb's file is only loaded when it is wanted: a start of an agent may be part of a recovery. */
const verbs: Readonly<Record<string, () => Promise<Command>>> = {
  agent: async () => (await import('./agent.ts')).agentCommand(),
  status: async () => (await import('./status.ts')).statusCommand(),
  nodes: async () => (await import('./nodes.ts')).nodesCommand(),
  partitions: async () => (await import('./partitions.ts')).partitionsCommand(),
  ps: async () => (await import('./ps.ts')).psCommand(),
  discovery: async () => (await import('./discovery.ts')).discoveryCommand(),
  apps: async () => (await import('./apps.ts')).appsCommand(),
  kv: async () => (await import('./kv.ts')).kvCommand(),
  members: async () => (await import('./members.ts')).membersCommand(),
  join: async () => (await import('./membership.ts')).joinCommand(),
  leave: async () => (await import('./membership.ts')).leaveCommand(),
  'force-leave': async () => (await import('./membership.ts')).forceLeaveCommand(),
  event: async () => (await import('./event.ts')).eventCommand(),
  query: async () => (await import('./query.ts')).queryCommand(),
  tags: async () => (await import('./tags.ts')).tagsCommand(),
  keys: async () => (await import('./keys.ts')).keysCommand(),
  monitor: async () => (await import('./monitor.ts')).monitorCommand(),
  info: async () => (await import('./info.ts')).infoCommand(),
  reachability: async () => (await import('./reachability.ts')).reachabilityCommand(),
  rtt: async () => (await import('./rtt.ts')).rttCommand(),
  drain: async () => (await import('./nodes.ts')).drainCommand(),
  maintenance: async () => (await import('./nodes.ts')).maintenanceCommand(),
  voters: async () => (await import('./membership.ts')).votersCommand(),
  keygen: async () => (await import('./keygen.ts')).keygenCommand(),
  version: async () => (await import('./version.ts')).versionCommand(),
};

/** @param first the first word of the command line: where it is a verb, no other is loaded. */
export async function program(first: string = ''): Promise<Command> {
  const troupe = new Command('troupe')
    .description('Clustering for Node.js: gossip membership, apps that run on exactly one node, and a replicated key-value store.')
    .version(`troupe ${packageVersion()}`, '-v, --version', 'print the version')
    .helpOption('-h, --help', 'show this help; `troupe VERB --help` tells more')
    .showHelpAfterError('(troupe --help, or troupe VERB --help, tells more)')
    .enablePositionalOptions();
  const wanted = Object.hasOwn(verbs, first) ? [verbs[first] as () => Promise<Command>] : Object.values(verbs);
  for (const verb of await Promise.all(wanted.map((load) => load()))) troupe.addCommand(verb);
  return troupe;
}
