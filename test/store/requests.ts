import { hashKey } from '../../src/core/store/hash.ts';
import { StoreRequest } from '../../src/core/store/request.ts';
import type { Op } from '../../src/core/store/request.ts';

export interface RequestFields {
  readonly value?: string;
  readonly flags?: number;
  readonly expiresAt?: number;
  readonly cas?: number;
  readonly delta?: number | bigint;
}

const encoder = new TextEncoder();

export function requestOf(op: Op, key: string, fields: RequestFields = {}): StoreRequest {
  const request = new StoreRequest();
  request.op = op;
  request.key = encoder.encode(key);
  request.keyEnd = request.key.length;
  request.hash = hashKey(request.key, 0, request.keyEnd);
  request.value = encoder.encode(fields.value ?? '');
  request.valueEnd = request.value.length;
  request.flags = fields.flags ?? 0;
  request.expiresAt = fields.expiresAt ?? 0;
  request.cas = fields.cas ?? 0;
  request.delta = fields.delta ?? 0;
  return request;
}
