import { TroupeError } from '../base/errors.ts';
import type { Gossip, GossipOptions, GossipPorts } from './gossip-types.ts';

export type * from './gossip-types.ts';

/**
 * Starts a member of the gossip pool, alone; `join` makes it one of many.
 * Rejects with a TroupeError: BAD_NODE_NAME, BAD_KEY, TAGS_TOO_LARGE, ADVERTISE_NEEDED, or what the ports say
 * when the address cannot be had.
 */
export async function startGossip(options: GossipOptions, ports: GossipPorts): Promise<Gossip> {
  void ports;
  throw new TroupeError('NOT_BUILT', `gossip for '${options.name}' is not assembled yet`);
}
