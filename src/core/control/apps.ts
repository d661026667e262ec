import { isActive } from './map.ts';
import type { AppEntry, ClusterMap, Evidence, StartType } from './map.ts';
import type { AppAction } from './commands.ts';

/** Tier of the node in the app's priority list: 0 is the highest; undefined when it is not listed. */
export function tierOf(app: AppEntry, node: string): number | undefined {
  const tier = app.spec.tiers.findIndex((names) => names.includes(node));
  return tier < 0 ? undefined : tier;
}

function canRun(map: ClusterMap, app: AppEntry, node: string): boolean {
  return isActive(map, node) && !app.forbidden.includes(node) && map.nodes[node]?.offers[app.name] !== undefined && tierOf(app, node) !== undefined;
}

function appsRunBy(map: ClusterMap, node: string): number {
  return Object.values(map.apps).filter((app) => app.node === node && (app.phase === 'running' || app.phase === 'starting')).length;
}

/**
 * The node that should run the app: the highest tier with an able node; within it the one that runs the fewest apps,
 * ties by name. Nodes on which it failed are left out.
 */
export function chooseNode(map: ClusterMap, app: AppEntry, except?: string): string | undefined {
  for (const tier of app.spec.tiers) {
    const able = tier.filter((node) => node !== except && canRun(map, app, node) && !app.failedOn.includes(node));
    const best = able.toSorted((a, b) => appsRunBy(map, a) - appsRunBy(map, b) || (a < b ? -1 : 1))[0];
    if (best !== undefined) return best;
  }
  return undefined;
}

/** A node of a strictly higher tier than the runner's that is able to run it. */
export function higherCandidate(map: ClusterMap, app: AppEntry): string | undefined {
  if (app.node === undefined) return undefined;
  const candidate = chooseNode(map, app);
  if (candidate === undefined) return undefined;
  const running = tierOf(app, app.node) ?? Number.POSITIVE_INFINITY;
  return (tierOf(app, candidate) ?? Number.POSITIVE_INFINITY) < running ? candidate : undefined;
}

/** The nodes of strictly higher tiers than the runner's that could run the app, had it not failed there; in the order of its list. */
export function higherFailed(map: ClusterMap, app: AppEntry): string[] {
  const running = app.node === undefined ? 0 : tierOf(app, app.node) ?? Number.POSITIVE_INFINITY;
  return app.spec.tiers.flatMap((tier, index) => (index < running ? tier : [])).filter((node) => app.failedOn.includes(node) && canRun(map, app, node));
}

function startOn(map: ClusterMap, app: AppEntry, node: string, type: StartType, from: string | undefined): void {
  app.phase = 'starting';
  app.node = node;
  app.session = map.nodes[node]?.session ?? 0;
  app.epoch += 1;
  app.type = type;
  app.from = from;
  app.next = undefined;
  app.stays = false;
}

function forgetHandover(app: AppEntry): void {
  app.handoverEpoch = undefined;
  app.handoverFrom = undefined;
}

function rest(app: AppEntry, phase: 'idle' | 'waiting'): void {
  app.phase = phase;
  app.node = undefined;
  app.session = 0;
  app.next = undefined;
}

/** Moves on to the best remaining node, or rests. */
function startElsewhere(map: ClusterMap, app: AppEntry, type: StartType, from: string | undefined): void {
  const node = app.wanted === 'started' ? chooseNode(map, app) : undefined;
  if (node === undefined) rest(app, 'idle');
  else startOn(map, app, node, type, from);
}

/** Apps whose node lost its session fail over, at once or after their time-out. The nodes are already marked as not live. */
export function loseRunners(map: ClusterMap, gone: ReadonlyMap<string, Evidence>): void {
  for (const app of Object.values(map.apps)) {
    app.failedOn = app.failedOn.filter((node) => !gone.has(node));
    if (app.next !== undefined && gone.has(app.next)) app.next = undefined;
    if (app.handoverFrom !== undefined && gone.has(app.handoverFrom)) forgetHandover(app);
    if (app.node === undefined || !gone.has(app.node)) continue;
    const from = app.node;
    app.from = from;
    // It ran well until now: where it failed long ago is better than nowhere.
    if (chooseNode(map, app) === undefined) app.failedOn = [];
    const next = app.phase === 'stopping' ? app.next : undefined;
    if (app.wanted === 'stopped') rest(app, 'idle');
    else if (next !== undefined && canRun(map, app, next)) startOn(map, app, next, 'failover', from);
    else if (app.spec.failoverTimeoutMs > 0) rest(app, 'waiting');
    else startElsewhere(map, app, 'failover', from);
  }
}

/** The node may run things again after it came back: earlier failures there no longer count. */
export function welcomeRunner(map: ClusterMap, node: string): void {
  for (const app of Object.values(map.apps)) {
    app.failedOn = app.failedOn.filter((name) => name !== node);
    releaseFor(app, node);
  }
}

/** A node of a higher tier came up, or may run the app from now on: it may take over what an operator had moved away. */
function releaseFor(app: AppEntry, node: string): void {
  if (!app.stays || app.node === undefined) return;
  if ((tierOf(app, node) ?? Number.POSITIVE_INFINITY) < (tierOf(app, app.node) ?? Number.POSITIVE_INFINITY)) app.stays = false;
}

/** True when the action still fitted and the app changed. */
export function actOnApp(map: ClusterMap, app: AppEntry, action: AppAction): boolean {
  switch (action.type) {
    case 'start': return start(map, app, action.startType);
    case 'started':
      if (app.phase !== 'starting' || app.epoch !== action.epoch) return false;
      app.phase = 'running';
      // Other nodes on which it failed stay marked: else the next takeover would be tried there at once, for ever.
      app.failedOn = app.failedOn.filter((name) => name !== app.node);
      app.lastError = undefined;
      forgetHandover(app);
      return true;
    case 'failed': return fail(map, app, action.epoch, action.error);
    case 'stopped': return stopped(map, app, action.epoch, action.hasState);
    case 'take-over':
      if (app.phase !== 'running' || app.epoch !== action.epoch || app.node === action.to || !canRun(map, app, action.to)) return false;
      app.phase = 'stopping';
      app.next = action.to;
      app.stays = action.byHand === true;
      return true;
    case 'want': return want(map, app, action.wanted);
    case 'permit': return permit(map, app, action.node, action.allowed);
    case 'retry':
      if (app.phase !== 'idle' || app.epoch !== action.epoch || app.wanted !== 'started') return false;
      app.failedOn = [];
      startElsewhere(map, app, app.from === undefined ? 'normal' : 'failover', app.from);
      return app.phase !== 'idle';
  }
}

function start(map: ClusterMap, app: AppEntry, type: 'normal' | 'failover'): boolean {
  if (app.wanted !== 'started' || (app.phase !== 'idle' && app.phase !== 'waiting')) return false;
  const returned = app.phase === 'waiting' ? app.from : undefined;
  const node = returned !== undefined && canRun(map, app, returned) ? returned : chooseNode(map, app);
  if (node === undefined) return false;
  // Back within the fail-over time-out: it starts there as if nothing had been (OTP's rule).
  const normal = type === 'normal' || node === app.from;
  startOn(map, app, node, normal ? 'normal' : 'failover', normal ? undefined : app.from);
  return true;
}

function fail(map: ClusterMap, app: AppEntry, epoch: number, error: string): boolean {
  if (app.epoch !== epoch || app.node === undefined || (app.phase !== 'starting' && app.phase !== 'running')) return false;
  const failed = app.node;
  app.lastError = `${failed}: ${error}`;
  if (!app.failedOn.includes(failed)) app.failedOn.push(failed);
  // A failed takeover brings the old one back before anybody else is tried.
  const old = app.phase === 'starting' && app.type === 'takeover' ? app.from : undefined;
  if (app.wanted === 'started' && old !== undefined && canRun(map, app, old) && !app.failedOn.includes(old)) startOn(map, app, old, 'failover', failed);
  else {
    startElsewhere(map, app, 'failover', failed);
    app.from = failed;
  }
  return true;
}

function stopped(map: ClusterMap, app: AppEntry, epoch: number, hasState: boolean): boolean {
  if (app.phase !== 'stopping' || app.epoch !== epoch) return false;
  const from = app.node;
  const { stays } = app;
  app.handoverEpoch = hasState ? epoch : undefined;
  app.handoverFrom = hasState ? from : undefined;
  const next = app.next;
  if (app.wanted === 'stopped') rest(app, 'idle');
  else if (next !== undefined && canRun(map, app, next)) {
    startOn(map, app, next, 'takeover', from);
    app.stays = stays;
  } else startElsewhere(map, app, 'takeover', from);
  return true;
}

function want(map: ClusterMap, app: AppEntry, wanted: 'started' | 'stopped'): boolean {
  // Asked for twice, by two nodes say: both get the same answer.
  if (app.wanted === wanted) return true;
  app.wanted = wanted;
  if (wanted === 'stopped') {
    app.next = undefined;
    if (app.phase === 'running' || app.phase === 'starting') app.phase = 'stopping';
    else if (app.phase === 'waiting') rest(app, 'idle');
    return true;
  }
  app.failedOn = [];
  app.from = undefined;
  forgetHandover(app);
  if (app.phase === 'idle') startElsewhere(map, app, 'normal', undefined);
  return true;
}

function permit(map: ClusterMap, app: AppEntry, node: string, allowed: boolean): boolean {
  app.forbidden = app.forbidden.filter((name) => name !== node);
  if (!allowed) app.forbidden.push(node);
  else {
    app.failedOn = app.failedOn.filter((name) => name !== node);
    releaseFor(app, node);
  }
  if (!allowed && app.node === node && (app.phase === 'running' || app.phase === 'starting')) {
    app.phase = 'stopping';
    app.next = chooseNode(map, app, node);
  }
  return true;
}

const unknownAppsMax = 1000;

/** Permissions may be set before the app is known. False when too many names wait. */
export function permitUnknown(map: ClusterMap, app: string, node: string, allowed: boolean): boolean {
  const others = (map.forbidden[app] ?? []).filter((name) => name !== node);
  if (!allowed) {
    if (map.forbidden[app] === undefined && Object.keys(map.forbidden).length >= unknownAppsMax) return false;
    others.push(node);
  }
  if (others.length === 0) delete map.forbidden[app];
  else map.forbidden[app] = others;
  return true;
}

/** Why the app cannot be taken over to the node now; undefined if it can. */
export function whyNotTakenOver(map: ClusterMap, app: AppEntry, to: string): { code: string; message: string } | undefined {
  const what = `cannot move the app '${app.name}' to '${to}'`;
  if (app.phase === 'idle' || app.phase === 'waiting') return { code: 'APP_NOT_RUNNING', message: `${what}: it runs nowhere (it is ${app.phase}); start it` };
  if (app.node === to && app.phase === 'running') return { code: 'APP_RUNS_THERE', message: `${what}: it runs there already` };
  if (tierOf(app, to) === undefined) return { code: 'APP_NOT_LISTED', message: `${what}: the node is not on its list` };
  if (app.forbidden.includes(to)) return { code: 'APP_FORBIDDEN', message: `${what}: the node may not run it; permit it first` };
  if (!isActive(map, to)) return { code: 'NODE_NOT_ACTIVE', message: `${what}: the node is not live, or on its way out` };
  if (map.nodes[to]?.offers[app.name] === undefined) return { code: 'APP_NOT_OFFERED', message: `${what}: the node's configuration does not have it` };
  return undefined;
}
