import type * as z from 'zod';

/** One thing that is wrong with a configuration. */
export interface ConfigProblem {
  /** Where: keys and list positions from the top. */
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** Puts zod's findings into words, each with what was expected, what was found, and the nearest known key. */
export function problemsOf(issues: readonly z.core.$ZodIssue[], schema: z.ZodType, input: unknown): ConfigProblem[] {
  return issues.flatMap((issue) => problemsOfIssue(issue, schema, input));
}

function problemsOfIssue(issue: z.core.$ZodIssue, schema: z.ZodType, input: unknown): ConfigProblem[] {
  const path = issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(schemaAt(schema, path));
    return issue.keys.map((key) => ({ path: [...path, key], message: unknownKey(key, known) }));
  }
  if (issue.code === 'custom') return [{ path, message: issue.message }];
  if (issue.code === 'invalid_union') {
    // Of the ways to write it, the one that was meant is the one whose outer form fits.
    const nearest = issue.errors.find((each) => !each.some((inner) => inner.path.length === 0 && inner.code !== 'custom' && inner.code !== 'unrecognized_keys'));
    if (nearest !== undefined) return nearest.flatMap((inner) => problemsOfIssue({ ...inner, path: [...path, ...inner.path] }, schema, input));
  }
  const expected = schemaAt(schema, path)?.description ?? (issue.code === 'invalid_type' ? expectedWord(issue.expected) : undefined);
  const found = valueAt(input, path);
  if (found === undefined) return [{ path, message: `is missing: write ${expected ?? 'a value'}` }];
  const suggestion = issue.code === 'invalid_value' && typeof found === 'string' ? nearestOf(found, issue.values.map(String)) : undefined;
  return [{ path, message: `expected ${expected ?? issue.message}, found ${describe(found)}${suggestion === undefined ? '' : `; did you mean '${suggestion}'?`}` }];
}

export function unknownKey(key: string, known: readonly string[]): string {
  const near = nearestOf(key, known);
  if (near !== undefined) return `unknown key; did you mean '${near}'?`;
  return known.length === 0 ? 'unknown key' : `unknown key; known here: ${known.join(', ')}`;
}

/** The word of the list with the fewest changed letters, if it is near enough to be a slip. */
export function nearestOf(word: string, list: readonly string[]): string | undefined {
  const limit = Math.max(2, Math.floor(word.length / 3));
  const lower = word.toLowerCase().replaceAll(/[-_]/g, '');
  let best: string | undefined;
  let bestDistance = limit + 1;
  for (const candidate of list) {
    const distance = editDistance(lower, candidate.toLowerCase().replaceAll(/[-_]/g, ''));
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  // A word of two letters is within two changes of everything.
  return best !== undefined && bestDistance < Math.max(1, word.length) ? best : undefined;
}

/** Levenshtein's distance. Words beyond 64 characters are no slip of anything: they are cut. */
export function editDistance(first: string, second: string): number {
  const a = first.slice(0, 64);
  const b = second.slice(0, 64);
  let row = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

/** `keyspaces.default.replicas`, `discovery.home.hosts[1]`. */
export function formatPath(path: readonly (string | number)[]): string {
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index === 0 ? '' : '.'}${part}`)).join('');
}

interface SchemaDefinition {
  readonly type: string;
  readonly innerType?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly element?: z.ZodType;
  readonly options?: readonly z.ZodType[];
  readonly shape?: Readonly<Record<string, z.ZodType>>;
}

function definitionOf(schema: z.ZodType): SchemaDefinition {
  return schema.def as unknown as SchemaDefinition;
}

/** The schema that holds for the value at the path. */
function schemaAt(schema: z.ZodType | undefined, path: readonly (string | number)[]): z.ZodType | undefined {
  let current = unwrap(schema);
  for (const part of path) {
    if (current === undefined) return undefined;
    current = unwrap(step(current, part));
  }
  return current;
}

function step(schema: z.ZodType, part: string | number): z.ZodType | undefined {
  const definition = definitionOf(schema);
  switch (definition.type) {
    case 'object': return definition.shape?.[String(part)];
    case 'record': return definition.valueType;
    case 'array': return definition.element;
    case 'union': return definition.options?.map((option) => step(unwrap(option) as z.ZodType, part)).find((found) => found !== undefined);
    default: return undefined;
  }
}

function unwrap(schema: z.ZodType | undefined): z.ZodType | undefined {
  let current = schema;
  while (current !== undefined && definitionOf(current).type === 'optional') current = definitionOf(current).innerType;
  return current;
}

function knownKeys(schema: z.ZodType | undefined): string[] {
  if (schema === undefined) return [];
  const definition = definitionOf(schema);
  if (definition.type === 'union') return (definition.options ?? []).flatMap((option) => knownKeys(unwrap(option)));
  return Object.keys(definition.shape ?? {});
}

function expectedWord(expected: string): string {
  switch (expected) {
    case 'object':
    case 'record': return 'a mapping';
    case 'array': return 'a list';
    case 'string': return 'text';
    case 'boolean': return 'true or false';
    default: return `a ${expected}`;
  }
}

function valueAt(input: unknown, path: readonly (string | number)[]): unknown {
  let current = input;
  for (const part of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, part)) return undefined;
    current = (current as Record<string | number, unknown>)[part];
  }
  return current;
}

function describe(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  switch (typeof value) {
    case 'string': return value.length > 60 ? `a text of ${value.length} characters` : `'${value}'`;
    case 'number': return `the number ${value}`;
    case 'object': return 'a mapping';
    case 'boolean': return String(value);
    default: return `a ${typeof value}`;
  }
}
