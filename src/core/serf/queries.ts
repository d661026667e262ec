import { TroupeError } from '../../base/errors.ts';
import { ipFromBytes, ipToBytes } from '../wire/ip-address.ts';
import type { Endpoint } from '../wire/ip-address.ts';
import { decodeUtf8 } from '../wire/msgpack.ts';
import {
  decodeFilter, decodeRelay, encodeFilter, encodeRelay, encodeSerfMessage, queryFlag, responseFlag, serfConflictMemberCodec, serfQueryCodec, serfQueryResponseCodec, serfType,
} from '../wire/serf-messages.ts';
import type { SerfQuery } from '../wire/serf-messages.ts';
import { WireError } from '../wire/wire-error.ts';
import type { Timers } from '../swim/timers.ts';
import type { LogLevel, RandomSource } from '../swim/types.ts';
import { LamportClock } from './lamport-clock.ts';
import { RecentRing } from './recent-ring.ts';
import { compileTagExpression } from './tag-match.ts';
import type { Member, QueryOptions, QueryRecord, SerfEvent } from './types.ts';

/** Serf's default bounds on a query and on a response, encoded (bytes). */
export const queryBytesMax = 1024;
export const responseBytesMax = 1024;
/** Own queries that may run at one time. */
const pendingMax = 1024;
const nanosecondsPerMs = 1_000_000;
const timeoutMsMax = 24 * 3_600_000;
const relayVersion = 5;
const messageLimits = { valuesMax: 8192, depthMax: 8 } as const;
const internalPrefix = '_serf_';

interface Pending {
  readonly id: number;
  readonly acks: Set<string>;
  readonly responses: Set<string>;
  readonly onRecord: (record: QueryRecord) => void;
}

export interface QueryPorts {
  readonly name: string;
  readonly advertise: Endpoint;
  readonly random: RandomSource;
  readonly timers: Timers;
  readonly gossipIntervalMs: number;
  emit(event: SerfEvent): void;
  log(level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>): void;
  broadcast(message: Uint8Array): void;
  sendTo(to: Endpoint, message: Uint8Array): void;
  member(name: string): Member | undefined;
  members(): Member[];
}

/** Queries: ours, and the answers to them; those of others, and our answers. */
export class Queries {
  readonly clock: LamportClock = new LamportClock();
  readonly #ports: QueryPorts;
  readonly #ring = new RecentRing<number>((a, b) => a === b);
  readonly #pending = new Map<number, Pending>();
  /** Older ones were seen by the process whose place we took. */
  #minTime = 0;
  #joined = false;
  /** Answers queries that carry Serf's reserved names and are not answered here (key management): once, now or later, or not at all. */
  internalHandler: ((name: string, payload: Uint8Array, answer: (payload: Uint8Array) => void) => void) | undefined;

  constructor(ports: QueryPorts) {
    this.#ports = ports;
  }

  get defaultTimeoutMs(): number {
    return this.#ports.gossipIntervalMs * 16 * Math.ceil(Math.log10(this.#ports.members().filter((member) => member.status === 'alive').length + 1));
  }

  /** This process goes on where another one ended, which had seen queries up to this time. */
  resumeAfter(time: number): void {
    this.#minTime = Math.max(this.#minTime, time + 1);
    this.clock.witness(time);
  }

  /** Asks everybody that the options fit, ourselves among them; `done` is the last record. @throws TroupeError */
  ask(name: string, payload: Uint8Array, options: QueryOptions, onRecord: (record: QueryRecord) => void): void {
    const { advertise, random, timers } = this.#ports;
    if (this.#pending.size >= pendingMax) throw new TroupeError('QUERIES_BUSY', `cannot send the query '${name}': ${pendingMax} queries of this node are running, which is the limit; wait for some to end`, { name, max: pendingMax });
    const timeoutMs = Math.min(timeoutMsMax, options.timeoutMs ?? this.defaultTimeoutMs);
    const query: SerfQuery = {
      LTime: this.clock.time, ID: random.uint32(), Addr: ipToBytes(advertise.host) ?? new Uint8Array(4), Port: advertise.port, SourceNode: this.#ports.name,
      Filters: [
        ...(options.nodes === undefined || options.nodes.length === 0 ? [] : [encodeFilter({ type: 'nodes', names: options.nodes })]),
        ...Object.entries(options.tags ?? {}).map(([tag, expression]) => encodeFilter({ type: 'tag', tag, expression })),
      ],
      Flags: options.acknowledge === true ? queryFlag.acknowledge : 0, RelayFactor: options.relayFactor ?? 0,
      Timeout: Math.round(timeoutMs * nanosecondsPerMs), Name: name, Payload: payload.slice(),
    };
    const message = encodeSerfMessage(serfType.query, serfQueryCodec, query);
    if (message.length > queryBytesMax) {
      throw new TroupeError('QUERY_TOO_LARGE', `cannot send the query '${name}': it takes ${message.length} bytes and at most ${queryBytesMax} travel; shorten its payload or its list of nodes`, { name, size: message.length, max: queryBytesMax });
    }
    this.clock.tick();
    this.#pending.set(query.LTime, { id: query.ID, acks: new Set(), responses: new Set(), onRecord });
    timers.after(timeoutMs, () => {
      this.#pending.delete(query.LTime);
      onRecord({ type: 'done' });
    });
    this.#receive(query);
    this.#ports.broadcast(message);
  }

  /** True when others should hear it. Before the first contact it may be of any age, and is left alone. @throws WireError */
  handleQuery(body: Uint8Array): boolean {
    if (!this.#joined) return false;
    const query = serfQueryCodec.decode(body, messageLimits);
    return this.#receive({ ...query, Payload: query.Payload.slice() }) && (query.Flags & queryFlag.noBroadcast) === 0;
  }

  handleResponse(body: Uint8Array): void {
    const response = serfQueryResponseCodec.decode(body, messageLimits);
    const pending = this.#pending.get(response.LTime);
    if (pending === undefined || pending.id !== response.ID) return; // too late, or never asked
    const isAck = (response.Flags & responseFlag.acknowledge) !== 0;
    const seen = isAck ? pending.acks : pending.responses;
    // Relays bring the same answer several times. Nobody answers who is not there.
    if (seen.has(response.From) || this.#ports.member(response.From) === undefined) return;
    seen.add(response.From);
    pending.onRecord(isAck ? { type: 'ack', from: response.From } : { type: 'response', from: response.From, payload: response.Payload.slice() });
  }

  /** Passes an answer on, but only to a member: this node is nobody's open relay. */
  handleRelay(body: Uint8Array): void {
    const relay = decodeRelay(body);
    const host = ipFromBytes(relay.ip);
    const known = this.#ports.members().some((member) => member.address.port === relay.port && member.address.host === host);
    if (!known || relay.inner[0] !== serfType.queryResponse) throw new WireError(`a relay to ${host}:${relay.port} was not followed`);
    this.#ports.sendTo({ host, port: relay.port }, relay.inner);
  }

  /** At the first contact of a fresh process: queries from before have ended, even if somebody still sends them. */
  joinedAt(theirTime: number): void {
    if (!this.#joined) this.#minTime = Math.max(this.#minTime, theirTime);
    this.#joined = true;
    if (theirTime > 0) this.clock.witness(theirTime - 1);
  }

  /** True when it is new. */
  #receive(query: SerfQuery): boolean {
    this.clock.witness(query.LTime);
    if (query.LTime < this.#minTime) return false;
    if (!this.#ring.add(query.LTime, query.ID, this.clock.time)) return false;
    if (!query.Filters.every((filter) => this.#matches(filter))) return true;
    if ((query.Flags & queryFlag.acknowledge) !== 0) this.#reply(query, responseFlag.acknowledge, new Uint8Array(0));
    if (query.Name.startsWith(internalPrefix)) this.#answerInternal(query);
    else this.#deliver(query);
    return true;
  }

  #matches(bytes: Uint8Array): boolean {
    const filter = decodeFilter(bytes);
    if (filter.type === 'nodes') return filter.names.includes(this.#ports.name);
    const expression = compileTagExpression(filter.expression);
    if (expression === undefined) {
      this.#ports.log('warn', `a query's tag filter cannot be followed here: '${filter.expression.slice(0, 100)}'`, { tag: filter.tag });
      return false;
    }
    return expression.test(this.#ports.member(this.#ports.name)?.tags[filter.tag] ?? '');
  }

  #deliver(query: SerfQuery): void {
    const { timers } = this.#ports;
    const deadline = timers.now + Math.min(timeoutMsMax, query.Timeout / nanosecondsPerMs);
    let answered = false;
    this.#ports.emit({
      type: 'query', name: query.Name, payload: query.Payload, lamportTime: query.LTime, id: query.ID, from: query.SourceNode, deadline,
      respond: (payload) => {
        if (answered || timers.now > deadline) return false;
        answered = this.#reply(query, 0, payload);
        return answered;
      },
    });
  }

  #answerInternal(query: SerfQuery): void {
    switch (query.Name) {
      case '_serf_ping': return; // the acknowledgement is all
      case '_serf_conflict': {
        const name = decodeUtf8(query.Payload);
        if (name !== this.#ports.name) this.#reply(query, 0, encodeConflictMember(this.#ports.member(name)));
        return;
      }
      default:
        this.internalHandler?.(query.Name, query.Payload, (answer) => void this.#reply(query, 0, answer));
    }
  }

  /** False when it is too large to travel. */
  #reply(query: SerfQuery, flags: number, payload: Uint8Array): boolean {
    const message = encodeSerfMessage(serfType.queryResponse, serfQueryResponseCodec, { LTime: query.LTime, ID: query.ID, From: this.#ports.name, Flags: flags, Payload: payload });
    if (message.length > responseBytesMax) {
      this.#ports.log('warn', `the answer to query '${query.Name}' takes ${message.length} bytes and at most ${responseBytesMax} travel: it was not sent`, { query: query.Name, size: message.length });
      return false;
    }
    if (query.SourceNode === this.#ports.name && this.#pending.get(query.LTime)?.id === query.ID) {
      // Our own: after the call that asked has returned.
      this.#ports.timers.after(0, () => this.handleResponse(message.subarray(1)));
      return true;
    }
    if ((query.Addr.length !== 4 && query.Addr.length !== 16) || query.Port === 0) return false;
    const to = { host: ipFromBytes(query.Addr), port: query.Port };
    this.#ports.sendTo(to, message);
    if (query.RelayFactor > 0) this.#relay(query, message);
    return true;
  }

  #relay(query: SerfQuery, message: Uint8Array): void {
    const { random, name } = this.#ports;
    const members = this.#ports.members();
    if (members.length < query.RelayFactor + 1) return;
    const helpers = members.filter((member) => member.status === 'alive' && member.name !== name && member.name !== query.SourceNode && member.delegate.max >= relayVersion);
    const relayed = encodeRelay({ ip: query.Addr, port: query.Port, name: query.SourceNode }, message);
    for (let sent = 0; sent < query.RelayFactor && helpers.length > 0; sent++) {
      const [helper] = helpers.splice(random.below(helpers.length), 1);
      if (helper !== undefined) this.#ports.sendTo(helper.address, relayed);
    }
  }
}

const statusCode = { alive: 1, leaving: 2, left: 3, failed: 4 } as const;

/** What we know of a member whose name is in dispute; nil when we know none. */
function encodeConflictMember(member: Member | undefined): Uint8Array {
  if (member === undefined) return Uint8Array.of(serfType.conflictResponse, 0xc0);
  return encodeSerfMessage(serfType.conflictResponse, serfConflictMemberCodec, {
    Name: member.name, Addr: ipToBytes(member.address.host) ?? new Uint8Array(4), Port: member.address.port, Tags: new Map(Object.entries(member.tags)), Status: statusCode[member.status],
    ProtocolMin: member.protocol.min, ProtocolMax: member.protocol.max, ProtocolCur: member.protocol.current,
    DelegateMin: member.delegate.min, DelegateMax: member.delegate.max, DelegateCur: member.delegate.current,
  });
}


/** Where the answering node knows the disputed name; undefined: nowhere, or the answer cannot be read. */
export function decodeConflictAnswer(payload: Uint8Array): Endpoint | undefined {
  if (payload[0] !== serfType.conflictResponse) return undefined;
  try {
    const { Addr, Port } = serfConflictMemberCodec.decode(payload.subarray(1), messageLimits);
    return { host: ipFromBytes(Addr), port: Port };
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}
