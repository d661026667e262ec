/** Serf's RPC verbs: how each one's body reads, and what it asks of the connection. */
import type { FieldCodec, StructCodec } from '../../core/wire/msgpack-struct.ts';
import {
  noCoordinate, rpcAuthRequest, rpcCoordinateRequest, rpcCoordinateResponse, rpcEventRequest, rpcForceLeaveRequest, rpcHandshakeRequest, rpcJoinRequest, rpcKeyRequest, rpcLimits,
  rpcMembersFilteredRequest, rpcMonitorRequest, rpcQueryRequest, rpcRespondRequest, rpcStats, rpcStopRequest, rpcStreamRequest, rpcTagsRequest,
} from '../../core/wire/serf-rpc.ts';
import type { RpcSequence } from '../../core/wire/serf-rpc.ts';
import type { Member } from '../../core/serf/types.ts';
import type { SerfRpcBackend } from './backend.ts';

/** What a connection does for its client. Each answers the request at hand. */
export interface RpcVerbs {
  readonly backend: SerfRpcBackend;
  answerWith<T>(codec: FieldCodec<T>, body: T, error?: string): void;
  /** Answers what the call threw, or that all is well. */
  attempt(run: () => void): void;
  handshake(version: number): void;
  auth(key: string): void;
  join(addresses: readonly string[], replay: boolean): void;
  leave(): void;
  changeTags(set: ReadonlyMap<string, string>, remove: readonly string[]): void;
  keys(action: 'install' | 'use' | 'remove' | 'list', key: string): void;
  startStream(type: string): void;
  startMonitor(level: string): void;
  stop(sequence: RpcSequence): void;
  query(name: string, payload: Uint8Array, options: Parameters<SerfRpcBackend['query']>[2]): void;
  respond(id: RpcSequence, payload: Uint8Array): void;
  members(members: readonly Member[]): void;
  filteredMembers(tags: ReadonlyMap<string, string>, status: string, name: string): void;
}

export type Command = (connection: RpcVerbs, body: Uint8Array) => void;

/** Only these have no body. */
export const withoutBody: ReadonlySet<string> = new Set(['members', 'leave', 'list-keys', 'stats']);

function withBody<T>(codec: StructCodec<T>, run: (connection: RpcVerbs, request: T) => void): Command {
  return (connection, body) => run(connection, codec.decode(body, rpcLimits));
}

const nanosecondsPerMs = 1_000_000;

export const commands: Readonly<Record<string, Command>> = {
  'handshake': withBody(rpcHandshakeRequest, (connection, { Version }) => connection.handshake(Version)),
  'auth': withBody(rpcAuthRequest, (connection, { AuthKey }) => connection.auth(AuthKey)),
  'event': withBody(rpcEventRequest, (connection, { Name, Payload, Coalesce }) => connection.attempt(() => connection.backend.userEvent(Name, Payload, Coalesce))),
  'force-leave': withBody(rpcForceLeaveRequest, (connection, { Node, Prune }) => connection.attempt(() => connection.backend.forceLeave(Node, Prune))),
  'join': withBody(rpcJoinRequest, (connection, { Existing, Replay }) => connection.join(Existing, Replay)),
  'members': (connection) => connection.members(connection.backend.members()),
  'members-filtered': withBody(rpcMembersFilteredRequest, (connection, { Tags, Status, Name }) => connection.filteredMembers(Tags, Status, Name)),
  'tags': withBody(rpcTagsRequest, (connection, { Tags, DeleteTags }) => connection.changeTags(Tags, DeleteTags)),
  'stream': withBody(rpcStreamRequest, (connection, { Type }) => connection.startStream(Type)),
  'monitor': withBody(rpcMonitorRequest, (connection, { LogLevel }) => connection.startMonitor(LogLevel)),
  'stop': withBody(rpcStopRequest, (connection, { Stop }) => connection.stop(Stop)),
  'leave': (connection) => connection.leave(),
  'query': withBody(rpcQueryRequest, (connection, request) => connection.query(request.Name, request.Payload, {
    nodes: request.FilterNodes,
    tags: Object.fromEntries(request.FilterTags),
    acknowledge: request.RequestAck,
    relayFactor: request.RelayFactor,
    ...(request.Timeout > 0 ? { timeoutMs: request.Timeout / nanosecondsPerMs } : {}),
  })),
  'respond': withBody(rpcRespondRequest, (connection, { ID, Payload }) => connection.respond(ID, Payload)),
  'install-key': withBody(rpcKeyRequest, (connection, { Key }) => connection.keys('install', Key)),
  'use-key': withBody(rpcKeyRequest, (connection, { Key }) => connection.keys('use', Key)),
  'remove-key': withBody(rpcKeyRequest, (connection, { Key }) => connection.keys('remove', Key)),
  'list-keys': (connection) => connection.keys('list', ''),
  'stats': (connection) => connection.answerWith(rpcStats, connection.backend.stats()),
  'get-coordinate': withBody(rpcCoordinateRequest, (connection, { Node }) => {
    const coordinate = connection.backend.coordinate(Node);
    connection.answerWith(rpcCoordinateResponse, { Coord: coordinate ?? noCoordinate, Ok: coordinate !== undefined });
  }),
};
