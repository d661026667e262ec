import { Command, Option } from 'commander';
import { rpcStats } from '../core/wire/serf-rpc.ts';
import { print, printGoJson } from './output.ts';
import { overRpc, withRpc } from './rpc-client.ts';

/** `troupe info`: facts about the agent's gossip, in Serf's form. */
export function infoCommand(): Command {
  const command = withRpc(new Command('info'))
    .summary("show facts about the agent's gossip")
    .description('Shows counters of gossip, tags, event handlers and the process of the agent.')
    .addOption(new Option('--format <format>', 'output format').choices(['text', 'json']))
    .option('--json', 'the same as --format json')
    .allowExcessArguments(false);
  return command.action(async (options: { format?: string; json?: true }) => {
    const stats = await overRpc(command, (client) => client.request('stats', undefined, rpcStats));
    const sections = sorted(stats).map(([section, facts]) => [section, sorted(facts)] as const);
    if (options.json === true || options.format === 'json') printGoJson(Object.fromEntries(sections.map(([section, facts]) => [section, Object.fromEntries(facts)])));
    else print(sections.map(([section, facts]) => `${section}:\n${facts.map(([name, value]) => `\t${name} = ${value}\n`).join('')}`).join(''));
  });
}

function sorted<T>(map: ReadonlyMap<string, T>): [string, T][] {
  return [...map].sort(([a], [b]) => (a < b ? -1 : 1));
}
