import { describe, expect, test } from 'vitest';
import { withHooks } from '../../src/discovery/hooks.ts';
import { shareAttempts } from '../../src/discovery/shared-attempts.ts';
import type { Address } from '../../src/ports/address.ts';
import { hostPorts } from './support/ports.ts';
import { at, self } from './support/rigs.ts';

type Outcome = { readonly ok: true } | { readonly ok: false; readonly reason: string };

/** A pool whose joins end when the test says so. */
function pool(): { readonly calls: { readonly address: Address; readonly signal: AbortSignal; end: (outcome: Outcome) => void }[]; readonly connect: (address: Address, signal: AbortSignal) => Promise<Outcome> } {
  const calls: ReturnType<typeof pool>['calls'] = [];
  return { calls, connect: (address, signal) => new Promise((end) => calls.push({ address, signal, end })) };
}

describe('shareAttempts()', () => {
  test('tries a host that several topologies name once at a time, and tells all of them how it went', async () => {
    const { calls, connect } = pool();
    const shared = shareAttempts(connect);
    const { signal } = new AbortController();
    const first = [shared(at(2), signal), shared(at(2), signal), shared({ host: '::ffff:127.0.0.2', port: 7946 }, signal), shared(at(3), signal)];
    expect(calls.map((call) => call.address)).toEqual([at(2), at(3)]);
    calls[0]?.end({ ok: false, reason: 'refused' });
    calls[1]?.end({ ok: true });
    expect(await Promise.all(first)).toEqual([{ ok: false, reason: 'refused' }, { ok: false, reason: 'refused' }, { ok: false, reason: 'refused' }, { ok: true }]);
    void shared(at(2), signal);
    expect(calls).toHaveLength(3);
  });

  test('gives up only when all who wait have', async () => {
    const { calls, connect } = pool();
    const shared = shareAttempts(connect);
    const [one, two] = [new AbortController(), new AbortController()];
    const [first, second] = [shared(at(2), one.signal), shared(at(2), two.signal)];
    one.abort();
    expect(await first).toMatchObject({ ok: false });
    expect(calls[0]?.signal.aborted).toBe(false);
    two.abort();
    expect(await second).toMatchObject({ ok: false });
    expect(calls[0]?.signal.aborted).toBe(true);
    expect(await shared(at(3), AbortSignal.abort())).toMatchObject({ ok: false });
  });
});

describe('withHooks()', () => {
  const ports = hostPorts('one', self);
  const { signal } = new AbortController();

  test('without hooks everything is the pool\'s; there is no disconnect', async () => {
    const hooks = withHooks('home', {}, { list: () => [at(2)], connect: async () => ({ ok: true }) }, ports);
    expect(hooks.list()).toEqual([at(2)]);
    expect(await hooks.connect(at(3), signal)).toEqual({ ok: true });
    expect(hooks).not.toHaveProperty('disconnect');
  });

  test('a connect() of a user may join, or not; what it throws, also at once, is the reason', async () => {
    const joined: Address[] = [];
    const base = { list: () => [], connect: async (address: Address): Promise<Outcome> => (joined.push(address), address.host === at(9).host ? { ok: false, reason: 'nobody there' } : { ok: true }) };
    const joining = withHooks('home', { connect: async (_host, { join, topology, reason }) => (expect([topology, reason]).toEqual(['home', 'the source names it']), join()) }, base, ports);
    expect(await joining.connect(at(2), signal)).toEqual({ ok: true });
    expect(await joining.connect(at(9), signal)).toEqual({ ok: false, reason: 'nobody there' });
    expect(joined).toEqual([at(2), at(9)]);
    const throwing = withHooks('home', { connect: () => { throw new Error('shut'); } }, base, ports);
    expect(await throwing.connect(at(2), signal)).toEqual({ ok: false, reason: 'shut' });
    expect(await withHooks('home', { connect: () => {} }, base, ports).connect(at(2), signal)).toEqual({ ok: true });
    expect(joined).toHaveLength(2);
  });

  test('hooks that do not heed their signal are left to themselves', async () => {
    const controller = new AbortController();
    const hooks = withHooks('home', { connect: () => new Promise(() => {}), disconnect: () => new Promise(() => {}) }, { list: () => [], connect: async () => ({ ok: true }) }, ports);
    const waiting = [hooks.connect(at(2), controller.signal), Promise.resolve(hooks.disconnect?.(at(2), controller.signal, 'x')).catch((error: unknown) => String(error))];
    controller.abort();
    expect(await Promise.all(waiting)).toEqual([{ ok: false, reason: 'the hook did not end in time' }, expect.stringContaining('did not end in time')]);
  });
});
