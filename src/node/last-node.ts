/**
 * quorum.lastNode: how few voters may go on. By default (`never`) nothing happens here: without a majority the cluster
 * stops. The two other settings let a voter drop the rest of the group without their consent, which consensus itself
 * never allows:
 *
 * on-refusal  those whose processes are dead for certain. A voter may do so only while its lease holds, that is, if it
 *             has been in the live majority without a break: it then misses nothing that the others agreed on, but for
 *             what the last of them agreed on in the moment of their death. A restarted node holds no lease, and so
 *             waits for the others.
 * on-silence  also those that merely do not answer, even after the lease ran out. Two halves of a cut network may then
 *             both go on, and one half's writes are lost when they meet: it is what OTP does, and unsafe.
 */
import type { Clock, Timer } from '../ports/clock.ts';
import type { Log } from '../ports/log.ts';
import type { Consensus } from './consensus.ts';
import { nameOfRaftId } from './consensus.ts';
import type { DeadInstances } from './dead-instances.ts';
import type { LastNodeRule } from './node-types.ts';
import type { Peers } from './peers.ts';

/** Silent for this long counts as gone under on-silence (ms): longer than any lease and election. */
const silenceMs = 3000;
/** Whoever lost its lease longer ago than this was cut off itself (ms). */
const recentMs = 15_000;
const lookEveryMs = 500;

export interface LastNodeSurroundings {
  readonly self: string;
  readonly consensus: Consensus;
  readonly peers: Peers;
  readonly dead: DeadInstances;
  hasRights(now: number): boolean;
}

export class LastNode {
  readonly #rule: LastNodeRule;
  readonly #around: LastNodeSurroundings;
  readonly #clock: Clock;
  readonly #log: Log;
  #lastRightsAt = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;

  constructor(rule: LastNodeRule, around: LastNodeSurroundings, clock: Clock, log: Log) {
    this.#rule = rule;
    this.#around = around;
    this.#clock = clock;
    this.#log = log;
    if (rule !== 'never') this.#tick();
  }

  #tick(): void {
    this.apply();
    this.#timer = this.#clock.at(this.#clock.now() + lookEveryMs, () => this.#tick());
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** Called at new evidence, and now and then. */
  apply(): void {
    const { self, consensus, peers, dead } = this.#around;
    if (this.#rule === 'never' || !consensus.isVoter) return;
    const now = this.#clock.now();
    const hasRights = this.#around.hasRights(now);
    if (hasRights) this.#lastRightsAt = now;
    const onSilence = this.#rule === 'on-silence' && now - this.#lastRightsAt > silenceMs && now - this.#lastRightsAt < recentMs;
    if (!hasRights && !onSilence) return;
    const { voters } = consensus.raft.configuration;
    const gone = voters.filter((id) => {
      const name = nameOfRaftId(id);
      if (name === self) return false;
      const node = consensus.map.nodes[name];
      const isDead = node !== undefined && node.raftId === id && dead.has(node.instance);
      return isDead || (onSilence && peers.silentForMs(name, now) > silenceMs);
    });
    const left = voters.length - gone.length;
    if (gone.length === 0 || left > voters.length / 2) return;
    this.#log.warn(onSilence ? 'no majority of the voters answers: going on without them, which is unsafe (quorum.lastNode: on-silence)' : 'no majority of the voters is left, and the others are dead for certain: going on without them (quorum.lastNode)', { dropped: gone });
    consensus.dropVoters(gone);
  }
}
