import { randomBytes } from 'node:crypto';
import { Command } from 'commander';
import { print } from './output.ts';

/** The same form as `serf keygen`: 32 random bytes in base64. */
export function keygenCommand(): Command {
  return new Command('keygen')
    .description('Prints a new random key for --encrypt: 32 bytes in base64. All nodes of a cluster need the same one.')
    .action(() => print(randomBytes(32).toString('base64')));
}
