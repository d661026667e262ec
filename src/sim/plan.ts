/** What one seed plays: drawn before anything runs, so that leaving out a kind of fault changes nothing else. */
import type { Prng } from '../base/prng.ts';
import type { KeyspaceOptions } from '../core/control/map.ts';
import type { AppConfig, LastNodeRule, LogLimits } from '../node/node-types.ts';
import { drawExtras } from './extras.ts';
import type { Extras } from './extras.ts';
import { mildExtraKinds, mildKinds, wildExtraKinds, wildKinds } from './faults.ts';
import type { FaultKind } from './faults.ts';
import type { LinkSettings } from './links.ts';
import { simKeyspace } from './sim-cluster.ts';

export interface SimPlan {
  readonly nodes: number;
  /** mild: one fault at a time, and the next only once the cluster is whole again. wild: as they come. */
  readonly severity: 'mild' | 'wild';
  readonly keyspace: KeyspaceOptions;
  readonly healAfterMs: number;
  readonly lastNode: LastNodeRule;
  readonly drift: readonly number[];
  readonly lateMaxMs: number;
  readonly link: Partial<LinkSettings>;
  readonly apps: readonly AppConfig[];
  /** How long faults come (simulated ms). */
  readonly safetyMs: number;
  /** Mean time between faults in a wild run (ms). */
  readonly faultEveryMs: number;
  readonly closedClients: number;
  readonly thinkMs: number;
  /** Calls per second of the client that does not wait for answers. */
  readonly openRate: number;
  readonly hotKeys: number;
  /** How much is kept of logs: mostly little, so that filling, retries and snapshots meet their limits. */
  readonly logs: LogLimits | undefined;
  /** The kinds of faults that come. Not all of them each time: some hide what others would show. */
  readonly faults: readonly FaultKind[];
  /** Undefined: only the plain workload on one keyspace. */
  readonly extras: Extras | undefined;
}

export interface PlanLimits {
  readonly nodes?: number | undefined;
  readonly severity?: 'mild' | 'wild' | undefined;
  readonly safetySeconds?: number | undefined;
  readonly acks?: 'all' | 'majority' | 'one' | undefined;
  readonly apps?: boolean | undefined;
  /** Default never. */
  readonly lastNode?: LastNodeRule | undefined;
  /** Several keyspaces, expiry, eviction, flushes, zones, all verbs, more kinds of faults; default true. */
  readonly extras?: boolean | undefined;
}

/** @param extraRandom for what goes beyond the plain workload */
export function drawPlan(random: Prng, extraRandom: Prng, limits: PlanLimits = {}): SimPlan {
  const drawn = { nodes: random.pick([1, 2, 3, 3, 3, 3, 4, 5]) ?? 3, severity: random.chance(0.4) ? 'mild' as const : 'wild' as const, acks: random.chance(0.25) ? 'majority' as const : 'all' as const };
  const nodes = limits.nodes ?? drawn.nodes;
  // Where silence counts as death, one fault must not make two of it.
  const severity = limits.severity ?? (limits.lastNode === 'on-silence' ? 'mild' : drawn.severity);
  // A majority may be lost at once when faults come as they like: what survives then is no promise.
  const acks = limits.acks ?? (severity === 'wild' ? 'all' : drawn.acks);
  const keyspace: KeyspaceOptions = {
    ...simKeyspace, partitions: 2 + random.below(5), replicas: nodes >= 4 ? random.pick([3, 3, 5, 2]) ?? 3 : random.pick([3, 3, 2]) ?? 3, acks,
    minInSync: nodes >= 3 && random.chance(0.1) ? 2 : 1,
  };
  const allKinds = (severity === 'mild' ? mildKinds : wildKinds).filter((kind) => nodes >= 3 || kind !== 'new-disk');
  const share = random.pick([0.15, 0.5, 0.8, 1]) ?? 1;
  const some = allKinds.filter(() => random.chance(share));
  const names = Array.from({ length: nodes }, (_, index) => `n${index + 1}`);
  const drifting = random.chance(0.5);
  const apps = drawApps(random.fork(), names);
  return {
    nodes, severity, keyspace,
    lastNode: limits.lastNode ?? (random.chance(0.1) ? 'on-refusal' : 'never'),
    healAfterMs: 3000 + random.below(10_000),
    drift: names.map(() => (drifting ? (random.float() - 0.5) * 0.01 : 0)),
    lateMaxMs: random.chance(0.3) ? 5 * random.float() : 0,
    link: random.chance(0.3) ? { latencyMinMs: 0.5, latencyMeanMs: 1 + random.float() * 9 } : {},
    apps: limits.apps === false ? [] : apps,
    safetyMs: (limits.safetySeconds ?? 15 + random.below(25)) * 1000,
    faultEveryMs: 500 + random.below(4000),
    closedClients: 2 + random.below(5),
    thinkMs: 20 + random.below(150),
    openRate: random.chance(0.5) ? 5 + random.below(25) : 0,
    hotKeys: 3 + random.below(5),
    logs: random.chance(0.7) ? { partitionBytes: 2048 << random.below(4), compactEveryEntries: 30 + random.below(100), compactionTailEntries: 20 + random.below(40) } : undefined,
    faults: some.length === 0 ? allKinds : some,
    extras: limits.extras === false ? undefined : drawExtras(extraRandom, { nodes, severity, keyspace, acks: limits.acks, mildFaults: mildExtraKinds, wildFaults: wildExtraKinds }),
  };
}

function drawApps(random: Prng, names: readonly string[]): AppConfig[] {
  return Array.from({ length: 1 + random.below(3) }, (_, index) => {
    const order = random.shuffle([...names]);
    const listed = order.slice(0, Math.max(1, order.length - random.below(2)));
    const tiers: (string | string[])[] = [];
    while (listed.length > 0) tiers.push(random.chance(0.3) && listed.length > 1 ? listed.splice(0, 2) : (listed.shift() as string));
    return {
      name: `app${index + 1}`, nodes: tiers, ...(random.chance(0.3) ? { command: ['sim', `app${index + 1}`] } : { module: `sim:app${index + 1}` }), failoverTimeoutMs: random.chance(0.3) ? 200 + random.below(3000) : 0,
      takeover: random.chance(0.8) ? 'automatic' as const : 'manual' as const, stopTimeoutMs: 2000, startTimeoutMs: 5000,
    };
  });
}
