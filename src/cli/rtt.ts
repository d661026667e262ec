import { Command } from 'commander';
import { TroupeError } from '../base/errors.ts';
import { distanceSeconds } from '../core/serf/coordinates.ts';
import { rpcCoordinateRequest, rpcCoordinateResponse, rpcStats } from '../core/wire/serf-rpc.ts';
import type { RpcCoordinate } from '../core/wire/serf-rpc.ts';
import { print, printJson } from './output.ts';
import type { RpcClient } from './rpc-client.ts';
import { overRpc, withRpc } from './rpc-client.ts';

/** `troupe rtt`: what gossip's pings let expect of the way between two members. */
export function rttCommand(): Command {
  const command = withRpc(new Command('rtt'))
    .summary('estimate the round trip between two members')
    .description("Estimates the round-trip time between two members from gossip's pings, without sending anything.")
    .argument('<node1>')
    .argument('[node2]', 'default: the node of the agent that is asked')
    .option('--json', 'print as JSON');
  return command.action((first: string, given: string | undefined, options: { json?: true }) => overRpc(command, async (client) => {
    const second = given ?? (await client.request('stats', undefined, rpcStats)).get('agent')?.get('name') ?? '';
    const seconds = distanceSeconds(await coordinateOf(client, first), await coordinateOf(client, second));
    const milliseconds = Math.trunc(seconds * 1e9) / 1e6;
    if (options.json === true) printJson({ nodes: [first, second], rttMs: milliseconds });
    else print(`Estimated ${first} <-> ${second} rtt: ${milliseconds.toFixed(3)} ms`);
  }));
}

async function coordinateOf(client: RpcClient, node: string): Promise<RpcCoordinate> {
  const { Coord, Ok } = await client.request('get-coordinate', { codec: rpcCoordinateRequest, body: { Node: node } }, rpcCoordinateResponse);
  if (!Ok) throw new TroupeError('NO_SUCH_MEMBER', `Could not find a coordinate for node ${JSON.stringify(node)}`, { node });
  return Coord;
}
