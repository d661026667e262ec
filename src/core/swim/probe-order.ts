import type { RandomSource, SwimNode } from './types.ts';

/** With more others than this, what they send does not count: see below. */
const heardMembersMax = 8;

/**
 * Whom to probe next. The first of the list is; then it goes to the end.
 *
 * With more than a few others this is memberlist's order: each once per round, in an order shuffled anew for each round.
 * With few, it is who was silent for longest: whoever pinged us goes to the end as well, since the probe is worth more
 * elsewhere. A member that falls silent is met in two thirds of the time then (five nodes: after 0.6 intervals instead of 0.8).
 * A ping proves only one direction, and its sender's address can be forged, so it counts only while the member's own last probe
 * lies less than one round back.
 *
 * Why not so in large pools: an order that follows from itself keeps what was uneven in it. A newcomer meets all others within
 * a third of a round, and is then probed by nobody for a sixth of one. That is one interval among six nodes, but minutes among a
 * thousand, where all that there is to gain is a few tenths of an interval. A shuffle forgets.
 *
 * With M others, as long as none comes or goes, each is probed at most 2M - 1 probes after its last one, as in memberlist; and,
 * with few, at most M probes after it was last probed or its ping last counted. Who comes, or comes back, is put at a random
 * place: all others hear of it in the same moment, and would probe it all at once, or all late, anywhere else.
 */
export class ProbeOrder {
  readonly #random: RandomSource;
  /** Whose turn is in this round, then the others. */
  readonly #order: SwimNode[] = [];
  /** How many at the end had their turn in this round. Not counted while they are few: there are no rounds then. */
  #done = 0;
  #probes = 0;

  constructor(random: RandomSource) {
    this.#random = random;
  }

  add(node: SwimNode): void {
    const at = this.#random.below(this.#order.length + 1);
    if (at > this.#order.length - this.#done) this.#done++;
    this.#order.splice(at, 0, node);
    node.probedAt = this.#probes;
  }

  remove(node: SwimNode): void {
    const at = this.#order.indexOf(node);
    if (at < 0) return;
    if (at >= this.#order.length - this.#done) this.#done--;
    this.#order.splice(at, 1);
  }

  /** The member pinged us. */
  heard(node: SwimNode): void {
    const { length } = this.#order;
    if (length > heardMembersMax || this.#probes - node.probedAt >= length) return;
    const at = this.#order.indexOf(node);
    if (at < 0) return;
    this.#order.splice(at, 1);
    this.#order.push(node);
  }

  /** The member to probe now; undefined: there is none. */
  next(): SwimNode | undefined {
    const { length } = this.#order;
    if (length <= heardMembersMax) this.#done = 0;
    else if (++this.#done > length) {
      this.#shuffle();
      this.#done = 1;
    }
    const node = this.#order.shift();
    if (node === undefined) return undefined;
    node.probedAt = ++this.#probes;
    this.#order.push(node);
    return node;
  }

  #shuffle(): void {
    for (let i = this.#order.length - 1; i > 0; i--) {
      const j = this.#random.below(i + 1);
      const kept = this.#order[i] as SwimNode;
      this.#order[i] = this.#order[j] as SwimNode;
      this.#order[j] = kept;
    }
  }
}
