import { Command } from 'commander';
import { packageVersion } from '../host/package-version.ts';
import { print, printJson } from './output.ts';

export function versionCommand(): Command {
  return new Command('version').description('print the version of this program').option('--json', 'print as JSON').action((options: { json?: true }) => {
    const version = packageVersion();
    if (options.json === true) printJson({ version, node: process.version, gossip: 'memberlist 1-5, serf 2-5' });
    else print(`troupe ${version}`);
  });
}
