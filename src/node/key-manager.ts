import { WireError } from '../core/wire/wire-error.ts';
import type { Gossip } from './gossip-types.ts';
import { decodeKeyAnswer, encodeKeyRequest, keyQuery } from './gossip-keys.ts';

export type KeyAction = keyof typeof keyQuery;

/** What the pool's members answered to a change, or a question, about their keyrings. */
export interface KeyOutcome {
  /** '' when every live member answered and none reported a failure. */
  readonly error: string;
  /** What members said, by name. */
  readonly messages: ReadonlyMap<string, string>;
  /** For `list`: how many members have each key. */
  readonly keys: ReadonlyMap<string, number>;
  /** Live members, failures among their answers, answers. */
  readonly nodes: number;
  readonly failures: number;
  readonly answers: number;
}

/**
 * Asks all members to change or list their keys. Ends as soon as all have answered, else when the query's time is up.
 * @param key base64; not for `list`
 * Rejects with a TroupeError BAD_KEY, QUERIES_BUSY
 */
export function askKeys(gossip: Gossip, action: KeyAction, key?: string): Promise<KeyOutcome> {
  const nodes = gossip.members().filter((member) => member.status === 'alive' || member.status === 'leaving').length;
  const messages = new Map<string, string>();
  const keys = new Map<string, number>();
  let answers = 0;
  let failures = 0;
  const take = (from: string, payload: Uint8Array): void => {
    answers++;
    try {
      const answer = decodeKeyAnswer(payload);
      if (!answer.ok) failures++;
      if (!answer.ok || answer.message !== '') messages.set(from, answer.message);
      for (const each of answer.keys) keys.set(each, (keys.get(each) ?? 0) + 1);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      failures++;
      messages.set(from, `its answer cannot be read: ${error.message}`);
    }
  };
  return new Promise((resolve) => {
    let over = false;
    gossip.query(keyQuery[action], encodeKeyRequest(action === 'list' ? undefined : key), {}, (record) => {
      if (over) return;
      if (record.type === 'response') take(record.from, record.payload);
      if (record.type !== 'done' && answers < nodes) return;
      over = true;
      const error = failures > 0 ? `${failures}/${nodes} nodes reported failure` : answers !== nodes ? `${answers}/${nodes} nodes reported success` : '';
      resolve({ error, messages, keys, nodes, failures, answers });
    });
  });
}
