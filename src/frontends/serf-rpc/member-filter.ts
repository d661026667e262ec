import { compileTagExpression } from '../../core/serf/tag-match.ts';
import type { Member } from '../../core/serf/types.ts';

/**
 * Which members `members-filtered` asks for: regular expressions that must match the whole of a tag, the status or the name; '' matches all.
 * Gives the expression that cannot be followed, if there is one.
 */
export function memberFilter(tags: ReadonlyMap<string, string>, status: string, name: string): ((member: Member) => boolean) | string {
  const wanted: { readonly expression: RegExp; readonly read: (member: Member) => string }[] = [];
  const parts: [expression: string, read: (member: Member) => string][] = [...tags].map(([tag, expression]) => [expression, (member) => member.tags[tag] ?? '']);
  if (status !== '') parts.push([status, (member) => member.status]);
  if (name !== '') parts.push([name, (member) => member.name]);
  for (const [text, read] of parts) {
    const expression = compileTagExpression(`^${text}$`);
    if (expression === undefined) return text;
    wanted.push({ expression, read });
  }
  return (member) => wanted.every(({ expression, read }) => expression.test(read(member)));
}
