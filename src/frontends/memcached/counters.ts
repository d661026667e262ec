/** What `stats` counts, for all connections together. `stats reset` sets all to 0. */
export class Counters {
  getCommands = 0;
  getHits = 0;
  getMisses = 0;
  setCommands = 0;
  touchCommands = 0;
  touchHits = 0;
  touchMisses = 0;
  flushCommands = 0;
  deleteHits = 0;
  deleteMisses = 0;
  incrHits = 0;
  incrMisses = 0;
  decrHits = 0;
  decrMisses = 0;
  casHits = 0;
  casMisses = 0;
  casBadValue = 0;
  readBytes = 0;
  rejectedConnections = 0;
  totalConnections = 0;
  /** Requests that were answered with SERVER_ERROR. */
  failures = 0;

  reset(): void {
    Object.assign(this, new Counters());
  }
}
