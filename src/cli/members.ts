import { Command, Option } from 'commander';
import { UsageError } from './usage-error.ts';
import { agentOf, withAgent } from './agent-client.ts';
import { collect } from './key-value.ts';
import { columns, print, printJson } from './output.ts';
import { asksForRpc, overRpc, withRpc } from './rpc-client.ts';
import { membersOverRpc } from './rpc-members.ts';
import type { ListedMember as Member } from './rpc-members.ts';

interface MembersOptions {
  readonly name?: string;
  readonly status?: string;
  readonly tag?: readonly string[];
  readonly role?: string;
  readonly detailed?: true;
  readonly format?: 'text' | 'json';
  readonly json?: true;
}

/** `troupe members`: the gossip pool, in Serf's own output forms. */
export function membersCommand(): Command {
  const command = withRpc(withAgent(new Command('members')))
    .summary('list the members of the gossip pool')
    .description('Lists the members of the gossip pool: name, address, status (alive, leaving, left, failed) and tags.')
    .option('--name <regex>', 'only members whose name matches, from beginning to end')
    .option('--status <regex>', 'only members whose status matches, from beginning to end')
    .addOption(new Option('--tag <key=regex>', 'only members whose tag matches, from beginning to end; may be repeated').argParser(collect))
    .option('--role <regex>', 'the same as --tag role=REGEX')
    .option('--detailed', 'add protocol versions')
    .addOption(new Option('--format <format>', 'output format').choices(['text', 'json']))
    .option('--json', 'the same as --format json');
  return command.action(async (options: MembersOptions) => {
    const matches = filterOf(options);
    const members = asksForRpc(command) ? await overRpc(command, membersOverRpc) : (await agentOf(command).get<{ members: Member[] }>('/v1/members')).members;
    const chosen = members.filter(matches);
    if (options.json === true || options.format === 'json') return printJson({ members: chosen });
    if (chosen.length > 0) print(columns(chosen.map((member) => rowOf(member, options.detailed === true))));
  });
}

function rowOf(member: Member, detailed: boolean): string[] {
  const tags = Object.entries(member.tags).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, value]) => `${key}=${value}`).join(',');
  const { version, min, max } = member.protocol;
  return [member.name, member.addr, member.status, tags, ...(detailed ? [`Protocol Version: ${version}`, `Available Protocol Range: [${min}, ${max}]`] : [])];
}

function filterOf(options: MembersOptions): (member: Member) => boolean {
  const name = anchored('--name', options.name);
  const status = anchored('--status', options.status);
  const tags = [...(options.tag ?? []), ...(options.role === undefined ? [] : [`role=${options.role}`])].map((text) => {
    const equals = text.indexOf('=');
    if (equals < 1) throw new UsageError(`--tag: '${text}' is no filter: write --tag KEY=REGEX`);
    return { key: text.slice(0, equals), value: anchored('--tag', text.slice(equals + 1)) };
  });
  return (member) => name.test(member.name) && status.test(member.status) && tags.every(({ key, value }) => Object.hasOwn(member.tags, key) && value.test(member.tags[key] as string));
}

function anchored(flag: string, text: string | undefined): RegExp {
  try {
    return new RegExp(text === undefined ? '' : `^(?:${text})$`);
  } catch (error) {
    throw new UsageError(`${flag}: '${text}' is no regular expression: ${(error as Error).message}`);
  }
}
