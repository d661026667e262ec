import { Command } from 'commander';
import type { AppView } from '../node/node-types.ts';
import { agentOf, withAgent } from './agent-client.ts';
import { print, printJson } from './output.ts';
import { appTable } from './status.ts';

interface AppVerb {
  readonly name: string;
  readonly help: string;
  readonly node: 'none' | 'optional' | 'required';
  readonly done: (app: string, node: string | undefined) => string;
}

const verbs: readonly AppVerb[] = [
  { name: 'start', help: 'let the app run, after it was stopped', node: 'none', done: (app) => `${app} may run.` },
  { name: 'stop', help: 'stop the app wherever it runs, until it is started again', node: 'none', done: (app) => `${app} stops, until \`troupe apps start ${app}\`.` },
  { name: 'takeover', help: 'let a node take the app over, whatever its priority; default: the node of the agent that is asked', node: 'optional', done: (app, node) => `${node ?? 'this node'} takes ${app} over.` },
  { name: 'move', help: 'move the app to a node, whatever its priority', node: 'required', done: (app, node) => `${app} moves to ${node}.` },
  { name: 'permit', help: 'let a node run the app again', node: 'required', done: (app, node) => `${node} may run ${app}.` },
  { name: 'forbid', help: 'forbid a node to run the app; if it does, the app moves to the best permitted one', node: 'required', done: (app, node) => `${node} may not run ${app}.` },
];

/** `troupe apps …`: what runs where, and the operator's hand on it. */
export function appsCommand(): Command {
  const command = withAgent(new Command('apps'))
    .summary('show apps and where they run; start, stop, move them')
    .description('Shows the apps: state, node, epoch, how the current instance was started, priority list. The verbs below act on one app.')
    .option('--json', 'print as JSON');
  const list = async (asked: Command): Promise<void> => {
    const answer = await agentOf(asked).get<{ apps: AppView[] }>('/v1/apps');
    if (asked.optsWithGlobals<{ json?: true }>().json === true) printJson(answer);
    else print(appTable(answer.apps));
  };
  command.action(() => list(command));
  const listCommand = withAgent(new Command('list')).description('list the apps (the default)').option('--json', 'print as JSON');
  command.addCommand(listCommand.action(() => list(listCommand)), { isDefault: false });
  for (const verb of verbs) command.addCommand(verbCommand(verb));
  return command;
}

function verbCommand(verb: AppVerb): Command {
  const command = withAgent(new Command(verb.name)).description(verb.help).argument('<app>');
  if (verb.node !== 'none') command.argument(verb.node === 'required' ? '<node>' : '[node]');
  return command.action(async (app: string, ...rest: unknown[]) => {
    const node = verb.node === 'none' ? undefined : (rest[0] as string | undefined);
    await agentOf(command).post(`/v1/apps/${encodeURIComponent(app)}/${verb.name}`, node === undefined ? {} : { node });
    print(verb.done(app, node));
  });
}
