import { Command } from 'commander';
import { TroupeError } from '../base/errors.ts';
import { agentOf, withAgent } from './agent-client.ts';
import { rpcForceLeaveRequest, rpcJoinRequest, rpcJoinResponse } from '../core/wire/serf-rpc.ts';
import { count, print, printJson } from './output.ts';
import { asksForRpc, overRpc, withRpc } from './rpc-client.ts';

interface JoinAnswer {
  readonly joined: number;
  readonly errors: readonly { readonly address: string; readonly code: string; readonly message: string }[];
}

/** `troupe join`: one address that answers is success. */
export function joinCommand(): Command {
  const command = withRpc(withAgent(new Command('join')))
    .summary('let the agent join other nodes')
    .description('Tells the agent to join the gossip pool of the nodes at these addresses. One that answers is enough.')
    .argument('<address...>', 'ADDR[:PORT] of gossip; default port 7946')
    .option('--replay', 'tell user events from before, as far as the others remember them; over RPC only')
    .option('--json', 'print the answer as JSON');
  return command.action(async (addresses: string[], options: { json?: true; replay?: true }) => {
    if (options.replay === true || asksForRpc(command)) return joinOverRpc(command, addresses, options);
    const answer = await agentOf(command).post<JoinAnswer>('/v1/join', { addresses });
    if (options.json === true) printJson(answer);
    if (answer.joined === 0) throw new TroupeError('JOIN_FAILED', `Error joining the cluster: ${answer.errors.map((each) => `${each.address}: ${each.message}`).join('; ')}`);
    if (options.json !== true) print(`Successfully joined cluster by contacting ${answer.joined} nodes.`);
  });
}

async function joinOverRpc(command: Command, addresses: readonly string[], options: { json?: true; replay?: true }): Promise<void> {
  const request = { codec: rpcJoinRequest, body: { Existing: addresses, Replay: options.replay === true } };
  const { error, body } = await overRpc(command, (client) => client.ask('join', request, rpcJoinResponse));
  if (error !== '') throw new TroupeError('JOIN_FAILED', `Error joining the cluster: ${error}`);
  if (options.json === true) printJson({ joined: body.Num, errors: [] });
  else print(`Successfully joined cluster by contacting ${body.Num} nodes.`);
}

/** `troupe leave` returns when the agent has handed everything over and told the others. */
export function leaveCommand(): Command {
  const command = withRpc(withAgent(new Command('leave')))
    .summary('let the agent leave the cluster and end')
    .description("Tells the agent to hand over what it holds, to leave, and to end. Returns when it has left.");
  return command.action(async () => {
    if (asksForRpc(command)) await overRpc(command, (client) => client.request('leave'));
    else await agentOf(command).post('/v1/leave');
    print('Graceful leave complete');
  });
}

export function forceLeaveCommand(): Command {
  const command = withRpc(withAgent(new Command('force-leave')))
    .summary('turn a failed member into one that left')
    .description('Turns a failed member into one that left, so that nobody waits for it to return. A member that is alive refutes this.')
    .argument('<name>', 'the member')
    .option('--prune', 'forget it altogether, in the cluster map too');
  return command.action(async (name: string, options: { prune?: true }) => {
    const prune = options.prune === true;
    if (asksForRpc(command)) await overRpc(command, (client) => client.request('force-leave', { codec: rpcForceLeaveRequest, body: { Node: name, Prune: prune } }));
    else await agentOf(command).post('/v1/force-leave', { name, prune });
    print(`${name} is no longer expected back.`);
  });
}

interface Voters {
  readonly leader?: string;
  readonly term: number;
  readonly voters: readonly string[];
  readonly quorum: boolean;
}

export function votersCommand(): Command {
  const command = withAgent(new Command('voters'))
    .summary('show who takes part in consensus, or hand leadership over')
    .description('Shows the voters of the cluster map, who leads them, and whether a majority lives.')
    .option('--transfer [node]', 'let another voter lead: the named one, or the best placed')
    .option('--json', 'print as JSON');
  return command.action(async (options: { transfer?: string | true; json?: true }) => {
    const agent = agentOf(command);
    if (options.transfer !== undefined) {
      await agent.post('/v1/voters/transfer', options.transfer === true ? {} : { to: options.transfer });
      return print('Leadership was handed over.');
    }
    const voters = await agent.get<Voters>('/v1/voters');
    if (options.json === true) return printJson(voters);
    print(`${count(voters.voters.length, 'voter')}, term ${voters.term}, ${voters.quorum ? 'a majority lives' : 'NO MAJORITY LIVES'}`);
    for (const voter of voters.voters) print(`${voter}${voter === voters.leader ? '  leader' : ''}`);
  });
}
