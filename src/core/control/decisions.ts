/**
 * What the leader does on its own account: it looks at the map and the time and proposes the next changes. Nothing
 * here is remembered by the cluster: a new leader decides afresh from the same map. Every proposal is checked again
 * when it is applied, so a decision from an old view does no harm.
 */
import { chooseNode, higherCandidate, higherFailed, tierOf } from './apps.ts';
import type { Command, PlacementMove } from './commands.ts';
import { isActive, isLive } from './map.ts';
import type { AppEntry, AppSpec, ClusterMap, KeyspaceEntry, KeyspaceOptions, PartitionEntry } from './map.ts';
import { desiredPlacement } from './placement.ts';
import type { PlacementNode } from './placement.ts';

export interface DecisionOptions {
  /** Nodes that the cluster is to have before its first keyspaces and apps are placed; default 1. */
  readonly expect: number;
  /** Go on with fewer nodes than expected after this long (ms, default 3000). */
  readonly bootGraceMs: number;
  /** Copy a dead node's partitions elsewhere after this long (ms, default 30000). */
  readonly healAfterMs: number;
  /** A failed app is tried again after this long, doubling up to 30 s (ms, default 1000). */
  readonly appRetryMs: number;
  /**
   * A takeover that failed on the higher node is tried again there after this long, doubling up to an hour (ms, default
   * 120000): rarely, because each try stops the app where it runs well.
   */
  readonly takeoverRetryMs: number;
}

export const defaultDecisionOptions: DecisionOptions = { expect: 1, bootGraceMs: 3000, healAfterMs: 30_000, appRetryMs: 1000, takeoverRetryMs: 120_000 };

const takeoverRetryMaxMs = 3_600_000;

/** What nodes have asked for; the specification of an app is that of a live node if any has it. */
export interface Wishes {
  readonly keyspaces: ReadonlyMap<string, KeyspaceOptions>;
  readonly apps: ReadonlyMap<string, AppSpec>;
}

const transfersAtOnce = 16;

/** In what the nodes' digests cover. */
function differs(a: AppSpec, b: AppSpec): boolean {
  return JSON.stringify([a.tiers, a.failoverTimeoutMs, a.takeover]) !== JSON.stringify([b.tiers, b.failoverTimeoutMs, b.takeover]);
}

export class Decisions {
  readonly #options: DecisionOptions;
  readonly #since: number;
  readonly #downSince = new Map<string, number>();
  readonly #appRetry = new Map<string, { at: number; delay: number }>();
  /** By app and node: takeovers to try again; only for listed nodes on which the app failed. */
  readonly #takeoverRetry = new Map<string, Map<string, { at: number; delay: number }>>();
  readonly #placements = new Map<string, { key: string; desired: string[][] }>();
  #nextWake = Number.POSITIVE_INFINITY;

  constructor(now: number, options: DecisionOptions) {
    this.#options = options;
    this.#since = now;
  }

  /** When `decide` wants to look again even if nothing changes. */
  get nextWakeAt(): number {
    return this.#nextWake;
  }

  /** The most urgent commands; called again after they were applied, until nothing is left to do. */
  decide(now: number, map: ClusterMap, wishes: Wishes): Command[] {
    this.#nextWake = Number.POSITIVE_INFINITY;
    this.#noteDown(now, map);
    const commands: Command[] = [];
    const active = Object.values(map.nodes).filter((node) => isActive(map, node.name));
    const booted = active.length >= this.#options.expect || this.#due(now, this.#since + this.#options.bootGraceMs);
    if (booted) commands.push(...this.#newParts(map, wishes));
    for (const app of Object.values(map.apps)) {
      const command = this.#decideApp(now, map, app, booted);
      if (command !== undefined) commands.push(command);
    }
    for (const keyspace of Object.values(map.keyspaces)) commands.push(...this.#decidePlacement(now, map, keyspace));
    return commands;
  }

  #due(now: number, at: number): boolean {
    if (now >= at) return true;
    this.#nextWake = Math.min(this.#nextWake, at);
    return false;
  }

  #noteDown(now: number, map: ClusterMap): void {
    for (const node of Object.values(map.nodes)) {
      if (node.live) this.#downSince.delete(node.name);
      else if (!this.#downSince.has(node.name)) this.#downSince.set(node.name, now);
    }
  }

  #newParts(map: ClusterMap, wishes: Wishes): Command[] {
    const commands: Command[] = [];
    const storage = Object.values(map.nodes).filter((node) => node.storage && isActive(map, node.name));
    for (const [name, options] of wishes.keyspaces) {
      if (map.keyspaces[name] !== undefined || storage.length === 0) continue;
      commands.push({ type: 'create-keyspace', name, options, copies: desiredPlacement(name, options.partitions, options.replicas, storage) });
    }
    for (const [name, spec] of wishes.apps) {
      const app = map.apps[name];
      if (app === undefined || (this.#agreed(map, name) && differs(app.spec, spec))) commands.push({ type: 'define-app', spec });
    }
    return commands;
  }

  /** All live nodes that have the app are configured alike: a changed list counts once the last of them has it. */
  #agreed(map: ClusterMap, app: string): boolean {
    const digests = new Set(Object.values(map.nodes).filter((node) => node.live).map((node) => node.offers[app]).filter((digest) => digest !== undefined));
    return digests.size === 1;
  }

  #decideApp(now: number, map: ClusterMap, app: AppEntry, booted: boolean): Command | undefined {
    this.#forgetTakeovers(app);
    if (app.wanted !== 'started') return undefined;
    switch (app.phase) {
      case 'idle':
        if (!booted) return undefined;
        if (app.lastError !== undefined || app.failedOn.length > 0) return this.#retryApp(now, map, app);
        return chooseNode(map, app) === undefined ? undefined : { type: 'app', app: app.name, action: { type: 'start', startType: app.from === undefined ? 'normal' : 'failover' } };
      case 'waiting': return this.#waitedLongEnough(now, map, app);
      case 'running': {
        this.#appRetry.delete(app.name);
        if (map.maintenance || app.node === undefined) return undefined;
        const leaving = !isActive(map, app.node);
        const to = leaving ? chooseNode(map, app, app.node) : app.spec.takeover === 'automatic' && !app.stays ? higherCandidate(map, app) ?? this.#takeoverDue(now, map, app) : undefined;
        return to === undefined ? undefined : { type: 'app', app: app.name, action: { type: 'take-over', to, epoch: app.epoch } };
      }
      case 'starting':
      case 'stopping': return undefined;
    }
  }

  /** In any phase: who came up anew, or was permitted, starts with the shortest delay when it fails again. */
  #forgetTakeovers(app: AppEntry): void {
    const retries = this.#takeoverRetry.get(app.name);
    if (retries === undefined) return;
    for (const node of retries.keys()) if (!app.failedOn.includes(node) || tierOf(app, node) === undefined) retries.delete(node);
    if (retries.size === 0) this.#takeoverRetry.delete(app.name);
  }

  /** The first of the list that is due. Each node has its own delay: else one that is broken for good would keep the others from their turn. */
  #takeoverDue(now: number, map: ClusterMap, app: AppEntry): string | undefined {
    let first: { readonly node: string; readonly retry: { at: number } } | undefined;
    for (const node of higherFailed(map, app)) {
      const retry = this.#takeoverRetryOf(now, app.name, node);
      if (this.#due(now, retry.at)) first ??= { node, retry };
    }
    if (first !== undefined) first.retry.at = Number.NEGATIVE_INFINITY;
    return first?.node;
  }

  #takeoverRetryOf(now: number, app: string, node: string): { at: number } {
    const retries = this.#takeoverRetry.get(app) ?? new Map<string, { at: number; delay: number }>();
    this.#takeoverRetry.set(app, retries);
    let retry = retries.get(node);
    // Not yet tried again, or tried in vain: the app runs below it once more.
    if (retry === undefined || retry.at === Number.NEGATIVE_INFINITY) {
      const delay = retry === undefined ? this.#options.takeoverRetryMs : Math.min(takeoverRetryMaxMs, retry.delay * 2);
      retry = { at: now + delay, delay };
      retries.set(node, retry);
    }
    return retry;
  }

  #retryApp(now: number, map: ClusterMap, app: AppEntry): Command | undefined {
    if (app.failedOn.length === 0 || chooseNode(map, app) !== undefined) {
      if (chooseNode(map, app) === undefined) return undefined;
      return { type: 'app', app: app.name, action: { type: 'start', startType: 'failover' } };
    }
    let retry = this.#appRetry.get(app.name);
    if (retry === undefined || retry.at === Number.NEGATIVE_INFINITY) {
      const delay = Math.min(30_000, retry === undefined ? this.#options.appRetryMs : retry.delay * 2);
      retry = { at: now + delay, delay };
      this.#appRetry.set(app.name, retry);
    }
    if (!this.#due(now, retry.at)) return undefined;
    retry.at = Number.NEGATIVE_INFINITY;
    return { type: 'app', app: app.name, action: { type: 'retry', epoch: app.epoch } };
  }

  #waitedLongEnough(now: number, map: ClusterMap, app: AppEntry): Command | undefined {
    const from = app.from;
    // Its node is back: whether it can run there or must go elsewhere, there is nothing left to wait for.
    const back = from !== undefined && isActive(map, from);
    const since = from === undefined ? this.#since : (this.#downSince.get(from) ?? now);
    if (!back && !this.#due(now, since + app.spec.failoverTimeoutMs)) return undefined;
    if (chooseNode(map, app) === undefined) return undefined;
    return { type: 'app', app: app.name, action: { type: 'start', startType: 'failover' } };
  }

  #decidePlacement(now: number, map: ClusterMap, keyspace: KeyspaceEntry): Command[] {
    if (map.maintenance) return [];
    const nodes = Object.values(map.nodes).filter((node) => {
      if (!node.storage || node.draining) return false;
      return node.live || !this.#due(now, (this.#downSince.get(node.name) ?? now) + this.#options.healAfterMs);
    });
    const active = nodes.filter((node) => node.live);
    if (active.length === 0) return [];
    const desired = this.#desired(keyspace, nodes);
    let withoutTheAbsent: readonly (readonly string[])[] | undefined;
    const moves: PlacementMove[] = [];
    const transfers: { keyspace: string; partition: number; epoch: number; to: string }[] = [];
    const room = transfersAtOnce - keyspace.partitions.filter((partition) => partition.former !== undefined).length;
    keyspace.partitions.forEach((partition, index) => {
      let wanted = desired[index] ?? [];
      if (this.#isStranded(map, partition, wanted)) {
        withoutTheAbsent ??= desiredPlacement(keyspace.name, keyspace.options.partitions, keyspace.options.replicas, active);
        wanted = withoutTheAbsent[index] ?? [];
      }
      for (const name of wanted) if (!partition.copies.includes(name)) moves.push({ keyspace: keyspace.name, partition: index, add: name });
      if (partition.primary === undefined || partition.former !== undefined) return;
      const to = this.#betterPrimary(map, wanted, partition);
      if (to !== undefined) {
        transfers.push({ keyspace: keyspace.name, partition: index, epoch: partition.epoch, to });
        return;
      }
      const filled = wanted.every((name) => partition.inSync.includes(name) || !isLive(map, name));
      if (!filled) return;
      // A copy that is in sync is worth having for as long as one of the wanted ones is not, even if that one is dead.
      const complete = wanted.every((name) => partition.inSync.includes(name));
      for (const name of partition.copies) {
        if (wanted.includes(name) || name === partition.primary || (partition.inSync.includes(name) && !complete)) continue;
        moves.push({ keyspace: keyspace.name, partition: index, remove: name });
      }
    });
    const commands: Command[] = [];
    if (moves.length > 0) commands.push({ type: 'place', moves });
    if (transfers.length > 0 && room > 0) commands.push({ type: 'transfer-primary', transfers: transfers.slice(0, room) });
    return commands;
  }

  /** Whoever has everything is about to go, and those that should have it are not there: nobody waits for them to return. */
  #isStranded(map: ClusterMap, partition: PartitionEntry, wanted: readonly string[]): boolean {
    return partition.inSync.length > 0 && !partition.inSync.some((name) => isActive(map, name)) && !wanted.some((name) => isActive(map, name));
  }

  /** Computed anew only when the nodes change. */
  #desired(keyspace: KeyspaceEntry, nodes: readonly PlacementNode[]): readonly (readonly string[])[] {
    const key = JSON.stringify(nodes.map((node) => [node.name, node.zone]));
    let placement = this.#placements.get(keyspace.name);
    if (placement?.key !== key) {
      placement = { key, desired: desiredPlacement(keyspace.name, keyspace.options.partitions, keyspace.options.replicas, nodes) };
      this.#placements.set(keyspace.name, placement);
    }
    return placement.desired;
  }

  /** Each transfer costs a short pause: it is made for the one that should be primary, or away from one that should hold no copy, never in between. */
  #betterPrimary(map: ClusterMap, wanted: readonly string[], partition: PartitionEntry): string | undefined {
    const able = (name: string): boolean => name !== partition.primary && partition.inSync.includes(name) && isActive(map, name);
    const [first] = wanted;
    if (first !== undefined && able(first)) return first;
    const present = partition.primary as string;
    if (wanted.includes(present) && isActive(map, present)) return undefined;
    const other = wanted.find(able);
    // Where a draining node's primary goes when no wanted copy is in sync yet.
    return other ?? (isActive(map, present) ? undefined : partition.inSync.find(able));
  }
}
