import { Command } from 'commander';
import { rpcEventRequest } from '../core/wire/serf-rpc.ts';
import { print } from './output.ts';
import { overRpc, withRpc } from './rpc-client.ts';

/** `troupe event`: a user event for every member's handlers. */
export function eventCommand(): Command {
  const command = withRpc(new Command('event'))
    .summary('send a user event to all members')
    .description('Sends a user event to all members of the gossip pool, this one among them. Their event handlers are told.')
    .argument('<name>')
    .argument('[payload]', 'at most 512 bytes together with the name')
    .option('--coalesce', 'of several events of this name at about the same time, only the newest is told (the default)')
    .option('--no-coalesce', 'each is told');
  return command.action(async (name: string, payload: string | undefined, options: { coalesce?: boolean }) => {
    const coalesce = options.coalesce !== false;
    await overRpc(command, (client) => client.request('event', { codec: rpcEventRequest, body: { Name: name, Payload: new TextEncoder().encode(payload ?? ''), Coalesce: coalesce } }));
    print(`Event '${name}' dispatched! Coalescing enabled: ${coalesce}`);
  });
}
