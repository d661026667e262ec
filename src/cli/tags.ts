import { Command, Option } from 'commander';
import { rpcTagsRequest } from '../core/wire/serf-rpc.ts';
import { collect, keyValues } from './key-value.ts';
import { print } from './output.ts';
import { overRpc, withRpc } from './rpc-client.ts';
import { UsageError } from './usage-error.ts';

/** `troupe tags`: changes what the agent's node says of itself. */
export function tagsCommand(): Command {
  const command = withRpc(new Command('tags'))
    .summary("change the agent's tags")
    .description('Changes the tags of the agent that is asked, at once and for all members to see. They are not kept over its restart.')
    .addOption(new Option('--set <key=value>', 'add or change a tag; may be repeated').argParser(collect))
    .addOption(new Option('--delete <key>', 'remove a tag; may be repeated').argParser(collect))
    .allowExcessArguments(false);
  return command.action(async (options: { set?: readonly string[]; delete?: readonly string[] }) => {
    if (options.set === undefined && options.delete === undefined) throw new UsageError('say what to change: --set KEY=VALUE, --delete KEY');
    const body = { Tags: keyValues('--set', options.set), DeleteTags: options.delete ?? [] };
    await overRpc(command, (client) => client.request('tags', { codec: rpcTagsRequest, body }));
    print('Successfully updated agent tags');
  });
}
