/** Faults that come with the extended workload: what operators do to dead nodes, whole zones, disks that stall or are damaged. */
import { between, kill, pickName, someNames, someNode } from './fault-tools.ts';
import type { Fault, FaultContext } from './fault-tools.ts';

export type ExtraFaultKind = 'forget' | 'force-leave' | 'maintenance' | 'zone-down' | 'stuck-disk' | 'torn-log' | 'reset' | 'reconfigure' | 'sleep';

const appsMax = 5;

/**
 * The process is gone and the cluster knows it; false when it does not within a few seconds, or when another fault has had the
 * node start again meanwhile: that one is not dead but silent, and what it holds is nobody's to give up.
 */
async function heldDead(context: FaultContext, name: string): Promise<boolean> {
  for (let waited = 0; waited < 5000; waited += 100) {
    await context.sleep(100);
    const held = someNode(context)?.node.map.nodes[name];
    if (held?.live === false) return !context.nodes().some((running) => running.parts.instance === held.instance);
  }
  return false;
}

export const extraKinds: Readonly<Record<ExtraFaultKind, Fault>> = {
  'forget': async (context) => {
    const name = pickName(context);
    context.trace(`FAULT ${name} dies, and the operator has it forgotten`);
    context.cluster.kill(name);
    if (await heldDead(context, name)) {
      const by = someNode(context);
      if (by !== undefined) context.order(`forget ${name}`, by.node.forgetNode(name));
      await context.sleep(between(context.random, 50, 4000));
    }
    context.cluster.restart(name);
  },
  'force-leave': async (context) => {
    const name = pickName(context);
    context.trace(`FAULT ${name} dies, and the operator forces it to leave the pool`);
    context.cluster.kill(name);
    await context.sleep(between(context.random, 100, 4000));
    const prune = context.random.chance(0.5);
    someNode(context)?.node.gossip.forceLeave(name, prune);
    await context.sleep(between(context.random, 50, 3000));
    context.cluster.restart(name);
  },
  'maintenance': async (context) => {
    const on = someNode(context);
    if (on === undefined) return;
    context.trace('FAULT maintenance begins');
    context.order('maintenance', on.node.maintenance(true));
    await context.sleep(between(context.random, 100, 1000));
    await kill(context, pickName(context), between(context.random, 200, 4000));
    await context.sleep(between(context.random, 100, 1000));
    const off = someNode(context);
    if (off !== undefined) context.order('end of maintenance', off.node.maintenance(false));
  },
  'zone-down': async (context) => {
    const zone = context.random.pick([...new Set(context.cluster.names.map((name) => context.cluster.zoneOf(name)))]);
    const names = context.cluster.names.filter((name) => context.cluster.zoneOf(name) === zone);
    // Without zones, or with all nodes in one, this is the end of the cluster and not of a zone.
    if (zone === undefined || zone === '' || names.length === context.cluster.names.length) return;
    const ms = between(context.random, 200, 5000);
    context.trace(`FAULT ${zone} loses its power for ${ms.toFixed(0)} ms: ${names.join()}`);
    for (const name of names) context.cluster.crash(name);
    await context.sleep(ms);
    for (const name of names) context.cluster.restart(name);
  },
  'stuck-disk': async (context) => {
    const name = pickName(context);
    const { faults } = context.cluster.host(name).disk;
    context.trace(`FAULT each write to the disk of ${name} takes a second`);
    faults.delayMinMs = 800;
    faults.delayMaxMs = 1300;
    await context.sleep(between(context.random, 1000, 8000));
    faults.delayMinMs = 0.2;
    faults.delayMaxMs = 1;
  },
  'torn-log': async (context) => {
    if (!(await context.allVote(10_000))) return;
    const name = pickName(context);
    context.trace(`FAULT power loss of ${name}; its consensus log is damaged`);
    context.cluster.crash(name);
    const damaged = context.cluster.host(name).disk.damage('node', 'raft');
    await context.sleep(between(context.random, 100, 1500));
    context.cluster.restart(name);
    if (!damaged) return;
    // It refuses to run on what it cannot trust; then the operator gives it an empty disk.
    await context.sleep(between(context.random, 100, 2500));
    if (context.cluster.node(name) !== undefined) throw new Error(`${name} runs on a damaged consensus log`);
    context.cluster.kill(name);
    context.trace(`the operator empties the disk of ${name}`);
    context.cluster.host(name).disk.wipe('node');
    context.cluster.restart(name);
  },
  'reset': async (context) => {
    const [left, right] = someNames(context);
    for (let more = 1 + context.random.below(6); more > 0; more--) {
      const oneSide = context.random.chance(0.3);
      context.trace(`FAULT connections between ${left.join()} and ${right.join()} are reset${oneSide ? ', of which the latter hear nothing' : ''}`);
      context.world.network.reset(left, right, oneSide);
      await context.sleep(between(context.random, 0.5, 200));
    }
  },
  'reconfigure': async (context) => {
    const { cluster, random } = context;
    cluster.apps = cluster.apps.map((app) => (random.chance(0.5) ? { ...app, nodes: random.shuffle([...cluster.names]).slice(0, 1 + random.below(cluster.names.length)) } : app));
    if (cluster.apps.length < appsMax && random.chance(0.5)) cluster.apps = [...cluster.apps, { name: `late${cluster.apps.length}`, nodes: random.shuffle([...cluster.names]), module: `sim:late${cluster.apps.length}`, stopTimeoutMs: 2000, startTimeoutMs: 5000 }];
    context.trace(`FAULT other lists of apps, one node after the other: ${JSON.stringify(cluster.apps.map(({ name, nodes }) => [name, nodes]))}`);
    for (const name of random.shuffle([...cluster.names])) {
      if (context.isOver()) return;
      await kill(context, name, between(random, 50, 500));
      if (!(await context.whole(8000))) return;
    }
  },
  'sleep': async (context) => {
    const process = context.cluster.process(pickName(context));
    if (process === undefined || process.paused) return;
    const ms = between(context.random, 100, context.random.chance(0.3) ? 6000 : 1500);
    context.trace(`FAULT the machine of ${process.name} sleeps for ${ms.toFixed(0)} ms, and its clock with it`);
    const begun = context.world.scheduler.now;
    process.pause();
    await context.sleep(ms);
    if (!process.paused) return;
    process.clock.wake(context.world.scheduler.now - begun);
    context.trace(`the machine of ${process.name} wakes`);
    process.resume();
  },
};
