import { Command } from 'commander';
import { TroupeError } from '../base/errors.ts';
import { rpcKeyRequest, rpcKeyResponse } from '../core/wire/serf-rpc.ts';
import type { RpcKeyResponse } from '../core/wire/serf-rpc.ts';
import { columns, print, printJson } from './output.ts';
import type { RpcClient } from './rpc-client.ts';
import { overRpc, withRpc } from './rpc-client.ts';
import { UsageError } from './usage-error.ts';

const verbs = {
  install: { command: 'install-key', begins: 'Installing key on all members...', done: 'Successfully installed key!', failed: 'Error installing key' },
  use: { command: 'use-key', begins: 'Changing primary key on all members...', done: 'Successfully changed primary key!', failed: 'Error changing primary key' },
  remove: { command: 'remove-key', begins: 'Removing key on all members...', done: 'Successfully removed key!', failed: 'Error removing key' },
} as const;

interface Options {
  readonly install?: string;
  readonly use?: string;
  readonly remove?: string;
  readonly list?: true;
  readonly json?: true;
}

/** `troupe keys`: the encryption keys of the whole pool. */
export function keysCommand(): Command {
  const command = withRpc(new Command('keys'))
    .summary('change or list the encryption keys of all members')
    .description('Changes or lists the encryption keys of all members. To change the key of a pool: --install the new one, --use it, --remove the old one.')
    .option('--install <key>', 'let all members decrypt with this key')
    .option('--use <key>', 'let all members encrypt with this key, which all must have')
    .option('--remove <key>', 'let all members forget this key, which must not be in use')
    .option('--list', 'list the keys, and how many members have each')
    .option('--json', 'with --list: print as JSON')
    .allowExcessArguments(false);
  return command.action((options: Options) => {
    const asked = [options.install, options.use, options.remove, options.list].filter((each) => each !== undefined);
    if (asked.length !== 1) throw new UsageError('give one of --install KEY, --use KEY, --remove KEY and --list');
    return overRpc(command, (client) => (options.list === true ? list(client, options.json === true) : change(client, options)));
  });
}

async function list(client: RpcClient, json: boolean): Promise<void> {
  if (!json) print('==> Asking all members for installed keys...');
  const { error, body } = await client.ask('list-keys', undefined, rpcKeyResponse);
  failOn(error, body, 'Failed to gather member keys');
  const keys = [...(body.Keys ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  if (json) return printJson({ keys: Object.fromEntries(keys), members: body.NumNodes });
  print('==> Keys gathered, listing cluster keys...');
  print('\n');
  print(columns(keys.map(([key, count]) => [key, `[${count}/${body.NumNodes}]`])));
}

async function change(client: RpcClient, options: Options): Promise<void> {
  const which = options.install !== undefined ? 'install' : options.use !== undefined ? 'use' : 'remove';
  const verb = verbs[which];
  print(`==> ${verb.begins}`);
  const { error, body } = await client.ask(verb.command, { codec: rpcKeyRequest, body: { Key: options[which] as string } }, rpcKeyResponse);
  failOn(error, body, verb.failed);
  print(`==> ${verb.done}`);
}

function failOn(error: string, answer: RpcKeyResponse | undefined, what: string): void {
  if (error === '') return;
  const members = [...(answer?.Messages ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)).map(([node, message]) => ['failed:', node, message]);
  if (members.length > 0) process.stderr.write(columns(members));
  throw new TroupeError('RPC_FAILED', `${what}: ${error}`);
}
