/** What other nodes may call at this one. They can as soon as it listens, which is before it can answer all of it. */
import { TroupeError } from '../base/errors.ts';
import type { Command, InSyncChange } from '../core/control/commands.ts';
import type { AppsRunner } from './apps-runner.ts';
import type { Bootstrap } from './bootstrap.ts';
import type { Calls } from './calls.ts';
import type { Commands } from './commands.ts';
import type { NodeWishes } from './leader.ts';
import type { Leadership } from './leadership.ts';
import type { Registration } from './registration.ts';

/** Whoever answers; undefined until it has opened. */
export interface Answering {
  readonly self: string;
  readonly commands: Commands | undefined;
  readonly leadership: Leadership | undefined;
  readonly bootstrap: Bootstrap | undefined;
  readonly apps: AppsRunner | undefined;
}

export function answerCalls(calls: Calls, by: Answering): void {
  const commands = (): Commands => {
    if (by.commands === undefined) throw new TroupeError('NOT_LEADER', `node '${by.self}' is only starting`, {});
    return by.commands;
  };
  calls.handle('register', async (_from, payload) => await by.leadership?.register(commands().leaderOrThrow(), payload as Registration));
  calls.handle('command', async (_from, payload) => await commands().leaderOrThrow().command(payload as Command));
  calls.handle('in-sync', async (_from, payload) => commands().leaderOrThrow().inSync(payload as InSyncChange[]));
  calls.handle('dead', async (_from, payload) => {
    const [name, instance] = payload as [string, string];
    by.leadership?.toldDead(name, instance, () => commands().leaderOrThrow());
  });
  calls.handle('left', async (from, payload) => commands().leaderOrThrow().left(from, payload as string));
  calls.handle('wishes', async (from, payload) => commands().leaderOrThrow().noteWishes(from, payload as NodeWishes));
  calls.handle('promise', async (from, payload) => by.bootstrap?.promise(from, payload as string) ?? false);
  calls.handle('handover', async (_from, payload) => by.apps?.handover(...(payload as [string, number])) ?? null);
  calls.handle('transfer-leadership', async (_from, payload) => commands().transferFromHere(payload as string | null));
}
