// Simulated pools of 10, 100 and 1,000 nodes over the very machines that run in production, and the CPU of a real pool of
// 50 on loopback. Options: --nodes=10,100,1000 --loss=0,0.01,0.05 --slow=0,0.05 --profile=lan --seconds=120 --kills=5
// --seed=1 --real=50 (0: none). Prints one table for each size; docs/scale.md says how to read them.
import { Prng } from '../dist/base/prng.js';
import { GossipWorld } from '../dist/sim/gossip-world.js';
import { retransmitLimit, suspicionTimeoutMs, swimTimings } from '../dist/core/swim/timing.js';
import { realPool } from './lib/real-pool.js';

const options = { nodes: '10,100,1000', loss: '0,0.01,0.05', slow: '0,0.05', profile: 'lan', seconds: '120', kills: '5', seed: '1', real: '50', ...Object.fromEntries(process.argv.slice(2).map((text) => text.replace(/^--/, '').split('='))) };
const numbers = (text) => text.split(',').filter((part) => part !== '').map(Number);
const timing = swimTimings[options.profile];
const seconds = Number(options.seconds);
const ms = (value) => (value === undefined || Number.isNaN(value) ? '-' : (value / 1000).toFixed(1));
const median = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];

/** What memberlist's own formulas promise, loss or no loss: to read the measured beside. */
function formulas(n) {
  // A given node is first probed by somebody after e/(e-1) intervals on average (SWIM, section 3.1); the probe ends an interval
  // later with a suspicion, which lasts suspicionMult * max(1, log10 n) intervals once k others confirm.
  const suspicion = suspicionTimeoutMs(timing.suspicionMult, n, timing.probeIntervalMs);
  const detect = (Math.E / (Math.E - 1)) * timing.probeIntervalMs + timing.probeIntervalMs + suspicion;
  // RetransmitMult * ceil(log10(n + 1)) rounds of gossip: the longest that any message is passed on by one who has it.
  const spread = timing.retransmitMult * Math.ceil(Math.log10(n + 1)) * timing.gossipIntervalMs;
  return { detect, spread, transmits: timing.retransmitMult * Math.ceil(Math.log10(n + 1)) };
}

/** Quick nodes to die: one of each stretch of the table, at random within it, in random order; then one more. By who comes first or last nobody may be found sooner. */
function victimsOf(world, count, random) {
  const left = world.nodes.filter((node) => !node.slow);
  const victims = [];
  for (let i = 0; i < count; i++) {
    const [from, to] = [i, i + 1].map((part) => (part * world.nodes.length) / count);
    const victim = random.pick(left.filter(({ index }) => index >= from && index < to));
    if (victim === undefined) continue;
    victims.splice(random.below(victims.length + 1), 0, victim);
    left.splice(left.indexOf(victim), 1);
  }
  return { victims, gone: random.pick(left) };
}

function measure(n, loss, slow) {
  const began = process.cpuUsage();
  const world = new GossipWorld({ seed: Number(options.seed) + n, nodes: n, loss, slow, profile: options.profile });
  const dead = new Set();
  const noted = new Map();
  const falsely = { healthy: 0, slow: 0 };
  world.onEvent = (node, event) => {
    if (event.type !== 'member-failed') return;
    const { name } = event.member;
    if (dead.has(name)) {
      noted.get(name).first ??= world.now;
      return;
    }
    // Who lacks processor time is rightly suspected, and wrongly suspects others: only the quick ones' word about quick ones is a fault.
    if (node.slow || world.nodes[Number(name.slice(1))].slow) falsely.slow++;
    else falsely.healthy++;
  };
  world.introduceAll();
  world.runFor(5000);
  const sum = (key) => world.nodes.reduce((total, node) => total + node[key], 0);
  const before = { packets: sum('packets'), bytes: sum('bytes'), streams: sum('streams'), streamBytes: sum('streamBytes') };
  const cpu = process.cpuUsage();
  world.runFor(seconds * 1000);
  const cpuUsed = process.cpuUsage(cpu);
  const rate = (key) => (sum(key) - before[key]) / n / seconds;
  const result = { packets: rate('packets'), bytes: rate('bytes'), streamBytes: rate('streamBytes'), falsely: { ...falsely }, cpu: (cpuUsed.user + cpuUsed.system) / 1000 / n / seconds };
  // Deaths of whole hosts: nothing refuses, so that suspicion alone must find them.
  const first = [];
  const all = [];
  const witnesses = world.nodes.filter((node) => !node.slow);
  const { victims, gone } = victimsOf(world, Math.min(Number(options.kills), n >> 1), new Prng(Number(options.seed) + n));
  for (const victim of victims) {
    const at = world.now;
    dead.add(victim.name);
    noted.set(victim.name, {});
    victim.state = 'silent';
    const known = world.runUntil(() => witnesses.every((node) => node.state !== 'up' || node.serf.member(victim.name)?.status === 'failed'), 180_000, 20);
    first.push(noted.get(victim.name).first - at);
    all.push(known ? world.now - at : Number.NaN);
    world.runFor(2000);
  }
  // And of a process whose kernel refuses: known without suspicion.
  dead.add(gone.name);
  noted.set(gone.name, {});
  gone.state = 'gone';
  const goneAt = world.now;
  const goneKnown = world.runUntil(() => witnesses.every((node) => node.state !== 'up' || node.serf.member(gone.name)?.status === 'failed'), 180_000, 20);
  const used = process.cpuUsage(began);
  return { ...result, first, all, gone: goneKnown ? world.now - goneAt : Number.NaN, total: (used.user + used.system) / 1e6 };
}

for (const n of numbers(options.nodes)) {
  const formula = formulas(n);
  console.log(`\n${n} nodes, profile ${options.profile}, ${seconds} s of virtual time. memberlist's formulas: detected after ${ms(formula.detect)} s on average, told within ${ms(formula.spread)} s more (${formula.transmits} transmissions; here ${retransmitLimit(timing.retransmitMult, n)}); 2 packets/s per node.`);
  console.log('| loss | slow nodes | packets/s/node | B/s/node UDP + TCP | failed: first knows (s), median, max | all know (s), median, max | process gone: all know (s) | false failures, healthy / with slow | CPU per node, ms per s | run took, CPU s |');
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const slow of numbers(options.slow)) {
    for (const loss of numbers(options.loss)) {
      if (slow > 0 && loss > 0) continue; // one fault at a time: what it does is then plain
      const r = measure(n, loss, slow);
      console.log(`| ${loss * 100} % | ${slow * 100} % | ${r.packets.toFixed(2)} | ${r.bytes.toFixed(0)} + ${r.streamBytes.toFixed(0)} | ${ms(median(r.first))}, ${ms(Math.max(...r.first))} | ${ms(median(r.all))}, ${ms(Math.max(...r.all))} | ${ms(r.gone)} | ${r.falsely.healthy} / ${r.falsely.slow} | ${r.cpu.toFixed(3)} | ${r.total.toFixed(0)} |`);
    }
  }
}
if (Number(options.real) > 0) await realPool(Number(options.real));
