/** What a seed plays beyond the plain workload. Drawn from a source of its own, so that a run without it is the same as ever. */
import type { Prng } from '../base/prng.ts';
import type { KeyspaceOptions } from '../core/control/map.ts';
import type { FaultKind } from './faults.ts';
import type { NodeRole } from './sim-cluster.ts';

export interface ExtraKeyspace {
  readonly options: KeyspaceOptions;
  /** So small that entries have to make room. */
  readonly evicts: boolean;
  /** Entries get a time to live of a few seconds. */
  readonly expires: boolean;
  /** It is emptied now and then, at once or a few seconds later. */
  readonly flushes: boolean;
  readonly keys: number;
}

export interface Extras {
  /** All of them, `default` too. */
  readonly keyspaces: Readonly<Record<string, ExtraKeyspace>>;
  /** Of node i. */
  readonly zones: readonly string[];
  /** Written once each into `default`, of so many bytes and a little more. */
  readonly bulkKeys: number;
  readonly bulkBytes: number;
  /** How far wall clocks jump, at most, forward or back (ms). */
  readonly wallJumpMs: number;
  /** Kinds of faults besides the plan's. */
  readonly faults: readonly FaultKind[];
  /** Apps take seconds to start now and then. */
  readonly slowApps: boolean;
  /** Of node i: may vote, may hold copies. */
  readonly roles: readonly NodeRole[];
}

export interface ExtrasLimits {
  readonly nodes: number;
  readonly severity: 'mild' | 'wild';
  readonly keyspace: KeyspaceOptions;
  readonly mildFaults: readonly FaultKind[];
  readonly wildFaults: readonly FaultKind[];
  readonly acks?: 'all' | 'majority' | 'one' | undefined;
}

export function drawExtras(random: Prng, limits: ExtrasLimits): Extras {
  const { nodes, severity, keyspace } = limits;
  const acksOf = (): KeyspaceOptions['acks'] => limits.acks ?? random.pick(['all', 'all', 'majority', 'one'] as const) ?? 'all';
  const anyKeyspace = (): ExtraKeyspace => {
    const small = random.chance(0.4);
    const eviction = small && random.chance(0.15) ? 'none' as const : 'lru' as const;
    const acks = acksOf();
    return {
      options: {
        ...keyspace, acks, partitions: 1 + random.below(3), replicas: random.pick([1, 2, 3, 3]) ?? 3, minInSync: 1,
        // Of an entry's 60 bytes or a little more, so that a few dozen find room.
        ...(small ? { maxMemoryBytes: 3000 + random.below(6000) } : {}), eviction,
      },
      // What is lost with a primary takes its times with it: what is due by itself is then anybody's guess.
      evicts: small && eviction === 'lru', expires: random.chance(0.6), flushes: acks === 'all' && random.chance(0.4), keys: small ? 40 + random.below(60) : 4 + random.below(6),
    };
  };
  const own: ExtraKeyspace = { options: { ...keyspace, ...(random.chance(0.3) ? { acks: acksOf() } : {}) }, evicts: false, expires: random.chance(0.5), flushes: false, keys: 4 + random.below(6) };
  const names = ['second', 'third'].slice(0, 1 + random.below(2));
  const keyspaces = Object.fromEntries([['default', { ...own, flushes: own.options.acks === 'all' && random.chance(0.2) }] as const, ...names.map((name) => [name, anyKeyspace()] as const)]);
  const zoneCount = random.chance(0.5) ? 1 : 2 + random.below(2);
  const kinds = severity === 'mild' ? limits.mildFaults : limits.wildFaults;
  return {
    keyspaces, zones: Array.from({ length: nodes }, (_, index) => (zoneCount === 1 ? '' : `zone-${index % zoneCount}`)),
    bulkKeys: random.chance(0.4) ? 40 + random.below(120) : 0, bulkBytes: 2000 + random.below(4000),
    wallJumpMs: random.pick([1500, 4000, 20_000, 3_600_000]) ?? 4000,
    faults: kinds.filter((kind) => (nodes >= 3 || (kind !== 'torn-log' && kind !== 'forget')) && random.chance(0.6)),
    slowApps: random.chance(0.5),
    // Three of them stay what they were, so that one may always be missing.
    roles: Array.from({ length: nodes }, (_, index) => (index < 3 ? { voter: true, storage: true } : { voter: random.chance(0.7), storage: random.chance(0.7) })),
  };
}
