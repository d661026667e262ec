import { Command, Option } from 'commander';
import { TroupeError } from '../base/errors.ts';
import { compileTagExpression } from '../core/serf/tag-match.ts';
import type { Wire } from '../core/wire/msgpack-struct.ts';
import { rpcQueryRecord, rpcQueryRequest } from '../core/wire/serf-rpc.ts';
import { collect, duration, keyValues } from './key-value.ts';
import { print, printGoJson } from './output.ts';
import type { RpcClient } from './rpc-client.ts';
import { overRpc, withRpc } from './rpc-client.ts';
import { membersOverRpc } from './rpc-members.ts';
import { UsageError } from './usage-error.ts';

interface Options {
  readonly node?: readonly string[];
  readonly tag?: readonly string[];
  readonly timeout?: string;
  readonly ack: boolean;
  readonly relayFactor?: string;
  readonly early?: boolean;
  readonly format?: 'text' | 'json';
  readonly json?: true;
}

/** `troupe query`: asks all members, and prints what they answer. */
export function queryCommand(): Command {
  const command = withRpc(new Command('query'))
    .summary('ask all members, and print their answers')
    .description('Sends a query to the members of the gossip pool. Their event handlers answer by what they write. It ends at the time-out, or as soon as every member it was for has acknowledged and answered.')
    .argument('<name>')
    .argument('[payload]', 'at most 1024 bytes together with all else')
    .addOption(new Option('--node <name>', 'only this node; may be repeated').argParser(collect))
    .addOption(new Option('--tag <key=regex>', 'only nodes whose tag matches somewhere; may be repeated').argParser(collect))
    .option('--timeout <duration>', 'how long answers are taken, for example 15s; default depends on the number of members, 3.2 s for up to nine')
    .option('--no-ack', 'ask for no acknowledgements')
    .option('--relay-factor <n>', 'send answers through this many further nodes too; default 0')
    .option('--early', 'end as soon as every member has acknowledged and answered (the default)')
    .option('--no-early', 'always wait for the time-out, as Serf does')
    .addOption(new Option('--format <format>', 'output format').choices(['text', 'json']))
    .option('--json', 'the same as --format json');
  return command.action((name: string, payload: string | undefined) => {
    const options = command.opts<Options>();
    const request = requestOf(name, payload ?? '', options);
    return overRpc(command, (client) => query(client, request, options));
  });
}

type QueryRequest = Wire<typeof rpcQueryRequest>;

/** @throws UsageError */
function requestOf(name: string, payload: string, options: Options): QueryRequest {
  const relayFactor = Number(options.relayFactor ?? 0);
  if (!Number.isInteger(relayFactor) || relayFactor < 0 || relayFactor > 255) throw new UsageError(`--relay-factor is '${options.relayFactor}'; it must be a whole number from 0 to 255`);
  const timeoutMs = options.timeout === undefined ? 0 : duration('--timeout', options.timeout);
  return {
    FilterNodes: options.node ?? [], FilterTags: keyValues('--tag', options.tag), RequestAck: options.ack, RelayFactor: relayFactor, Timeout: Math.round(timeoutMs * 1e6),
    Name: name, Payload: new TextEncoder().encode(payload),
  };
}

async function query(client: RpcClient, request: QueryRequest, options: Options): Promise<void> {
  const json = options.json === true || options.format === 'json';
  const missing = options.early !== false ? await expectedRecords(client, request) : undefined;
  const acks: string[] = [];
  const responses: [from: string, text: string][] = [];
  await new Promise<void>((resolve, reject) => {
    const take = ({ Type, From, Payload }: { readonly Type: string; readonly From: string; readonly Payload: Uint8Array }): void => {
      // After the time-out, Serf 0.9 sends records from nobody until it notices.
      if (Type === 'done' || From === '') return resolve();
      if (Type === 'ack') {
        acks.push(From);
        if (!json) print(`Ack from '${From}'`);
      } else {
        const text = new TextDecoder().decode(Payload);
        responses.push([From, text]);
        if (!json) print(`Response from '${From}': ${text.replace(/\n$/, '')}`);
      }
      missing?.delete(`${Type} ${From}`);
      if (missing?.size === 0) resolve();
    };
    client.subscribe('query', { codec: rpcQueryRequest, body: request }, rpcQueryRecord, {
      onStarted: () => {
        if (!json) print(`Query '${request.Name}' dispatched`);
      },
      onRecord: take,
    }).catch(reject);
    void client.closed.then(() => reject(new TroupeError('AGENT_UNREACHABLE', 'the agent closed the connection before the query had ended')));
  });
  if (json) {
    printGoJson({ Acks: acks.length === 0 ? null : acks, Responses: Object.fromEntries(responses.sort(([a], [b]) => (a < b ? -1 : 1))) });
    return;
  }
  if (options.ack) print(`Total Acks: ${acks.length}`);
  print(`Total Responses: ${responses.length}`);
}

/**
 * What would have to come for nothing more to come: from each live member that the filters fit an acknowledgement, if
 * they were asked for, and an answer. Where a member has no handler that answers, the time-out is waited for: a slow one
 * looks just like that. Undefined when it cannot be told.
 */
async function expectedRecords(client: RpcClient, { FilterNodes: nodes, FilterTags, RequestAck: ack }: QueryRequest): Promise<Set<string> | undefined> {
  const expressions = [...FilterTags].map(([tag, expression]) => ({ tag, expression: compileTagExpression(expression) }));
  if (expressions.some(({ expression }) => expression === undefined)) return undefined;
  const members = (await membersOverRpc(client)).filter((member) => member.status === 'alive' && (nodes.length === 0 || nodes.includes(member.name))
    && expressions.every(({ tag, expression }) => expression?.test(member.tags[tag] ?? '') === true));
  return members.length === 0 ? undefined : new Set(members.flatMap(({ name }) => [...(ack ? [`ack ${name}`] : []), `response ${name}`]));
}
