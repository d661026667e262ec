import { Command } from 'commander';
import { TroupeError } from '../base/errors.ts';
import { rpcQueryRecord, rpcQueryRequest } from '../core/wire/serf-rpc.ts';
import { print } from './output.ts';
import type { RpcClient } from './rpc-client.ts';
import { overRpc, withRpc } from './rpc-client.ts';
import { membersOverRpc } from './rpc-members.ts';

const tips = `
Troubleshooting tips:
* Ensure that the bind addr:port is accessible by all other nodes
* If an advertise address is set, ensure it routes to the bind address
* Check that no nodes are behind a NAT
* If nodes are behind firewalls or iptables, check that Serf traffic is permitted (UDP and TCP)
* Verify networking equipment is functional`;

/** `troupe reachability`: whether every live member hears gossip and can answer. */
export function reachabilityCommand(): Command {
  const command = withRpc(new Command('reachability'))
    .summary('test whether gossip reaches all members')
    .description('Asks all live members for a sign of life over gossip, and tells who did not answer. The exit code is 1 when somebody did not.')
    .option('--verbose', 'tell each answer as it comes')
    .allowExcessArguments(false);
  return command.action(async (options: { verbose?: true }) => {
    process.exitCode = await overRpc(command, (client) => test(client, options.verbose === true));
  });
}

async function test(client: RpcClient, verbose: boolean): Promise<number> {
  const members = await membersOverRpc(client);
  const live = new Set(members.filter((member) => member.status === 'alive').map((member) => member.name));
  print(`Total members: ${members.length}, live members: ${live.size}`);
  const acks = new Set<string>();
  const start = performance.now();
  let last = start;
  await new Promise<void>((resolve, reject) => {
    client.subscribe('query', {
      codec: rpcQueryRequest, body: { FilterNodes: [], FilterTags: new Map(), RequestAck: true, RelayFactor: 0, Timeout: 0, Name: '_serf_ping', Payload: new Uint8Array(0) },
    }, rpcQueryRecord, { onStarted: () => print('Starting reachability test...'), onRecord: ({ Type, From }) => {
      // After the time-out, Serf 0.9 sends records from nobody until it notices.
      if (Type === 'done' || From === '') return resolve();
      if (verbose) print(`\tAck from '${From}'`);
      acks.add(From);
      last = performance.now();
      if ([...live].every((name) => acks.has(name))) resolve();
    } }).catch(reject);
    void client.closed.then(() => reject(new TroupeError('AGENT_UNREACHABLE', 'the agent closed the connection before the test had ended')));
  });
  const seconds = (until: number): string => ((until - start) / 1000).toFixed(2);
  if (verbose) print(`Query time: ${seconds(performance.now())} sec, time to last response: ${seconds(last)} sec`);
  return verdict(live, acks);
}

function verdict(live: ReadonlySet<string>, acks: ReadonlySet<string>): number {
  const missing = [...live].filter((name) => !acks.has(name));
  const unexpected = [...acks].filter((name) => !live.has(name));
  if (missing.length > 0) {
    print(`Received less acks than live nodes! Missing acks from:\n${missing.map((name) => `\t${name}\n`).join('')}This could mean Serf gossip packets are being lost due to a misconfiguration or network issue.\n${tips}`);
  } else if (unexpected.length > 0) {
    print(`Received more acks than live nodes! Acks from non-live nodes:\n${unexpected.map((name) => `\t${name}\n`).join('')}This could mean Serf is detecting false-failures due to a misconfiguration or network issue.\n${tips}`);
  } else {
    print('Successfully contacted all live nodes');
    return 0;
  }
  return 1;
}
