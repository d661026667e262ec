import { parseDocument } from 'yaml';
import { TroupeError, messageOf } from '../base/errors.ts';
import { defaultTiming } from '../core/control/map.ts';
import type { KeyspaceOptions, LeaseTiming } from '../core/control/map.ts';
import type { Address } from '../ports/address.ts';
import type { LogLevel } from '../ports/log.ts';
import { withPaths } from './config-discovery.ts';
import type { DiscoveryConfig } from './config-discovery.ts';
import { formatPath, nearestOf, problemsOf } from './config-problems.ts';
import type { ConfigProblem } from './config-problems.ts';
import { configSchema, gossipPort, httpPort, rpcPort } from './config-schema.ts';
import type { ConfigApp, ConfigFile, ConfigKeyspace } from './config-shape.ts';
import { nameProblem } from './config-values.ts';
import { growing, isMapping, mergeConfigs, readSerfKeys } from './serf-config.ts';
import { parseHandler } from './event-handlers.ts';
import type { EventHandler } from './event-handlers.ts';
import type { AppConfig, NodeOptions } from './node-types.ts';

export type { ConfigInput } from './config-shape.ts';

/** Everything an agent is told: what its node needs, and what is around it. */
export interface AgentConfig {
  readonly node: NodeOptions;
  /** Directory of what must survive a restart; undefined: memory only, every start is a new member. */
  readonly data: string | undefined;
  readonly http: HttpConfig | undefined;
  readonly rpc: RpcConfig | undefined;
  readonly handlers: HandlersConfig;
  /** Where the list of live nodes is kept for other programs; undefined: nowhere. */
  readonly liveNodes: { readonly file: string } | undefined;
  readonly discovery: DiscoveryConfig;
  /** What a Serf agent keeps in files. */
  readonly files: FilesConfig;
  /** Bind to the address of this network interface. */
  readonly interface: string | undefined;
  /** SIGTERM drains and leaves; false: it stops at once. */
  readonly leaveOnTerminate: boolean;
  /** The same for SIGINT. */
  readonly leaveOnInterrupt: boolean;
  readonly logLevel: LogLevel;
}

export interface HttpConfig {
  readonly bind: Address;
  readonly token: string | undefined;
  /** Serve beyond this host although there is no token. */
  readonly allowWithoutToken: boolean;
}

export interface RpcConfig {
  readonly bind: Address;
  readonly auth: string | undefined;
  /** Somebody asked for this address: if it cannot be had, that is an error, and not only a warning. */
  readonly explicit: boolean;
}

export interface FilesConfig {
  readonly snapshot: { readonly path: string; readonly rejoin: boolean } | undefined;
  readonly tags: string | undefined;
  readonly keyring: string | undefined;
}

export interface HandlersConfig {
  readonly handlers: readonly EventHandler[];
  readonly runningMax: number | undefined;
  readonly timeoutMs: number | undefined;
}

/** What a flag says, and where in the file the same would be said. */
export interface ConfigOverride {
  /** As the user wrote it, for error messages. */
  readonly flag: string;
  readonly path: readonly string[];
  /** Undefined removes what the file says. */
  readonly value: unknown;
}

export interface ConfigSource {
  /** YAML or JSON. */
  readonly text?: string;
  /** Where `text` comes from, for error messages. Default 'the configuration'. */
  readonly file?: string;
  /** Instead of `text` and `file`: several, merged in this order; see mergeConfigs. */
  readonly files?: readonly { readonly text: string; readonly file: string }[];
  /** The same as an object, for programs; used when there is no text. */
  readonly object?: unknown;
  readonly overrides?: readonly ConfigOverride[];
  /** When the configuration names none. */
  readonly defaultName: string;
  readonly version: string;
  /** Makes a path absolute: relative ones count from the config file. */
  readonly resolvePath: (path: string) => string;
}

/**
 * Reads a configuration. Pure: no file is opened here.
 * @throws TroupeError BAD_CONFIG that lists every problem, one per line, each with its place; `fields.problems` has them apart
 */
export function readConfig(source: ConfigSource): AgentConfig {
  const files = filesOf(source).map(({ file, written }) => {
    if (!isMapping(written)) throw badConfig([`${file}: expected a mapping of keys to values`]);
    return { file, ...readSerfKeys(written) };
  });
  const raw = withMdnsInterface(merge(files.reduce<Record<string, unknown>>((sum, { config }) => mergeConfigs(sum, config), {}), source.overrides ?? []));
  const said = (problem: ConfigProblem): string => `${placeOf(problem.path, source.overrides ?? [], files)}: ${problem.message}`;

  const early = [...files.flatMap(({ problems }) => problems), ...nameProblems(raw)];
  const parsed = configSchema.safeParse(raw);
  if (!parsed.success) throw badConfig([...early, ...problemsOf(parsed.error.issues, configSchema, raw)].map(said));
  const problems = [...early, ...contradictions(parsed.data, source.defaultName)];
  if (problems.length > 0) throw badConfig(problems.map(said));
  return assemble(parsed.data, source);
}

interface ReadFile {
  readonly file: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly keys: ReadonlyMap<string, string>;
}

function filesOf(source: ConfigSource): { readonly file: string; readonly written: unknown }[] {
  if (source.files !== undefined) return source.files.map(({ text, file }) => ({ file, written: parseText(text, file) }));
  const file = source.file ?? 'the configuration';
  return [{ file, written: source.text === undefined ? (source.object ?? {}) : parseText(source.text, file) }];
}

function badConfig(problems: readonly string[]): TroupeError {
  return new TroupeError('BAD_CONFIG', problems.join('\n'), { problems });
}

function parseText(text: string, where: string): unknown {
  try {
    const document = parseDocument(text, { prettyErrors: false, uniqueKeys: true, logLevel: 'error' });
    if (document.errors.length > 0) throw badConfig(document.errors.map((error) => `${where}, line ${lineOf(text, error.pos[0])}: ${error.message}`));
    return document.toJS({ maxAliasCount: 100 }) ?? {};
  } catch (error) {
    if (error instanceof TroupeError) throw error;
    throw badConfig([`${where}: ${messageOf(error)}`]);
  }
}

function lineOf(text: string, position: number): number {
  return text.slice(0, position).split('\n').length;
}

/** As in Serf, the interface to bind to is the one to discover others on. */
function withMdnsInterface(raw: Record<string, unknown>): Record<string, unknown> {
  const found = { gossip: raw['gossip'], discovery: raw['discovery'] };
  if (!isMapping(found.gossip) || found.gossip['interface'] === undefined || !isMapping(found.discovery)) return raw;
  const serf = Object.hasOwn(found.discovery, 'serf') ? found.discovery['serf'] : undefined;
  if (!isMapping(serf) || serf['strategy'] !== 'mdns' || serf['interface'] !== undefined) return raw;
  return { ...raw, discovery: { ...found.discovery, serf: { ...serf, interface: found.gossip['interface'] } } };
}

/** A copy of the file's content with the flags' values in their places. */
function merge(written: Record<string, unknown>, overrides: readonly ConfigOverride[]): Record<string, unknown> {
  const result = { ...written };
  for (const { path, value } of overrides) {
    let target = result;
    for (const key of path.slice(0, -1)) {
      const inner = Object.hasOwn(target, key) && isMapping(target[key]) ? { ...target[key] } : {};
      target[key] = inner;
      target = inner;
    }
    const last = path.at(-1) as string;
    const before = Object.hasOwn(target, last) ? target[last] : undefined;
    if (value === undefined) delete target[last];
    // As in Serf, what the command line adds to these lists comes after what the files say.
    else if (path.length === 1 && growing.has(last) && Array.isArray(before) && Array.isArray(value)) target[last] = [...(before as unknown[]), ...(value as unknown[])];
    else target[last] = value;
  }
  return result;
}

/** The flag, if one said it; else the file and the path of the key, in Serf's terms if it was written in them. */
function placeOf(path: readonly (string | number)[], overrides: readonly ConfigOverride[], files: readonly ReadFile[]): string {
  const flag = overrides.findLast((each) => each.value !== undefined && each.path.every((part, index) => path[index] === part));
  if (flag !== undefined) return flag.flag;
  const name = formatPath(path);
  const said = files.findLast(({ config, keys }) => keys.has(name) || hasPath(config, path)) ?? files.findLast(({ config }) => hasPath(config, path.slice(0, 1))) ?? files.at(-1);
  const where = said?.file ?? 'the configuration';
  return path.length === 0 ? where : `${where}: ${said?.keys.get(name) ?? name}`;
}

function hasPath(config: unknown, path: readonly (string | number)[]): boolean {
  let current = config;
  for (const part of path) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, part)) return false;
    current = (current as Record<string | number, unknown>)[part];
  }
  return path.length > 0;
}

/** Looked at before the schema is: a record of the schema would drop `__proto__` without a word. */
function nameProblems(raw: Record<string, unknown>): ConfigProblem[] {
  return ['apps', 'keyspaces', 'discovery', 'tags'].flatMap((section) => {
    const entries = raw[section];
    if (!isMapping(entries)) return [];
    return Object.keys(entries).flatMap((name) => {
      // Serf's tags may be called anything; what JavaScript would trip over may not.
      const problem = section === 'tags' && !(name in Object.prototype) ? undefined : nameProblem(name);
      return problem === undefined ? [] : [{ path: [section, name], message: problem }];
    });
  });
}

function contradictions(config: ConfigFile, defaultName: string): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const add = (path: readonly (string | number)[], message: string): void => void problems.push({ path, message });
  if (config.name === undefined) {
    const problem = nameProblem(defaultName);
    if (problem !== undefined) add(['name'], `is missing, and the host's name will not do: ${problem}`);
  }
  if (config.snapshot !== undefined && config.snapshot.file === undefined) add(['snapshot', 'file'], 'is missing: to rejoin, a node must have a snapshot of who was there (--snapshot FILE)');
  if (config.tagsFile !== undefined && Object.keys(config.tags ?? {}).length > 0) add(['tags'], 'tags and tagsFile exclude each other: put them into the file, as a JSON mapping of names to text');
  if (config.gossip?.keyringFile !== undefined && config.gossip.encrypt !== undefined) add(['gossip', 'encrypt'], 'encrypt and keyringFile exclude each other: put the key into the file, as a JSON list of base64');
  if (config.bootstrap !== undefined && config.sync !== undefined) add(['sync'], 'bootstrap and sync exclude each other: both say when a cluster is founded');
  for (const [name, keyspace] of Object.entries(config.keyspaces ?? {})) {
    const replicas = keyspace.replicas ?? keyspaceDefaults.replicas;
    if ((keyspace.minInSync ?? 1) > replicas) add(['keyspaces', name, 'minInSync'], `is ${keyspace.minInSync}, but there are only ${replicas} replicas: no write could ever succeed`);
    const { maxMemory = keyspaceDefaults.maxMemoryBytes, partitions = keyspaceDefaults.partitions } = keyspace;
    if (maxMemory < partitions * partitionMemoryMin) add(['keyspaces', name, 'maxMemory'], `is ${maxMemory} bytes, of which each of ${partitions} partitions may use its share: at least ${partitionMemoryMin} for each are needed, ${partitions * partitionMemoryMin} together, and much more for large values`);
  }
  const keyspaceNames = Object.keys(config.keyspaces ?? { default: true });
  const served = config.memcached === undefined ? undefined : (config.memcached.keyspace ?? 'default');
  if (served !== undefined && !keyspaceNames.includes(served)) {
    const near = nearestOf(served, keyspaceNames);
    add(['memcached', 'keyspace'], `there is no keyspace '${served}'${near === undefined ? `; there is ${keyspaceNames.join(', ') || 'none'}` : `; did you mean '${near}'?`}`);
  }
  for (const [name, app] of Object.entries(config.apps ?? {})) {
    if ((app.module === undefined) === (app.command === undefined)) add(['apps', name], 'needs either a module or a command');
    const listed = app.nodes.flat();
    const twice = listed.find((each, index) => listed.indexOf(each) !== index);
    if (twice !== undefined) add(['apps', name, 'nodes'], `names '${twice}' twice`);
  }
  const timing = timingOf(config);
  if (timing.renewMs * 2 > timing.leaseMs - timing.marginMs) add(['timing'], `a lease of ${timing.leaseMs} ms less its margin of ${timing.marginMs} ms leaves no room for two renewals ${timing.renewMs} ms apart: make leaseMs longer or renewMs shorter`);
  const election = config.timing?.electionTimeoutMs;
  if (election !== undefined && election.max <= election.min) add(['timing', 'electionTimeoutMs'], `max must be above min; they are ${election.max} and ${election.min}`);
  const http = config.http === false ? undefined : (config.http ?? {});
  const httpHost = http?.bind?.host ?? '127.0.0.1';
  if (http !== undefined && !isLoopback(httpHost) && http.token === undefined && http.allowWithoutToken !== true) {
    add(['http', 'bind'], `${httpHost} can be reached from other hosts, and there is no token: set http.token (--token), bind to 127.0.0.1, or say http.allowWithoutToken: true`);
  }
  const rpc = config.rpc === false ? undefined : config.rpc;
  if (rpc?.bind !== undefined && !isLoopback(rpc.bind.host) && rpc.auth === undefined && rpc.allowWithoutAuth !== true) {
    add(['rpc', 'bind'], `${rpc.bind.host} can be reached from other hosts, and there is no token: set rpc.auth (--rpc-auth), bind to 127.0.0.1, or say rpc.allowWithoutAuth: true`);
  }
  for (const [index, handler] of (config.handlers ?? []).entries()) {
    try {
      parseHandler(handler);
    } catch (error) {
      add(['handlers', index], messageOf(error));
    }
  }
  return problems;
}

export function isLoopback(host: string): boolean {
  return host === '::1' || host === 'localhost' || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** Bytes: a few small entries. */
const partitionMemoryMin = 4096;

export const keyspaceDefaults: KeyspaceOptions = { partitions: 64, replicas: 3, acks: 'all', engine: 'memory', maxMemoryBytes: 2 ** 30, eviction: 'none', minInSync: 1 };

function timingOf(config: ConfigFile): LeaseTiming {
  return {
    leaseMs: config.timing?.leaseMs ?? defaultTiming.leaseMs,
    marginMs: config.timing?.marginMs ?? defaultTiming.marginMs,
    renewMs: config.timing?.renewMs ?? defaultTiming.renewMs,
  };
}

function assemble(config: ConfigFile, source: ConfigSource): AgentConfig {
  return {
    node: nodeOptions(config, source),
    data: config.data === undefined ? undefined : source.resolvePath(config.data),
    http: config.http === false ? undefined : {
      bind: config.http?.bind ?? { host: '127.0.0.1', port: httpPort },
      token: config.http?.token,
      allowWithoutToken: config.http?.allowWithoutToken ?? false,
    },
    rpc: config.rpc === false ? undefined : {
      bind: config.rpc?.bind ?? { host: '127.0.0.1', port: rpcPort },
      auth: config.rpc?.auth,
      explicit: config.rpc?.bind !== undefined,
    },
    handlers: {
      handlers: (config.handlers ?? []).map((each) => parseHandler(placeScript(each, source.resolvePath))),
      runningMax: config.handling?.runningMax,
      timeoutMs: config.handling?.timeoutMs,
    },
    liveNodes: config.liveNodes === undefined ? undefined : { file: source.resolvePath(config.liveNodes.file) },
    discovery: config.discovery === undefined ? { waitJoinedMs: 0, requireJoined: false, topologies: [] } : withPaths(config.discovery, source.resolvePath),
    files: {
      snapshot: config.snapshot?.file === undefined ? undefined : { path: source.resolvePath(config.snapshot.file), rejoin: config.snapshot.rejoin ?? false },
      tags: config.tagsFile === undefined ? undefined : source.resolvePath(config.tagsFile),
      keyring: config.gossip?.keyringFile === undefined ? undefined : source.resolvePath(config.gossip.keyringFile),
    },
    interface: config.gossip?.interface,
    leaveOnTerminate: config.leaveOnTerminate ?? true,
    leaveOnInterrupt: config.leaveOnInterrupt ?? true,
    logLevel: config.log?.level ?? 'info',
  };
}

const tuning = ['reconnectIntervalMs', 'reconnectTimeoutMs', 'tombstoneTimeoutMs', 'broadcastTimeoutMs', 'userEventBytesMax', 'coordinates', 'nameResolution', 'protocol'] as const;

function nodeOptions(config: ConfigFile, source: ConfigSource): NodeOptions {
  const { gossip, timing } = config;
  const keys = gossip?.encrypt === undefined ? undefined : Array.isArray(gossip.encrypt) ? gossip.encrypt : [gossip.encrypt];
  return {
    name: config.name ?? source.defaultName,
    gossip: {
      bind: gossip?.bind ?? { host: config.dev === true ? '127.0.0.1' : '0.0.0.0', port: gossipPort },
      ...(gossip?.advertise === undefined ? {} : { advertise: gossip.advertise }),
      profile: gossip?.profile ?? (config.dev === true ? 'local' : 'lan'),
      ...(keys === undefined ? {} : { keys }),
      ...(gossip?.compression === undefined ? {} : { compression: gossip.compression }),
      ...Object.fromEntries(tuning.flatMap((key) => (gossip?.[key] === undefined ? [] : [[key, gossip[key]]]))),
    },
    ...(config.peer === undefined ? {} : { peer: config.peer }),
    tags: config.tags ?? {},
    zone: config.zone ?? config.tags?.['zone'] ?? '',
    voter: config.voter ?? true,
    storage: config.storage ?? true,
    bootstrapExpect: config.bootstrap?.expect ?? (config.dev === true && config.sync === undefined ? 1 : 0),
    ...(config.sync === undefined ? {} : { sync: { mandatory: config.sync.mandatory ?? [], optional: config.sync.optional ?? [], timeoutMs: config.sync.timeoutMs } }),
    lastNode: config.quorum?.lastNode ?? 'never',
    timing: timingOf(config),
    ...(timing?.electionTimeoutMs === undefined ? {} : { electionTimeoutMs: timing.electionTimeoutMs }),
    keyspaces: Object.fromEntries(Object.entries(config.keyspaces ?? { default: {} }).map(([name, options]) => [name, keyspaceOptions(options)])),
    apps: Object.entries(config.apps ?? {}).map(([name, app]) => appConfig(name, app, source.resolvePath)),
    ...(config.memcached === undefined ? {} : { memcached: { bind: config.memcached.bind, keyspace: config.memcached.keyspace ?? 'default' } }),
    join: distinct([...(config.startJoin ?? []), ...(config.join ?? [])]),
    ...(config.joining?.intervalMs === undefined ? {} : { joinIntervalMs: config.joining.intervalMs }),
    ...joinAttemptsMax(config),
    ...(config.joining?.replay === undefined ? {} : { replayOnJoin: config.joining.replay }),
    ...(timing?.healAfterMs === undefined ? {} : { healAfterMs: timing.healAfterMs }),
    ...(timing?.requestTimeoutMs === undefined ? {} : { requestTimeoutMs: timing.requestTimeoutMs }),
    version: source.version,
  };
}

/**
 * Who swaps a Serf agent for this one, and nothing else, gets Serf's answer to an address where nobody is: an end at once.
 * A node of a Troupe cluster waits for the others, whatever they are called by: nodes that start together must meet.
 */
function joinAttemptsMax(config: ConfigFile): { joinAttemptsMax?: number } {
  const asked = config.joining?.attemptsMax ?? 0;
  if (asked > 0) return { joinAttemptsMax: asked };
  const looksOn = config.join !== undefined || (config.discovery?.topologies.length ?? 0) > 0 || (config.bootstrap?.expect ?? 0) > 0 || config.sync !== undefined || config.dev === true || config.data !== undefined || config.discovery?.waitJoinedMs !== undefined;
  return config.startJoin === undefined || config.startJoin.length === 0 || looksOn ? {} : { joinAttemptsMax: 1 };
}

/** A script that begins with `./` or `../` counts from the config file, wherever the agent was started. */
export function placeScript(handler: string, resolvePath: (path: string) => string): string {
  const match = /^((?:leader:)?(?:[^=/]*=)?)(\.{1,2}\/[^\s;|&<>()$`"'\\]*)(.*)$/s.exec(handler);
  if (match === null) return handler;
  const path = resolvePath(match[2] as string);
  return `${match[1]}${/^[\w./@%+:,-]+$/.test(path) ? path : `'${path.replaceAll("'", "'\\''")}'`}${match[3]}`;
}

function distinct(addresses: readonly Address[]): Address[] {
  return [...new Map(addresses.map((each) => [`${each.host} ${each.port}`, each])).values()];
}

function keyspaceOptions(written: ConfigKeyspace<number>): KeyspaceOptions {
  const { maxMemory, ...rest } = written;
  const given = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
  return { ...keyspaceDefaults, ...given, ...(maxMemory === undefined ? {} : { maxMemoryBytes: maxMemory }) };
}

function appConfig(name: string, written: ConfigApp, resolvePath: (path: string) => string): AppConfig {
  const { module, command, config, failoverTimeoutMs, takeover, stopTimeoutMs, startTimeoutMs, restart } = written;
  const place = (path: string): string => (/^\.{0,2}\//.test(path) ? resolvePath(path) : path);
  return {
    name,
    nodes: written.nodes,
    ...(failoverTimeoutMs === undefined ? {} : { failoverTimeoutMs }),
    ...(takeover === undefined ? {} : { takeover }),
    ...(module === undefined ? {} : { module: place(module) }),
    // `[node, ./command.js]` should work from wherever the agent was started, like `[./command.sh]`.
    ...(command === undefined ? {} : { command: [place(command[0] as string), ...command.slice(1).map((argument) => (argument.startsWith('./') ? place(argument) : argument))] }),
    ...(config === undefined ? {} : { config }),
    ...(stopTimeoutMs === undefined ? {} : { stopTimeoutMs }),
    ...(startTimeoutMs === undefined ? {} : { startTimeoutMs }),
    ...(restart === undefined ? {} : { restart }),
  };
}
