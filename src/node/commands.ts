import { messageOf, TroupeError } from '../base/errors.ts';
import type { AppAction, Command, Outcome } from '../core/control/commands.ts';
import { isActive } from '../core/control/map.ts';
import type { ClusterMap } from '../core/control/map.ts';
import type { Clock } from '../ports/clock.ts';
import type { Calls } from './calls.ts';
import { nameOfRaftId } from './consensus.ts';
import type { Consensus } from './consensus.ts';
import type { Leader } from './leader.ts';

const timeoutMs = 10_000;
const retryMs = 50;
const passing = ['NOT_LEADER', 'NOT_CONNECTED', 'DISCONNECTED', 'CALL_TIMEOUT', 'LEADER_CHANGED', 'BUSY'];

export interface CommandSurroundings {
  readonly self: string;
  readonly consensus: Consensus;
  readonly calls: Calls;
  readonly clock: Clock;
  /** While this node leads. */
  leader(): Leader | undefined;
  isClosed(): boolean;
}

/** What operators and the node itself ask of the leader, wherever it is. */
export class Commands {
  readonly #around: CommandSurroundings;

  constructor(around: CommandSurroundings) {
    this.#around = around;
  }

  get #map(): ClusterMap {
    return this.#around.consensus.map;
  }

  /** @throws TroupeError NOT_LEADER, with the leader's name in its fields where it is known */
  leaderOrThrow(): Leader {
    const leader = this.#around.leader();
    if (leader !== undefined) return leader;
    const { self, consensus } = this.#around;
    const name = consensus.leaderName;
    throw new TroupeError('NOT_LEADER', `node '${self}' does not lead the cluster${name === undefined ? ', and knows nobody who does' : `: '${name}' does`}`, name === undefined || name === self ? {} : { leader: name });
  }

  async submitOnce(command: Command): Promise<Outcome> {
    const { self, consensus, calls } = this.#around;
    const leader = this.#around.leader();
    if (leader !== undefined) return await leader.command(command);
    const name = consensus.leaderName;
    if (name === undefined || name === self) return { ok: false, code: 'NOT_LEADER', message: 'the cluster has no leader at the moment' };
    return (await calls.call(name, 'command', command, 5000)) as Outcome;
  }

  /** Brings a command to the leader, through elections. Commands are conditional, so that doing one twice does no harm. */
  async submit(command: Command): Promise<Extract<Outcome, { ok: true }>> {
    const { clock } = this.#around;
    const deadline = clock.now() + timeoutMs;
    for (;;) {
      let outcome: Outcome;
      try {
        outcome = await this.submitOnce(command);
      } catch (error) {
        outcome = { ok: false, code: error instanceof TroupeError ? error.code : 'ERROR', message: messageOf(error) };
      }
      if (outcome.ok) return outcome;
      if (!passing.includes(outcome.code) || this.#around.isClosed() || clock.now() >= deadline) throw new TroupeError(outcome.code, outcome.message, {});
      await new Promise<void>((resolve) => {
        clock.at(clock.now() + retryMs, resolve);
      });
    }
  }

  async app(name: string, action: AppAction | { readonly type: 'move'; readonly to: string }): Promise<void> {
    const app = this.#map.apps[name];
    if (app === undefined) {
      // A permission may be set before the app is known.
      if (action.type !== 'permit') throw new TroupeError('NO_SUCH_APP', `there is no app '${name}'`, { name });
      await this.submit({ type: 'app', app: name, action });
    } else if (action.type === 'move') await this.submit({ type: 'app', app: name, action: { type: 'take-over', to: action.to, epoch: app.epoch, byHand: true } });
    else await this.submit({ type: 'app', app: name, action });
  }

  async acceptLoss(keyspace: string, partitions?: readonly number[]): Promise<number> {
    const entry = this.#map.keyspaces[keyspace];
    if (entry === undefined) throw new TroupeError('NO_SUCH_KEYSPACE', `there is no keyspace '${keyspace}'`, { keyspace });
    const named = partitions ?? entry.partitions.flatMap((partition, index) => (partition.lost ? [index] : []));
    const wanted = named.map((partition) => ({ partition, epoch: entry.partitions[partition]?.epoch ?? -1 }));
    if (wanted.length === 0) return 0;
    const { changed = 0 } = await this.submit({ type: 'accept-loss', keyspace, partitions: wanted });
    return changed;
  }

  async transferLeadership(to?: string): Promise<void> {
    const { self, consensus, calls } = this.#around;
    const leader = consensus.leaderName;
    if (leader === undefined) throw new TroupeError('NOT_LEADER', 'the cluster has no leader at the moment', {});
    if (leader === self) this.transferFromHere(to ?? null);
    else await calls.call(leader, 'transfer-leadership', to ?? null);
  }

  /** On the leader. @throws TroupeError NOT_LEADER, NO_HEIR */
  transferFromHere(to: string | null): void {
    this.leaderOrThrow();
    const { consensus } = this.#around;
    const target = consensus.raft.configuration.voters.find((id) => id !== consensus.raft.id && (to === null || nameOfRaftId(id) === to) && isActive(this.#map, nameOfRaftId(id)));
    if (target === undefined || !consensus.transferLeadership(target)) throw new TroupeError('NO_HEIR', `cannot hand the leadership over${to === null ? '' : ` to '${to}'`}: no such live voter`, {});
  }
}
