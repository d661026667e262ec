import { userEventBytesCeiling } from '../core/serf/user-events.ts';
import * as z from 'zod';
import { discoverySchema } from './config-discovery.ts';
import type { ConfigFile, ConfigInput } from './config-shape.ts';
import { addressValue, keyValue, milliseconds, nameValue, oneOf, sizeValue, text, whole, yesOrNo } from './config-values.ts';

/**
 * The config file as it may be written. Defaults are not filled in here but where the options are put together
 * (config.ts), because some depend on others. docs/config.md describes every key; a test keeps the two in step.
 */
export const gossipPort: number = 7946;
export const httpPort: number = 7380;
export const rpcPort: number = 7373;
export const memcachedPort: number = 11_211;

const gossip = z.strictObject({
  bind: addressValue({ defaultPort: gossipPort }).optional(),
  advertise: addressValue({ defaultPort: 0 }).optional(),
  profile: oneOf('lan', 'wan', 'local').optional(),
  encrypt: z.union([keyValue, z.array(keyValue).min(1)]).describe('a key in base64, or a list of keys').optional(),
  compression: yesOrNo.optional(),
  interface: text.optional(),
  keyringFile: text.optional(),
  reconnectIntervalMs: milliseconds(100).optional(),
  reconnectTimeoutMs: milliseconds(1000).optional(),
  tombstoneTimeoutMs: milliseconds(1000).optional(),
  broadcastTimeoutMs: milliseconds(100).optional(),
  userEventBytesMax: whole(1, userEventBytesCeiling).optional(),
  coordinates: yesOrNo.optional(),
  nameResolution: yesOrNo.optional(),
  protocol: whole(3, 5, 'a protocol').optional(),
});

const snapshot = z.strictObject({
  file: text.optional(),
  rejoin: yesOrNo.optional(),
});

const joining = z.strictObject({
  intervalMs: milliseconds(10).optional(),
  attemptsMax: whole(0, 1_000_000).optional(),
  replay: yesOrNo.optional(),
});

const sync = z.strictObject({
  mandatory: z.array(nameValue).max(1024).describe('a list of node names').optional(),
  optional: z.array(nameValue).max(1024).describe('a list of node names').optional(),
  timeoutMs: milliseconds(1),
});

const keyspace = z.strictObject({
  partitions: whole(1, 4096).optional(),
  replicas: whole(1, 16).optional(),
  acks: oneOf('all', 'majority', 'one').optional(),
  engine: oneOf('memory').optional(),
  maxMemory: sizeValue.optional(),
  eviction: oneOf('lru', 'none').optional(),
  minInSync: whole(1, 16).optional(),
});

const app = z.strictObject({
  nodes: z.array(z.union([nameValue, z.array(nameValue).min(1)]).describe('a node name, or a list of names that are equal in rank')).min(1).max(256).describe('a list of node names, the first with priority'),
  failoverTimeoutMs: milliseconds(0).optional(),
  takeover: oneOf('automatic', 'manual').optional(),
  module: text.optional(),
  command: z.array(text).min(1).describe('a list: the program, then its arguments').optional(),
  config: z.unknown().optional(),
  stopTimeoutMs: milliseconds(1).optional(),
  startTimeoutMs: milliseconds(1).optional(),
  restart: z.strictObject({ count: whole(0, 1_000_000), periodMs: milliseconds(1) }).optional(),
});

const timing = z.strictObject({
  leaseMs: milliseconds(50).optional(),
  marginMs: milliseconds(1).optional(),
  renewMs: milliseconds(5).optional(),
  electionTimeoutMs: z.strictObject({ min: milliseconds(10), max: milliseconds(10) }).optional(),
  healAfterMs: milliseconds(0).optional(),
  requestTimeoutMs: milliseconds(1).optional(),
});

export const configSchema: z.ZodType<ConfigFile, ConfigInput> = z.strictObject({
  name: nameValue.optional(),
  data: text.optional(),
  dev: yesOrNo.optional(),
  gossip: gossip.optional(),
  peer: addressValue({}).optional(),
  join: z.array(addressValue({ defaultPort: gossipPort, name: true })).max(256).describe('a list of at most 256 addresses').optional(),
  startJoin: z.array(addressValue({ defaultPort: gossipPort, name: true })).max(256).describe('a list of at most 256 addresses').optional(),
  joining: joining.optional(),
  snapshot: snapshot.optional(),
  tagsFile: text.optional(),
  discovery: discoverySchema.optional(),
  bootstrap: z.strictObject({ expect: whole(0, 1024) }).optional(),
  sync: sync.optional(),
  quorum: z.strictObject({ lastNode: oneOf('never', 'on-refusal', 'on-silence').optional() }).optional(),
  keyspaces: z.record(z.string(), keyspace).describe('a mapping of names to keyspaces').optional(),
  memcached: z.strictObject({ bind: addressValue({ defaultPort: memcachedPort }), keyspace: nameValue.optional() }).optional(),
  http: z.union([z.literal(false), z.strictObject({ bind: addressValue({ defaultPort: httpPort }).optional(), token: z.string().min(1).describe('text of at least one character').optional(), allowWithoutToken: yesOrNo.optional() })]).describe('a mapping, or false to turn it off').optional(),
  rpc: z.union([z.literal(false), z.strictObject({ bind: addressValue({ defaultPort: rpcPort }).optional(), auth: z.string().min(1).describe('text of at least one character').optional(), allowWithoutAuth: yesOrNo.optional() })]).describe('a mapping, or false to turn it off').optional(),
  handlers: z.array(text).max(256).describe('a list of at most 256 handlers').optional(),
  handling: z.strictObject({ runningMax: whole(1, 1024).optional(), timeoutMs: milliseconds(1).optional() }).optional(),
  liveNodes: z.strictObject({ file: z.string().min(1).describe('text of at least one character') }).optional(),
  apps: z.record(z.string(), app).describe('a mapping of names to apps').optional(),
  tags: z.record(z.string(), z.string().describe('text (put it in quotes)')).describe('a mapping of names to text').optional(),
  zone: text.optional(),
  voter: yesOrNo.optional(),
  storage: yesOrNo.optional(),
  timing: timing.optional(),
  leaveOnTerminate: yesOrNo.optional(),
  leaveOnInterrupt: yesOrNo.optional(),
  log: z.strictObject({ level: oneOf('trace', 'debug', 'info', 'warn', 'error').optional() }).optional(),
});
