/** What a document claims: a command, the output below it, and its exit code. */
export interface Claim {
  readonly place: string;
  readonly command: string;
  readonly code: number;
  /** Expected lines; `…` stands for any text, a line that is only `…` for any number of lines. */
  readonly output: readonly string[];
}

/** The commands of all blocks marked `console`, in order. */
export function claimsOf(file: string, text: string): Claim[] {
  const claims: { place: string; command: string; code: number; output: string[] }[] = [];
  let inside = false;
  text.split('\n').forEach((line, index) => {
    if (line.startsWith('```')) {
      inside = line === '```console';
      return;
    }
    if (!inside) return;
    const command = /^\$ (.*?)(?: # exit code (\d+))?$/.exec(line);
    if (command !== null) claims.push({ place: `${file}:${index + 1}`, command: command[1] as string, code: Number(command[2] ?? 0), output: [] });
    else claims.at(-1)?.output.push(line);
  });
  return claims;
}

/** The first claimed line that the output does not have in its place; undefined if it is as claimed. */
export function mismatch(claimed: readonly string[], output: string): string | undefined {
  const lines = claimed.map((line) => (line === '…' ? '(?:.*\\n)*?' : `${line.split('…').map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('.*')}\\n?`));
  // Blank lines of the document may be left out, and an output without a newline at its end is one line all the same.
  for (let count = 1; count <= lines.length; count++) {
    const pattern = new RegExp(`^${lines.slice(0, count).join('')}${count === lines.length ? '$' : ''}`);
    if (!pattern.test(output)) return claimed[count - 1];
  }
  return undefined;
}
