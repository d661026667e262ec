/** The processes of this host. */
export interface ProcessTable {
  /** This process. */
  readonly pid: number;
  /**
   * A text that no other process of this host has had or will have under the same pid, as far as the system tells
   * (where it does not tell, ''); undefined when there is no such process.
   */
  identity(pid: number): string | undefined;
}
