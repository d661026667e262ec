import { shareAttempts } from '../discovery/shared-attempts.ts';
import type { TopologyHooks } from '../discovery/topology-types.ts';
import type { Gossip } from './gossip-types.ts';

/** What discovery does by default. Connecting is joining. Whom a source names no more is left to failure detection: it may still be a good member. */
export function poolHooks(gossip: Pick<Gossip, 'members' | 'join'>): TopologyHooks {
  return {
    list: () => gossip.members().filter((member) => member.status === 'alive').map((member) => member.address),
    connect: shareAttempts(async (address, signal) => {
      const { joined, errors } = await gossip.join([address], signal);
      return joined > 0 ? { ok: true } : { ok: false, reason: errors[0]?.message ?? 'it gave no answer' };
    }),
  };
}
