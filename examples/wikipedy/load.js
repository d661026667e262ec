#!/usr/bin/env node
/** Loads the entries into the store: `node load.js [HOST:PORT]`, through the memcached port of any node. */
import { readFileSync } from 'node:fs';
import { pairsOf } from './entries.js';
import { setAll } from './memcached.js';

const pairsPerRequest = 200;
const address = process.argv[2] ?? '127.0.0.1:11211';
const entries = JSON.parse(readFileSync(new URL('../demo/on-this-day.json', import.meta.url), 'utf8'));
const pairs = pairsOf(entries);
for (let at = 0; at < pairs.length; at += pairsPerRequest) await setAll(address, pairs.slice(at, at + pairsPerRequest));
console.log(`loaded ${entries.length} entries (${pairs.length} keys) through ${address}`);
