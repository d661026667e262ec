import { messageOf } from '../../base/errors.ts';
import type { AgentEvent } from '../../core/serf/agent-event.ts';
import { matchesEvent, parseEventFilters } from '../../core/serf/event-filter.ts';
import type { Member, QueryEvent } from '../../core/serf/types.ts';
import { MsgpackReader } from '../../core/wire/msgpack.ts';
import { MsgpackScanner } from '../../core/wire/msgpack-scanner.ts';
import type { FieldCodec } from '../../core/wire/msgpack-struct.ts';
import {
  encodeRpc, readRequestHeader, rpcError, rpcJoinResponse, rpcKeyResponse, rpcLimits, rpcLogRecord, rpcMemberRecord, rpcMembersResponse, rpcQueryEventRecord, rpcQueryRecord,
  rpcResponseHeader, rpcUserRecord, rpcVersion,
} from '../../core/wire/serf-rpc.ts';
import type { RpcRequestHeader, RpcSequence } from '../../core/wire/serf-rpc.ts';
import { WireError } from '../../core/wire/wire-error.ts';
import type { Clock } from '../../ports/clock.ts';
import type { LogLine, LogTail } from '../../ports/log.ts';
import type { Stream, StreamHandler } from '../../ports/streams.ts';
import type { SerfRpcBackend } from './backend.ts';
import { commands, withoutBody } from './commands.ts';
import type { Command, RpcVerbs } from './commands.ts';
import type { SerfRpcLimits } from './limits.ts';
import { logText, rankOf, rpcLogLevels } from './log-text.ts';
import { memberFilter } from './member-filter.ts';
import { RecordQueue } from './record-queue.ts';
import { queryRecord, rpcMemberOf } from './records.ts';

export interface ConnectionHost {
  readonly backend: SerfRpcBackend;
  readonly clock: Clock;
  readonly logTail: LogTail;
  readonly limits: SerfRpcLimits;
  /** '' when none is asked for. */
  readonly authKey: string;
  /** The client broke the protocol. */
  onMisuse(connection: RpcConnection, why: string): void;
  /** A record was dropped because the client does not read. Must not log before the end of the turn. */
  onDropped(connection: RpcConnection, count: number): void;
  /** Nothing more is read or written. */
  onEnded(connection: RpcConnection): void;
  onClosed(connection: RpcConnection): void;
}

/** A stream, monitor or query of the client: records go out under the number of its request. */
interface Subscription {
  readonly queue: RecordQueue;
  readonly stop: () => void;
  /** Nothing more will come: it goes when its queue is empty. */
  ended?: true;
}

/** Ends the connection, after what has been answered. */
class CloseConnection extends Error {}

const respondBytesMax = 1024;

/**
 * One client of Serf's RPC. Requests are taken one after the other, as Serf takes them: while one is being carried out,
 * nothing further is read. Records of streams come in between.
 */
export class RpcConnection implements StreamHandler, RpcVerbs {
  readonly stream: Stream;
  readonly #host: ConnectionHost;
  readonly #scanner: MsgpackScanner;
  readonly #streams = new Map<RpcSequence, Subscription>();
  #monitor: { readonly sequence: RpcSequence; readonly subscription: Subscription } | undefined;
  readonly #queries = new Set<Subscription>();
  readonly #answerable = new Map<RpcSequence, QueryEvent>();
  #nextQueryId = 1;
  #header: RpcRequestHeader = { Command: '', Seq: 0 };
  #awaitsBody = false;
  #handshaken = false;
  #authenticated: boolean;
  #busy = false;
  /** A command is being carried out in this very call: its answer goes before the records that it causes. */
  #held = false;
  #congested = false;
  #paused = false;
  #peerEnded = false;
  #ending = false;
  #closed = false;

  constructor(host: ConnectionHost, stream: Stream) {
    this.#host = host;
    this.stream = stream;
    this.#authenticated = host.authKey === '';
    this.#scanner = new MsgpackScanner({ bytesMax: host.limits.messageBytesMax, valuesMax: host.limits.messageValuesMax });
  }

  /** It has said what it must before anything else. */
  get greeted(): boolean {
    return this.#handshaken && this.#authenticated;
  }

  /** A command is being carried out. */
  get busy(): boolean {
    return this.#busy;
  }

  onData(bytes: Uint8Array): void {
    if (this.#ending || this.#closed) return;
    this.#scanner.push(bytes);
    this.#takeRequests();
  }

  onDrain(): void {
    this.#congested = false;
    this.#flush();
    this.#takeRequests();
  }

  /** What was asked for is still answered. */
  onEnd(): void {
    this.#peerEnded = true;
    this.#takeRequests();
  }

  onClose(): void {
    this.#closed = true;
    this.#stopAll();
    this.#host.onClosed(this);
  }

  /** Sends what is queued, and closes. */
  end(): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#stopAll();
    this.stream.end();
    this.#host.onEnded(this);
  }

  // ---- requests ---------------------------------------------------------------------------------------------------

  #takeRequests(): void {
    try {
      while (!this.#busy && !this.#congested && !this.#ending && !this.#closed) {
        const value = this.#scanner.next();
        if (value === undefined) break;
        this.#held = true;
        this.#take(value);
        this.#held = false;
        this.#flush();
      }
    } catch (error) {
      if (error instanceof WireError) this.#host.onMisuse(this, error.message);
      else if (!(error instanceof CloseConnection)) throw error;
      this.end();
    }
    if (this.#peerEnded && !this.#busy && !this.#congested) this.end();
    const pause = this.#busy || this.#congested;
    if (pause === this.#paused) return;
    this.#paused = pause;
    if (pause) this.stream.pause();
    else this.stream.resume();
  }

  #take(value: Uint8Array): void {
    if (this.#awaitsBody) {
      this.#awaitsBody = false;
      const command = commands[this.#header.Command] as Command;
      command(this, value);
      return;
    }
    this.#header = readRequestHeader(new MsgpackReader(value, 0, rpcLimits).read(), this.#header);
    const { Command: name } = this.#header;
    if (name !== 'handshake' && !this.#handshaken) this.#refuse(rpcError.handshakeRequired);
    if (!this.#authenticated && name !== 'auth' && name !== 'handshake') return this.answer(rpcError.authRequired);
    const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
    if (command === undefined) this.#refuse(rpcError.unsupportedCommand);
    else if (withoutBody.has(name)) command(this, value);
    else this.#awaitsBody = true;
  }

  #refuse(error: string): never {
    this.answer(error);
    this.#host.onMisuse(this, error);
    throw new CloseConnection();
  }

  /** Carries out what takes a while; what it throws is answered. */
  async #carryOut(run: () => Promise<void>): Promise<void> {
    this.#busy = true;
    try {
      await run();
    } catch (error) {
      this.answer(messageOf(error));
    }
    this.#busy = false;
    if (!this.#closed) this.#takeRequests();
  }

  // ---- answers ----------------------------------------------------------------------------------------------------

  answer(error = ''): void {
    this.#write(encodeRpc(rpcResponseHeader, { Seq: this.#header.Seq, Error: error }));
  }

  answerWith<T>(codec: FieldCodec<T>, body: T, error = ''): void {
    this.#write(encodeRpc(rpcResponseHeader, { Seq: this.#header.Seq, Error: error }, codec, body));
  }

  /** Answers what the call threw, or that all is well. */
  attempt(run: () => void): void {
    let error = '';
    try {
      run();
    } catch (thrown) {
      error = messageOf(thrown);
    }
    this.answer(error);
  }

  #write(bytes: Uint8Array): void {
    if (this.#closed || this.#ending) return;
    if (!this.stream.write(bytes)) this.#congested = true;
  }

  // ---- records ----------------------------------------------------------------------------------------------------

  #subscriptions(): Subscription[] {
    return [...(this.#monitor === undefined ? [] : [this.#monitor.subscription]), ...this.#streams.values(), ...this.#queries];
  }

  /** Sends a record, or keeps it while the client does not read; past the limits it is dropped. `always`: it is not. */
  #record<T>(queue: RecordQueue, sequence: RpcSequence, codec: FieldCodec<T>, body: T, always = false): void {
    if (this.#closed || this.#ending) return;
    const { recordsMax, recordBytesMax } = this.#host.limits;
    if (this.#congested && !always) {
      const bytes = this.#subscriptions().reduce((sum, subscription) => sum + subscription.queue.bytes, 0);
      if (queue.count >= recordsMax || bytes >= recordBytesMax) {
        this.#host.onDropped(this, 1);
        return;
      }
    }
    const record = encodeRpc(rpcResponseHeader, { Seq: sequence, Error: '' }, codec, body);
    if (this.#congested || this.#held || queue.count > 0) queue.push(record);
    else this.#write(record);
  }

  #flush(): void {
    for (const subscription of this.#subscriptions()) {
      while (!this.#congested) {
        const record = subscription.queue.shift();
        if (record === undefined) break;
        this.#write(record);
      }
      if (subscription.ended === true && subscription.queue.count === 0) this.#queries.delete(subscription);
    }
  }

  #stopAll(): void {
    for (const { stop } of this.#subscriptions()) stop();
    this.#streams.clear();
    this.#queries.clear();
    this.#monitor = undefined;
    this.#answerable.clear();
  }

  // ---- commands ---------------------------------------------------------------------------------------------------

  handshake(version: number): void {
    if (version !== rpcVersion) return this.answer(rpcError.unsupportedVersion);
    if (this.#handshaken) return this.answer(rpcError.duplicateHandshake);
    this.#handshaken = true;
    this.answer();
  }

  auth(key: string): void {
    if (!sameText(key, this.#host.authKey)) return this.answer(rpcError.invalidToken);
    this.#authenticated = true;
    this.answer();
  }

  get backend(): SerfRpcBackend {
    return this.#host.backend;
  }

  join(addresses: readonly string[], replay: boolean): void {
    void this.#carryOut(async () => {
      const { joined, error } = await this.backend.join(addresses, replay);
      this.answerWith(rpcJoinResponse, { Num: joined }, error);
    });
  }

  leave(): void {
    void this.#carryOut(async () => {
      await this.backend.leave();
      this.answer();
    });
  }

  changeTags(set: ReadonlyMap<string, string>, remove: readonly string[]): void {
    void this.#carryOut(async () => {
      let problem = '';
      try {
        await this.backend.changeTags(set, remove);
      } catch (error) {
        problem = messageOf(error);
      }
      this.answer(problem);
    });
  }

  keys(action: 'install' | 'use' | 'remove' | 'list', key: string): void {
    void this.#carryOut(async () => {
      let outcome = { error: '', messages: new Map<string, string>() as ReadonlyMap<string, string>, keys: new Map<string, number>() as ReadonlyMap<string, number>, nodes: 0, failures: 0, answers: 0 };
      try {
        outcome = await this.backend.keys(action, key);
      } catch (error) {
        outcome.error = messageOf(error);
      }
      const { error, messages, keys, nodes, failures, answers } = outcome;
      this.answerWith(rpcKeyResponse, { Messages: messages, Keys: action === 'list' ? keys : undefined, NumNodes: nodes, NumErr: failures, NumResp: answers }, error);
    });
  }

  startStream(type: string): void {
    const sequence = this.#header.Seq;
    const filters = parseEventFilters(type);
    if (filters === undefined) return this.answer(rpcError.invalidFilter);
    if (this.#streams.has(sequence)) return this.answer(rpcError.streamExists);
    const { streamsMax } = this.#host.limits;
    if (this.#streams.size >= streamsMax) return this.answer(`${streamsMax} streams are open on this connection, which is the limit: stop one first`);
    this.answer();
    const queue = new RecordQueue();
    const stop = this.backend.onEvent((event) => {
      if (filters.some((filter) => matchesEvent(filter, event))) this.#streamEvent(queue, sequence, event);
    });
    this.#streams.set(sequence, { queue, stop });
  }

  #streamEvent(queue: RecordQueue, sequence: RpcSequence, event: AgentEvent): void {
    if (event.type === 'user') {
      this.#record(queue, sequence, rpcUserRecord, { Event: 'user', LTime: event.lamportTime, Name: event.name, Payload: event.payload, Coalesce: event.coalesce });
    } else if (event.type === 'query') {
      this.#record(queue, sequence, rpcQueryEventRecord, { Event: 'query', ID: this.#remember(event), LTime: event.lamportTime, Name: event.name, Payload: event.payload });
    } else this.#record(queue, sequence, rpcMemberRecord, { Event: event.type, Members: event.members.map(rpcMemberOf) });
  }

  #remember(event: QueryEvent): number {
    const id = this.#nextQueryId++;
    this.#answerable.set(id, event);
    if (this.#answerable.size > this.#host.limits.answerableMax) this.#answerable.delete(this.#answerable.keys().next().value as number);
    return id;
  }

  respond(id: RpcSequence, payload: Uint8Array): void {
    const query = this.#answerable.get(id);
    if (query === undefined || this.#host.clock.now() > query.deadline) {
      this.#answerable.delete(id);
      return this.answer(rpcError.invalidQueryId);
    }
    if (query.respond(payload)) this.answer();
    else this.answer(payload.length > respondBytesMax - 128 ? `response exceeds limit of ${respondBytesMax} bytes` : 'response already sent');
  }

  startMonitor(level: string): void {
    const sequence = this.#header.Seq;
    const wanted = level.toUpperCase();
    const least = rpcLogLevels.indexOf(wanted);
    if (least < 0) return this.answer(`Unknown log level: ${wanted}`);
    if (this.#monitor !== undefined) return this.answer(rpcError.monitorExists);
    this.answer();
    const queue = new RecordQueue();
    const onLine = (line: LogLine): void => {
      if (rankOf(line.level) >= least) this.#record(queue, sequence, rpcLogRecord, { Log: logText(line) });
    };
    const stop = this.#host.logTail.follow(onLine);
    this.#monitor = { sequence, subscription: { queue, stop } };
    for (const line of this.#host.logTail.recent()) onLine(line);
  }

  stop(sequence: RpcSequence): void {
    if (this.#monitor?.sequence === sequence) {
      this.#monitor.subscription.stop();
      this.#monitor = undefined;
    }
    this.#streams.get(sequence)?.stop();
    this.#streams.delete(sequence);
    this.answer();
  }

  query(name: string, payload: Uint8Array, options: Parameters<SerfRpcBackend['query']>[2]): void {
    const sequence = this.#header.Seq;
    const { queriesMax } = this.#host.limits;
    if (this.#queries.size >= queriesMax) return this.answer(`${queriesMax} queries of this connection are running, which is the limit: wait for some to end`);
    const queue = new RecordQueue();
    const subscription: Subscription = { queue, stop: () => {} };
    this.#queries.add(subscription);
    try {
      this.backend.query(name, payload, options, (record) => {
        if (!this.#queries.has(subscription)) return;
        this.#record(queue, sequence, rpcQueryRecord, queryRecord(record), record.type === 'done');
        if (record.type !== 'done') return;
        subscription.ended = true;
        if (queue.count === 0) this.#queries.delete(subscription);
      });
    } catch (error) {
      this.#queries.delete(subscription);
      return this.answer(messageOf(error));
    }
    this.answer();
  }

  members(members: readonly Member[]): void {
    this.answerWith(rpcMembersResponse, { Members: members.map(rpcMemberOf) });
  }

  filteredMembers(tags: ReadonlyMap<string, string>, status: string, name: string): void {
    const matches = memberFilter(tags, status, name);
    // As Serf: no answer, the connection is closed.
    if (typeof matches === 'string') this.#misuse(`a filter that is no regular expression, or none that is followed here: '${matches.slice(0, 100)}'`);
    else this.members(this.backend.members().filter(matches));
  }

  #misuse(why: string): never {
    this.#host.onMisuse(this, why);
    throw new CloseConnection();
  }
}

/** Takes as long for a token that is nearly right as for one that is all wrong. */
function sameText(given: string, wanted: string): boolean {
  let different = given.length ^ wanted.length;
  for (let i = 0; i < given.length; i++) different |= given.charCodeAt(i) ^ (wanted.charCodeAt(i % Math.max(1, wanted.length)) || 0);
  return different === 0;
}
