/** Serf's names for flags that have another one here. */
const aliases: Readonly<Record<string, string>> = { node: 'name', 'config-file': 'config', 'retry-join': 'join' };

/**
 * Serf writes long flags with one dash (`-node x`, `-join=a`), commander wants two. Words after `--` are left alone;
 * so are flags of one letter, and numbers.
 */
export function normaliseArguments(words: readonly string[]): string[] {
  const end = words.indexOf('--');
  const mine = end < 0 ? words : words.slice(0, end);
  const rest = end < 0 ? [] : words.slice(end);
  return [...mine.map(normalise), ...rest];
}

function normalise(word: string): string {
  const match = /^--?([A-Za-z][A-Za-z0-9-]+)(=.*)?$/s.exec(word);
  if (match === null) return word;
  const name = match[1] as string;
  return `--${Object.hasOwn(aliases, name) ? aliases[name] : name}${match[2] ?? ''}`;
}
