import { encodeSerfMessage, serfKeyRequestCodec, serfKeyResponseCodec, serfType } from '../core/wire/serf-messages.ts';
import { WireError } from '../core/wire/wire-error.ts';
import { TroupeError, messageOf } from '../base/errors.ts';
import { sameBytes } from '../core/swim/member-table.ts';
import { decodeBase64, encodeBase64 } from './base64.ts';

/** The queries by which Serf changes the keys of a whole pool. */
export const keyQuery = { install: '_serf_install-key', use: '_serf_use-key', remove: '_serf_remove-key', list: '_serf_list-keys' } as const;
export type KeyQuery = (typeof keyQuery)[keyof typeof keyQuery];

/** An answer must fit into one packet of Serf's. */
const messageCharactersMax = 500;

/** What one node answers to a key query. Keys are base64. */
export interface KeyAnswer {
  readonly ok: boolean;
  readonly message: string;
  readonly keys: readonly string[];
  readonly primary: string;
}

/** The payload of a key query. @param key base64; absent for a list. @throws TroupeError BAD_KEY */
export function encodeKeyRequest(key?: string): Uint8Array {
  const bytes = key === undefined ? new Uint8Array(0) : decodeBase64(key);
  if (bytes === undefined) throw new TroupeError('BAD_KEY', 'cannot read the key: it must be base64 of 16, 24 or 32 bytes; make one with \'troupe keygen\'');
  return encodeSerfMessage(serfType.keyRequest, serfKeyRequestCodec, { Key: bytes });
}

/** @throws WireError when the bytes are no answer to a key query */
export function decodeKeyAnswer(payload: Uint8Array): KeyAnswer {
  if (payload[0] !== serfType.keyResponse) throw new WireError('not an answer to a key query');
  const { Result, Message, Keys, PrimaryKey } = serfKeyResponseCodec.decode(payload.subarray(1), { valuesMax: 4096, depthMax: 4 });
  return { ok: Result, message: Message, keys: Keys, primary: PrimaryKey };
}

export interface KeyringAccess {
  keys: readonly Uint8Array[];
}

/** Does what a key query asks, and gives this node's answer; undefined for any other query. */
export function answerKeyQuery(name: string, payload: Uint8Array, ring: KeyringAccess): Uint8Array | undefined {
  const queries: readonly string[] = Object.values(keyQuery);
  if (!queries.includes(name)) return undefined;
  let message = '';
  try {
    if (ring.keys.length === 0) message = name === keyQuery.list ? 'Keyring is empty (encryption not enabled)' : 'No keyring to modify (encryption not enabled)';
    else if (name !== keyQuery.list) ring.keys = changed(name, requestedKey(payload), ring.keys);
  } catch (error) {
    message = messageOf(error);
  }
  if (message !== '') return refuseKeyQuery(message);
  const list = name === keyQuery.list;
  return encodeSerfMessage(serfType.keyResponse, serfKeyResponseCodec, {
    Result: true, Message: '', Keys: list ? ring.keys.map(encodeBase64) : [], PrimaryKey: list ? encodeBase64(ring.keys[0] as Uint8Array) : '',
  });
}

/** A failure, for whoever asked. */
export function refuseKeyQuery(message: string): Uint8Array {
  return encodeSerfMessage(serfType.keyResponse, serfKeyResponseCodec, { Result: false, Message: message.slice(0, messageCharactersMax), Keys: [], PrimaryKey: '' });
}

function requestedKey(payload: Uint8Array): Uint8Array {
  if (payload[0] !== serfType.keyRequest) throw new WireError('not a key request');
  return serfKeyRequestCodec.decode(payload.subarray(1), { valuesMax: 16, depthMax: 2 }).Key.slice();
}

function changed(name: string, key: Uint8Array, keys: readonly Uint8Array[]): readonly Uint8Array[] {
  const index = keys.findIndex((known) => sameBytes(known, key));
  switch (name) {
    case keyQuery.install: return index >= 0 ? keys : [...keys, key];
    case keyQuery.use:
      if (index < 0) throw new TroupeError('UNKNOWN_KEY', 'Requested key is not in the keyring');
      return [key, ...keys.filter((_, i) => i !== index)];
    default:
      if (index === 0) throw new TroupeError('PRIMARY_KEY', 'Removing the primary key is not allowed');
      return keys.filter((_, i) => i !== index);
  }
}
