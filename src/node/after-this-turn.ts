import type { Clock } from '../ports/clock.ts';

/** For what nobody waits for: what this turn has to send leaves first. (What is asked for while a turn ends belongs to the next.) */
export function afterThisTurn(clock: Clock, work: () => void): void {
  clock.endOfTurn(() => clock.endOfTurn(work));
}
