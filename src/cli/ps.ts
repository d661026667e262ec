import { Command } from 'commander';
import { TroupeError } from '../base/errors.ts';
import type { NodeProcesses, ProcessView } from '../node/ps.ts';
import { agentOf, withAgent } from './agent-client.ts';
import { print, printJson, table } from './output.ts';

/** `troupe ps`: looks into a node, this one or any other of the cluster. */
export function psCommand(): Command {
  const command = withAgent(new Command('ps'))
    .summary('look into a node: its services, apps and handlers')
    .description('Shows what runs in a node: its process, services, apps and event handlers, and the processes that these have started, each with pid, status, restarts (of handlers: runs that failed), what waits for it, memory, processor time, what it runs and what it is linked to. Another node is asked through the agent.')
    .argument('[node]', 'default: the node of the agent that is asked')
    .argument('[what]', 'only this, by its name or pid, with all that is known of it')
    .option('--json', 'print as JSON');
  return command.action(async (node: string | undefined, what: string | undefined, options: { json?: true }) => {
    const answer = await agentOf(command).get<NodeProcesses>(node === undefined ? '/v1/ps' : `/v1/ps?node=${encodeURIComponent(node)}`);
    if (what !== undefined) {
      const found = answer.processes.filter((each) => each.name === what || String(each.pid) === what);
      if (found.length === 0) throw new TroupeError('NO_SUCH_PROCESS', `nothing in '${answer.node}' is called '${what}' or has this pid; \`troupe ps ${answer.node}\` lists all`, { node: answer.node, what });
      if (options.json === true) printJson({ ...answer, processes: found });
      else for (const each of found) print(details(each));
    } else if (options.json === true) printJson(answer);
    else print(processTable(answer.processes));
  });
}

export function processTable(processes: readonly ProcessView[]): string {
  return table(['KIND', 'NAME', 'PID', 'STATUS', 'RESTARTS', 'QUEUE', 'MEMORY', 'CPU', 'RUNS', 'LINKS'], processes.map((each) => [
    each.kind, each.name, each.pid === undefined ? '-' : String(each.pid), each.status, String(each.restarts), String(each.queue),
    each.memoryBytes === undefined ? '-' : size(each.memoryBytes), each.cpuMs === undefined ? '-' : `${(each.cpuMs / 1000).toFixed(1)}s`, each.runs || '-', each.links.join(', ') || '-',
  ]), 'Nothing runs there.');
}

/** One line for each thing that is known, none cut. */
function details(view: ProcessView): string {
  const { kind, name, pid, status, restarts, queue, memoryBytes, cpuMs, uptimeMs, runs, links } = view;
  const lines: readonly (readonly [string, string | undefined])[] = [
    ['kind', kind], ['name', name], ['pid', pid === undefined ? undefined : String(pid)], ['status', status], ['restarts', String(restarts)], ['queue', String(queue)],
    ['memory', memoryBytes === undefined ? undefined : size(memoryBytes)], ['cpu', cpuMs === undefined ? undefined : `${(cpuMs / 1000).toFixed(1)}s`],
    ['uptime', uptimeMs === undefined ? undefined : `${Math.round(uptimeMs / 1000)}s`], ['runs', runs || undefined], ...links.map((link) => ['link', link] as const),
  ];
  return lines.filter(([, value]) => value !== undefined).map(([label, value]) => `${label.padEnd(9)} ${value}`).join('\n');
}

function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const unit = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** unit).toFixed(unit === 0 ? 0 : 1)}${units[unit]}`;
}
