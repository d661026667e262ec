import { TroupeError } from '../../src/base/errors.ts';
import type { HttpBackend, HttpEntry, HttpMember } from '../../src/frontends/http/backend.ts';

export interface FakeBackend extends HttpBackend {
  /** What was asked of it, in order. */
  readonly calls: unknown[][];
  ready: boolean;
  fail: Error | undefined;
  /** How often it has failed. */
  failures: number;
}

const member = (name: string, status: string, tags: Record<string, string> = {}): HttpMember => ({ name, status, tags, address: { host: '127.0.0.1', port: 7946 }, protocol: { min: 1, max: 5, current: 2 }, delegate: { min: 2, max: 5, current: 4 } });

/** A node that remembers what it was asked, with a keyspace called `default` in a Map. */
export function fakeBackend(): FakeBackend {
  const calls: unknown[][] = [];
  const entries = new Map<string, HttpEntry>();
  let version = 0;
  const note = async (...call: unknown[]): Promise<void> => {
    if (backend.fail !== undefined) {
      backend.failures++;
      throw backend.fail;
    }
    calls.push(call);
  };
  const store = (key: string, value: Uint8Array, options: { ttlSeconds?: number; flags?: number } = {}): { version: number } => {
    version += 1;
    entries.set(key, { value, version, flags: options.flags ?? 0, expiresAt: options.ttlSeconds === undefined ? undefined : 1_000_000 + options.ttlSeconds });
    return { version };
  };
  const backend: FakeBackend = {
    calls,
    ready: true,
    fail: undefined,
    failures: 0,
    name: 'one',
    version: '1.2.3',
    isReady: () => backend.ready,
    members: () => [member('one', 'alive', { zone: 'a' }), member('two', 'failed')],
    async join(addresses) {
      await note('join', addresses);
      return { joined: 1, errors: [{ address: { host: '::1', port: 5 }, code: 'REFUSED', message: 'nobody listens' }] };
    },
    leave: () => note('leave'),
    forceLeave: (name, prune) => note('forceLeave', name, prune),
    status: () => ({ nodes: [{ name: 'one' }], apps: [{ name: 'wikipedy' }], leader: 'one', term: 3, voters: ['one'], quorum: true, sessionLive: true }),
    discovery: () => [{ name: 'home' }],
    async ps(node = 'one') {
      await note('ps', node);
      return { node, version: '1.2.3', processes: [{ name: node }] };
    },
    partitions: () => [{ keyspace: 'default' }, { keyspace: 'other' }],
    app: (name, action) => note('app', name, action),
    drainNode: (name, on) => note('drainNode', name, on),
    forgetNode: (name) => note('forgetNode', name),
    maintenance: (on) => note('maintenance', on),
    async acceptLoss(keyspace, partitions) {
      await note('acceptLoss', keyspace, partitions);
      return 2;
    },
    transferLeadership: (to) => note('transferLeadership', to),
    keyspace(name) {
      if (name !== 'default') throw new TroupeError('NO_SUCH_KEYSPACE', `there is no keyspace '${name}'`);
      return {
        async get(key) {
          await note('get', key);
          return entries.get(key);
        },
        put: async (key, value, options) => store(key, value, options),
        async create(key, value, options) {
          if (entries.has(key)) return false;
          store(key, value, options);
          return true;
        },
        async update(key, value, options) {
          if (!entries.has(key)) return false;
          store(key, value, options);
          return true;
        },
        delete: async (key) => entries.delete(key),
        async compareAndSet(key, value, expected, options) {
          const entry = entries.get(key);
          if (entry === undefined) return 'missing';
          if (entry.version !== expected) return 'changed';
          store(key, value, options);
          return 'stored';
        },
        async increment(key, by = 1) {
          const entry = entries.get(key);
          if (entry === undefined) return undefined;
          const sum = BigInt(new TextDecoder().decode(entry.value)) + BigInt(by);
          store(key, new TextEncoder().encode(String(sum)));
          return sum;
        },
      };
    },
  };
  return backend;
}
