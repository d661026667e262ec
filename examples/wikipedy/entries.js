/**
 * How the "on this day" entries lie in the store, and how one is printed.
 *
 * | key                         | value                                            |
 * | --------------------------- | ------------------------------------------------ |
 * | `on-this-day:count:MM-DD`   | how many entries that day has, in decimal: `3`   |
 * | `on-this-day:MM-DD:i`       | entry i of that day (0 is the oldest), as a line: `1969: Apollo 11 lands …` |
 *
 * Values are plain UTF-8 text, so that any memcached client can write and read them.
 */

const monthNames = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December'];
const monthLengths = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** All 366 days of the year, `01-01` to `12-31`. */
export const days = monthLengths.flatMap((length, month) => Array.from({ length }, (_, day) => `${twoDigits(month + 1)}-${twoDigits(day + 1)}`));

/** @param {string} day `MM-DD` */
export const countKey = (day) => `on-this-day:count:${day}`;

/** @param {string} day `MM-DD` @param {number} index from 0 to count - 1 */
export const entryKey = (day, index) => `on-this-day:${day}:${index}`;

/**
 * Turns the demo's list into what is written to the store: [key, value] pairs. A day's count comes after its entries,
 * so that a reader who sees the count finds every entry it speaks of.
 * @param {Iterable<{ day: string, year: number, text: string }>} entries
 * @returns {[key: string, value: string][]}
 */
export function pairsOf(entries) {
  const counts = new Map();
  const pairs = [];
  for (const { day, year, text } of entries) {
    const index = counts.get(day) ?? 0;
    counts.set(day, index + 1);
    pairs.push([entryKey(day, index), `${year < 0 ? `${-year} BC` : year}: ${text}`]);
  }
  for (const [day, count] of counts) pairs.push([countKey(day), String(count)]);
  return pairs;
}

/**
 * Picks one entry of a random day and gives the line to print, or undefined if the store has none for that day.
 * @param {(key: string) => Promise<string | undefined>} get
 * @returns {Promise<string | undefined>} for instance `20 July 1969: Apollo 11 lands …`
 */
export async function randomEntry(get) {
  const day = days[randomBelow(days.length)];
  const count = Number((await get(countKey(day))) ?? 0);
  if (!(count > 0)) return undefined;
  const entry = await get(entryKey(day, randomBelow(count)));
  if (entry === undefined) return undefined;
  const [month, date] = day.split('-').map(Number);
  return `${date} ${monthNames[month - 1]} ${entry}`;
}

/** What an instance says when it starts. @param {{ type: string, from?: string | undefined, name: string }} start */
export function announcement({ type, from, name }) {
  if (type === 'takeover') return `${name} is taking over ${from}`;
  if (type === 'failover') return `${from} is failing over to ${name}`;
  return `started on ${name}`;
}

/** The counter to go on from: what the instance before handed over, or 0. @param {unknown} handover */
export function printedBefore(handover) {
  const printed = handover?.printed;
  return Number.isSafeInteger(printed) && printed > 0 ? printed : 0;
}

/** Milliseconds between two entries. @param {unknown} value as configured; undefined means 1500 */
export function intervalMsOf(value) {
  const intervalMs = Number(value ?? 1500);
  if (!(intervalMs >= 1 && intervalMs <= 86_400_000)) {
    throw new RangeError(`WIKIPEDY_INTERVAL_MS must be a number from 1 to 86400000; it is ${JSON.stringify(value)}`);
  }
  return intervalMs;
}

function twoDigits(number) {
  return String(number).padStart(2, '0');
}

function randomBelow(limit) {
  return Math.floor(Math.random() * limit);
}
