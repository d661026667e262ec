/** Serf's names for flags that have another one here. `query` has a `--node` of its own. */
const aliases: Readonly<Record<string, string>> = { node: 'name', 'config-file': 'config' };

/** Flags without a value, to which Go's programs accept one: `-coalesce=false`. Of the first kind, `no-` in front turns them off. */
const onByDefault: readonly string[] = ['coalesce', 'early'];
const offByDefault: readonly string[] = ['no-ack', 'detailed', 'verbose', 'list', 'prune', 'replay', 'rejoin', 'disable-compression'];
const truth: Readonly<Record<string, boolean>> = { 1: true, t: true, T: true, true: true, TRUE: true, True: true, 0: false, f: false, F: false, false: false, FALSE: false, False: false };

/**
 * Serf writes long flags with one dash (`-node x`, `-join=a`), commander wants two. Words after `--` are left alone;
 * so are flags of one letter, and numbers.
 */
export function normaliseArguments(words: readonly string[]): string[] {
  const end = words.indexOf('--');
  const mine = end < 0 ? words : words.slice(0, end);
  const rest = end < 0 ? [] : words.slice(end);
  const known = words[0] === 'query' ? {} : aliases;
  return [...mine.flatMap((word) => normalise(word, known)), ...rest];
}

function normalise(word: string, known: Readonly<Record<string, string>>): string | string[] {
  const match = /^--?([A-Za-z][A-Za-z0-9-]+)(=.*)?$/s.exec(word);
  if (match === null) return word;
  const name = match[1] as string;
  const value = truth[match[2]?.slice(1) ?? ''];
  if (value !== undefined && onByDefault.includes(name)) return value ? `--${name}` : `--no-${name}`;
  if (value !== undefined && offByDefault.includes(name)) return value ? `--${name}` : [];
  return `--${Object.hasOwn(known, name) ? known[name] : name}${match[2] ?? ''}`;
}
