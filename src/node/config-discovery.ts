import * as z from 'zod';
import type { WrittenHooks } from '../discovery/hooks.ts';
import { defaultGossipPort } from '../discovery/limits.ts';
import type { OptionKind } from '../discovery/options.ts';
import { strategies } from '../discovery/strategies.ts';
import type { Strategy } from '../discovery/strategy.ts';
import { completeOptions } from '../discovery/strategy.ts';
import type { TopologyOptions } from '../discovery/topology-types.ts';
import { nearestOf, problemsOf } from './config-problems.ts';
import { addressValue, keyValue, milliseconds, oneOf, text, whole, yesOrNo } from './config-values.ts';

/** The section `discovery` of the config file. Its checks are made from the strategies' own tables of options. */
export interface DiscoveryConfig {
  /** Start waits this long for others (ms); 0: not at all. */
  readonly waitJoinedMs: number;
  /** Start fails when there are none by then. */
  readonly requireJoined: boolean;
  readonly topologies: readonly TopologyOptions[];
}

/** One topology as it is written: the strategy's options stand beside these; docs/discovery.md lists them. */
export interface TopologyInput {
  /** One of ours by its name, or one of your own, made with `defineStrategy`. */
  strategy: string | Strategy;
  /** Longest time between two attempts to reach a host that is no live member (ms). Default 5000. */
  retryMaxMs?: number | undefined;
  /** Instead of joining the gossip pool; or a program, with its arguments, that runs before. */
  connect?: WrittenHooks['connect'];
  /** For each host that the source does not name any more: a function, or a program with its arguments. Default: left to failure detection. */
  disconnect?: WrittenHooks['disconnect'];
  /** Who is connected. Default: the live members of the gossip pool. */
  list?: WrittenHooks['list'];
  [option: string]: unknown;
}

export interface DiscoveryInput {
  /** Start waits until another node is a member, or it is plain that there is none, but not longer than this (ms). Default 0. */
  waitJoinedMs?: number | undefined;
  /** Start fails (`NOT_JOINED`) if there is no other node by then. Default false: it goes on without. */
  requireJoined?: boolean | undefined;
  [name: string]: TopologyInput | number | boolean | undefined;
}

export const retryMaxMsDefault: number = 5000;

const strategyNames = [...strategies.keys()] as [string, ...string[]];

const nameServerValue = addressValue({ defaultPort: 53, name: true }).superRefine(({ host }, context) => {
  // A name server by its name would have to be found first.
  if (!/^(\d+(\.\d+){3}|[0-9a-f:]*:[0-9a-f:.]*)$/i.test(host)) context.addIssue({ code: 'custom', message: `'${host}' is no IP address: write IP or IP:PORT` });
});

const urlValue = z.string().superRefine((written, context) => {
  try {
    if (['http:', 'https:'].includes(new URL(written).protocol)) return;
  } catch {
    // Said below.
  }
  context.addIssue({ code: 'custom', message: `'${written.slice(0, 80)}' is no URL: write http://HOST:PORT or https://…` });
}).describe('a URL');

const commandValue = z.array(text).min(1).max(256).describe('a list: the program, then its arguments');

const isFunction = (value: unknown): boolean => typeof value === 'function';

/** A function of a program, or what a config file can say instead. */
const hookValue = z.custom<NonNullable<WrittenHooks['connect']>>((value) => isFunction(value) || commandValue.safeParse(value).success, 'expected a list: the program, then its arguments (in programs also a function)');
const listValue = z.custom<NonNullable<WrittenHooks['list']>>(isFunction, 'expected a function: only programs can set it');

function schemaOf(strategy: Strategy, name: z.ZodType): z.ZodType {
  const options = Object.entries(strategy.options).map(([option, { kind, required }]) => {
    const schema = kindSchema(kind);
    return [option, required ? schema : schema.optional()] as const;
  });
  return z.strictObject({
    strategy: name,
    // A strategy that paces the attempts itself has no second word for it.
    ...(strategy.options['intervalMs'] === undefined ? { retryMaxMs: milliseconds(100).optional() } : {}),
    ...Object.fromEntries(options),
    connect: hookValue.optional(),
    disconnect: hookValue.optional(),
    list: listValue.optional(),
  });
}

function kindSchema(kind: OptionKind): z.ZodType {
  switch (kind.type) {
    case 'milliseconds': return milliseconds(kind.min);
    case 'whole': return whole(kind.min, kind.max);
    case 'choice': return oneOf(...(kind.values as [string, ...string[]]));
    case 'addresses': return z.array(addressValue({ defaultPort: defaultGossipPort, name: true })).min(1).max(256).describe('a list of 1 to 256 addresses');
    case 'servers': return z.array(nameServerValue).min(1).max(8).describe('a list of 1 to 8 addresses of name servers');
    case 'text':
    case 'path': return z.string().min(1).max(4096).describe('text of at least one character');
    case 'boolean': return yesOrNo;
    case 'url': return urlValue;
    case 'urls': return z.array(urlValue).min(1).max(16).describe('a list of 1 to 16 URLs');
    case 'keys': return z.union([keyValue, z.array(keyValue).min(1).max(16)]).transform((keys) => (Array.isArray(keys) ? keys : [keys])).describe('a key in base64, or a list of keys');
    case 'command': return commandValue;
    case 'any': return z.custom<unknown>((value) => value !== undefined).describe('a value');
    case 'labels': return z.record(z.string(), z.string().describe('text (put it in quotes)')).describe('a mapping of names to text');
  }
}

export const discoverySchema: z.ZodType<DiscoveryConfig, DiscoveryInput> = z.custom<DiscoveryInput>((value) => typeof value === 'object' && value !== null && !Array.isArray(value), 'expected a mapping of names to strategies').transform((section, context) => {
  const topologies: TopologyOptions[] = [];
  const settings = { waitJoinedMs: 0, requireJoined: false };
  for (const [name, written] of Object.entries(section)) {
    const isSetting = Object.hasOwn(settingSchemas, name);
    const meant = isSetting || (typeof written !== 'number' && typeof written !== 'boolean') ? undefined : nearestOf(name, Object.keys(settingSchemas));
    if (meant !== undefined) {
      context.addIssue({ code: 'custom', path: [name], message: `unknown key; did you mean '${meant}'?` });
      continue;
    }
    const schema = isSetting ? settingSchemas[name as keyof typeof settingSchemas] : topologySchema(written);
    const parsed = schema.safeParse(written);
    if (!parsed.success) {
      for (const { path, message } of problemsOf(parsed.error.issues, schema, written)) context.addIssue({ code: 'custom', path: [name, ...path], message });
    } else if (isSetting) Object.assign(settings, { [name]: parsed.data });
    else {
      const topology = topologyOf(name, parsed.data as Readonly<Record<string, unknown>>);
      const problem = topology.strategy.contradiction?.(topology.options);
      if (problem !== undefined) context.addIssue({ code: 'custom', path: [name, problem.option], message: problem.message });
      topologies.push(topology);
    }
  }
  if (settings.requireJoined && settings.waitJoinedMs === 0) context.addIssue({ code: 'custom', path: ['requireJoined'], message: 'needs waitJoinedMs: say for how long start may look for others' });
  return { ...settings, topologies };
}).describe('a mapping of names to strategies');

const settingSchemas = { waitJoinedMs: milliseconds(0), requireJoined: yesOrNo } as const;

/** By the strategy that is written; where it is none, a schema that says so. */
function topologySchema(written: unknown): z.ZodType {
  const { strategy } = (typeof written === 'object' && written !== null ? written : {}) as { strategy?: unknown };
  if (isStrategy(strategy)) return schemaOf(strategy, z.custom<Strategy>((value) => isStrategy(value)));
  const known = strategies.get(String(strategy));
  const name = oneOf(...strategyNames);
  return known === undefined ? z.looseObject({ strategy: name }) : schemaOf(known, name);
}

function isStrategy(value: unknown): value is Strategy {
  if (typeof value !== 'object' || value === null) return false;
  const { name, start, options } = value as Partial<Strategy>;
  return typeof name === 'string' && typeof start === 'function' && typeof options === 'object' && options !== null;
}

function topologyOf(name: string, { strategy: written, retryMaxMs, connect, disconnect, list, ...rest }: Readonly<Record<string, unknown>>): TopologyOptions {
  const strategy = isStrategy(written) ? written : (strategies.get(String(written)) as Strategy);
  const options = completeOptions(strategy, rest);
  const hooks = { connect, disconnect, list } as WrittenHooks;
  return { name, strategy, options, retryMaxMs: (retryMaxMs ?? options['intervalMs'] ?? retryMaxMsDefault) as number, hooks };
}

/** Makes paths absolute: relative ones count from the config file. Of a command, what is plainly a path (begins with `.` or `/`). */
export function withPaths(config: DiscoveryConfig, resolvePath: (path: string) => string): DiscoveryConfig {
  const place = (value: unknown): unknown => (typeof value === 'string' && /^\.{0,2}\//.test(value) ? resolvePath(value) : value);
  const placeOption = (kind: OptionKind, value: unknown): unknown => {
    if (kind.type === 'path' && typeof value === 'string') return resolvePath(value);
    return kind.type === 'command' && Array.isArray(value) ? value.map((part: unknown, index) => (index === 0 || String(part).startsWith('./') ? place(part) : part)) : value;
  };
  return {
    ...config,
    topologies: config.topologies.map((topology) => ({
      ...topology,
      hooks: { ...topology.hooks, connect: placeOption({ type: 'command' }, topology.hooks?.connect), disconnect: placeOption({ type: 'command' }, topology.hooks?.disconnect) } as WrittenHooks,
      options: Object.fromEntries(Object.entries(topology.options).map(([name, value]) => [name, placeOption((topology.strategy.options[name] as { kind: OptionKind }).kind, value)])),
    })),
  };
}
