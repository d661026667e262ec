/** Packets that could not be opened: so many at once, and so many each second, are looked at from one sender and from all. */
const perSender = { burst: 200, perSecond: 100 } as const;
const fromAll = { burst: 2000, perSecond: 1000 } as const;
/** Senders with a budget of their own; further ones share that of all. */
const sendersMax = 256;

interface Budget {
  left: number;
  asOf: number;
}

/**
 * Bounds the work that forged packets cause. To open one costs some microseconds for each key; only what fails costs
 * budget, so that whoever has the key is never held up by this, except through the sender's address that a forger uses too.
 */
export class FloodGate {
  readonly #senders = new Map<string, Budget>();
  readonly #all: Budget = { left: fromAll.burst, asOf: 0 };

  /** Whether a packet of this sender is worth a look. */
  admits(sender: string, now: number): boolean {
    const own = this.#senders.get(sender);
    return refill(this.#all, fromAll, now) >= 1 && (own === undefined || refill(own, perSender, now) >= 1);
  }

  /** A packet of this sender could not be opened. */
  refused(sender: string, now: number): void {
    refill(this.#all, fromAll, now);
    this.#all.left--;
    let own = this.#senders.get(sender);
    if (own === undefined) {
      if (this.#senders.size >= sendersMax) this.#forgetTheQuiet(now);
      if (this.#senders.size >= sendersMax) return;
      this.#senders.set(sender, (own = { left: perSender.burst, asOf: now }));
    }
    refill(own, perSender, now);
    own.left--;
  }

  #forgetTheQuiet(now: number): void {
    for (const [sender, budget] of this.#senders) if (refill(budget, perSender, now) >= perSender.burst) this.#senders.delete(sender);
  }
}

function refill(budget: Budget, { burst, perSecond }: { readonly burst: number; readonly perSecond: number }, now: number): number {
  budget.left = Math.min(burst, budget.left + ((now - budget.asOf) / 1000) * perSecond);
  budget.asOf = now;
  return budget.left;
}
