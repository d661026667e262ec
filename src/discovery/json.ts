import { messageOf, TroupeError } from '../base/errors.ts';

/** Objects and lists inside each other, and altogether: more make a parser use a hundred times the memory of their text. */
const depthMax = 100;
const containersMax = 1_000_000;

/** @throws TroupeError DISCOVERY_ANSWER, before more memory is used than the text's size warrants */
export function parseJson(bytes: Uint8Array, what: string): unknown {
  checkShape(bytes, what);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (error) {
    throw new TroupeError('DISCOVERY_ANSWER', `the answer of ${what} is no JSON: ${messageOf(error).slice(0, 200)}`, { what }, error);
  }
}

function checkShape(bytes: Uint8Array, what: string): void {
  let depth = 0;
  let containers = 0;
  let inText = false;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (inText) {
      if (byte === 0x5c) i++;
      else if (byte === 0x22) inText = false;
    } else if (byte === 0x22) inText = true;
    else if (byte === 0x5b || byte === 0x7b) {
      containers++;
      if (++depth > depthMax || containers > containersMax) throw new TroupeError('DISCOVERY_ANSWER', `the answer of ${what} is nested more than ${depthMax} deep, or has more than ${containersMax} objects and lists`, { what });
    } else if (byte === 0x5d || byte === 0x7d) depth--;
  }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value of an own key, if `value` is an object. */
export function member(value: unknown, key: string): unknown {
  return isRecord(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

/** The text at that key; undefined when it is missing or empty. */
export function textAt(value: unknown, key: string): string | undefined {
  const found = member(value, key);
  return typeof found === 'string' && found !== '' ? found : undefined;
}

/** The list at that key; a missing one is empty. @throws TroupeError DISCOVERY_ANSWER when it is something else */
export function listAt(value: unknown, key: string, what: string): readonly unknown[] {
  const found = member(value, key);
  if (found === undefined || found === null) return [];
  if (!Array.isArray(found)) throw new TroupeError('DISCOVERY_ANSWER', `the answer of ${what} has no list at '${key}'`, { what, key });
  return found;
}

/** As `listAt`, but a missing list is no answer either. */
export function neededListAt(value: unknown, key: string, what: string): readonly unknown[] {
  if (!Array.isArray(member(value, key))) throw new TroupeError('DISCOVERY_ANSWER', `the answer of ${what} has no list at '${key}'`, { what, key });
  return listAt(value, key, what);
}
