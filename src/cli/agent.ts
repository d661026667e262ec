import { Command, Option } from 'commander';
import { holdHeap } from '../host/heap-growth.ts';
import { UsageError } from './usage-error.ts';
import { agentFlags, refusedFlags, optionKey, overridesOf } from './agent-flags.ts';

/** `troupe agent`: one node of the cluster, until a signal or `troupe leave` ends it. */
export function agentCommand(): Command {
  const configPaths: string[] = [];
  const also = (path: string): string => {
    configPaths.push(path);
    return path;
  };
  const command = new Command('agent')
    .summary('run a node')
    .description('Runs a node of the cluster until it is told to leave. Flags override the config file. Logs go to stderr; once the node serves, one line `ready name=… gossip=… …` goes to stdout.')
    .option('--config <file>', "YAML or JSON file, Serf's own too; every flag has a key in it (also -config-file); may be repeated", also)
    .option('--config-dir <dir>', 'directory of such files, merged in the order of their names', also)
    .allowExcessArguments(false);
  for (const flag of agentFlags) {
    const option = new Option(flag.form, flag.help);
    if (flag.repeat === true) option.argParser((text: string, before: string[] | undefined) => [...(before ?? []), text]);
    command.addOption(option);
  }
  for (const flag of Object.keys(refusedFlags)) command.addOption(new Option(`${flag} [value]`).hideHelp());
  command.addHelpText('after', `
Signals: SIGINT and SIGTERM hand everything over and leave (SIGTERM stops at once with --no-leave-on-term);
a second signal ends the process at once; SIGHUP reads the config file again (log level, tags).

Examples:
  troupe agent --dev --memcached 127.0.0.1:11211
  troupe agent --name master --data ./data --bind 10.0.0.1 --join 10.0.0.2 --join 10.0.0.3 --bootstrap-expect 3
  troupe agent --config /etc/troupe.yaml`);
  return command.action(async () => {
    const given = writtenOptions(command);
    for (const [flag, instead] of Object.entries(refusedFlags)) {
      if (given[optionKey(flag)] !== undefined) throw new UsageError(`this version cannot do ${flag.slice(1)}: ${instead}`);
    }
    if (given['token'] === undefined && process.env['TROUPE_TOKEN'] !== undefined) given['token'] = process.env['TROUPE_TOKEN'];
    if (given['rpcAuth'] === undefined && process.env['TROUPE_RPC_AUTH'] !== undefined) given['rpcAuth'] = process.env['TROUPE_RPC_AUTH'];
    holdHeap();
    const { runAgent } = await import('./run-agent.ts');
    process.exitCode = await runAgent({ configPaths, overrides: overridesOf(given) });
  });
}

/** Without the defaults that commander makes up for `--no-…` options. */
function writtenOptions(command: Command): Record<string, unknown> {
  return Object.fromEntries(Object.entries(command.opts()).filter(([key]) => command.getOptionValueSource(key) === 'cli'));
}
