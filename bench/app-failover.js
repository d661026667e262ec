// kill -9 of the node that runs an app → the app's start is called on the next node; and the gap at the takeover when
// the first returns. Each instance writes the time at which its start was called, and its stop began, to a file.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Agents } from './lib/agents.js';

const options = Object.fromEntries(process.argv.slice(2).map((text) => text.replace(/^--/, '').split('=')));
const kills = Number(options.kills ?? 20);
const directory = mkdtempSync(join(tmpdir(), 'troupe-bench-app-'));
const times = join(directory, 'times');
writeFileSync(times, '');
writeFileSync(join(directory, 'app.mjs'), `
import { appendFileSync } from 'node:fs';
const now = () => performance.timeOrigin + performance.now();
const note = (what, more) => appendFileSync(${JSON.stringify(times)}, JSON.stringify({ what, at: now(), ...more }) + '\\n');
export default { start({ type, from, epoch, node }) {
  note('start', { type, from, epoch, node: node.name });
  return { stop() { note('stop', { epoch, node: node.name }); return { epoch }; } };
} };
`);
const config = join(directory, 'apps.yaml');
writeFileSync(config, `apps:\n  timed: { nodes: [a, [b, c]], module: ${JSON.stringify(pathToFileURL(join(directory, 'app.mjs')).href)} }\n`);

const notes = () => readFileSync(times, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line));
async function until(condition, what) {
  for (let tries = 0; tries < 3000; tries++) {
    const found = condition();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`waited in vain for ${what}: ${JSON.stringify(notes().slice(-4))}`);
}
const median = (list) => [...list].sort((x, y) => x - y)[list.length >> 1];
const report = (what, list) => console.log(`${what}: n=${list.length}, median ${median(list).toFixed(1)} ms, worst ${Math.max(...list).toFixed(1)} ms`);

const agents = await new Agents(['a', 'b', 'c'], ['--config', config]).start();
const gaps = { led: [], other: [] };
const takeovers = [];
try {
  for (let i = 0; i < kills; i++) {
    const running = await until(() => notes().findLast((note) => note.what === 'start' && note.node === 'a'), 'the app on a');
    const { leader } = await agents.healthy(30_000, 'b');
    await until(() => notes().filter((note) => note.what === 'start').at(-1).node === 'a', 'the app on a');
    const at = performance.timeOrigin + performance.now();
    agents.kill('a');
    const next = await until(() => notes().find((note) => note.what === 'start' && note.epoch > running.epoch), 'the fail-over');
    gaps[leader === 'a' ? 'led' : 'other'].push(next.at - at);
    console.log(`kill -9 of a${leader === 'a' ? ' (led)' : ''}: ${next.type} on ${next.node} after ${(next.at - at).toFixed(1)} ms`);
    await agents.restart('a');
    const back = await until(() => notes().find((note) => note.what === 'start' && note.epoch > next.epoch), 'the takeover');
    const stop = notes().find((note) => note.what === 'stop' && note.epoch === next.epoch);
    takeovers.push(back.at - stop.at);
    // Every other time the node that is killed next shall lead.
    if (i % 2 === 0) await fetch(`http://127.0.0.1:${agents.agents.get('b').http}/v1/voters/transfer`, { method: 'POST', body: JSON.stringify({ to: 'a' }), headers: { 'content-type': 'application/json' } }).catch(() => {});
  }
} finally {
  await agents.stop();
  rmSync(directory, { recursive: true, force: true });
}
if (gaps.led.length > 0) report('kill -9 of the leader → next start called', gaps.led);
if (gaps.other.length > 0) report('kill -9 of another node → next start called', gaps.other);
report('takeover: old stop begins → new start called', takeovers);
