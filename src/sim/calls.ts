/** How a drawn call is put to a node, and what its answer means to the history. */
import { TroupeError } from '../base/errors.ts';
import { decodeUtf8, encodeUtf8 } from '../base/utf8.ts';
import { hashKey } from '../core/store/hash.ts';
import { Op, Status, StoreRequest } from '../core/store/request.ts';
import type { ReplySink, StoreReply } from '../core/store/request.ts';
import type { RunningNode } from './checkers/checker.ts';
import type { Operation, OperationKind, OperationResult } from './history.ts';

export type Tamper = (request: StoreRequest) => void;

/** Longer than any run: to the history it is never (s). */
const farSeconds = 1_000_000;

const answer = (status: OperationResult['status'], value = '', version = 0): OperationResult => ({ status, value, version });

/** Calls that programs have no method for. */
export const onlyThroughRouter: readonly OperationKind[] = ['prepend', 'gat', 'flush'];

/** As a program of the node does it. */
export async function throughKeyspace({ node }: RunningNode, { keyspace: name, kind, key, value, version }: Operation, ttlSeconds: number): Promise<OperationResult> {
  const keyspace = node.keyspace(name);
  const options = ttlSeconds === 0 ? {} : { ttlSeconds };
  switch (kind) {
    case 'get': {
      const entry = await keyspace.get(key);
      return entry === undefined ? answer('miss') : answer('hit', decodeUtf8(entry.value), entry.version);
    }
    case 'put': return answer('stored', '', (await keyspace.put(key, value, options)).version);
    case 'create': return answer((await keyspace.create(key, value, options)) ? 'stored' : 'notStored');
    case 'update': return answer((await keyspace.update(key, value, options)) ? 'stored' : 'notStored');
    case 'delete': return answer((await keyspace.delete(key)) ? 'deleted' : 'notFound');
    case 'cas': {
      const outcome = await keyspace.compareAndSet(key, value, version, options);
      return answer(outcome === 'stored' ? 'stored' : outcome === 'changed' ? 'exists' : 'notFound');
    }
    case 'increment':
    case 'decrement':
      try {
        const by = BigInt(value);
        const counter = await keyspace.increment(key, kind === 'increment' ? by : -by);
        return counter === undefined ? answer('notFound') : answer('number', String(counter));
      } catch (error) {
        if (error instanceof TroupeError && error.code === 'NOT_A_NUMBER') return answer('nonNumeric');
        throw error;
      }
    case 'append': return answer((await keyspace.append(key, value)) ? 'stored' : 'notStored');
    case 'touch': return answer((await keyspace.touch(key, ttlSeconds === 0 ? farSeconds : ttlSeconds)) ? 'touched' : 'notFound');
    default: throw new Error(`a keyspace has no ${kind}`);
  }
}

const opOf = { get: Op.get, put: Op.set, create: Op.add, update: Op.replace, delete: Op.delete, cas: Op.cas, increment: Op.incr, append: Op.append, touch: Op.touch, decrement: Op.decr, prepend: Op.prepend, gat: Op.gat, flush: Op.flush, wipe: Op.flush, rollback: Op.flush } as const;

/** As a frontend does it. `tamper` may change the request behind the history's back, for planted errors. */
export function throughRouter({ node, process }: RunningNode, operation: Operation, tamper: Tamper, done: (result: OperationResult) => void, fail: (code: string) => void): void {
  const { keyspace, kind, key, value, version, expiresAt } = operation;
  const request = new StoreRequest();
  request.op = opOf[kind];
  request.key = encodeUtf8(key);
  request.keyEnd = request.key.length;
  request.hash = hashKey(request.key, 0, request.keyEnd);
  if (kind === 'increment' || kind === 'decrement') request.delta = deltaOf(value);
  else request.value = encodeUtf8(value);
  request.valueEnd = request.value.length;
  request.cas = version;
  request.expiresAt = expiresAt !== 0 ? expiresAt : kind === 'touch' || kind === 'gat' ? Math.floor(process.clock.wallTime() / 1000) + farSeconds : 0;
  tamper(request);
  const router = node.router(keyspace);
  const sink: ReplySink = {
    reply: (reply) => {
      const result = resultOf(kind, reply);
      if (typeof result === 'string') fail(result);
      else done(result);
    },
  };
  if (request.op === Op.flush) router.flushAll(request.expiresAt, sink);
  else router.execute(request, sink);
}

function deltaOf(text: string): number | bigint {
  const delta = BigInt(text);
  return delta <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(delta) : delta;
}

function resultOf(kind: OperationKind, reply: StoreReply): OperationResult | string {
  switch (reply.status) {
    case Status.hit: return answer('hit', decodeUtf8(reply.value.slice(reply.valueStart, reply.valueEnd)), reply.cas);
    case Status.miss: return answer('miss');
    case Status.stored: return answer('stored', '', reply.cas);
    case Status.notStored: return answer('notStored');
    case Status.exists: return answer('exists');
    case Status.notFound: return answer('notFound');
    case Status.deleted: return answer('deleted');
    case Status.touched: return answer('touched');
    case Status.number: return answer('number', String(reply.counter), 0);
    case Status.nonNumeric: return answer('nonNumeric');
    case Status.unknownOutcome: return 'UNKNOWN_OUTCOME';
    case Status.timeout: return kind === 'get' ? 'TIMEOUT' : 'UNKNOWN_OUTCOME';
    case Status.tooLarge: return 'TOO_LARGE';
    case Status.outOfMemory: return 'OUT_OF_MEMORY';
    case Status.busy: return 'BUSY';
    case Status.unavailable: return 'UNAVAILABLE';
    case Status.ok: return answer('flushed');
  }
}
