import type { Member, QueryEvent, UserEvent } from '../../src/core/serf/types.ts';

export function member(name: string, tags: Readonly<Record<string, string>> = {}): Member {
  const protocol = { min: 1, max: 5, current: 2 };
  return { name, address: { host: '127.0.0.1', port: 7946 }, tags, status: 'alive', incarnation: 1, protocol, delegate: protocol };
}

export function userEvent(name: string, payload: string = '', lamportTime: number = 1, coalesce: boolean = false): UserEvent {
  return { type: 'user', name, payload: Buffer.from(payload), lamportTime, coalesce };
}

export function queryEvent(name: string, payload: string = '', deadline: number = Infinity, respond: (payload: Uint8Array) => boolean = () => true): QueryEvent {
  return { type: 'query', name, payload: Buffer.from(payload), lamportTime: 7, id: 1, from: 'asker', deadline, respond };
}
