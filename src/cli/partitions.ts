import { Command } from 'commander';
import type { PartitionView } from '../node/node-types.ts';
import { UsageError } from './usage-error.ts';
import { agentOf, withAgent } from './agent-client.ts';
import { count, print, printJson, table } from './output.ts';

export function partitionsCommand(): Command {
  const command = withAgent(new Command('partitions'))
    .summary('show who holds which partition')
    .description('Shows for each partition its epoch, its primary, the in-sync set and all nodes that hold or fill a copy.')
    .option('--keyspace <name>', 'only those of one keyspace')
    .option('--json', 'print as JSON');
  command.action(async (options: { keyspace?: string; json?: true }) => {
    const query = options.keyspace === undefined ? '' : `?keyspace=${encodeURIComponent(options.keyspace)}`;
    const answer = await agentOf(command).get<{ partitions: PartitionView[] }>(`/v1/partitions${query}`);
    if (options.json === true) return printJson(answer);
    print(table(['KEYSPACE', 'PARTITION', 'EPOCH', 'PRIMARY', 'IN SYNC', 'FILLING'], answer.partitions.map((each) => [
      each.keyspace, String(each.partition), String(each.epoch), each.primary ?? (each.lost ? 'LOST' : 'none'), each.inSync.join(',') || '-',
      each.copies.filter((copy) => !each.inSync.includes(copy)).join(',') || '-',
    ]), 'There are no partitions.'));
  });
  return command.addCommand(acceptLossCommand());
}

function acceptLossCommand(): Command {
  const command = withAgent(new Command('accept-loss'))
    .summary('begin lost partitions anew, empty')
    .description('Every complete copy of a lost partition is gone. If none of its nodes can be brought back with what it held, this begins it anew, EMPTY: what it held is lost for good.')
    .argument('<keyspace>')
    .argument('[partition...]', 'their numbers; default: all lost ones of the keyspace')
    .option('--json', 'print as JSON');
  return command.action(async (keyspace: string, partitions: string[], options: { json?: true }) => {
    const wrong = partitions.find((text) => !/^\d+$/.test(text));
    if (wrong !== undefined) throw new UsageError(`'${wrong}' is no number of a partition`);
    const answer = await agentOf(command).post<{ accepted: number }>('/v1/partitions/accept-loss', { keyspace, ...(partitions.length === 0 ? {} : { partitions: partitions.map(Number) }) });
    if (options.json === true) return printJson(answer);
    print(`${count(answer.accepted, 'partition')} of '${keyspace}' begin anew, empty.`);
  });
}
