import { Command } from 'commander';
import { TroupeError } from '../base/errors.ts';
import { rpcEventRecord, rpcLogRecord, rpcMonitorRequest, rpcStreamRequest } from '../core/wire/serf-rpc.ts';
import type { RpcEventRecord } from '../core/wire/serf-rpc.ts';
import { print } from './output.ts';
import type { RpcClient } from './rpc-client.ts';
import { overRpc, withRpc } from './rpc-client.ts';
import { listed } from './rpc-members.ts';

/** `troupe monitor`: the agent's log and events, as they come, until Ctrl-C. */
export function monitorCommand(): Command {
  const command = withRpc(new Command('monitor'))
    .summary("follow the agent's log and events")
    .description("Prints the last lines of the agent's log, then lines and events as they come. The level may be below the one that the agent itself logs at.")
    .option('--log-level <level>', 'trace, debug, info, warn or err; default info')
    .allowExcessArguments(false);
  return command.action((options: { logLevel?: string }) => overRpc(command, (client) => follow(client, options.logLevel ?? 'INFO')));
}

async function follow(client: RpcClient, level: string): Promise<void> {
  let quitting = false;
  const quit = (): void => {
    quitting = true;
    client.close();
  };
  process.once('SIGINT', quit);
  process.once('SIGTERM', quit);
  await client.subscribe('stream', { codec: rpcStreamRequest, body: { Type: '*' } }, rpcEventRecord, { onRecord: (event) => print(`Event Info:\n${eventText(event)}`) });
  await client.subscribe('monitor', { codec: rpcMonitorRequest, body: { LogLevel: level } }, rpcLogRecord, { onRecord: ({ Log }) => print(Log) });
  await client.closed;
  if (!quitting) throw new TroupeError('AGENT_UNREACHABLE', 'Remote side ended the monitor! This usually means that the remote side has exited or crashed.');
}

function eventText(event: RpcEventRecord): string {
  const facts: [string, unknown][] = [['Event', event.Event]];
  if (event.Event === 'user' || event.Event === 'query') {
    facts.push(['LTime', event.LTime], ['Name', event.Name], ['Payload', new TextDecoder().decode(event.Payload)]);
    facts.push(event.Event === 'user' ? ['Coalesce', event.Coalesce] : ['ID', String(event.ID)]);
  } else facts.push(['Members', event.Members.map(listed)]);
  return facts.map(([name, value]) => `\t${name}: ${JSON.stringify(value)}\n`).join('');
}
