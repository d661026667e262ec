/** The kinds of trouble that a simulated cluster is put through. */
import type { LastNodeRule } from '../node/node-types.ts';
import { extraKinds } from './extra-faults.ts';
import type { ExtraFaultKind } from './extra-faults.ts';
import { allPairs, between, cut, kill, pickName, someNames, someNode, withLinks } from './fault-tools.ts';
import type { Fault } from './fault-tools.ts';

type BasicFaultKind =
  | 'kill' | 'kill-long' | 'crash' | 'pause' | 'isolate' | 'split' | 'one-way' | 'pair' | 'latency' | 'lossy' | 'slow-peer' | 'wall-jump' | 'slow-disk' | 'full-disk'
  | 'leave' | 'drain' | 'transfer' | 'app-order' | 'kill-many' | 'restart-all' | 'rolling' | 'new-disk';

export type FaultKind = BasicFaultKind | ExtraFaultKind;

const basicKinds: Readonly<Record<BasicFaultKind, Fault>> = {
  'kill': async (context) => await kill(context, pickName(context), between(context.random, 5, 300)),
  'kill-long': async (context) => await kill(context, pickName(context), between(context.random, 1000, 9000)),
  'crash': async (context) => {
    const name = pickName(context);
    const ms = between(context.random, 200, 6000);
    context.trace(`FAULT power loss of ${name} for ${ms.toFixed(0)} ms`);
    context.cluster.crash(name);
    await context.sleep(ms);
    context.cluster.restart(name);
  },
  'pause': async (context) => {
    const process = context.cluster.process(pickName(context));
    if (process === undefined || process.paused) return;
    const ms = between(context.random, 100, context.random.chance(0.3) ? 5000 : 1200);
    context.trace(`FAULT pause ${process.name} for ${ms.toFixed(0)} ms`);
    process.pause();
    await context.sleep(ms);
    context.trace(`resume ${process.name}`);
    process.resume();
  },
  'isolate': async (context) => {
    const name = pickName(context);
    await cut(context, `isolate ${name}`, [...allPairs([name], context.cluster.names), ...allPairs(context.cluster.names, [name])], between(context.random, 100, 4000));
  },
  'split': async (context) => {
    const [left, right] = someNames(context);
    await cut(context, 'split', [...allPairs(left, right), ...allPairs(right, left)], between(context.random, 300, 5000));
  },
  'one-way': async (context) => {
    const [left, right] = someNames(context);
    await cut(context, 'one-way cut', allPairs(left, right), between(context.random, 300, 4000));
  },
  'pair': async (context) => {
    const [a, b] = context.random.shuffle([...context.cluster.names]);
    if (a === undefined || b === undefined) return;
    await cut(context, 'cut between two', [[a, b], [b, a]], between(context.random, 300, 5000));
  },
  'latency': async (context) => {
    const [left, right] = someNames(context);
    const ms = between(context.random, 5, 150);
    context.trace(`FAULT ${ms.toFixed(0)} ms of delay from ${left.join()} to ${right.join()}`);
    await withLinks(context, allPairs(left, right), { latencyMinMs: ms / 2, latencyMeanMs: ms, latencyMaxMs: 3 * ms }, between(context.random, 500, 4000));
  },
  'lossy': async (context) => {
    const loss = between(context.random, 0.01, 0.3);
    context.trace(`FAULT loss ${loss.toFixed(2)}, repeats and overtaking everywhere`);
    await withLinks(context, allPairs(context.cluster.names, context.cluster.names), { loss, duplicate: 0.1, reorder: 0.2, reorderMs: 30 }, between(context.random, 500, 4000));
  },
  'slow-peer': async (context) => {
    const name = pickName(context);
    context.trace(`FAULT ${name} is slow`);
    await withLinks(context, [...allPairs([name], context.cluster.names), ...allPairs(context.cluster.names, [name])], { latencyMinMs: 20, latencyMeanMs: 60, latencyMaxMs: 300, bytesPerMs: 50 }, between(context.random, 500, 5000));
  },
  'wall-jump': async (context) => {
    const process = context.cluster.process(pickName(context));
    if (process === undefined) return;
    const ms = between(context.random, -context.wallJumpMs, context.wallJumpMs);
    context.trace(`FAULT the wall clock of ${process.name} jumps by ${ms.toFixed(0)} ms`);
    process.clock.jumpWall(ms);
  },
  'slow-disk': async (context) => {
    const name = pickName(context);
    const { faults } = context.cluster.host(name).disk;
    context.trace(`FAULT the disk of ${name} is slow`);
    faults.delayMinMs = 10;
    faults.delayMaxMs = between(context.random, 20, 400);
    await context.sleep(between(context.random, 500, 4000));
    faults.delayMinMs = 0.2;
    faults.delayMaxMs = 1;
  },
  'full-disk': async (context) => {
    const name = pickName(context);
    const { faults } = context.cluster.host(name).disk;
    context.trace(`FAULT the disk of ${name} is full`);
    faults.full = true;
    await context.sleep(between(context.random, 500, 3000));
    faults.full = false;
    context.trace(`the disk of ${name} has room again`);
    await context.sleep(between(context.random, 0, 500));
    context.cluster.restart(name);
  },
  'leave': async (context) => {
    const running = someNode(context);
    if (running === undefined) return;
    const { name, node, process, parts } = running;
    context.trace(`FAULT ${name} leaves`);
    context.leaving(parts.instance);
    context.order(`leave of ${name}`, node.leave());
    let left = false;
    void node.stopped.then(() => (left = true));
    for (let waited = 0; waited < 20_000 && process.alive && !left; waited += 100) await context.sleep(100);
    await context.sleep(between(context.random, 50, 3000));
    process.kill();
    context.cluster.restart(name);
  },
  'drain': async (context) => {
    const name = pickName(context);
    const by = someNode(context);
    if (by === undefined) return;
    context.trace(`FAULT ${name} is drained`);
    context.order(`drain of ${name}`, by.node.drainNode(name, true));
    await context.sleep(between(context.random, 300, 3000));
    const again = someNode(context);
    if (again !== undefined) context.order(`undrain of ${name}`, again.node.drainNode(name, false));
  },
  'transfer': async (context) => {
    const by = someNode(context);
    if (by === undefined) return;
    context.trace('FAULT the leadership is handed over');
    context.order('transfer', by.node.transferLeadership(context.random.chance(0.5) ? pickName(context) : undefined));
  },
  'app-order': async (context) => {
    const by = someNode(context);
    const app = context.random.pick(context.cluster.options.apps ?? []);
    if (by === undefined || app === undefined) return;
    const name = pickName(context);
    const what = context.random.pick(['stop', 'forbid', 'move', 'move'] as const);
    context.trace(`FAULT order on ${app.name}: ${what ?? ''} ${name}`);
    if (what === 'move') context.order('move', by.node.app(app.name, { type: 'move', to: name }));
    if (what === 'stop') context.order('stop', by.node.app(app.name, { type: 'want', wanted: 'stopped' }));
    if (what === 'forbid') context.order('forbid', by.node.app(app.name, { type: 'permit', node: name, allowed: false }));
    await context.sleep(between(context.random, 100, 3000));
    const again = someNode(context);
    if (again === undefined) return;
    if (what === 'stop') context.order('start', again.node.app(app.name, { type: 'want', wanted: 'started' }));
    if (what === 'forbid') context.order('permit', again.node.app(app.name, { type: 'permit', node: name, allowed: true }));
  },
  'kill-many': async (context) => {
    const [killed] = someNames(context);
    await Promise.all(killed.map(async (name) => await kill(context, name, between(context.random, 10, 3000))));
  },
  'restart-all': async (context) => {
    context.trace('FAULT every process is killed');
    await Promise.all(context.cluster.names.map(async (name) => await kill(context, name, between(context.random, 10, 1000))));
  },
  'rolling': async (context) => {
    context.trace('FAULT rolling restart');
    for (const name of context.cluster.names) {
      if (context.isOver()) return;
      await kill(context, name, between(context.random, 50, 500));
      if (!(await context.whole(8000))) return;
    }
  },
  'new-disk': async (context) => {
    if (!(await context.allVote(10_000))) return;
    const name = pickName(context);
    context.trace(`FAULT ${name} comes back with an empty disk`);
    context.cluster.kill(name);
    context.cluster.host(name).disk.wipe('node');
    await context.sleep(between(context.random, 100, 1500));
    context.cluster.restart(name);
  },
};

export const faultKinds: Readonly<Record<FaultKind, Fault>> = { ...basicKinds, ...extraKinds };

/** After one of these alone, a cluster of three or more nodes has lost nothing and nobody. */
export const mildKinds: readonly FaultKind[] = [
  'kill', 'kill-long', 'crash', 'pause', 'isolate', 'one-way', 'pair', 'latency', 'lossy', 'slow-peer', 'wall-jump', 'slow-disk', 'full-disk', 'leave', 'drain', 'transfer', 'app-order', 'rolling', 'new-disk',
];

/** `new-disk` breaks the promise on which voters rely, so that it must not meet other faults. */
export const wildKinds: readonly FaultKind[] = (Object.keys(basicKinds) as FaultKind[]).filter((kind) => kind !== 'new-disk');

/** These take a voter's memory away for good: only where one fault comes at a time, and enough others vote, is that no loss of the cluster. */
const costlyKinds: readonly FaultKind[] = ['new-disk', 'torn-log'];

/** Whoever is silent long enough for `quorum.lastNode: on-silence` is dead: with any other kind two groups go on, as the documents say. */
const silentAreDeadKinds: readonly FaultKind[] = [
  'kill', 'kill-long', 'crash', 'wall-jump', 'leave', 'drain', 'transfer', 'app-order', 'rolling', 'forget', 'force-leave', 'maintenance', 'zone-down', 'reset', 'reconfigure',
];

/** What a plan promises to hold out. With fewer nodes, or with other faults beside it, some kinds end a cluster whatever it does. */
export function holdsOut({ nodes, severity, lastNode }: { readonly nodes: number; readonly severity: 'mild' | 'wild'; readonly lastNode: LastNodeRule }, kind: FaultKind): boolean {
  if (costlyKinds.includes(kind) && (severity === 'wild' || nodes < 3)) return false;
  return lastNode !== 'on-silence' || silentAreDeadKinds.includes(kind);
}

/** Those beyond the plain workload; a torn log is like a new disk. */
export const mildExtraKinds: readonly FaultKind[] = Object.keys(extraKinds) as FaultKind[];
export const wildExtraKinds: readonly FaultKind[] = mildExtraKinds.filter((kind) => kind !== 'torn-log');
