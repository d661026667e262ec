/** Timing and reach of the protocol; all times in ms. Presets as in memberlist. */
export interface SwimTiming {
  /** Between two probe rounds. */
  readonly probeIntervalMs: number;
  /** How long a direct ping may take before others are asked. */
  readonly probeTimeoutMs: number;
  /** How many others are asked to ping a member that does not answer. */
  readonly indirectChecks: number;
  /** Between two gossip rounds while there is something to say. */
  readonly gossipIntervalMs: number;
  /** Members that one gossip round reaches. */
  readonly gossipNodes: number;
  /** Dead members are still told things for this long, so that a false failure heals. */
  readonly gossipToTheDeadMs: number;
  /** A message is sent at least retransmitMult * ceil(log10(n + 1)) times by each member; see retransmitLimit. */
  readonly retransmitMult: number;
  /** A suspect has at least suspicionMult * max(1, log10 n) * probeIntervalMs to speak up, and at most suspicionMaxTimeoutMult times that. */
  readonly suspicionMult: number;
  readonly suspicionMaxTimeoutMult: number;
  /** Between two full exchanges of state; longer in pools of more than 32. */
  readonly pushPullIntervalMs: number;
  /** For a whole exchange over a stream. */
  readonly streamTimeoutMs: number;
  /** Lifeguard: the health score stays below this. */
  readonly awarenessMaxMultiplier: number;
}

export type SwimProfile = 'lan' | 'wan' | 'local';

const lan: SwimTiming = {
  probeIntervalMs: 1000, probeTimeoutMs: 500, indirectChecks: 3, gossipIntervalMs: 200, gossipNodes: 3, gossipToTheDeadMs: 30_000,
  retransmitMult: 4, suspicionMult: 4, suspicionMaxTimeoutMult: 6, pushPullIntervalMs: 30_000, streamTimeoutMs: 10_000, awarenessMaxMultiplier: 8,
};

export const swimTimings: Readonly<Record<SwimProfile, SwimTiming>> = {
  lan,
  wan: { ...lan, probeIntervalMs: 5000, probeTimeoutMs: 3000, gossipIntervalMs: 500, gossipNodes: 4, gossipToTheDeadMs: 60_000, suspicionMult: 6, pushPullIntervalMs: 60_000, streamTimeoutMs: 30_000 },
  // memberlist's local preset has a retransmitMult of 2, with which gossip gets lost among five members.
  local: { ...lan, probeTimeoutMs: 200, indirectChecks: 1, gossipIntervalMs: 100, gossipToTheDeadMs: 15_000, suspicionMult: 3, pushPullIntervalMs: 15_000, streamTimeoutMs: 1000 },
};

/**
 * How often each member sends one message, with n members in the pool: memberlist's formula, but not less than 16 (or
 * twice to everybody, if that is less). With few members the formula alone leaves now and then one out, who then hears
 * of it only at the next exchange of state; some more packets per event cost nothing there.
 */
export function retransmitLimit(retransmitMult: number, n: number): number {
  return Math.max(retransmitMult * Math.ceil(Math.log10(n + 1)), Math.min(16, 2 * (n - 1)), 1);
}

/** The least time that a suspect has to speak up (ms), with n members known. */
export function suspicionTimeoutMs(suspicionMult: number, n: number, probeIntervalMs: number): number {
  const nodeScale = Math.max(1, Math.log10(Math.max(1, n)));
  return (suspicionMult * Math.floor(nodeScale * 1000) * probeIntervalMs) / 1000;
}

/** Grows with the logarithm of the pool, past 32 members. */
export function pushPullIntervalMs(baseMs: number, n: number): number {
  const threshold = 32;
  return n <= threshold ? baseMs : baseMs * (Math.ceil(Math.log2(n) - Math.log2(threshold)) + 1);
}
