import { z } from 'zod';
import { defaultGossipPort } from '../discovery/limits.ts';
import type { OptionKind } from '../discovery/options.ts';
import { strategies } from '../discovery/strategies.ts';
import type { Strategy } from '../discovery/strategy.ts';
import { completeOptions } from '../discovery/strategy.ts';
import type { TopologyOptions } from '../discovery/topology.ts';
import { problemsOf } from './config-problems.ts';
import { addressValue, keyValue, milliseconds, oneOf, text, whole, yesOrNo } from './config-values.ts';

/** The section `discovery` of the config file. Its checks are made from the strategies' own tables of options. */
export interface DiscoveryConfig {
  /** Start waits this long for others (ms); 0: not at all. */
  readonly waitJoinedMs: number;
  readonly topologies: readonly TopologyOptions[];
}

/** One topology as it is written: the strategy's options stand beside these; docs/discovery.md lists them. */
export interface TopologyInput {
  strategy: string;
  /** Longest time between two attempts to reach a host that is no live member (ms). Default 5000. */
  retryMaxMs?: number | undefined;
  [option: string]: unknown;
}

export interface DiscoveryInput {
  /** Start waits until another node is a member, or it is plain that there is none, but not longer than this (ms). Default 0. */
  waitJoinedMs?: number | undefined;
  [name: string]: TopologyInput | number | undefined;
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

const schemas: ReadonlyMap<string, z.ZodType> = new Map([...strategies.values()].map((strategy) => [strategy.name, schemaOf(strategy)]));

function schemaOf(strategy: Strategy): z.ZodType {
  const options = Object.entries(strategy.options).map(([name, { kind, required }]) => {
    const schema = kindSchema(kind);
    return [name, required ? schema : schema.optional()] as const;
  });
  return z.strictObject({
    strategy: oneOf(...strategyNames),
    // A strategy that paces the attempts itself has no second word for it.
    ...(strategy.options['intervalMs'] === undefined ? { retryMaxMs: milliseconds(100).optional() } : {}),
    ...Object.fromEntries(options),
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
    case 'command': return z.array(text).min(1).max(256).describe('a list: the program, then its arguments');
    case 'labels': return z.record(z.string(), z.string().describe('text (put it in quotes)')).describe('a mapping of names to text');
  }
}

export const discoverySchema: z.ZodType<DiscoveryConfig, DiscoveryInput> = z.custom<DiscoveryInput>((value) => typeof value === 'object' && value !== null && !Array.isArray(value), 'expected a mapping of names to strategies').transform((section, context) => {
  const topologies: TopologyOptions[] = [];
  let waitJoinedMs = 0;
  for (const [name, written] of Object.entries(section)) {
    const schema = name === 'waitJoinedMs' ? milliseconds(0) : topologySchema(written);
    const parsed = schema.safeParse(written);
    if (!parsed.success) {
      for (const { path, message } of problemsOf(parsed.error.issues, schema, written)) context.addIssue({ code: 'custom', path: [name, ...path], message });
    } else if (name === 'waitJoinedMs') waitJoinedMs = parsed.data as number;
    else {
      const topology = topologyOf(name, parsed.data as Readonly<Record<string, unknown>>);
      const problem = topology.strategy.contradiction(topology.options);
      if (problem !== undefined) context.addIssue({ code: 'custom', path: [name, problem.option], message: problem.message });
      topologies.push(topology);
    }
  }
  return { waitJoinedMs, topologies };
}).describe('a mapping of names to strategies');

/** By the strategy that is written; where it is none, a schema that says so. */
function topologySchema(written: unknown): z.ZodType {
  const name = typeof written === 'object' && written !== null ? (written as { strategy?: unknown }).strategy : undefined;
  return schemas.get(String(name)) ?? z.looseObject({ strategy: oneOf(...strategyNames) });
}

function topologyOf(name: string, { strategy: strategyName, retryMaxMs, ...written }: Readonly<Record<string, unknown>>): TopologyOptions {
  const strategy = strategies.get(String(strategyName)) as Strategy;
  const options = completeOptions(strategy, written);
  return { name, strategy, options, retryMaxMs: (retryMaxMs ?? options['intervalMs'] ?? retryMaxMsDefault) as number };
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
      options: Object.fromEntries(Object.entries(topology.options).map(([name, value]) => [name, placeOption((topology.strategy.options[name] as { kind: OptionKind }).kind, value)])),
    })),
  };
}
