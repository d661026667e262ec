import type { Command } from 'commander';
import { CommanderError } from 'commander';
import { TroupeError, messageOf } from '../base/errors.ts';
import { normaliseArguments } from './arguments.ts';
import { program } from './program.ts';
import { UsageError } from './usage-error.ts';

/** Exit codes: 0 done, 1 failed, 2 usage. */
export async function main(words: readonly string[]): Promise<void> {
  const troupe = await program(words[0]);
  throwInsteadOfExit(troupe);
  try {
    // `troupe nonsense --help` is a mistake, too: nothing but the verb is looked at, so that commander says so.
    const first = words[0] ?? '';
    const known = first.startsWith('-') || first === 'help' || troupe.commands.some((command) => command.name() === first);
    await troupe.parseAsync(normaliseArguments(known ? words : words.slice(0, 1)), { from: 'user' });
  } catch (error) {
    process.exitCode = exitCodeOf(error);
    // Commander has told about its own errors already.
    if (!(error instanceof CommanderError)) process.stderr.write(`troupe: ${describeError(error)}\n`);
  }
}

function throwInsteadOfExit(command: Command): void {
  command.exitOverride();
  for (const each of command.commands) throwInsteadOfExit(each);
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  if (error instanceof UsageError) return 2;
  // A flag that is wrong is a mistake of the command line; a key in the file is not.
  if (error instanceof TroupeError && error.code === 'BAD_CONFIG' && (error.fields['problems'] as readonly string[]).every((problem) => problem.startsWith('--'))) return 2;
  return 1;
}

/** For a coded error its message says it all; anything else is a fault of ours, and its stack helps whoever reports it. */
function describeError(error: unknown): string {
  if (error instanceof TroupeError || error instanceof UsageError) return error.message.split('\n').join('\ntroupe: ');
  return error instanceof Error && error.stack !== undefined ? `this should not have happened, please report it: ${error.stack}` : messageOf(error);
}

await main(process.argv.slice(2));
