import type { ConfigProblem } from './config-problems.ts';

/** Where a value of a Serf config file belongs, or why it cannot be taken. */
type Reading = readonly { readonly path: readonly string[]; readonly value: unknown }[] | string;

export interface SerfReading {
  /** The file in this program's own terms. */
  readonly config: Record<string, unknown>;
  /** Which key of Serf's a path came from, for messages: `gossip.bind` → `bind`. */
  readonly keys: ReadonlyMap<string, string>;
  readonly problems: readonly ConfigProblem[];
}

const at = (...path: string[]) => (value: unknown): Reading => [{ path, value }];
const duration = (...path: string[]) => (value: unknown): Reading => {
  const ms = typeof value === 'string' ? durationMs(value) : undefined;
  return ms === undefined ? `expected a duration such as "30s" or "24h", found ${JSON.stringify(value)}` : [{ path, value: ms }];
};
const negated = (...path: string[]) => (value: unknown): Reading => [{ path, value: typeof value === 'boolean' ? !value : value }];
const fixed = (bytes: number, what: string) => (value: unknown): Reading => value === bytes ? [] : `${what} may have ${bytes} bytes, which is fixed in this version: remove the key`;
const unsupported = (instead: string) => (value: unknown): Reading => (isZero(value) ? [] : `this version cannot do that: ${instead}`);

/** Every key of Serf's configuration file (0.8 to 0.10). `tags` is called the same here. */
const readers: Readonly<Record<string, (value: unknown) => Reading>> = {
  node_name: at('name'),
  role: at('tags', 'role'),
  disable_coordinates: negated('gossip', 'coordinates'),
  tags_file: at('tagsFile'),
  bind: (value) => [{ path: ['gossip', 'bind'], value: typeof value === 'string' && value.startsWith(':') ? `0.0.0.0${value}` : value }],
  advertise: at('gossip', 'advertise'),
  encrypt_key: at('gossip', 'encrypt'),
  keyring_file: at('gossip', 'keyringFile'),
  log_level: (value) => [{ path: ['log', 'level'], value: typeof value === 'string' ? logLevel(value) : value }],
  rpc_addr: at('rpc', 'bind'),
  rpc_auth: at('rpc', 'auth'),
  protocol: at('gossip', 'protocol'),
  replay_on_join: at('joining', 'replay'),
  query_response_size_limit: fixed(1024, "a query's response"),
  query_size_limit: fixed(1024, 'a query'),
  user_event_size_limit: at('gossip', 'userEventBytesMax'),
  start_join: at('startJoin'),
  retry_join: at('join'),
  retry_interval: duration('joining', 'intervalMs'),
  retry_max_attempts: at('joining', 'attemptsMax'),
  event_handlers: at('handlers'),
  profile: at('gossip', 'profile'),
  snapshot_path: at('snapshot', 'file'),
  rejoin_after_leave: at('snapshot', 'rejoin'),
  leave_on_terminate: at('leaveOnTerminate'),
  skip_leave_on_interrupt: negated('leaveOnInterrupt'),
  discover: (value) => [{ path: ['discovery', 'serf', 'strategy'], value: 'mdns' }, { path: ['discovery', 'serf', 'service'], value }],
  mdns: (value) => {
    const { interface: name, disable_ipv4: withoutV4 } = (typeof value === 'object' && value !== null ? value : {}) as { interface?: unknown; disable_ipv4?: unknown };
    if (withoutV4 === true) return 'multicast DNS goes over IPv4 alone in this version: remove disable_ipv4';
    return isZero(name) ? [] : [{ path: ['discovery', 'serf', 'interface'], value: name }];
  },
  interface: at('gossip', 'interface'),
  reconnect_interval: duration('gossip', 'reconnectIntervalMs'),
  reconnect_timeout: duration('gossip', 'reconnectTimeoutMs'),
  tombstone_timeout: duration('gossip', 'tombstoneTimeoutMs'),
  broadcast_timeout: duration('gossip', 'broadcastTimeoutMs'),
  disable_name_resolution: negated('gossip', 'nameResolution'),
  enable_compression: at('gossip', 'compression'),
  enable_syslog: unsupported('logs go to stderr; let the service manager or `logger` take them to syslog'),
  syslog_facility: () => [],
  statsite_addr: unsupported('metrics are not pushed to statsite'),
  statsd_addr: unsupported('metrics are not pushed to statsd'),
  // Names are always checked here, more strictly than there.
  validate_node_names: () => [],
  msgpack_use_new_time_format: () => [],
};

/** The names of all keys that are Serf's. */
export const serfKeys: readonly string[] = Object.keys(readers);
/** Here a `false` says something; elsewhere Serf takes what is empty, 0 or false for not given. */
const falseCounts = ['enable_compression', 'leave_on_terminate', 'skip_leave_on_interrupt'];

/** Puts what is written in Serf's terms into this program's own; keys of both may stand in one file. */
export function readSerfKeys(written: Readonly<Record<string, unknown>>): SerfReading {
  const config: Record<string, unknown> = {};
  const keys = new Map<string, string>();
  const problems: ConfigProblem[] = [];
  for (const [key, value] of Object.entries(written)) if (!Object.hasOwn(readers, key)) config[key] = value;
  for (const [key, value] of Object.entries(written)) {
    const read = Object.hasOwn(readers, key) ? readers[key] : undefined;
    if (read === undefined || (isZero(value) && !(value === false && falseCounts.includes(key)))) continue;
    const reading = read(value);
    if (typeof reading === 'string') {
      problems.push({ path: [key], message: reading });
      continue;
    }
    for (const place of reading) {
      put(config, place.path, place.value);
      keys.set(place.path.join('.'), key);
    }
  }
  return { config, keys, problems };
}

function put(config: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let target = config;
  for (const key of path.slice(0, -1)) {
    const inner = isMapping(target[key]) ? { ...target[key] } : {};
    target[key] = inner;
    target = inner;
  }
  const last = path.at(-1) as string;
  const before = target[last];
  target[last] = Array.isArray(before) && Array.isArray(value) ? [...(before as unknown[]), ...(value as unknown[])] : value;
}

/** Lists of these grow from file to file, as in Serf; of everything else the later file's word counts. */
export const growing: ReadonlySet<string> = new Set(['join', 'startJoin', 'handlers']);

/** One configuration of two: mappings are put together key by key. */
export function mergeConfigs(first: Readonly<Record<string, unknown>>, second: Readonly<Record<string, unknown>>, top: boolean = true): Record<string, unknown> {
  const merged: Record<string, unknown> = { ...first };
  for (const [key, value] of Object.entries(second)) {
    const before = Object.hasOwn(first, key) ? first[key] : undefined;
    if (isMapping(before) && isMapping(value)) define(merged, key, mergeConfigs(before, value, false));
    else if (top && growing.has(key) && Array.isArray(before) && Array.isArray(value)) define(merged, key, [...(before as unknown[]), ...(value as unknown[])]);
    else define(merged, key, value);
  }
  return merged;
}

/** A key called __proto__ is a key, and is refused later. */
function define(target: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
}

export function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isZero(value: unknown): boolean {
  return value === undefined || value === null || value === '' || value === 0 || value === false || (Array.isArray(value) && value.length === 0);
}

function logLevel(text: string): string {
  const lower = text.toLowerCase();
  return lower === 'err' ? 'error' : lower;
}

const unitMs: Readonly<Record<string, number>> = { ns: 1e-6, us: 1e-3, 'µs': 1e-3, 'μs': 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Go's durations: `300ms`, `1h30m`. Undefined: not one. */
export function durationMs(text: string): number | undefined {
  if (text === '0') return 0;
  if (!/^(\d+(\.\d+)?(ns|us|µs|μs|ms|s|m|h))+$/.test(text) || text.length > 64) return undefined;
  let sum = 0;
  for (const [, digits, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|μs|ms|s|m|h)/g)) sum += Number(digits) * (unitMs[unit as string] as number);
  return Math.round(sum);
}
