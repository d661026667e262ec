import { describe, expect, it } from 'vitest';
import { TroupeError } from '../../src/base/errors.ts';
import { fetchHandover } from '../../src/node/handover.ts';
import { silentLog } from '../../src/ports/log.ts';
import { SimWorld } from '../../src/sim/sim-world.ts';

type Answer = Uint8Array | string;

/** Asks a node that answers as told, one answer a call; the last goes on. */
async function fetched(answers: readonly Answer[], isLive: (calls: number) => boolean = () => true): Promise<{ state: Uint8Array | undefined; calls: number; tookMs: number; limits: number[] }> {
  const world = new SimWorld({ seed: 1 });
  const { clock } = world.addHost('a').start('a');
  const limits: number[] = [];
  const calls = {
    call: (_to: string, _method: string, _payload: unknown, timeoutMs = 0): Promise<unknown> => {
      const answer = answers[Math.min(limits.length, answers.length - 1)] as Answer;
      limits.push(timeoutMs);
      return typeof answer === 'string' ? Promise.reject(new TroupeError(answer, 'no', {})) : Promise.resolve(answer);
    },
  };
  const begun = clock.now();
  const state = await world.scheduler.settle(fetchHandover(calls, clock, silentLog, { node: 'b', app: 'x', epoch: 3, isLive: () => isLive(limits.length) }));
  return { state, calls: limits.length, tookMs: clock.now() - begun, limits };
}

const bytes = new Uint8Array([1, 2, 3]);

describe('fetchHandover()', () => {
  it('asks once where it gets an answer', async () => {
    expect(await fetched([bytes])).toMatchObject({ state: bytes, calls: 1, tookMs: 0 });
  });

  it('asks again while the connection is not there yet, or breaks, within one time limit', async () => {
    const { state, calls, limits } = await fetched(['NOT_CONNECTED', 'DISCONNECTED', 'NOT_CONNECTED', bytes]);
    expect([state, calls]).toEqual([bytes, 4]);
    expect(limits).toEqual([5000, 4950, 4900, 4850]);
  });

  it('gives up after the time limit, and at once when the node is dead or refuses', async () => {
    const { state, tookMs } = await fetched(['NOT_CONNECTED']);
    expect(state).toBeUndefined();
    expect(tookMs).toBeGreaterThan(4800);
    expect(tookMs).toBeLessThanOrEqual(5000);
    expect(await fetched(['NOT_CONNECTED'], (calls) => calls < 3)).toMatchObject({ state: undefined, calls: 3 });
    expect(await fetched(['CALL_FAILED'])).toMatchObject({ state: undefined, calls: 1 });
  });
});
