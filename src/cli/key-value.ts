import { UsageError } from './usage-error.ts';

/** Collects an option that may be repeated. */
export function collect(text: string, before: readonly string[] | undefined): string[] {
  return [...(before ?? []), text];
}

/** `KEY=VALUE` words as a map. @throws UsageError */
export function keyValues(flag: string, words: readonly string[] | undefined): Map<string, string> {
  return new Map((words ?? []).map((word) => {
    const equals = word.indexOf('=');
    if (equals < 1) throw new UsageError(`${flag}: '${word}' is no pair: write ${flag} KEY=VALUE`);
    return [word.slice(0, equals), word.slice(equals + 1)];
  }));
}

const unitMs: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, 'µs': 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Reads Go's form of a duration: `15s`, `1m30s`, `500ms`. Returns milliseconds. @throws UsageError */
export function duration(flag: string, text: string): number {
  if (!/^(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text)) throw new UsageError(`${flag}: '${text}' is no duration: write for example 500ms, 15s or 1m30s`);
  let sum = 0;
  for (const [, number, , unit] of text.matchAll(/(\d+(\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) sum += Number(number) * (unitMs[unit as string] as number);
  return sum;
}
