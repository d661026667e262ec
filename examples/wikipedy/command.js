#!/usr/bin/env node
/**
 * Wikipedy as a plain command: nothing here comes from Troupe, so it could be written in any language.
 *
 * Told by environment variables: TROUPE_APP, TROUPE_NODE, TROUPE_START_TYPE, TROUPE_FROM, TROUPE_EPOCH and TROUPE_HANDOVER,
 * a file with the state that the instance before handed over. Stopped by SIGTERM, whereupon it writes its own state to that file.
 * Reads the store over the memcached protocol at WIKIPEDY_MEMCACHED (default 127.0.0.1:11211).
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { announcement, intervalMsOf, printedBefore, randomEntry } from './entries.js';
import { get } from './memcached.js';

const {
  TROUPE_APP: app = 'wikipedy',
  TROUPE_NODE: name = 'this host',
  TROUPE_START_TYPE: type = 'normal',
  TROUPE_FROM: from,
  TROUPE_EPOCH: epoch = '0',
  TROUPE_HANDOVER: handoverFile,
  WIKIPEDY_MEMCACHED: memcached = '127.0.0.1:11211',
  WIKIPEDY_INTERVAL_MS: configuredIntervalMs,
} = process.env;

const stopping = new AbortController();
process.on('SIGTERM', () => stopping.abort());
process.on('SIGINT', () => stopping.abort());

const intervalMs = intervalMsOf(configuredIntervalMs);
let printed = printedBefore(readHandover());
console.log(announcement({ type, from, name }));
console.error(`${app} starts: type ${type}, epoch ${epoch}, ${printed} printed before`);

while (!stopping.signal.aborted) {
  try {
    const entry = await randomEntry((key) => get(memcached, key));
    if (stopping.signal.aborted) break;
    if (entry === undefined) console.error('the store holds no entry for the chosen day: load them with load.js');
    else console.log(`[${(printed += 1)}] ${entry}`);
  } catch (error) {
    console.error(`an entry could not be read; the next one is tried in ${intervalMs} ms: ${error.message}`);
  }
  await pause(intervalMs, undefined, { signal: stopping.signal }).catch(() => {});
}
writeHandover({ printed });

/** No file, an empty one or a torn one all mean: nothing was handed over. */
function readHandover() {
  if (!handoverFile) return undefined;
  try {
    return JSON.parse(readFileSync(handoverFile, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Renamed into place, so that a SIGKILL half-way never leaves half a state. */
function writeHandover(state) {
  if (!handoverFile) return;
  writeFileSync(`${handoverFile}.new`, JSON.stringify(state));
  renameSync(`${handoverFile}.new`, handoverFile);
}
