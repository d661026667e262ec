/** What a healed cluster must come to. Each function names what is not yet so; undefined when all is well. */
import { encodeMap } from '../core/control/apply.ts';
import { nameOfRaftId } from '../node/consensus.ts';
import type { LastNodeRule } from '../node/node-types.ts';
import type { RunningNode } from './checkers/checker.ts';
import type { OnePlace } from './checkers/one-place.ts';
import type { NodeRole } from './sim-cluster.ts';

/** @param count how many nodes there are to be */
export function unsettled(count: number, nodes: readonly RunningNode[], apps: OnePlace, lastNode: LastNodeRule = 'never', zoneOf: (node: string) => string = () => '', roleOf: (node: string) => NodeRole = () => ({ voter: true, storage: true })): string | undefined {
  if (nodes.length < count) return `only ${nodes.length} of ${count} nodes have come up: ${nodes.map(({ name }) => name).join()}`;
  return nodesUnsettled(nodes, lastNode, roleOf) ?? mapsUnsettled(nodes) ?? partitionsUnsettled(nodes, zoneOf, roleOf) ?? appsUnsettled(nodes[0] as RunningNode, apps);
}

function nodesUnsettled(nodes: readonly RunningNode[], lastNode: LastNodeRule, roleOf: (node: string) => NodeRole): string | undefined {
  for (const { name, process, parts } of nodes) {
    if (parts.closed) return `${name} has stopped`;
    if (!parts.session.hasRights(process.clock.now())) return `${name} has no live session`;
  }
  const leaders = nodes.filter(({ parts }) => parts.consensus.leading);
  if (leaders.length !== 1) return `${leaders.length} nodes lead (${leaders.map(({ name }) => name).join()})`;
  const voters = leaders[0]?.parts.consensus.raft.configuration.voters ?? [];
  // An even number survives no more deaths than the odd one below it; only the last-node rule makes two better than one.
  const eligible = nodes.filter(({ name }) => roleOf(name).voter).length;
  const wanted = eligible % 2 === 1 || (lastNode !== 'never' && eligible === 2) ? eligible : eligible - 1;
  if (voters.length !== wanted) return `there are ${voters.length} voters (${voters.map(nameOfRaftId).join()}), not ${wanted}`;
  return undefined;
}

function mapsUnsettled(nodes: readonly RunningNode[]): string | undefined {
  const [first] = nodes;
  if (first === undefined) return 'there is no node';
  const content = encodeMap(first.node.map);
  for (const { name, node } of nodes) {
    if (node.map.version !== first.node.map.version) return `${name} has map version ${node.map.version}, ${first.name} has ${first.node.map.version}`;
    const other = encodeMap(node.map);
    if (other.length !== content.length || other.some((byte, index) => byte !== content[index])) return `${name} and ${first.name} have different maps of version ${node.map.version}`;
  }
  return undefined;
}

function partitionsUnsettled(nodes: readonly RunningNode[], zoneOf: (node: string) => string, roleOf: (node: string) => NodeRole): string | undefined {
  const { node } = nodes[0] as RunningNode;
  const stores = nodes.filter(({ name }) => roleOf(name).storage);
  const zoneCount = new Set(stores.map(({ name }) => zoneOf(name))).size;
  const status = node.status();
  const { total, lost, withoutPrimary, underReplicated } = status.partitions;
  if (total === 0) return 'there is no keyspace yet';
  if (lost + withoutPrimary + underReplicated > 0) {
    const named = node.partitions().filter((view) => view.primary === undefined || view.inSync.length < view.copies.length).slice(0, 3)
      .map((view) => `${view.keyspace}/${view.partition}: primary ${view.primary ?? 'none'}, in sync ${view.inSync.join() || 'nobody'} of ${view.copies.join()}`);
    return `of ${total} partitions ${lost} are lost, ${withoutPrimary} have no primary, ${underReplicated} too few copies in sync (${named.join('; ')})`;
  }
  for (const view of node.partitions()) {
    const replicas = node.map.keyspaces[view.keyspace]?.options.replicas ?? 0;
    const wanted = Math.min(replicas, stores.length);
    if (view.copies.some((name) => !roleOf(name).storage)) return `partition ${view.partition} has a copy where none may be (${view.copies.join()})`;
    const zones = new Set(view.copies.map(zoneOf));
    if (zones.size < Math.min(wanted, zoneCount)) return `the ${view.copies.length} copies of partition ${view.partition} of '${view.keyspace}' lie in ${zones.size} of ${zoneCount} zones (${view.copies.join()})`;
    if (view.copies.length !== wanted) return `partition ${view.partition} has ${view.copies.length} copies (${view.copies.join()}), not ${wanted}`;
  }
  return undefined;
}

function appsUnsettled({ node }: RunningNode, apps: OnePlace): string | undefined {
  const { map } = node;
  for (const app of Object.values(map.apps)) {
    if (app.wanted !== 'started') return `app ${app.name} is not wanted`;
    if (app.phase !== 'running' || app.node === undefined) return `app ${app.name} is ${app.phase} on ${app.node ?? 'no node'}; last error: ${app.lastError ?? 'none'}`;
    const running = apps.activeOn(app.name);
    if (running.length !== 1 || running[0] !== app.node) return `app ${app.name} should run on ${app.node}, it runs on ${running.join() || 'no node'}`;
    // Where it failed it is not taken back to by itself, and where that is all its list, it stays where it is; a move by hand holds; not every node's configuration need have it yet.
    const best = app.spec.tiers.map((tier) => tier.filter((name) => !app.failedOn.includes(name) && map.nodes[name]?.offers[app.name] !== undefined)).find((tier) => tier.length > 0) ?? [];
    if (best.length > 0 && app.spec.takeover === 'automatic' && !app.stays && !best.includes(app.node)) return `app ${app.name} runs on ${app.node}, not on the best of its list (${best.join()})`;
  }
  return undefined;
}
