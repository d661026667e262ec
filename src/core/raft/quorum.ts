/** How many of `count` voters make a majority. */
export function majorityOf(count: number): number {
  return Math.floor(count / 2) + 1;
}

/**
 * The greatest value that a majority of the voters has reached: with `valueOf` the index up to which each holds the
 * log durably, what may be committed (Raft paper, Figure 2, last rule for leaders). Of no voters: 0.
 */
export function majorityReached(voters: readonly string[], valueOf: (id: string) => number): number {
  if (voters.length === 0) return 0;
  const values = voters.map(valueOf).sort((a, b) => b - a);
  return values[majorityOf(voters.length) - 1] as number;
}

/** Where a ballot stands. Voters without an answer are absent from `votes`. No voters: lost, nobody can win it. */
export function ballotOutcome(voters: readonly string[], voteOf: (id: string) => boolean | undefined): 'won' | 'lost' | 'open' {
  let granted = 0;
  let denied = 0;
  for (const id of voters) {
    const vote = voteOf(id);
    if (vote === true) granted++;
    else if (vote === false) denied++;
  }
  const needed = majorityOf(voters.length);
  if (granted >= needed) return 'won';
  return voters.length - denied < needed ? 'lost' : 'open';
}
