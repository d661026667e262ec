import { messageOf, TroupeError } from '../base/errors.ts';
import type { Address } from '../ports/address.ts';
import { formatAddress } from '../ports/address.ts';
import type { DiscoveryPorts } from './strategy.ts';
import { runProgram } from './run-program.ts';
import type { TopologyHooks } from './topology-types.ts';

/** What a hook is told besides the host. */
export interface HookContext {
  /** The topology's name. */
  readonly topology: string;
  /** Why it is called: what the source said. */
  readonly reason: string;
  /** Aborts when the node stops, after 10 s, and when the host is no longer named (of `connect`) or named again (of `disconnect`). */
  readonly signal: AbortSignal;
}

export interface ConnectContext extends HookContext {
  /** What happens without this hook: joins the gossip pool at the host. Rejects when that fails. */
  readonly join: () => Promise<void>;
}

/** A topology's own ways to connect, disconnect and list, instead of those of the gossip pool. Each may be left out. */
export interface DiscoveryHooks {
  /**
   * Called for a named host that is not in the list, again and again until it is. Instead of joining; `context.join()`
   * joins. What it throws is the reason that is logged. Default: join the gossip pool.
   */
  readonly connect?: (host: Address, context: ConnectContext) => void | Promise<void>;
  /**
   * Called once for each host that a good answer does not name any more, tried again (up to 8 times) when it throws. Never
   * called because the source is away; and where an answer suddenly names nobody at all, only after it has said so for a
   * minute. Default: nothing, membership is left to failure detection.
   */
  readonly disconnect?: (host: Address, context: HookContext) => void | Promise<void>;
  /** Who is connected; asked about four times a second, so it must be quick. Default: the live members of the gossip pool. */
  readonly list?: () => readonly Address[];
}

/** As written: for `connect` and `disconnect` also a program and its arguments, for agents. */
export interface WrittenHooks {
  /** A program runs before the node joins; its exit code other than 0 stands for a failure. */
  readonly connect?: DiscoveryHooks['connect'] | readonly string[] | undefined;
  readonly disconnect?: DiscoveryHooks['disconnect'] | readonly string[] | undefined;
  readonly list?: DiscoveryHooks['list'] | undefined;
}

/** A hook's program is killed by its warden when it runs longer (ms). */
export const hookTimeoutMs: number = 10_000;

/** The hooks of a topology, over those of the pool. */
export function withHooks(topology: string, written: WrittenHooks, pool: TopologyHooks, ports: Pick<DiscoveryPorts, 'processes' | 'self'>): TopologyHooks {
  const { connect, disconnect, list } = written;
  const connector = connect === undefined ? undefined : isFunction(connect) ? connect : connectProgram(connect, ports);
  const disconnector = disconnect === undefined ? undefined : isFunction(disconnect) ? disconnect : disconnectProgram(disconnect, ports);
  return {
    list: list === undefined ? () => pool.list() : () => list(),
    connect: connector === undefined ? (address, signal) => pool.connect(address, signal) : async (address, signal) => {
      try {
        await orAborted(signal, () => connector(address, { topology, signal, reason: 'the source names it', join: () => joinPool(pool, address, signal) }));
        return { ok: true };
      } catch (error) {
        return { ok: false, reason: messageOf(error) };
      }
    },
    ...(disconnector === undefined ? {} : { disconnect: (address, signal, reason) => orAborted(signal, () => disconnector(address, { topology, signal, reason })) }),
  };
}

function isFunction<T>(hook: T | readonly string[]): hook is T {
  return typeof hook === 'function';
}

async function joinPool(pool: TopologyHooks, address: Address, signal: AbortSignal): Promise<void> {
  const result = await pool.connect(address, signal);
  if (!result.ok) throw new TroupeError('JOIN_FAILED', result.reason, { address: formatAddress(address) });
}

function connectProgram(command: readonly string[], ports: Pick<DiscoveryPorts, 'processes' | 'self'>): NonNullable<DiscoveryHooks['connect']> {
  return async (host, context) => {
    await runHook(command, 'connect', host, context, ports);
    await context.join();
  };
}

function disconnectProgram(command: readonly string[], ports: Pick<DiscoveryPorts, 'processes' | 'self'>): NonNullable<DiscoveryHooks['disconnect']> {
  return (host, context) => runHook(command, 'disconnect', host, context, ports);
}

async function runHook(command: readonly string[], hook: string, host: Address, { topology, reason, signal }: HookContext, { processes, self }: Pick<DiscoveryPorts, 'processes' | 'self'>): Promise<void> {
  const environment = { TROUPE_NODE: self.name, TROUPE_DISCOVERY: topology, TROUPE_HOOK: hook, TROUPE_HOST: host.host, TROUPE_PORT: String(host.port), TROUPE_REASON: reason };
  await runProgram(processes, { command, environment, leaseMs: hookTimeoutMs + 1000 }, signal);
}

/** A hook that does not heed its signal is left to itself. What it returns at once counts at once. */
function orAborted(signal: AbortSignal, run: () => void | Promise<void>): void | Promise<void> {
  const running = run();
  if (!(running instanceof Object) || typeof running.then !== 'function') return;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new TroupeError('ABORTED', 'the hook did not end in time', {}));
    signal.addEventListener('abort', abort, { once: true });
    running.then(() => resolve(), reject).finally(() => signal.removeEventListener('abort', abort));
  });
}
